"""A broker for the client's tests: real gRPC over mutual TLS, a real log, and any lie that a test asks for."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from broker.client import Actor, Broker
from broker.core.checkpoint import Signer
from broker.core.entry import RequesterView, SealedEntry, seal_entry
from broker.core.record import Record
from broker.errors import InvalidRequest
from broker.pki.folder import CertificateFolder
from broker.pki.tls import TlsFiles, server_credentials
from broker.v1 import audit_pb2, audit_pb2_grpc, exchange_pb2_grpc, rotation_pb2, rotation_pb2_grpc
from broker.v1 import exchange_pb2 as wire
from records.fire.v1.premises_risk_pb2 import PremisesRisk
from tests.support.chain import NEXT, MemoryChain, OneTree

ORIGIN = "blue-light.test/log/2026h2"
RECORD_TYPE = "records.fire.v1.PremisesRisk"
ACTOR = Actor("r.bell", "fire-crew")
RECORD = PremisesRisk(uprn="100110734613", crew_notes="dog")
ASK: dict[str, Any] = {
    "record_type": RECORD_TYPE,
    "provider": "cfrs",
    "subject": ("uprn", "100110734613"),
    "purpose": "emergency-response",
    "actor": ACTOR,
}


class LogOfOne(OneTree):
    """A log in memory with its key: entries, checkpoints and proofs of any size."""

    def receipt(self, index: int, opening: bytes, size: int | None = None) -> wire.Receipt:
        size = self.size if size is None else size
        proof = self.tree.path(index, 0, size)
        return wire.Receipt(entry=self.tree.entries[index], index=index, proof=proof, opening=opening)


@dataclass
class Committed:
    """What a request id is bound to."""

    index: int
    sealed: SealedEntry


@dataclass
class FakeBroker(
    exchange_pb2_grpc.ExchangeServiceServicer,
    audit_pb2_grpc.AuditServiceServicer,
    rotation_pb2_grpc.RotationServiceServicer,
):
    """Honest until told otherwise: `bend` may change an outcome, `bend_reply` a reply, `bend_proof` a proof."""

    log: LogOfOne
    chain: MemoryChain | None = None
    bend_link: Callable[[rotation_pb2.FollowResponse], None] | None = None
    followed: list[tuple[str, int]] = field(default_factory=list)
    bend: Callable[[wire.Outcome, bytes], bytes | None] | None = None
    bend_reply: Callable[[wire.ExchangeReply], None] | None = None
    bend_proof: Callable[[audit_pb2.ConsistencyRequest, audit_pb2.ConsistencyResponse], None] | None = None
    answer: Callable[[wire.RecordRequest], wire.Outcome | None] | None = None
    before_reply: Callable[[wire.ExchangeRequest, grpc.aio.ServicerContext], Any] | None = None
    proof_error: grpc.StatusCode | None = None
    claims: dict[str, Committed] = field(default_factory=dict)
    messages: list[wire.ExchangeRequest] = field(default_factory=list)
    requests: list[wire.RecordRequest] = field(default_factory=list)
    questions: list[tuple[int, int]] = field(default_factory=list)
    peers: list[bytes] = field(default_factory=list)
    streams: int = 0
    calls: int = 0

    @property
    def received(self) -> list[str]:
        return [each for message in self.messages for each in message.received]

    @property
    def cancelled(self) -> list[str]:
        return [each for message in self.messages for each in message.cancel]

    def commit(self, request: wire.RecordRequest, **said: Any) -> Committed:
        """Append the entry of this request's end; `said` are fields of the requester's view."""
        fields = {
            "event": "disclosure",
            "request_id": request.request_id,
            "outcome": "permit",
            "record_type": request.record_type,
            "provider": request.provider,
            "agreement": "fire-1/2",
            "regime": "uk-gdpr",
            "controller": "cfrs",
            **said,
        }
        view = RequesterView(**fields)
        full = {**view.as_json(), "policy": 1, "now": "2026-11-21T10:00:00Z"}
        at = datetime(2026, 11, 21, 10, tzinfo=UTC)
        sealed = seal_entry(at, str(uuid.uuid4()), view, None, full, secrets.token_bytes)
        self.log.tree.entries.append(sealed.entry)
        committed = Committed(self.log.size - 1, sealed)
        self.claims[request.request_id] = committed
        return committed

    def receipt(self, committed: Committed) -> wire.Receipt:
        opening = committed.sealed.requester
        assert opening is not None
        return self.log.receipt(committed.index, opening.to_bytes())

    def disclose(self, request: wire.RecordRequest) -> wire.Outcome:
        """Commit and disclose, or replay without the record. The proof is filled in by `finish`."""
        outcome = wire.Outcome(request_id=request.request_id)
        said = outcome.disclosure
        said.request_id = request.request_id
        said.decision.outcome, said.decision.agreement, said.decision.agreement_version = "permit", "fire-1", 2
        said.decision.controller, said.decision.regime = "cfrs", "uk-gdpr"
        said.withheld.add(path="occupier.name", rule="agreement")
        said.receipt.SetInParent()
        if request.request_id in self.claims:
            said.replayed = True
            return outcome
        record = Record(f"type.googleapis.com/{request.record_type}", RECORD.SerializeToString())
        self.commit(request, response=record.digest())
        said.record.type_url, said.record.value = record.type_url, record.value
        return outcome

    def refuse(self, request: wire.RecordRequest, code: str = "purpose", **said: Any) -> wire.Outcome:
        self.commit(request, **{"event": "refusal", "outcome": "refuse", "code": code, **said})
        refusal = wire.Refusal(code=code, rule=code, message="Not for this.", remedy="Ask cfrs.")
        refusal.receipt.SetInParent()
        return wire.Outcome(request_id=request.request_id, refusal=refusal)

    def finish(self, outcome: wire.Outcome) -> None:
        """Give an answer that has room for a receipt its proof to the log as it is now."""
        kind = outcome.WhichOneof("result")
        if kind in ("disclosure", "refusal"):
            said = getattr(outcome, kind)
            if said.HasField("receipt") and outcome.request_id in self.claims:
                said.receipt.CopyFrom(self.receipt(self.claims[outcome.request_id]))

    def reply(self, requests: list[wire.RecordRequest]) -> wire.ExchangeReply:
        self.requests += requests
        answers = [(self.answer or self.disclose)(request) for request in requests]
        outcomes = [outcome for outcome in answers if outcome is not None]
        for outcome in outcomes:
            self.finish(outcome)
        note = self.log.note()
        for outcome in outcomes:
            note = (self.bend(outcome, note) if self.bend else None) or note
        reply = wire.ExchangeReply(outcomes=outcomes, checkpoint=note)
        if self.bend_reply is not None:
            self.bend_reply(reply)
        return reply

    async def Exchange(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
        self.streams += 1
        self.peers += context.auth_context()["peer_spiffe_id"]
        async for message in request_iterator:
            self.messages.append(message)
            if self.before_reply is not None:
                await self.before_reply(message, context)
            if message.requests:
                reply = self.reply(list(message.requests))
                if reply.outcomes:
                    yield reply

    async def Request(self, request: wire.RecordRequest, context: Any) -> wire.Disclosure:  # noqa: N802
        self.calls += 1
        reply = self.reply([request])
        if not reply.outcomes:
            await asyncio.sleep(60)
        outcome = reply.outcomes[0]
        kind = outcome.WhichOneof("result")
        said = getattr(outcome, kind) if kind else wire.Disclosure()
        if kind != "error" and said.HasField("receipt") and not said.receipt.checkpoint:
            said.receipt.checkpoint = reply.checkpoint
        if kind == "refusal":
            status = rich(grpc.StatusCode.PERMISSION_DENIED, "Denied", said)
            await context.abort_with_status(rpc_status.to_status(status))
        if kind == "error":
            await context.abort_with_status(rpc_status.to_status(outcome.error))
        return said

    def rotate(self, later: str = NEXT) -> LogOfOne:
        """On to the next half-year's log; the old one."""
        if self.chain is None:
            self.chain = MemoryChain(self.log)  # type: ignore[arg-type]
        old, new = self.log, self.chain.turn(later)
        self.log = LogOfOne(new.signer)
        self.log.tree = new.tree
        return old

    async def Follow(self, request: Any, context: Any) -> rotation_pb2.FollowResponse:  # noqa: N802
        self.followed.append((request.log, request.size))
        assert self.chain is not None
        try:
            link = self.chain.linked(request.log, request.size)
        except InvalidRequest:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no")
        response = rotation_pb2.FollowResponse(
            last=link.last,
            last_proof=link.last_proof,
            final=link.final,
            consistency=link.consistency,
            first=link.first,
            first_proof=link.first_proof,
            head=link.head,
        )
        if self.bend_link is not None:
            self.bend_link(response)
        return response

    async def Consistency(self, request: Any, context: Any) -> audit_pb2.ConsistencyResponse:  # noqa: N802
        first, second = getattr(request, "from"), request.to
        if self.chain is not None and request.log != self.log.signer.name:
            proof, note = await self.chain.consistency(request.log, first, second)
            return audit_pb2.ConsistencyResponse(proof=proof, checkpoint=note)
        self.questions.append((first, second))
        if self.proof_error is not None:
            await context.abort(self.proof_error, "no")
        proof = self.log.tree.proof(first, second)
        response = audit_pb2.ConsistencyResponse(proof=proof, checkpoint=self.log.note())
        if self.bend_proof is not None:
            self.bend_proof(request, response)
        return response

    async def GetReceipt(self, request: Any, context: Any) -> Any:  # noqa: N802
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not here")


