"""One open Exchange stream: what is in flight on it, and what waits to be written.

Bounded both ways: a client that does not read is not read, and one that stays so is ended. A release that
could not be written is noted as undelivered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, KeysView
from typing import TYPE_CHECKING

from msgspec import Struct

from broker.core.model import Caller
from broker.errors import AuditUnavailable, BrokerError, Cancelled, Denied, Draining, InvalidRequest, Saturated
from broker.lanes import Lanes
from broker.ports import Disclosed
from broker.rpc import bounds, parse, written
from broker.rpc.bounds import MAX_ITEMS
from broker.rpc.context import Context
from broker.rpc.door import STEP, room
from broker.rpc.errors import count, status_of
from broker.rpc.underway import Answering
from broker.v1 import exchange_pb2
from broker.waits import Limit

if TYPE_CHECKING:
    from broker.rpc.exchange import ExchangeServicer

MAX_IN_FLIGHT = 1024  # of one stream
IDS = 32  # of those cost as much to read as one refusal
MAX_BYTES = 1024 * 1024
# A client that reads nothing for this long, in seconds, is gone.
STALLED = 10.0
# What nothing else answered for in the time that the request gives: the provider's share of it ends before.
# Said this long before that time is over, in seconds, or nobody would be there to hear it.
_WAY_HOME = 0.1
METHOD = "ExchangeService/Exchange"
LATE = "no evidence could be committed in the time allowed; ask again under the same request id"


def patience(timeout: float) -> float:
    """Seconds after which a request of this timeout is told that it is late."""
    return timeout - min(_WAY_HOME, timeout / 10)


class _Ready(Struct, frozen=True, eq=False):
    """An outcome that waits to be written, and the request it ends; None where none was started."""

    outcome: written.Outcome
    of: Answering | None = None


class Session:
    """One open Exchange stream: what is in flight on it, and what waits to be written."""

    def __init__(self, servicer: ExchangeServicer, context: Context, agency: str) -> None:
        self._servicer = servicer
        self._agency = agency
        self._unread = servicer.unread
        self._under_way = servicer.under_way
        self._context = context
        self._running: dict[str, Answering] = {}
        self._late: dict[str, asyncio.TimerHandle] = {}  # of each of those, the timer of its end
        self._waiting: Lanes[_Ready] = Lanes()
        self._writing: list[_Ready] = []
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._done = False
        self._closed = False
        self._end: Draining | None = None

    @property
    def in_flight(self) -> KeysView[str]:
        """Ids of requests that have no answer yet."""
        return self._running.keys()

    def close(self) -> None:
        """Take no more requests: the client sends again elsewhere what has no answer when the stream ends."""
        self._closed = True

    def end(self) -> None:
        """Write what waits, give up what is in flight, and say that another worker takes over."""
        self._closed = True
        self._end = Draining("this worker is going: send again what has no outcome, under the same ids")
        self._wake.set()

    async def run(self, incoming: AsyncIterator[exchange_pb2.ExchangeRequest]) -> None:
        """Read until the client closes, write until all is answered; what fails first ends both.

        Raises UnknownSystem for a system that may no longer speak, InvalidRequest for a message over its
        bounds, Saturated for a client that does not read, Draining once `end` was called.
        """
        loop = asyncio.get_running_loop()
        writer = loop.create_task(self._write())
        # A suspension ends a stream on which nobody says anything, too.
        watch = self._servicer.identity.watch(self._context)
        sides = {writer, loop.create_task(self._read(incoming)), loop.create_task(watch)}
        waiting = sides
        try:
            while not writer.done():
                ended, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for side in ended:
                    side.result()
        finally:
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)
            self._leave()

    def _leave(self) -> None:
        """Nobody listens any more: leave what runs, and what was not written."""
        unread = (*self._writing, *self._waiting)
        unwritten = [ready.of for ready in unread if ready.of is not None]
        for late in self._late.values():
            late.cancel()
        for answering in (*self._running.values(), *unwritten):
            self._under_way.leave(answering, delivered=False)
        # Tracebacks hold this object for long: records must not stay in memory with it.
        self._unread.release(self._agency, sum(ready.outcome.size for ready in unread))
        self._running, self._late, self._waiting, self._writing = {}, {}, Lanes(), []

    async def _read(self, incoming: AsyncIterator[exchange_pb2.ExchangeRequest]) -> None:
        identity = self._servicer.identity
        peer = identity.peer(self._context)
        async for message in incoming:
            caller = identity.check(peer)
            bounds.check(message)
            if received := parse.identifiers(message.received):
                self._servicer.received(caller, received)
            for request_id in message.cancel:
                if answering := self._running.get(request_id):
                    self._cancel(request_id, answering)
            requests = () if self._closed else message.requests
            # A message that asks nothing costs as much as a request that is refused; so do so many ids, which
            # anybody can make up.
            door, ids = self._servicer.door, len(message.received) + len(message.cancel)
            refused = ids // IDS if requests else max(1, ids // IDS)
            for step in range(0, len(requests), STEP):
                before = refused
                for each in requests[step : step + STEP]:
                    refused += not self._accept(each, caller)
                await door.breathe(refused - before)
            await door.pause(caller.agency, refused)
            # Who does not read is not read: the writer's own limit ends a stream that stays so.
            while len(self._waiting) >= MAX_IN_FLIGHT:
                self._room.clear()
                await self._room.wait()
        self._done = True
        self._wake.set()

    def _accept(self, message: exchange_pb2.RecordRequest, caller: Caller) -> bool:
        """Start one request; what is wrong with it harms only itself. Whether it was started."""
        request_id = message.request_id
        try:
            if request_id in self._running:
                raise InvalidRequest("request_id", "is in flight on this stream already")
            asked = self._servicer.door.admit(message, caller)
            if len(self._running) + len(self._waiting) >= room(MAX_IN_FLIGHT, asked):
                raise Saturated(f"{MAX_IN_FLIGHT} requests of this stream are in flight or unread")
            self._unread.check(asked)
            answering = self._under_way.join(asked)
        except Exception as e:  # noqa: BLE001 - the table maps it
            count(self._servicer.telemetry, e, METHOD, caller.name)
            self._put(_Ready(written.failed(request_id[:64], status_of(e))))
            return False
        self._running[request_id] = answering
        late = asyncio.get_running_loop().call_later(
            patience(asked.timeout), self._expire, request_id, answering
        )
        self._late[request_id] = late
        answering.on_end(self._finish)
        return True

    def _finish(self, answering: Answering) -> None:
        request_id = answering.asked.request_id
        if self._end is not None:
            return  # too late to be written: it stays among those that are given up
        # An id may have been asked again since it expired.
        if self._running.get(request_id) is answering:
            self._ended(request_id)
            self._answered(answering)

    def _answered(self, answering: Answering) -> None:
        """Have its outcome written, or where too much waits unread say so: the entry stands, undelivered."""
        ready = _Ready(outcome(answering.asked.request_id, answering.task), answering)
        try:
            self._unread.check(answering.asked, ready.outcome.size)
        except Saturated as e:
            if answering.task.cancelled() or answering.task.exception() is not None:
                self._put(ready)  # small, and no smaller would say as much
                return
            e.receipt = answering.task.result().receipt
            self._under_way.leave(answering, delivered=False)
            ready = _Ready(written.failed(answering.asked.request_id, status_of(e)))
        self._put(ready)

    def _ended(self, request_id: str) -> Answering:
        self._late.pop(request_id).cancel()
        return self._running.pop(request_id)

    def _expire(self, request_id: str, answering: Answering) -> None:
        """Its time is over: say so, and see what has been sent to be committed through without it."""
        if self._running.get(request_id) is answering:
            self._give_up(request_id, AuditUnavailable(LATE))

    def _cancel(self, request_id: str, answering: Answering) -> None:
        """The client gives up: so does the request, unless somebody else waits for it."""
        if answering.shared:
            self._give_up(request_id, Cancelled("given up; it goes on for who else asked it"))
        else:
            self._under_way.cancel(answering)

    def _give_up(self, request_id: str, error: BrokerError) -> None:
        self._under_way.leave(self._ended(request_id), delivered=False)
        self._put(_Ready(written.failed(request_id, status_of(error))))

    def _put(self, one: _Ready) -> None:
        self._unread.add(self._agency, one.outcome.size)
        self._waiting.append(one, urgent=one.of is not None and one.of.asked.urgent)
        self._wake.set()

    async def _write(self) -> None:
        stalled = Limit(STALLED)
        while self._waiting or not (self._end or (self._done and not self._running)):
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._writing = self._next()
            reply = written.reply([ready.outcome for ready in self._writing])
            try:
                with stalled:
                    await self._context.write(reply)
            except TimeoutError as e:
                raise Saturated(f"the stream was not read for {STALLED:.0f} s") from e
            for ready in self._writing:
                if ready.of is not None:
                    self._under_way.leave(ready.of, delivered=True)
            self._unread.release(self._agency, sum(ready.outcome.size for ready in self._writing))
            self._writing = []
            self._room.set()
        if self._end is not None:
            raise self._end

    def _next(self) -> list[_Ready]:
        """What is waiting, within the bounds of a batch; a record too large for one travels alone."""
        batch: list[_Ready] = []
        size, most = 0, self._servicer.door.most(MAX_ITEMS)
        while self._waiting and len(batch) < most:
            size += self._waiting.first.outcome.size
            if batch and size > MAX_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch


def outcome(request_id: str, task: asyncio.Task[Disclosed]) -> written.Outcome:
    """What became of one request of a stream."""
    if task.cancelled():
        return written.failed(request_id, status_of(Cancelled("given up before it was committed")))
    error = task.exception()
    if error is None:
        return written.disclosed(request_id, task.result())
    if isinstance(error, Denied):
        return written.denied(request_id, error)
    return written.failed(request_id, status_of(error))
