"""Who is at the other end: the channel says, and the directory agrees, for every message."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker.core.model import Function
from broker.errors import UnknownSystem
from broker.pki.folder import CertificateFolder
from broker.rpc.identity import Identity, read_peer
from broker.v1 import audit_pb2, audit_pb2_grpc, directory_pb2, directory_pb2_grpc, exchange_pb2
from tests.rpc.conftest import DOMAIN, SOON, Edge
from tests.support.values import AT_THE_DESK

Wanted = Callable[..., exchange_pb2.RecordRequest]


class Channel:
    """A context that shows these properties of its channel."""

    def __init__(self, **auth: list[bytes]) -> None:
        self._auth = auth

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._auth


async def code(edge: Edge, name: str) -> grpc.StatusCode:
    """How the simplest call of one system ends."""
    stub = directory_pb2_grpc.DirectoryServiceStub(edge.channel(name))
    try:
        await stub.ListAgencies(directory_pb2.ListAgenciesRequest(), timeout=SOON)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def pem(edge: Edge, name: str) -> bytes:
    """A system's certificate."""
    return (edge.certs.path / name / "cert.pem").read_bytes()


def identity(edge: Edge) -> Identity:
    """As the servicers have it."""
    return Identity(DOMAIN, edge.world.store.reference, edge.now)


async def test_an_enrolled_system_is_who_its_certificate_says(edge: Edge) -> None:
    """Agency, system and function."""
    found = identity(edge).check(read_peer(pem(edge, "nwas-cad")))
    assert (found.agency, found.system, found.function) == ("nwas", "cad", Function.PARTNER)


@pytest.mark.parametrize(
    ("auth", "text"),
    [
        ({}, "not TLS"),
        ({"ssl_tls_version": [b"TLSv1.2"]}, "TLSv1.2"),
        ({"ssl_tls_version": [b"TLSv1.3"]}, "no client certificate"),
        ({"ssl_tls_version": [b"TLSv1.3"], "x509_pem_cert": [b"garbage"]}, "names no system"),
    ],
)
async def test_a_channel_that_shows_no_system_is_unknown(edge: Edge, auth: dict[str, Any], text: str) -> None:
    """An older TLS, none at all, no certificate, or one that cannot be read."""
    with pytest.raises(UnknownSystem, match=text):
        identity(edge).of(Channel(**auth))  # type: ignore[arg-type]


async def test_an_older_tls_is_refused_even_with_a_good_certificate(edge: Edge) -> None:
    """What the channel is counts before what it shows."""
    channel = Channel(ssl_tls_version=[b"TLSv1.2"], x509_pem_cert=[pem(edge, "nwas-cad")])
    with pytest.raises(UnknownSystem, match=r"TLSv1\.3 is required"):
        identity(edge).of(channel)  # type: ignore[arg-type]


async def test_no_certificate_no_handshake(edge: Edge) -> None:
    """The port itself asks for one."""
    stub = directory_pb2_grpc.DirectoryServiceStub(edge.channel(None))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.ListAgencies(directory_pb2.ListAgenciesRequest(), timeout=SOON)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_alone_is_not_enough(edge: Edge) -> None:
    """The issuing authority cannot impersonate: the key must be enrolled too."""
    assert await code(edge, "nwas-new") is grpc.StatusCode.UNAUTHENTICATED
    assert edge.counted("unauthenticated", edge="grpc") == 1
    await edge.enrol("nwas-new", Function.PARTNER)
    assert await code(edge, "nwas-new") is grpc.StatusCode.OK
    edge.world.put_system("nwas", "new", Function.PARTNER, key_digest="0" * 64)  # whose name this is now
    await edge.world.store.reference.refresh()
    assert await code(edge, "nwas-new") is grpc.StatusCode.UNAUTHENTICATED


async def test_another_trust_domain_is_unknown(edge: Edge, tmp_path: Path) -> None:
    """Whatever its names say."""
    other = CertificateFolder(tmp_path / "certs")
    other.init("other.test", datetime.now(UTC))
    folder = other.issue_client("nwas", "cad", datetime.now(UTC))
    peer = read_peer((folder / "cert.pem").read_bytes())
    with pytest.raises(UnknownSystem, match="another trust domain"):
        identity(edge).check(peer)


