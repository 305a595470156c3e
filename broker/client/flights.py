"""Owns what was asked and is not answered, and what waits to be sent: pure bookkeeping of one client.

Refuses more than its bounds (`Saturated`), a second flight under one id, and to hand out a message past what a
message may hold. A stream that dies puts what it carried back in front of the queue, under the same ids.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from broker.client.asking import Asked
from broker.client.evidence import Answer
from broker.coalesce import MAX_BYTES, MAX_ITEMS
from broker.errors import BrokerError, InvalidRequest, Saturated
from broker.v1 import exchange_pb2 as wire

MAX_IN_FLIGHT = 1024
MAX_WAITING = 4096
_ID_BYTES = 40
_MAX_REMEMBERED = 4096
_PARTS = 4
_LEAST_REQUESTS = 16
_LEAST = 0.001  # seconds of time given to a request that is sent at its very end


@dataclass(slots=True, eq=False)
class Flight:
    """One request on its way: what it says, until when (event-loop time), and whom its answer goes to."""

    request: wire.RecordRequest
    asked: Asked
    deadline: float
    answer: asyncio.Future[Answer]
    sent: bool = False
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = self.request.ByteSize() + _ID_BYTES

    def expire(self) -> None:
        """Tell the owner that the time is over, unless it has been told of an end."""
        if not self.answer.done():
            self.answer.set_exception(TimeoutError())

    def fail(self, error: BrokerError) -> None:
        """Tell the owner, unless it has been told."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Flights:
    """All flights of a client. `wake` is set whenever there may be something to send."""

    def __init__(self, max_in_flight: int = MAX_IN_FLIGHT, max_waiting: int = MAX_WAITING) -> None:
        self.wake = asyncio.Event()
        self._max_in_flight = max_in_flight
        self._max_waiting = max_waiting
        self._flights: dict[str, Flight] = {}
        self._waiting: deque[Flight] = deque()
        self._in_flight = 0
        self._cancel: deque[str] = deque()
        self._received: deque[str] = deque(maxlen=_MAX_REMEMBERED)
        self._due = False  # what was received is to be said now
        # Given up after they were sent: their outcome may still come, once.
        self._given_up: dict[str, None] = {}

    @property
    def waiting(self) -> bool:
        """Whether a request waits to be sent."""
        return bool(self._waiting)

    @property
    def quiet(self) -> bool:
        """Whether there is nothing at all to say."""
        return not (self._waiting or self._cancel or self._received)

    def add(self, flight: Flight) -> None:
        """Queue a request. Raises Saturated, and InvalidRequest for an id that is in flight."""
        request_id = flight.asked.request_id
        if request_id in self._flights:
            raise InvalidRequest("request_id", "is in flight already")
        if request_id in self._given_up:
            raise Saturated("client: this request id was given up and its end is still awaited", 0.2)
        if len(self._waiting) >= self._max_waiting:
            raise Saturated(f"client: {self._max_waiting} requests are waiting already")
        self._flights[request_id] = flight
        self._waiting.append(flight)
        self.wake.set()

    def give_up(self, flight: Flight) -> None:
        """Its owner no longer waits; nothing happens where it was answered."""
        request_id = flight.asked.request_id
        if self._flights.get(request_id) is not flight:
            return
        del self._flights[request_id]
        if not flight.sent:
            self._waiting.remove(flight)
            return
        self._forsake(request_id)

    def _forsake(self, request_id: str) -> None:
        """Tell the broker, and know the outcome that may cross with it."""
        self._in_flight -= 1
        self._cancel.append(request_id)
        self._given_up[request_id] = None
        if len(self._given_up) > _MAX_REMEMBERED:
            del self._given_up[next(iter(self._given_up))]
        self.wake.set()

    def expects(self, request_id: str) -> bool:
        """Whether an outcome of this id may come: it was sent on this stream and has had none."""
        flight = self._flights.get(request_id)
        return request_id in self._given_up or (flight is not None and flight.sent)

    def answered(self, request_id: str) -> Flight | None:
        """Take the flight whose outcome has come; None where its owner had given up."""
        self._given_up.pop(request_id, None)
        flight = self._flights.pop(request_id, None)
        if flight is not None:
            self._in_flight -= 1
            self.wake.set()
        return flight

    def acknowledge(self, request_id: str) -> None:
        """Its disclosure arrived and verified: say so with the next message that has something to ask."""
        self._received.append(request_id)

    def say_received(self) -> None:
        """Say what arrived even where there is nothing to ask."""
        self._due = True
        self.wake.set()

    def lost(self) -> None:
        """The stream is gone: what it carried waits again, in front, in its order."""
        carried = [flight for flight in self._flights.values() if flight.sent]
        for flight in reversed(carried):
            flight.sent = False
            self._waiting.appendleft(flight)
        self._in_flight = 0
        self._cancel.clear()  # the broker gives up what a dead stream asked for by itself
        self._given_up.clear()

    def fail_all(self, error: Callable[[], BrokerError]) -> None:
        """End every flight, each with an error of its own. Outcomes may still come of those that were sent."""
        flights, self._flights = self._flights, {}
        self._waiting.clear()
        for request_id, flight in flights.items():
            if flight.sent:
                self._forsake(request_id)
            flight.fail(error())

    def take(self, now: float) -> wire.ExchangeRequest | None:
        """The next message, of at most 256 items and 1 MiB; None where there is nothing to say.

        Of many requests it takes a part only: all in one message would go through client, broker and adapter as
        one convoy, in which each waits while another works.
        """
        room = self._in_flight < self._max_in_flight
        if not (self._cancel or (self._waiting and room) or (self._due and self._received)):
            self._due = False
            return None
        message = wire.ExchangeRequest()
        requests = max(_LEAST_REQUESTS, (self._in_flight + len(self._waiting)) // _PARTS)
        items, size = 0, 0
        for queue, into in ((self._cancel, message.cancel), (self._received, message.received)):
            while queue and items < MAX_ITEMS:
                into.append(queue.popleft())
                items, size = items + 1, size + _ID_BYTES
        while (
            self._waiting
            and items < MAX_ITEMS
            and len(message.requests) < requests
            and self._in_flight < self._max_in_flight
        ):
            flight = self._waiting[0]
            if items and size + flight.size > MAX_BYTES:
                break
            self._waiting.popleft()
            whole, part = divmod(int(max(flight.deadline - now, _LEAST) * 1e9), 1_000_000_000)
            timeout = flight.request.timeout
            timeout.seconds, timeout.nanos = whole, part
            message.requests.append(flight.request)
            flight.sent = True
            self._in_flight += 1
            items, size = items + 1, size + flight.size
        return message if items else None
