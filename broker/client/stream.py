"""Owns the exchange stream: one, long-lived, opened when there is something to say and again when it breaks.

Each message carries whatever waited while the last was being written. What was in flight when a stream died is
sent again under its own request id inside its own remaining time; the broker knows a repeat. An outcome that
nobody asked for, or a second one, is not overlooked: everything in flight on that stream fails with
IntegrityError and the stream ends, because a broker that mixes up answers may be mixing up records.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

import grpc

from broker.client import evidence
from broker.client.asking import Asked
from broker.client.backoff import backoff
from broker.client.channel import Channel
from broker.client.disclosure import Disclosure
from broker.client.evidence import Answer, FollowTo, Open
from broker.client.failures import Failure, read_call, read_status
from broker.client.flights import Flight, Flights
from broker.client.trail import Unlinked
from broker.errors import BrokerError, CannotConnect, IntegrityError, ProviderTimeout, frames_of
from broker.v1 import exchange_pb2 as wire
from broker.waits import Limit

if TYPE_CHECKING:
    Call = grpc.aio.StreamStreamCall[wire.ExchangeRequest, wire.ExchangeReply]

log = logging.getLogger(__name__)

WRITE_TIMEOUT: Final = 10.0
# A stream on which nothing was heard this long after a request ran out of time is taken for dead.
SILENCE: Final = 2.0
_LAST_WORDS: Final = 1.0
# What was received is said with the next request, or this many seconds later: a message of its own costs both
# sides as much as an answer does, and the broker gathers them for a second.
_SAY_WITHIN: Final = 0.05
# What grpc.aio raises from a write to a call that has ended, by how far its end has come.
_ENDED: Final = (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError)


class Stream:
    """Asks over the stream. `start` it; `ask` many at once; `close` it."""

    def __init__(self, channel: Channel, open_note: Open, follow_to: FollowTo, flights: Flights) -> None:
        self._channel = channel
        self._open_note = open_note
        self._follow_to = follow_to
        self._following: set[asyncio.Task[None]] = set()
        self._flights = flights
        self._task: asyncio.Task[None] | None = None
        self._call: Call | None = None
        self._heard = 0
        self._idle = asyncio.Event()
        self._over = asyncio.Event()
        self._trouble: Failure | None = None
        self._saying: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; nothing is dialled before the first request."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="client-stream")
        self._task.add_done_callback(self._ended)

    async def ask(self, request: wire.RecordRequest, asked: Asked, deadline: float) -> Answer:
        """The verified answer before `deadline` (event-loop time). Raises BrokerError.

        Cancelling the caller cancels the request at the broker.
        """
        if self._task is None or self._task.done():
            raise CannotConnect("this client is closed")
        loop = asyncio.get_running_loop()
        flight = Flight(request, asked, deadline, loop.create_future())
        self._flights.add(flight)
        late = loop.call_at(deadline, flight.expire)
        try:
            return await flight.answer
        except TimeoutError:
            if flight.sent and self._call is not None:
                loop.call_later(SILENCE, self._check_alive, self._call, self._heard)
            raise self._timed_out() from None
        finally:
            late.cancel()
            self._flights.give_up(flight)

    def distrust(self, error: IntegrityError) -> None:
        """Release nothing more of what is in flight."""
        self._flights.fail_all(lambda: IntegrityError(str(error)))
        if self._call is not None:
            self._call.cancel()

    async def close(self) -> None:
        """End what is in flight, send the last acknowledgements (within a second), and hang up."""
        self._flights.fail_all(lambda: CannotConnect("this client is closed"))
        if self._call is not None:
            await self._part(self._call)
        if self._saying is not None:
            self._saying.cancel()
        for task in (*self._following, *([self._task] if self._task else [])):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _part(self, call: Call) -> None:
        """Say what is left to say and wait for the broker to hang up, for a moment."""
        if not self._flights.quiet:
            self._idle.clear()
            self._flights.say_received()
        with contextlib.suppress(TimeoutError, *_ENDED):
            async with asyncio.timeout(_LAST_WORDS):
                await self._idle.wait()
                await call.done_writing()
                await self._over.wait()

    async def _run(self) -> None:
        attempt = 0
        while True:
            while not self._flights.waiting:
                await self._flights.wake.wait()
                self._flights.wake.clear()
            heard = self._heard
            await self._channel.renew()
            try:
                await self._converse()
            except IntegrityError as error:
                log.error("the exchange stream was ended: %s", error)  # noqa: TRY400 - a sentence says it
                self._fail_all(str(error))
            except grpc.aio.AioRpcError as error:
                await self._broken(error)
            finally:
                self._flights.lost()
            attempt = attempt + 1 if self._heard == heard else 0
            await asyncio.sleep(backoff(attempt))

    async def _converse(self) -> None:
        """One stream, from its opening to its end, which it raises unless the broker ended it in peace."""
        call = self._call = self._channel.exchange.Exchange()
        self._idle.clear()
        self._over.clear()
        writer = asyncio.get_running_loop().create_task(self._write(call), name="client-stream-writer")
        try:
            while True:
                reply = await call.read()
                # The stub has no name for the sentinel's type.
                if not isinstance(reply, wire.ExchangeReply):
                    return
                self._heard += 1
                self._channel.heard = True
                self._trouble = None
                self._take(reply)
        except asyncio.CancelledError:
            # Our own hanging up looks the same as somebody ending this task; only the latter goes on.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        finally:
            self._call = None
            self._idle.set()
            self._over.set()
            writer.cancel()
            call.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write(self, call: Call) -> None:
        loop, stalled = asyncio.get_running_loop(), Limit(WRITE_TIMEOUT)
        try:
            while True:
                await asyncio.sleep(0)  # what became ready together travels together
                message = self._flights.take(loop.time())
                if message is None:
                    self._idle.set()
                    await self._flights.wake.wait()
                    self._flights.wake.clear()
                    continue
                self._idle.clear()
                with stalled:
                    await call.write(message)
        except TimeoutError:
            log.warning("the broker has not read for %.0f seconds; the stream is opened anew", WRITE_TIMEOUT)
            call.cancel()
        except _ENDED:
            pass  # the call has ended, and its reader knows how

    def _take(self, reply: wire.ExchangeReply) -> None:
        """Settle a reply's outcomes. Raises IntegrityError where the reply itself is a lie."""
        ids = [outcome.request_id for outcome in reply.outcomes]
        if len(set(ids)) != len(ids):
            raise IntegrityError("answer: two outcomes of one request")
        for request_id in ids:
            if not self._flights.expects(request_id):
                raise IntegrityError("answer: an outcome of a request that is not in flight")
        if reply.checkpoint:
            with contextlib.suppress(Unlinked):  # each outcome that it serves says so, and waits
                self._open_note(reply.checkpoint)
        for outcome in reply.outcomes:
            flight = self._flights.answered(outcome.request_id)
            if flight is not None and not flight.answer.done():
                self._settle(flight, outcome, reply.checkpoint)

    def _settle(self, flight: Flight, outcome: wire.Outcome, checkpoint: bytes) -> None:
        try:
            answer = self._read(flight.asked, outcome, checkpoint)
        except Unlinked as unlinked:
            task = asyncio.get_running_loop().create_task(
                self._settle_later(flight, outcome, checkpoint, unlinked.note), name="client-follow"
            )
            self._following.add(task)
            task.add_done_callback(self._following.discard)
            return
        except BrokerError as error:
            flight.fail(error)
            return
        flight.answer.set_result(answer)
        if isinstance(answer, Disclosure):
            self._flights.acknowledge(answer.request_id)
            if self._saying is None:
                self._saying = asyncio.get_running_loop().call_later(_SAY_WITHIN, self._say)

    async def _settle_later(
        self, flight: Flight, outcome: wire.Outcome, checkpoint: bytes, note: bytes
    ) -> None:
        """The same once the log, which has been rotated, was followed to where the outcome's evidence is."""
        try:
            await self._follow_to(note)
        except BrokerError as error:
            flight.fail(error)
            return
        if not flight.answer.done():
            self._settle(flight, outcome, checkpoint)

    def _say(self) -> None:
        self._saying = None
        self._flights.say_received()

    def _read(self, asked: Asked, outcome: wire.Outcome, checkpoint: bytes) -> Answer:
        kind = outcome.WhichOneof("result")
        if kind == "disclosure":
            return evidence.disclosed(asked, outcome.disclosure, checkpoint, self._open_note)
        if kind == "refusal":
            raise evidence.denied(asked, outcome.refusal, checkpoint, self._open_note)
        if kind == "error":
            raise evidence.failed(asked, read_status(outcome.error), checkpoint, self._open_note)
        raise IntegrityError("answer: an outcome without a result")

    async def _broken(self, error: grpc.aio.AioRpcError) -> None:
        """The stream ended badly: tell those in flight if asking again cannot help, else remember why."""
        failure = self._trouble = read_call(error)
        if failure.definite:
            self._flights.fail_all(lambda: read_call(error).error)
        elif (explained := await self._channel.explain(failure)) is not None:
            sentence = str(explained)
            self._flights.fail_all(lambda: CannotConnect(sentence))

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A defect of ours must not leave callers waiting for nothing."""
        if not task.cancelled() and (defect := task.exception()) is not None:
            where = frames_of(defect)
            log.error("the exchange stream's task failed with %s at %s", type(defect).__name__, where)
            self._flights.fail_all(lambda: CannotConnect("this client failed; open another"))

    def _fail_all(self, problem: str) -> None:
        self._flights.fail_all(lambda: IntegrityError(problem))

    def _timed_out(self) -> BrokerError:
        if self._trouble is not None:
            return CannotConnect(f"the connection to {self._channel.target} broke: {self._trouble.error}")
        return ProviderTimeout("no answer came in the time given")

    def _check_alive(self, call: Call, heard: int) -> None:
        if self._call is call and self._heard == heard:
            log.warning("nothing was heard after a request ran out of time; the stream is opened anew")
            call.cancel()