async def test_a_servers_certificate_is_no_system(edge: Edge) -> None:
    """The broker's own cannot be used to ask."""
    with pytest.raises(UnknownSystem, match="names no system"):
        read_peer(pem(edge, "broker"))


async def test_a_certificate_that_expires_ends_an_open_stream(edge: Edge, wanted: Wanted) -> None:
    """The handshake is long past; the next message counts."""
    call = edge.exchange().Exchange()
    await call.write(exchange_pb2.ExchangeRequest(requests=[wanted()]))
    assert (await call.read()).outcomes
    edge.ahead = timedelta(days=4000)
    await call.write(exchange_pb2.ExchangeRequest(requests=[wanted()]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "expired" in str(caught.value.details())


@pytest.mark.parametrize("change", [{"suspended": True}, {"valid_until": datetime(2024, 1, 1, tzinfo=UTC)}])
async def test_a_system_suspended_or_out_of_its_dates_is_told_so(edge: Edge, change: dict[str, Any]) -> None:
    """Its key is known, so it is told what to mend; a stranger is not."""
    await edge.enrol("nwas-cad", Function.PARTNER, **change)
    assert await code(edge, "nwas-cad") is grpc.StatusCode.UNAUTHENTICATED


OPERATORS_ONLY: list[tuple[str, Any]] = [
    (
        "AddAgency",
        directory_pb2.AddAgencyRequest(
            actor=AT_THE_DESK, agency=directory_pb2.Agency(id="lancs", name="Lancs", kind="fire")
        ),
    ),
    (
        "EnrolSystem",
        directory_pb2.EnrolSystemRequest(
            actor=AT_THE_DESK,
            agency="nwas",
            system="x",
            function=directory_pb2.SYSTEM_FUNCTION_PARTNER,
            key_digest="a" * 64,
        ),
    ),
    ("SuspendSystem", directory_pb2.SuspendSystemRequest(actor=AT_THE_DESK, agency="nwas", system="cad")),
    (
        "ApproveRecordType",
        directory_pb2.ApproveRecordTypeRequest(actor=AT_THE_DESK, full_name="a.B", descriptor_set=b"x"),
    ),
]


@pytest.mark.parametrize(("method", "request_"), OPERATORS_ONLY, ids=[m for m, _ in OPERATORS_ONLY])
@pytest.mark.parametrize("name", ["nwas-cad", "cumberland-audit"])
async def test_the_directory_is_the_operators_to_change(
    edge: Edge, name: str, method: str, request_: Any
) -> None:
    """Partners and auditors are refused, and nothing is written."""
    stub = directory_pb2_grpc.DirectoryServiceStub(edge.channel(name))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(stub, method)(request_, timeout=SOON)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert edge.world.store.entries == []


async def test_a_partner_sees_its_own_systems_only(edge: Edge) -> None:
    """Whatever agency it names."""
    stub = directory_pb2_grpc.DirectoryServiceStub(edge.channel("nwas-cad"))
    for agency in ("", "nwas", "cfrs"):
        listed = await stub.ListSystems(directory_pb2.ListSystemsRequest(agency=agency), timeout=SOON)
        assert {s.agency for s in listed.systems} <= {"nwas"}


async def test_a_consistency_proof_of_nonsense_is_bad_input(edge: Edge) -> None:
    """Sizes the log does not have."""
    stub = audit_pb2_grpc.AuditServiceStub(edge.channel("nwas-cad"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Consistency(audit_pb2.ConsistencyRequest(to=2**64 - 1), timeout=SOON)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_calls_beside_requests_have_a_bound_for_each_system(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that makes too many is refused with a delay; another system of the same broker is not."""
    monkeypatch.setattr("broker.rpc.identity.CALLS_AT_ONCE", 20.0)
    monkeypatch.setattr("broker.rpc.identity.CALLS", 1.0)
    codes = [await code(edge, "nwas-cad") for _ in range(30)]
    assert codes[:20] == [grpc.StatusCode.OK] * 20
    assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes[20:]
    assert await code(edge, "operator-cli") is grpc.StatusCode.OK