def rich(code: grpc.StatusCode, reason: str, *details: Message, message: str = "no") -> status_pb2.Status:
    """A status with the details that the broker sends."""
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in (error_details_pb2.ErrorInfo(reason=reason, domain="broker.v1"), *details):
        status.details.add().Pack(detail)
    return status


@dataclass
class Setup:
    """A running fake broker and what a client needs to reach it."""

    broker: FakeBroker
    port: int
    certs: Path
    signer: Signer

    def client(self, name: str = "cfrs-mdt", **options: Any) -> Broker:
        files = TlsFiles.within(self.certs, name)
        keys = {"ca": files.ca, "cert": files.cert, "key": files.key, "log_vkey": self.signer.vkey}
        return Broker(f"localhost:{self.port}", **(keys | options))


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server, one system and another."""
    now = datetime.now(UTC)
    folder = CertificateFolder(tmp_path_factory.mktemp("client") / "certs")
    folder.init("blue-light.test", now)
    folder.issue_client("cfrs", "mdt", now)
    folder.issue_client("cfrs", "relief", now)
    return folder.path


@asynccontextmanager
async def serving(broker: FakeBroker, certs: Path, port: int = 0) -> AsyncIterator[int]:
    """Serve the fake broker with mutual TLS on 127.0.0.1."""
    server = grpc.aio.server()
    exchange_pb2_grpc.add_ExchangeServiceServicer_to_server(broker, server)
    audit_pb2_grpc.add_AuditServiceServicer_to_server(broker, server)
    rotation_pb2_grpc.add_RotationServiceServicer_to_server(broker, server)
    credentials = server_credentials(TlsFiles.within(certs, "broker"))
    # Not "localhost": of two addresses the second may be another test's port, and clients would reach that.
    opened = server.add_secure_port(f"127.0.0.1:{port}", credentials)
    await server.start()
    try:
        yield opened
    finally:
        await server.stop(0)


@pytest.fixture
def signer() -> Signer:
    """The log's key."""
    return Signer.from_seed(ORIGIN, bytes(range(32)))


@pytest.fixture
async def setup(certs: Path, signer: Signer) -> AsyncIterator[Setup]:
    """An honest broker whose log holds five entries already."""
    broker = FakeBroker(LogOfOne(signer))
    broker.log.grow(5)
    async with serving(broker, certs) as port:
        yield Setup(broker, port, certs, signer)


async def eventually(holds: Callable[[], bool], within: float = 20.0) -> None:
    """Wait until something holds; fails after `within` seconds."""
    until = asyncio.get_running_loop().time() + within
    for _ in range(int(within / 0.01) + 1):
        if holds() or asyncio.get_running_loop().time() > until:
            break
        await asyncio.sleep(0.01)
    assert holds(), "it never came to hold"
