"""AdapterService: the stream down which a provider's adapter is asked.

The adapter dialled; its identity is its certificate's. It may provide only record types of its agency's kind,
in the very versions that are approved.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime

import grpc

from broker.answered import is_garbled
from broker.core.model import Caller, Function
from broker.core.recordtype import RecordType
from broker.core.reference import Reference
from broker.errors import (
    BrokerError,
    InvalidRequest,
    NotAllowed,
    Saturated,
)
from broker.link import Link
from broker.links import Links
from broker.ports import ReferenceSource
from broker.registry import Registry, require
from broker.rpc import bounds, questions, wire
from broker.rpc.answers import read_answer
from broker.rpc.bounds import MAX_ITEMS
from broker.rpc.context import Context, letting_in, messages_of
from broker.rpc.door import Door
from broker.rpc.errors import count, refuse
from broker.rpc.identity import Identity
from broker.rpc.written import as_bytes
from broker.seats import Seats
from broker.telemetry import Edge, Telemetry
from broker.v1 import adapter_pb2, adapter_pb2_grpc
from broker.waits import Limit
from broker.workers import Worker, Workers

HEARTBEAT = 5.0  # seconds
SILENCE = 3 * HEARTBEAT
HELLO_WITHIN = 5.0
MAX_AT_ONCE = 4096
MAX_LINKS = 64  # of one system at one worker
USELESS = 8  # answers that nobody waits for cost as much as one refusal
MAX_BYTES = 1024 * 1024
METHOD = "AdapterService/Attach"


class AdapterServicer(adapter_pb2_grpc.AdapterServiceServicer):
    """Attaches adapters."""

    def __init__(
        self,
        links: Links,
        reference: ReferenceSource,
        identity: Identity,
        telemetry: Telemetry,
        broker: str,
        workers: Workers,
        door: Door,
        registry: Registry,
    ) -> None:
        self.identity = identity
        self.telemetry = telemetry
        self._links = links
        self._reference = reference
        self._broker = broker
        self._workers = workers
        self._door = door
        self._registry = registry
        self._seats = Seats(MAX_LINKS, "links")

    async def Attach(  # type: ignore[override]  # writes by itself, see ExchangeServicer
        self, request_iterator: AsyncIterator[adapter_pb2.AttachRequest], context: Context
    ) -> None:
        """Serve one adapter until it leaves, falls silent, or may no longer speak."""
        try:
            with ExitStack() as seat:
                async with messages_of(request_iterator) as incoming:
                    async with letting_in(incoming):
                        caller = await self.identity.find(context)
                        seat.enter_context(self._seats.one(caller.name))
                    await self._attach(caller, incoming, context)
        except (TimeoutError, StopAsyncIteration):
            refuse(context, InvalidRequest("hello", "the adapter's first message is due within 5 s"))
        except Exception as e:  # noqa: BLE001 - the table maps it, and unknown ones are diagnosed there
            count(self.telemetry, e, METHOD, self.identity.named(context))
            refuse(context, e)

    async def _attach(
        self, caller: Caller, incoming: AsyncIterator[adapter_pb2.AttachRequest], context: Context
    ) -> None:
        async with asyncio.timeout(HELLO_WITHIN):
            first = await anext(incoming)
        # Not before, as with `letting_in`.
        require(caller, Function.PARTNER)
        link = await self._greet(caller, first)
        await self._registry.attached(caller)
        welcome = adapter_pb2.Welcome(
            broker=self._broker,
            worker=_worker(self._workers.own),
            workers=map(_worker, self._workers.live),
            heartbeat_every=wire.duration(HEARTBEAT),
        )
        # Before it is welcomed: who is welcome here may leave another worker, or end a fellow, at once.
        self._links.attach(link)
        link.outbox.going = self._workers.draining
        try:
            await self._serve(link, incoming, context, adapter_pb2.AttachReply(welcome=welcome))
        finally:
            self._links.detach(link)

    async def _greet(self, caller: Caller, first: adapter_pb2.AttachRequest) -> Link:
        if not first.HasField("hello"):
            raise InvalidRequest("hello", "is required in the first message")
        bounds.check(first)
        hello = first.hello
        if not 1 <= hello.at_once <= MAX_AT_ONCE:
            raise InvalidRequest("hello.at_once", f"1 to {MAX_AT_ONCE}")
        if not hello.provides:
            raise InvalidRequest("hello.provides", "name the record types")
        reference = await self._reference.refresh()
        kind = reference.agencies[caller.agency].kind
        for n, provided in enumerate(hello.provides):
            field = f"hello.provides.{n}"
            versions = self._reference.catalogue.versions(provided.record_type)
            if not provided.record_type or not versions:
                raise InvalidRequest(
                    f"{field}.record_type",
                    "is not an approved record type; `broker records list` shows what is",
                )
            if not versions[0].record_type.held_by(kind) and not _answers(
                reference, caller.agency, versions[0].record_type
            ):
                raise NotAllowed(f"{field}: {caller.agency} is a {kind} agency and holds no such records")
            if all(provided.digest != version.record_type.digest for version in versions):
                raise InvalidRequest(
                    f"{field}.digest", "is not approved; `broker records show` tells the digest"
                )
        return Link(
            caller.agency, caller.system, ((p.record_type, p.digest) for p in hello.provides), hello.at_once
        )

    async def _serve(
        self,
        link: Link,
        incoming: AsyncIterator[adapter_pb2.AttachRequest],
        context: Context,
        welcome: adapter_pb2.AttachReply,
    ) -> None:
        """Read and write side by side while the adapter may speak; the first to end ends all."""
        loop = asyncio.get_running_loop()
        sides: list[asyncio.Task[None]] = [
            loop.create_task(self._read(link, incoming, context)),
            loop.create_task(_write(link, context, welcome)),
            loop.create_task(self.identity.watch(context)),
            loop.create_task(_ended(link)),
        ]
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for side in sides:
                side.cancel()
            ended = await asyncio.gather(*sides, return_exceptions=True)
        for end in ended:
            if isinstance(end, BrokerError):
                raise end
            if isinstance(end, TimeoutError):
                raise Saturated(f"the adapter was silent for {SILENCE:.0f} s")
            if isinstance(end, Exception) and not context.done():
                raise end

    async def _read(
        self, link: Link, incoming: AsyncIterator[adapter_pb2.AttachRequest], context: Context
    ) -> None:
        peer, silence = self.identity.peer(context), Limit(SILENCE)
        while True:
            with silence:
                try:
                    message = await anext(incoming)
                except StopAsyncIteration:
                    return
            caller = self.identity.check(peer)  # a suspension ends the link with the next message
            if message.HasField("credit"):
                if not 0 <= message.credit <= MAX_AT_ONCE:
                    raise InvalidRequest("credit", f"at most {MAX_AT_ONCE}")
                self._links.credit(link, message.credit)
            if message.draining:
                self._links.leaving(link)
            bounds.check(message)
            useless = 0
            for answer in message.answers:
                # Read only where somebody waits for it: late, twice and never asked for cost next to nothing.
                owed = link.owes(answer.ask_id)
                given = link.answer(answer.ask_id, read_answer(answer)) if owed else None
                if given is None or is_garbled(given):
                    self.telemetry.malformed(Edge.GRPC, METHOD, "answer", caller.name)
                useless += given is None
            # But so much of next to nothing is something: as of a stream on which too much is refused. A single
            # answer may be late because its asker has gone, so those count for little.
            useful = len(message.answers) > useless
            await self._door.pause(link.agency, max(useless // USELESS, 0 if useful else 1))


async def _ended(link: Link) -> None:
    """Return when we hang up."""
    await link.ended.wait()


async def _write(link: Link, context: Context, welcome: adapter_pb2.AttachReply) -> None:
    """Welcome it, then write whatever waits; a heartbeat when nothing has for a while."""
    outbox, heartbeat, silence = link.outbox, Limit(HEARTBEAT), Limit(SILENCE)
    with silence:
        await context.write(welcome)
    while True:
        if not outbox:
            outbox.wake.clear()
            try:
                with heartbeat:
                    await outbox.wake.wait()
            except TimeoutError:
                pass
        message = _next(link)
        with silence:
            await context.write(message)


def _next(link: Link) -> bytes:
    """The next AttachReply."""
    outbox, now = link.outbox, asyncio.get_running_loop().time()
    asks: list[bytes] = []
    size = 0
    while outbox.asks and len(asks) < MAX_ITEMS and size < MAX_BYTES // 2:
        ask_id, question, deadline = outbox.asks.popleft()
        if link.owes(ask_id):
            ask = questions.ask(ask_id, question, deadline - now)
            size += len(ask)
            asks.append(ask)
    if asks and len(outbox) == len(outbox.asks):
        return b"".join(asks)
    message = adapter_pb2.AttachReply()
    while outbox.cancels and len(message.cancel) < MAX_ITEMS:
        message.cancel.append(outbox.cancels.popleft())
    while outbox.settled and len(message.settled) < MAX_ITEMS:
        effect_key, released = outbox.settled.popleft()
        message.settled.append(adapter_pb2.Settled(effect_key=effect_key, released=released))
    if outbox.workers is not None:
        message.workers.extend(map(_worker, outbox.workers))
        outbox.workers = None
    message.draining, outbox.going = outbox.going, False
    if not (asks or message.cancel or message.settled or message.workers or message.draining):
        stamp = wire.timestamp(datetime.now(UTC))
        message.heartbeat.CopyFrom(adapter_pb2.Heartbeat(sent_at=stamp))
    return b"".join((*asks, message.SerializeToString()))


def add_to(server: grpc.aio.Server, servicer: AdapterServicer) -> None:
    """Serve it. As the generated function would, but for messages that are bytes already."""
    attach = grpc.stream_stream_rpc_method_handler(
        servicer.Attach, adapter_pb2.AttachRequest.FromString, as_bytes
    )
    service = adapter_pb2.DESCRIPTOR.services_by_name["AdapterService"].full_name
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Attach": attach}),))


def _answers(reference: Reference, agency: str, record_type: RecordType) -> bool:
    """Whether an agency may answer for one that holds such records; whether it does now, the decision says."""
    return any(
        acting.processor == agency
        and not acting.crews
        and (not acting.record_types or record_type.full_name in acting.record_types)
        and record_type.held_by(reference.agencies[acting.controller].kind)
        for relations in reference.acting.values()
        for acting in relations
    )


def _worker(worker: Worker) -> adapter_pb2.Worker:
    return adapter_pb2.Worker(id=worker.id, address=worker.address)
