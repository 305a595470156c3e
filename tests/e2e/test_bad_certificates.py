"""Who cannot show the certificate of an enrolled system is told so, gets nothing, and harms nobody."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.rpc import error_details_pb2

from broker.client import Broker
from broker.errors import CannotConnect, RevokedCertificate, UnknownSystem
from broker.pki.folder import CertificateFolder
from broker.pki.identity import key_digest
from broker.pki.tls import TlsFiles
from broker.v1 import directory_pb2, directory_pb2_grpc
from tests.e2e import words
from tests.support.stack import Deployment
from tests.support.values import AT_THE_DESK


def _now() -> datetime:
    """When it is wanted: the stack's authority may be younger than this file's import."""
    return datetime.now(UTC)


@pytest.fixture
async def good_afterwards(stack: Deployment) -> AsyncIterator[None]:
    """Whoever was turned away, a good request right after is answered."""
    yield
    async with stack.channel("nwas-cad") as channel:
        assert (await words.ask(channel, words.a_request())).HasField("record")


@pytest.fixture
def ours(stack: Deployment, tmp_path: Path) -> CertificateFolder:
    """The deployment's own authority, issuing into a folder of the test's."""
    return stack.issued(tmp_path / "ours")


def _strangers(stack: Deployment, folder: Path) -> TlsFiles:
    """A certificate for an enrolled system's very name, by another authority; it trusts the broker's."""
    other = CertificateFolder(folder / "strangers")
    other.init("blue-light.test", _now())
    files = words.files_of(other.issue_client("nwas", "cad", _now()))
    return TlsFiles(stack.ca, files.cert, files.key)


def _expired(ours: CertificateFolder) -> TlsFiles:
    """As issued to a system, but that its time was over a second after its authority's began."""
    files = words.files_of(ours.issue_client("nwas", "cad", _now()))
    good, issuing = x509.load_pem_x509_certificates(files.cert.read_bytes())
    begins = issuing.not_valid_before_utc
    builder = (
        x509.CertificateBuilder(good.issuer, good.subject, good.public_key(), good.serial_number)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(seconds=1))
    )
    for extension in good.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    over = builder.sign(ours.issuing().key, good.signature_hash_algorithm)
    files.cert.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in (over, issuing)))
    return files


def _server(ours: CertificateFolder) -> TlsFiles:
    """Of our authority, and for servers only."""
    return words.files_of(ours.issue_server("imposter", _now()))


def _bad(kind: str, stack: Deployment, ours: CertificateFolder, folder: Path) -> TlsFiles:
    if kind == "strangers":
        return _strangers(stack, folder)
    return _expired(ours) if kind == "expired" else _server(ours)


async def _turned_away(stack: Deployment, credentials: grpc.ChannelCredentials) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(stack.target, credentials, options) as channel:
        status = await words.failure(words.ask(channel, words.a_request()))
    # gRPC says nothing finer of a handshake that failed; our client explains it, see below.
    assert words.code(status) == "UNAVAILABLE"


@pytest.mark.parametrize("kind", ["none", "strangers", "expired", "server"])
async def test_a_handshake_without_a_good_certificate_fails(
    stack: Deployment, ours: CertificateFolder, tmp_path: Path, kind: str, good_afterwards: None
):
    """No certificate, another authority's, an expired one and a server's all end before the first byte."""
    if kind == "none":
        await _turned_away(stack, grpc.ssl_channel_credentials(stack.ca.read_bytes()))
        return
    files = _bad(kind, stack, ours, tmp_path)
    await _turned_away(
        stack,
        grpc.ssl_channel_credentials(stack.ca.read_bytes(), files.key.read_bytes(), files.cert.read_bytes()),
    )


def _client(stack: Deployment, files: TlsFiles) -> Broker:
    return Broker(stack.target, ca=stack.ca, cert=files.cert, key=files.key, log_vkey=stack.state.vkey)


@pytest.mark.parametrize(
    ("kind", "says"), [("strangers", "does not lead"), ("expired", "expired"), ("server", "client")]
)
async def test_our_client_says_what_is_wrong_with_its_certificate(
    stack: Deployment, ours: CertificateFolder, tmp_path: Path, kind: str, says: str
):
    """Where gRPC says "unavailable", our client says which file is to blame and why."""
    files = _bad(kind, stack, ours, tmp_path)
    with pytest.raises(CannotConnect) as caught:
        async with _client(stack, files) as broker:
            await words.premises(broker)
    assert says in str(caught.value)
    assert str(files.cert) in str(caught.value) or "certificate" in str(caught.value)


async def test_a_key_that_nobody_enrolled_cannot_borrow_a_name(
    stack: Deployment, ours: CertificateFolder, good_afterwards: None
):
    """Our own authority's certificate for an enrolled system's name is nobody until its key is enrolled."""
    for agency, system in (("nwas", "cad"), ("nwas", "never-enrolled"), ("nobody", "cad")):
        files = words.files_of(ours.issue_client(agency, system, _now()))
        async with stack.channel(files) as channel:
            status = await words.failure(words.ask(channel, words.a_request()))
            assert words.code(status) == "UNAUTHENTICATED"
            assert words.detail(status, error_details_pb2.ErrorInfo).reason == "UnknownSystem"
            listing = directory_pb2_grpc.DirectoryServiceStub(channel).ListAgencies(
                directory_pb2.ListAgenciesRequest(), timeout=words.TIMEOUT
            )
            assert words.code(await words.failure(listing)) == "UNAUTHENTICATED"
    with pytest.raises(UnknownSystem):
        async with _client(stack, files) as broker:
            await words.premises(broker)


