"""The HTTPS port: versions, suites and optional client certificates, under uvicorn."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import uvicorn
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from broker.console.peer import PeerCertificateProtocol, peer_certificate
from broker.pki.files import read_certificates
from broker.pki.folder import CertificateFolder
from broker.pki.tls import TlsFiles, https_context
from tests.pki.conftest import DOMAIN, NOW, swap


async def who(request: Request) -> PlainTextResponse:
    """The digest of the caller's certificate."""
    certificate = peer_certificate(request.scope)
    return PlainTextResponse("nobody" if certificate is None else hashlib.sha256(certificate).hexdigest())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    """An authority of this module's own, since a test here swaps its files."""
    made = CertificateFolder(tmp_path_factory.mktemp("https") / "certs")
    made.init(DOMAIN, NOW)
    made.issue_client("cfrs", "mdt", NOW)
    return made


@pytest.fixture(scope="module")
def port(folder: CertificateFolder) -> Iterator[int]:
    """uvicorn on a free port with our context and protocol."""
    files = TlsFiles.within(folder.path, "broker")
    config = uvicorn.Config(
        Starlette(routes=[Route("/", who)]),
        ssl_context_factory=lambda _config, _default: https_context(files),
        http=PeerCertificateProtocol,
        log_level="error",
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        limit = time.monotonic() + 10
        while not server.started and time.monotonic() < limit:
            time.sleep(0.01)
        assert server.started
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(10)


def client_context(folder: CertificateFolder, name: str | None = None) -> ssl.SSLContext:
    """A client that trusts the folder's root and shows a certificate, or none."""
    context = ssl.create_default_context(cafile=str(folder.ca))
    if name is not None:
        context.load_cert_chain(folder.path / name / "cert.pem", folder.path / name / "key.pem")
    return context


def shake(port: int, context: ssl.SSLContext) -> tuple[str | None, str, str]:
    """Shake hands, ask once, and return version, cipher suite and the answer's last line."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
        cipher = connection.cipher()
        assert cipher
        if not answer:
            raise ConnectionResetError
        return connection.version(), cipher[0], answer.decode().splitlines()[-1]


def servers_reason(folder: CertificateFolder, client: ssl.SSLContext) -> str | None:
    """Shake hands in memory and return why the server refused, or None; over a socket no alert may come."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(back, there, server_hostname="localhost")
    server = https_context(TlsFiles.within(folder.path, "broker")).wrap_bio(there, back, server_side=True)
    for _ in range(4):
        with suppress(ssl.SSLWantReadError):
            caller.do_handshake()
        try:
            server.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError as error:
            return error.reason
    return None


def test_the_certificate_reaches_the_application(port: int, folder: CertificateFolder) -> None:
    """Every request of a connection sees that connection's certificate; without one it sees None."""
    leaf = read_certificates(folder.path / "cfrs-mdt" / "cert.pem")[0]
    digest = hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
    url = f"https://localhost:{port}/"
    with (
        httpx.Client(verify=client_context(folder, "cfrs-mdt")) as known,
        httpx.Client(verify=client_context(folder)) as unknown,
    ):
        answers = [client.get(url).text for client in (known, unknown, known, unknown)]
    assert answers == [digest, "nobody", digest, "nobody"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_ticket_is_given(port: int, folder: CertificateFolder, version: ssl.TLSVersion) -> None:
    """No session ticket leaves the server, so no ticket key outlives a connection's forward secrecy."""
    context = client_context(folder, "cfrs-mdt")
    context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1)
        assert connection.session is None or not connection.session.has_ticket


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"])
def test_tls12_with_forward_secrecy_and_gcm_is_accepted(
    port: int, folder: CertificateFolder, suite: str
) -> None:
    """The floor is TLS 1.2 with ECDHE and AES-GCM."""
    context = client_context(folder)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suite)
    assert shake(port, context) == ("TLSv1.2", suite, "nobody")


def test_tls13_is_preferred(port: int, folder: CertificateFolder) -> None:
    """A client that can do better does."""
    assert shake(port, client_context(folder))[0] == "TLSv1.3"
    assert servers_reason(folder, client_context(folder, "cfrs-mdt")) is None


@pytest.mark.parametrize(
    "suite", ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-SHA256", "ECDHE+CAMELLIA"]
)
def test_other_tls12_suites_are_refused(port: int, folder: CertificateFolder, suite: str) -> None:
    """CBC and everything else that is not ECDHE with AES-GCM fails the handshake."""
    context = client_context(folder)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(suite)
    with pytest.raises(ssl.SSLError):
        shake(port, context)
    assert servers_reason(folder, context) == "NO_SHARED_CIPHER"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls11_is_refused(port: int, folder: CertificateFolder) -> None:
    """A client that offers TLS 1.1, with security levels off, is refused for its version."""
    context = client_context(folder)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        shake(port, context)
    assert servers_reason(folder, context) == "UNSUPPORTED_PROTOCOL"


def test_a_certificate_of_another_authority_fails_the_handshake(
    port: int, folder: CertificateFolder, others: Path
) -> None:
    """Optional means none or a good one: a stranger's certificate is not treated as none."""
    context = client_context(folder)
    context.load_cert_chain(others / "cfrs-mdt" / "cert.pem", others / "cfrs-mdt" / "key.pem")
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        shake(port, context)
    assert servers_reason(folder, context) == "CERTIFICATE_VERIFY_FAILED"


async def test_swapped_files_are_used_from_the_next_handshake(
    certs: Path, others: Path, tmp_path: Path
) -> None:
    """Server certificate and trusted root follow the files on disk under a running server."""
    files = TlsFiles(tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")

    def put(source: Path) -> None:
        swap(files.cert, source / "live" / "cert.pem")
        swap(files.key, source / "live" / "key.pem")
        swap(files.ca, source / "ca.pem")

    async def visit(source: Path) -> None:
        opened = server.sockets[0].getsockname()[1]
        context = client_context(CertificateFolder(source), "cfrs-mdt")
        reader, writer = await asyncio.open_connection("localhost", opened, ssl=context)
        assert await reader.read() == b"CN=mdt"
        writer.close()

    def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        subject = dict(pair[0] for pair in writer.get_extra_info("peercert")["subject"])
        writer.write(b"CN=" + subject["commonName"].encode())
        writer.close()

    put(certs)
    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=https_context(files))
    async with server:
        await visit(certs)
        put(others)
        await visit(others)
        with pytest.raises(ssl.SSLError):
            await visit(certs)
