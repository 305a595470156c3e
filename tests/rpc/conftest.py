"""The gRPC edge as it runs: grpc.aio with mutual TLS on 127.0.0.1, over use cases whose ports are in memory."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest

from broker.clock import SystemClock
from broker.core.model import Function
from broker.limits import Limits
from broker.links import Links
from broker.partitions import Partitions
from broker.pki.files import read_certificates
from broker.pki.folder import CertificateFolder
from broker.pki.identity import key_digest
from broker.pki.tls import TlsFiles, channel_credentials, server_credentials
from broker.rotations import Rotations
from broker.rpc.adapter import AdapterServicer
from broker.rpc.adapter import add_to as add_adapter
from broker.rpc.agreement import AgreementServicer
from broker.rpc.audit import AuditServicer
from broker.rpc.directive import DirectiveServicer
from broker.rpc.directory import DirectoryServicer
from broker.rpc.door import Door
from broker.rpc.exchange import ExchangeServicer
from broker.rpc.exchange import add_to as add_exchange
from broker.rpc.identity import Identity
from broker.rpc.rotation import RotationServicer
from broker.rpc.routing import RoutingServicer
from broker.rpc.standing import StandingServicer
from broker.rpc.wellformed import strict
from broker.telemetry import Telemetry
from broker.v1 import (
    agreement_pb2_grpc,
    audit_pb2_grpc,
    directive_pb2_grpc,
    directory_pb2_grpc,
    exchange_pb2,
    exchange_pb2_grpc,
    rotation_pb2_grpc,
    routing_pb2_grpc,
    standing_pb2_grpc,
)
from broker.workers import Worker, Workers
from tests.support.chain import MemoryChain, NothingKept
from tests.support.memory import MemoryWorkers
from tests.support.world import HOME, RISK, World

DOMAIN = "blue-light.test"
SYSTEMS = {
    "nwas-cad": Function.PARTNER,
    "cfrs-cad": Function.PARTNER,
    "operator-cli": Function.OPERATOR,
    "cumberland-audit": Function.AUDITOR,
}
# Known to have answered before, so that no link of theirs is an entry.
ADAPTERS = {"cfrs-cad"}


SOON = 15


async def eventually(what: Callable[[], object]) -> None:
    """Within some seconds this holds."""
    async with asyncio.timeout(SOON):
        while not what():  # noqa: ASYNC110 - what is waited for happens in many places
            await asyncio.sleep(0.01)


@pytest.fixture(scope="session")
def edge_certs(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    """An authority, and certificates; `nwas-new` is enrolled nowhere."""
    folder = CertificateFolder(tmp_path_factory.mktemp("edge-certs") / "certs")
    folder.init(DOMAIN, datetime.now(UTC))
    for name in (*SYSTEMS, "nwas-new"):
        folder.issue_client(*name.split("-"), datetime.now(UTC))
    return folder


@dataclass
class Edge:
    """A running port, and what stands behind it."""

    certs: CertificateFolder
    world: World
    links: Links
    telemetry: Telemetry
    servicer: ExchangeServicer
    port: int = 0
    ahead: timedelta = timedelta()
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    def now(self) -> datetime:
        """The time as the identity check sees it."""
        return datetime.now(UTC) + self.ahead

    def channel(self, name: str | None = "nwas-cad", *options: tuple[str, Any]) -> grpc.aio.Channel:
        """A channel of one system; None: without a certificate."""
        if name is None:
            credentials = grpc.ssl_channel_credentials((self.certs.path / "ca.pem").read_bytes())
        else:
            credentials = channel_credentials(TlsFiles.within(self.certs.path, name))
        made = grpc.aio.secure_channel(f"localhost:{self.port}", credentials, options=options)
        self.channels.append(made)
        return made

    def exchange(self, name: str | None = "nwas-cad") -> Any:
        """The exchange as one system sees it."""
        return exchange_pb2_grpc.ExchangeServiceStub(self.channel(name))

    async def enrol(self, name: str, function: Function, **changes: Any) -> None:
        """Enrol a certificate's key, or another state of its system."""
        digest = key_digest(read_certificates(self.certs.path / name / "cert.pem")[0])
        self.world.put_system(*name.split("-"), function, key_digest=digest, **changes)
        await self.world.store.reference.refresh()

    def counted(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.telemetry.registry.get_sample_value(f"broker_{name}_total", labels) or 0.0


@asynccontextmanager
async def serving(
    certs: CertificateFolder, *, attached: bool, per_second: float = 1e6, streams: int = 256
) -> AsyncIterator[Edge]:
    """The port over a fresh world; with `attached` providers are real links, else scripted."""
    links = Links()
    world = World(SystemClock(), links=links if attached else None)
    today = datetime.now(UTC).date()
    world.agree(valid_from=today - timedelta(300), valid_until=today + timedelta(300))
    telemetry = Telemetry("0", lambda name: name == RISK)
    reference = world.store.reference
    identity = Identity(DOMAIN, reference, lambda: edge.now())
    door = Door(identity, Limits(per_second), streams)
    servicer = ExchangeServicer(
        world.exchange, world.acknowledgements, identity, telemetry, door, world.why.explanations
    )
    edge = Edge(certs, world, links, telemetry, servicer)
    for name, function in SYSTEMS.items():
        await edge.enrol(name, function, adapter=name in ADAPTERS)
    world.providers.answers(world.found())
    bare = grpc.aio.server()
    server = strict(bare)
    add_exchange(server, servicer)
    add_adapter(
        server,
        AdapterServicer(
            links,
            reference,
            identity,
            telemetry,
            f"spiffe://{DOMAIN}/server/broker",
            Workers(Worker("1", ""), MemoryWorkers(), links.attached),
            door,
            world.registry,
        ),
    )
    directory_pb2_grpc.add_DirectoryServiceServicer_to_server(
        DirectoryServicer(world.registry, reference, world.clock, identity, telemetry, world.signing), server
    )
    agreement_pb2_grpc.add_AgreementServiceServicer_to_server(
        AgreementServicer(world.agreements, world.suspensions, identity, telemetry, world.why.plans), server
    )
    directive_pb2_grpc.add_DirectiveServiceServicer_to_server(
        DirectiveServicer(world.directives, world.clock, identity, telemetry, Limits()), server
    )
    routing_pb2_grpc.add_RoutingServiceServicer_to_server(
        RoutingServicer(world.route_book, reference, world.clock, identity, telemetry), server
    )
    standing_pb2_grpc.add_StandingServiceServicer_to_server(
        StandingServicer(world.standing, world.clock, identity, telemetry), server
    )
    rotations = Rotations(world.administration, MemoryChain(), dict, world.clock)
    rotation_pb2_grpc.add_RotationServiceServicer_to_server(
        RotationServicer(rotations, Partitions(world.administration, NothingKept()), identity, telemetry),
        server,
    )
    audit_pb2_grpc.add_AuditServiceServicer_to_server(
        AuditServicer(
            world.audits,
            world.searches,
            rotations,
            identity,
            telemetry,
            world.why.explanations,
            world.why.replays,
            world.exports,
            world.late,
            door.limits,
        ),
        server,
    )
    edge.port = bare.add_secure_port("127.0.0.1:0", server_credentials(TlsFiles.within(certs.path, "broker")))
    await bare.start()
    try:
        yield edge
    finally:
        for channel in edge.channels:
            await channel.close()
        await bare.stop(0.2)
        async with asyncio.timeout(10):
            await world.acknowledgements.drain()


@pytest.fixture
async def edge(edge_certs: CertificateFolder) -> AsyncIterator[Edge]:
    """A port whose providers are scripted."""
    async with serving(edge_certs, attached=False) as made:
        yield made


@pytest.fixture
async def narrow(edge_certs: CertificateFolder) -> AsyncIterator[Edge]:
    """A port that grants each agency ten requests a second, and each system two streams."""
    async with serving(edge_certs, attached=False, per_second=10, streams=2) as made:
        yield made


@pytest.fixture
async def attached(edge_certs: CertificateFolder) -> AsyncIterator[Edge]:
    """A port to which adapters attach."""
    async with serving(edge_certs, attached=True) as made:
        yield made


@pytest.fixture
def wanted() -> Callable[..., exchange_pb2.RecordRequest]:
    """Makes a request on the wire that is permitted."""

    def make(request_id: str = "", **changes: Any) -> exchange_pb2.RecordRequest:
        made: dict[str, Any] = {
            "request_id": request_id or str(uuid.uuid4()),
            "record_type": RISK,
            "provider": "cfrs",
            "subject": exchange_pb2.SubjectRef(scheme=HOME.scheme, value=HOME.value),
            "purpose": "emergency-response",
            "actor": exchange_pb2.Actor(
                id="a.hill", role="ambulance-crew", assurance=exchange_pb2.ASSURANCE_PERSONAL_LOGIN
            ),
        }
        made.update(changes)
        return exchange_pb2.RecordRequest(**{k: v for k, v in made.items() if v is not None})

    return make
