"""ExchangeService: one request, or a stream of many, over the same use case.

A request runs as a task of its own. When its requester goes away it is cancelled, but what has been sent to
be committed is seen through, and an answer that then finds nobody is followed by an `undelivered` entry.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, KeysView
from dataclasses import replace

from broker.acknowledge import Acknowledgements
from broker.core.model import Caller
from broker.core.model import Request as Asked
from broker.errors import (
    Ambiguous,
    Cancelled,
    Denied,
    Draining,
    InvalidRequest,
    NotYetOffered,
    ProviderTimeout,
    ProviderUnavailable,
    Referred,
    Saturated,
    SubjectNotFound,
    UnknownSystem,
)
from broker.exchange import Exchange
from broker.ports import Disclosed
from broker.rpc import parse, wire
from broker.rpc.context import Context
from broker.rpc.errors import abort, count, status_of
from broker.rpc.identity import Identity
from broker.rpc.streams import Streams
from broker.telemetry import Telemetry
from broker.v1 import exchange_pb2, exchange_pb2_grpc

MAX_IN_FLIGHT = 1024  # of one stream
MAX_ITEMS = 256
MAX_BYTES = 1024 * 1024
# A client that reads nothing for this long, in seconds, is gone.
STALLED = 10.0


class ExchangeServicer(exchange_pb2_grpc.ExchangeServiceServicer):
    """Parses, runs, answers."""

    def __init__(
        self,
        exchange: Exchange,
        acknowledgements: Acknowledgements,
        identity: Identity,
        telemetry: Telemetry,
        streams: Streams,
    ) -> None:
        self.identity = identity
        self.telemetry = telemetry
        self.sessions: set[Session] = set()
        self.calls = 0  # of Request, in flight
        self._streams = streams
        self._exchange = exchange
        self._acknowledgements = acknowledgements

    async def Request(self, request: exchange_pb2.RecordRequest, context: Context) -> exchange_pb2.Disclosure:
        """One record."""
        try:
            asked = parse.request(request, await self.identity.admit(context))
            if (remaining := context.time_remaining()) is not None:
                asked = replace(asked, timeout=max(0.0, min(asked.timeout, remaining)))
            task = self.start(asked)
            self.calls += 1
            try:
                return wire.disclosure(await asyncio.shield(task))
            except asyncio.CancelledError:
                self.abandon(asked, task)
                raise
            finally:
                self.calls -= 1
        except Exception as e:  # noqa: BLE001 - the table maps it, and unknown ones are diagnosed there
            count(self.telemetry, e)
            await abort(context, e)
        raise AssertionError("abort raises")

    # grpc.aio takes a coroutine that writes by itself as well as a generator; only so can a stalled write end.
    async def Exchange(  # type: ignore[override]
        self, request_iterator: AsyncIterator[exchange_pb2.ExchangeRequest], context: Context
    ) -> None:
        """Many in flight."""
        try:
            await self.identity.admit(context)
        except UnknownSystem as e:
            count(self.telemetry, e)
            await abort(context, e)
        session = Session(self, context)
        self.sessions.add(session)
        try:
            with self._streams.opened(context, session.revoke):
                await session.run(request_iterator)
        finally:
            self.sessions.discard(session)

    async def Explain(self, request: exchange_pb2.ExplainRequest, context: Context) -> exchange_pb2.Explanation:
        """Comes later."""
        await abort(context, NotYetOffered("Explain is not offered by this release"))
        raise AssertionError("abort raises")

    def start(self, asked: Asked) -> asyncio.Task[Disclosed]:
        """Run one request, counted."""
        return asyncio.get_running_loop().create_task(self._answer(asked))

    def abandon(self, asked: Asked, task: asyncio.Task[Disclosed]) -> None:
        """Nobody waits any more: stop what can be stopped, and note what was released to nobody."""
        task.cancel()
        self._acknowledgements.undelivered(asked, task)

    def received(self, caller: Caller, request_ids: list[str]) -> None:
        """Ids whose disclosure arrived and verified."""
        self._acknowledgements.received(caller, request_ids)

    async def _answer(self, asked: Asked) -> Disclosed:
        started = asyncio.get_running_loop().time()
        ended = "error"
        try:
            disclosed = await self._exchange.answer(asked)
            ended = "replayed" if disclosed.replayed else "permit"
            return disclosed
        except Exception as e:
            ended = _ended(e)
            raise
        finally:
            seconds = asyncio.get_running_loop().time() - started
            self.telemetry.answered(asked.requester, asked.record_type, ended, seconds)


class Session:
    """One open Exchange stream: what is in flight on it, and what waits to be written."""

    def __init__(self, servicer: ExchangeServicer, context: Context) -> None:
        self._servicer = servicer
        self._context = context
        self._running: dict[str, tuple[Asked, asyncio.Task[Disclosed]]] = {}
        self._waiting: deque[exchange_pb2.Outcome] = deque()
        self._wake = asyncio.Event()
        self._done = False
        self._closed = False
        self._end: UnknownSystem | Draining | None = None

    @property
    def in_flight(self) -> KeysView[str]:
        """Ids of requests that have no answer yet."""
        return self._running.keys()

    def close(self) -> None:
        """Take no more requests: the client sends again elsewhere what has no answer when the stream ends."""
        self._closed = True

    def end(self) -> None:
        """Write what waits, give up what is in flight, and say that another worker takes over."""
        self._over(Draining("this worker is going: send again what has no outcome, under the same ids"))

    def revoke(self, why: UnknownSystem) -> None:
        """Whoever is at the other end may no longer speak: nothing more is written."""
        self._waiting.clear()
        self._over(why)

    def _over(self, why: UnknownSystem | Draining) -> None:
        self._closed = True
        self._end = why
        self._wake.set()

    async def run(self, incoming: AsyncIterator[exchange_pb2.ExchangeRequest]) -> None:
        """Read until the client closes, write until all is answered."""
        reader = asyncio.get_running_loop().create_task(self._read(incoming))
        try:
            await self._write()
            await reader
        except (UnknownSystem, Draining) as e:
            count(self._servicer.telemetry, e)
            await abort(self._context, e)
        except TimeoutError:
            await abort(self._context, Saturated(f"the stream was not read for {STALLED:.0f} s"))
        finally:
            reader.cancel()
            for asked, task in self._running.values():
                self._servicer.abandon(asked, task)
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, incoming: AsyncIterator[exchange_pb2.ExchangeRequest]) -> None:
        try:
            async for message in incoming:
                try:
                    caller = self._servicer.identity.of(self._context)
                except UnknownSystem as e:
                    self.revoke(e)
                    return
                if message.received:
                    self._servicer.received(caller, list(message.received))
                for request_id in message.cancel:
                    if running := self._running.get(request_id):
                        running[1].cancel()
                for each in () if self._closed else message.requests:
                    self._accept(each, caller)
        finally:
            self._done = True
            self._wake.set()

    def _accept(self, message: exchange_pb2.RecordRequest, caller: Caller) -> None:
        """Start one request; what is wrong with it harms only itself."""
        request_id = message.request_id
        try:
            if len(self._running) + len(self._waiting) >= MAX_IN_FLIGHT:
                raise Saturated(f"{MAX_IN_FLIGHT} requests of this stream are in flight or unread")
            if request_id in self._running:
                raise InvalidRequest("request_id", "is in flight on this stream already")
            asked = parse.request(message, caller)
        except Exception as e:  # noqa: BLE001 - the table maps it
            count(self._servicer.telemetry, e, caller.agency)
            self._put(exchange_pb2.Outcome(request_id=request_id[:64], error=status_of(e)))
            return
        task = self._servicer.start(asked)
        self._running[request_id] = (asked, task)
        task.add_done_callback(lambda done: self._finish(request_id, done))

    def _finish(self, request_id: str, task: asyncio.Task[Disclosed]) -> None:
        if self._end is not None:
            return  # too late to be written: it stays among those that are given up
        if self._running.pop(request_id, None) is not None:
            self._put(outcome(request_id, task))

    def _put(self, one: exchange_pb2.Outcome) -> None:
        self._waiting.append(one)
        self._wake.set()

    async def _write(self) -> None:
        while self._waiting or not (self._end or (self._done and not self._running)):
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            async with asyncio.timeout(STALLED):
                await self._context.write(self._reply())
        if self._end is not None:
            raise self._end

    def _reply(self) -> exchange_pb2.ExchangeReply:
        """What is waiting, within the bounds of a batch; a record too large for one travels alone."""
        outcomes: list[exchange_pb2.Outcome] = []
        size = 0
        while self._waiting and len(outcomes) < MAX_ITEMS:
            size += self._waiting[0].ByteSize()
            if outcomes and size > MAX_BYTES:
                break
            outcomes.append(self._waiting.popleft())
        return exchange_pb2.ExchangeReply(outcomes=outcomes, checkpoint=share_checkpoint(outcomes))


# How an error counts; the most specific class that matches.
_ENDED: dict[type[BaseException], str] = {
    Ambiguous: "ambiguous",
    Referred: "refer",
    Denied: "refuse",
    SubjectNotFound: "not-found",
    ProviderUnavailable: "failed",
    ProviderTimeout: "failed",
}


def _ended(error: BaseException) -> str:
    return next((_ENDED[kind] for kind in type(error).__mro__ if kind in _ENDED), "error")


def outcome(request_id: str, task: asyncio.Task[Disclosed]) -> exchange_pb2.Outcome:
    """What became of one request of a stream."""
    if task.cancelled():
        gone = Cancelled("given up before it was committed")
        return exchange_pb2.Outcome(request_id=request_id, error=status_of(gone))
    error = task.exception()
    if error is None:
        return exchange_pb2.Outcome(request_id=request_id, disclosure=wire.disclosure(task.result()))
    if isinstance(error, Denied):
        return exchange_pb2.Outcome(request_id=request_id, refusal=wire.refusal(error))
    return exchange_pb2.Outcome(request_id=request_id, error=status_of(error))


def share_checkpoint(outcomes: list[exchange_pb2.Outcome]) -> bytes:
    """Take the commonest checkpoint out of the receipts that have it, to be sent once."""
    receipts = [r for one in outcomes if (r := _receipt(one)) is not None]
    common = Counter(r.checkpoint for r in receipts).most_common(1)
    if not common:
        return b""
    checkpoint = common[0][0]
    for receipt in receipts:
        if receipt.checkpoint == checkpoint:
            receipt.checkpoint = b""
    return checkpoint


def _receipt(one: exchange_pb2.Outcome) -> exchange_pb2.Receipt | None:
    kind = one.WhichOneof("result")
    if kind == "error":
        return None
    result: exchange_pb2.Disclosure | exchange_pb2.Refusal = getattr(one, kind or "disclosure")
    return result.receipt if result.HasField("receipt") else None
