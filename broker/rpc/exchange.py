"""ExchangeService: one request, or a stream of many, over the same use case.

A request runs as a task of its own. When its requester goes away it is cancelled, but what has been sent to
be committed is seen through, and an answer that then finds nobody is followed by an `undelivered` entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import grpc
from msgspec.structs import replace

from broker.acknowledge import Acknowledgements
from broker.core.model import Caller
from broker.core.model import Request as Asked
from broker.errors import (
    Ambiguous,
    AuditUnavailable,
    Denied,
    ProviderTimeout,
    ProviderUnavailable,
    Referred,
    Saturated,
    SubjectNotFound,
)
from broker.exchange import Exchange
from broker.explanations import Explanations
from broker.ports import Disclosed
from broker.rpc import explain, parse, written
from broker.rpc.context import Context, letting_in, messages_of
from broker.rpc.door import Door
from broker.rpc.errors import count, refuse
from broker.rpc.identity import Identity
from broker.rpc.session import LATE, METHOD, Session, patience
from broker.rpc.unary import unary
from broker.rpc.underway import Answering, UnderWay
from broker.rpc.unread import Unread
from broker.rpc.wellformed import whole
from broker.telemetry import Telemetry
from broker.v1 import exchange_pb2, exchange_pb2_grpc


class ExchangeServicer(exchange_pb2_grpc.ExchangeServiceServicer):
    """Parses, runs, answers."""

    def __init__(
        self,
        exchange: Exchange,
        acknowledgements: Acknowledgements,
        identity: Identity,
        telemetry: Telemetry,
        door: Door,
        explanations: Explanations,
    ) -> None:
        self.identity = identity
        self.door = door
        self.telemetry = telemetry
        self.sessions: set[Session] = set()
        self.unread = Unread()
        self.calls = 0  # of Request, in flight
        self.under_way = UnderWay(self._answer, acknowledgements.undelivered)
        self._exchange = exchange
        self._explanations = explanations
        self._acknowledgements = acknowledgements

    async def Request(  # type: ignore[override]  # written already, see `add_to`
        self, request: exchange_pb2.RecordRequest, context: Context
    ) -> bytes:
        """One record."""
        caller: Caller | None = None
        try:
            caller = await self.identity.find(context)
            asked = self.door.admit(whole(request), caller)
            if (remaining := context.time_remaining()) is not None:
                asked = replace(asked, timeout=max(0.0, min(asked.timeout, remaining)))
            answering, heard = self.under_way.join(asked), False
            self.calls += 1
            try:
                heard = await self._heard(answering, patience(asked.timeout), context)
                if not heard:
                    self.identity.of(context)  # which says so where that is why
                    raise AuditUnavailable(LATE)
                disclosed = answering.task.result()
                reply = written.disclosure(disclosed)
                try:
                    self.unread.check(asked, len(reply))
                except Saturated as e:
                    e.receipt, heard = disclosed.receipt, False  # the entry stands, undelivered
                    raise
            finally:
                self.calls -= 1
                self.under_way.leave(answering, delivered=heard)
            self._count_until_read(asked.requester, len(reply))
            return reply
        except Exception as e:  # noqa: BLE001 - the table maps it, and unknown ones are diagnosed there
            await self._refused(context, caller, e, "ExchangeService/Request")
            refuse(context, e)
            return b""

    # grpc.aio takes a coroutine that writes by itself as well as a generator; only so can a stalled write end.
    async def Exchange(  # type: ignore[override]
        self, request_iterator: AsyncIterator[exchange_pb2.ExchangeRequest], context: Context
    ) -> None:
        """Many in flight."""
        caller: Caller | None = None
        try:
            with ExitStack() as place:
                async with messages_of(request_iterator) as incoming:
                    async with letting_in(incoming):
                        caller = await self.identity.find(context)
                        place.enter_context(self.door.stream(caller))
                    session = Session(self, context, caller.agency)
                    self.sessions.add(session)
                    place.callback(self.sessions.discard, session)
                    await session.run(incoming)
        except Exception as e:  # noqa: BLE001 - the table maps it, and unknown ones are diagnosed there
            await self._refused(context, caller, e, METHOD)
            refuse(context, e)

    async def _heard(self, answering: Answering, within: float, context: Context) -> bool:
        """Wait for its end so many seconds at most, and for as long as the caller may speak; whether it has
        ended. Less than asyncio.wait would do."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()

        def end(_: object = None) -> None:
            if not over.done():
                over.set_result(None)

        answering.on_end(end)
        late = loop.call_later(within, end)
        try:
            with self.identity.reviewing(context, end):
                await over
        finally:
            late.cancel()
        return answering.task.done()

    def _count_until_read(self, agency: str, size: int) -> None:
        """A reply to a call waits in gRPC for a client that does not read it, and this task with it.

        A callback of the context's own would keep the call, ended, until the collector of garbage comes; gRPC
        counts it among those that are open.
        """
        if (call := asyncio.current_task()) is not None:
            self.unread.add(agency, size)
            call.add_done_callback(lambda _: self.unread.release(agency, size))

    async def _refused(self, context: Context, caller: Caller | None, error: Exception, method: str) -> None:
        """Count it; whoever makes a great many calls that are refused for their number waits for each."""
        count(self.telemetry, error, method, caller.name if caller else self.identity.named(context))
        if caller and isinstance(error, Saturated) and error.receipt is None:
            await self.door.hold(caller.agency)

    @unary
    async def Explain(self, request: exchange_pb2.ExplainRequest, caller: Caller) -> exchange_pb2.Explanation:
        """Why a request of the caller's own was, or would be, decided so. Counts as a request."""
        if request.WhichOneof("what") == "hypothetical":
            asked = self.door.consider(request.hypothetical, caller)
            return explain.message(await self._explanations.hypothetical(caller, asked))
        self.door.limits.spend(caller.agency, asyncio.get_running_loop().time())
        request_id = parse.identifier("request_id", request.request_id)
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        return explain.message(await self._explanations.of_request(caller, request_id, actor, reason))

    def received(self, caller: Caller, request_ids: list[str]) -> None:
        """Ids whose disclosure arrived and verified."""
        self._acknowledgements.received(caller, request_ids)

    async def _answer(self, asked: Asked) -> Disclosed:
        started = asyncio.get_running_loop().time()
        ended = "error"
        try:
            disclosed = await self._exchange.answer(asked)
            ended = "replayed" if disclosed.replayed else "permit"
            if disclosed.decision.override:
                self.telemetry.overridden(asked.requester, asked.provider)
            return disclosed
        except Exception as e:
            ended = _ended(e)
            raise
        finally:
            seconds = asyncio.get_running_loop().time() - started
            self.telemetry.answered(asked.requester, asked.record_type, ended, seconds)


def add_to(server: grpc.aio.Server, servicer: ExchangeServicer) -> None:
    """Serve it. As the generated function would, but for answers that are bytes already."""
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Request": grpc.unary_unary_rpc_method_handler(
            servicer.Request, exchange_pb2.RecordRequest.FromString, written.as_bytes
        ),
        "Exchange": grpc.stream_stream_rpc_method_handler(
            servicer.Exchange, exchange_pb2.ExchangeRequest.FromString, written.as_bytes
        ),
        "Explain": grpc.unary_unary_rpc_method_handler(
            servicer.Explain, exchange_pb2.ExplainRequest.FromString, written.as_bytes
        ),
    }
    service = exchange_pb2.DESCRIPTOR.services_by_name["ExchangeService"].full_name
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))


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