async def test_a_suspension_counts_at_once_and_so_does_its_lifting(
    stack: Deployment, ours: CertificateFolder, good_afterwards: None
):
    """Enrolled: answered. Suspended: refused, for requests and everything else. Lifted: answered again."""
    files = words.files_of(ours.issue_client("nwas", "bike", _now()))
    digest = key_digest(x509.load_pem_x509_certificate(files.cert.read_bytes()))
    async with stack.operator() as operator, stack.channel(files) as channel:
        directory = directory_pb2_grpc.DirectoryServiceStub(operator)
        own = directory_pb2_grpc.DirectoryServiceStub(channel)
        enrol = directory_pb2.EnrolSystemRequest(
            actor=AT_THE_DESK,
            agency="nwas",
            system="bike",
            function=directory_pb2.SYSTEM_FUNCTION_PARTNER,
            key_digest=digest,
        )
        await directory.EnrolSystem(enrol, timeout=words.TIMEOUT)
        assert (await words.ask(channel, words.a_request())).HasField("record")

        suspend = directory_pb2.SuspendSystemRequest(
            actor=AT_THE_DESK, agency="nwas", system="bike", reason="lost"
        )
        await directory.SuspendSystem(suspend, timeout=words.TIMEOUT)
        for call in (
            words.ask(channel, words.a_request()),
            own.ListAgencies(directory_pb2.ListAgenciesRequest(), timeout=words.TIMEOUT),
        ):
            status = await words.failure(call)
            assert words.code(status) == "UNAUTHENTICATED"
            assert words.detail(status, error_details_pb2.ErrorInfo).reason == "RevokedCertificate"
        with pytest.raises(RevokedCertificate):
            async with _client(stack, files) as broker:
                await words.premises(broker)

        suspend.lift = True
        await directory.SuspendSystem(suspend, timeout=words.TIMEOUT)
        assert (await words.ask(channel, words.a_request())).HasField("record")
        assert (await own.ListAgencies(directory_pb2.ListAgenciesRequest())).agencies


async def test_a_partner_may_not_administer(stack: Deployment, good_afterwards: None):
    """A partner's certificate gives its agency's rights: it suspends nobody and enrols nobody."""
    async with stack.channel("cfrs-mdt") as channel:
        directory = directory_pb2_grpc.DirectoryServiceStub(channel)
        for call in (
            directory.SuspendSystem(
                directory_pb2.SuspendSystemRequest(
                    actor=AT_THE_DESK, agency="nwas", system="cad", reason="rivalry"
                ),
                timeout=words.TIMEOUT,
            ),
            directory.EnrolSystem(
                directory_pb2.EnrolSystemRequest(
                    actor=AT_THE_DESK,
                    agency="cfrs",
                    system="more",
                    function=directory_pb2.SYSTEM_FUNCTION_OPERATOR,
                    key_digest="ab" * 32,
                ),
                timeout=words.TIMEOUT,
            ),
        ):
            assert words.code(await words.failure(call)) == "PERMISSION_DENIED"


def _hello(port: int, version: ssl.TLSVersion, files: TlsFiles) -> str:
    """The version that a handshake with our certificate agrees on."""
    context = ssl.create_default_context(cafile=str(files.ca))
    context.load_cert_chain(files.cert, files.key)
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("localhost", port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        return secure.version() or ""


async def test_the_grpc_port_speaks_tls_13_only(stack: Deployment, good_afterwards: None):
    """A TLS 1.2 hello with a good certificate fails where a TLS 1.3 one succeeds."""
    port, files = stack.stack.grpc_port, stack.member("nwas-cad")
    assert await asyncio.to_thread(_hello, port, ssl.TLSVersion.TLSv1_3, files) == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        await asyncio.to_thread(_hello, port, ssl.TLSVersion.TLSv1_2, files)


def test_openssl_agrees_that_tls_12_is_refused(stack: Deployment):
    """Another implementation, offering TLS 1.2 with every suite it has, is turned away as well."""
    files = stack.member("nwas-cad")
    for flag, agreed in (("-tls1_3", b"New, TLSv1.3, Cipher is TLS_"), ("-tls1_2", b"Cipher is (NONE)")):
        done = subprocess.run(
            [
                *("openssl", "s_client", "-connect", f"127.0.0.1:{stack.stack.grpc_port}", flag),
                *("-CAfile", str(files.ca), "-cert", str(files.cert), "-key", str(files.key)),
                *("-cipher", "ALL:@SECLEVEL=0", "-alpn", "h2"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=False,
        )
        assert agreed in done.stdout, done.stderr.decode()
