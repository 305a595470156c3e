"""ExchangeService: one request, or a stream of many, over the same use case.

A request runs as a task of its own. When its requester goes away it is cancelled, but what has been sent to
be committed is seen through, and an answer that then finds nobody is followed by an `undelivered` entry.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace

from broker.acknowledge import Acknowledgements
from broker.core.model import Caller
from broker.core.model import Request as Asked
from broker.errors import (
    Ambiguous,
    AuditUnavailable,
    Denied,
    NotYetOffered,
    ProviderTimeout,
    ProviderUnavailable,
    Referred,
    Saturated,
    SubjectNotFound,
)
from broker.exchange import Exchange
from broker.limits import Limits
from broker.ports import Disclosed
from broker.rpc import wire
from broker.rpc.context import Context
from broker.rpc.door import Door, room
from broker.rpc.errors import abort, count
from broker.rpc.identity import Identity
from broker.rpc.session import LATE, Session
from broker.telemetry import Telemetry
from broker.v1 import exchange_pb2, exchange_pb2_grpc

# Requests of one agency at one worker, over all its streams: one agency must not take every other's time.
MAX_OF_AGENCY = 2048


class ExchangeServicer(exchange_pb2_grpc.ExchangeServiceServicer):
    """Parses, runs, answers."""

    def __init__(
        self,
        exchange: Exchange,
        acknowledgements: Acknowledgements,
        identity: Identity,
        telemetry: Telemetry,
        door: Door | None = None,
    ) -> None:
        self.identity = identity
        self.door = door or Door(identity, Limits())
        self.telemetry = telemetry
        self.sessions: set[Session] = set()
        self.calls = 0  # of Request, in flight
        self._exchange = exchange
        self._acknowledgements = acknowledgements
        self._under_way: Counter[str] = Counter()

    async def Request(self, request: exchange_pb2.RecordRequest, context: Context) -> exchange_pb2.Disclosure:
        """One record."""
        caller: Caller | None = None
        try:
            caller = await self.identity.find(context)
            asked = self.door.admit(request, caller)
            if (remaining := context.time_remaining()) is not None:
                asked = replace(asked, timeout=max(0.0, min(asked.timeout, remaining)))
            task = self.start(asked)
            self.calls += 1
            try:
                in_time, _ = await asyncio.wait({task}, timeout=asked.timeout)
            except asyncio.CancelledError:
                self.abandon(asked, task)
                raise
            finally:
                self.calls -= 1
            if not in_time:
                self.abandon(asked, task)
                raise AuditUnavailable(LATE)
            return wire.disclosure(task.result())
        except Exception as e:  # noqa: BLE001 - the table maps it, and unknown ones are diagnosed there
            await self._refused(caller, e)
            await abort(context, e)
        raise AssertionError("abort raises")

    # grpc.aio takes a coroutine that writes by itself as well as a generator; only so can a stalled write end.
    async def Exchange(  # type: ignore[override]
        self, request_iterator: AsyncIterator[exchange_pb2.ExchangeRequest], context: Context
    ) -> None:
        """Many in flight."""
        caller: Caller | None = None
        try:
            caller = await self.identity.find(context)
            with self.door.stream(caller):
                session = Session(self, context)
                self.sessions.add(session)
                try:
                    await session.run(request_iterator)
                finally:
                    self.sessions.discard(session)
        except Exception as e:  # noqa: BLE001 - the table maps it, and unknown ones are diagnosed there
            await self._refused(caller, e)
            await abort(context, e)

    async def _refused(self, caller: Caller | None, error: Exception) -> None:
        """Count it; whoever makes a great many calls that are refused for their number waits for each."""
        count(self.telemetry, error, caller.agency if caller else "")
        if caller and isinstance(error, Saturated) and error.receipt is None:
            await self.door.hold(caller.agency)

    async def Explain(self, request: exchange_pb2.ExplainRequest, context: Context) -> exchange_pb2.Explanation:
        """Comes later."""
        await abort(context, NotYetOffered("Explain is not offered by this release"))
        raise AssertionError("abort raises")

    def start(self, asked: Asked) -> asyncio.Task[Disclosed]:
        """Run one request, counted. Raises Saturated where its agency has as many under way as it may."""
        agency = asked.requester
        if self._under_way[agency] >= room(MAX_OF_AGENCY, asked):
            raise Saturated(f"{MAX_OF_AGENCY} requests of {agency} are under way already")
        self._under_way[agency] += 1
        task = asyncio.get_running_loop().create_task(self._answer(asked))
        task.add_done_callback(lambda _: self._ended(agency))
        return task

    def _ended(self, agency: str) -> None:
        self._under_way[agency] -= 1
        if not self._under_way[agency]:
            del self._under_way[agency]

    def abandon(self, asked: Asked, task: asyncio.Task[Disclosed]) -> None:
        """Nobody waits any more: stop what can be stopped, and note what was released to nobody."""
        task.cancel()
        self.undelivered(asked, task)

    def undelivered(self, asked: Asked, task: asyncio.Task[Disclosed]) -> None:
        """What this task released, if it did, was written to nobody."""
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
