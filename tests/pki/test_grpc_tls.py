"""Mutual TLS of gRPC ports, by real handshakes."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from broker.errors import SetupError
from broker.pki import authority, profile
from broker.pki.files import certificates_pem, key_pem, read_certificates
from broker.pki.folder import CertificateFolder
from broker.pki.selfcheck import refuse_tls12
from broker.pki.tls import TlsFiles, channel_credentials, server_credentials
from tests.pki.conftest import DOMAIN, NOW, ask, ask_as, serving, swap

MDT = "TLSv1.3 spiffe://blue-light.test/agency/cfrs/system/mdt"

# Started as a process of its own: gRPC reads its suites once, when it is first imported.
SERVER = """
import asyncio, sys
{imports}
from pathlib import Path
import grpc
from broker.pki.selfcheck import refuse_tls12
from broker.pki.tls import TlsFiles, server_credentials
async def main():
    server = grpc.aio.server()
    files = TlsFiles.within(Path(sys.argv[1]), "live")
    port = server.add_secure_port("127.0.0.1:0", server_credentials(files))
    await server.start()
    try:
        await asyncio.to_thread(refuse_tls12, "127.0.0.1", port)
    finally:
        await server.stop(None)
asyncio.run(main())
print("serving")
"""


async def refused(port: int, credentials: grpc.ChannelCredentials) -> None:
    """Assert that the call never gets through the handshake."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(port, credentials)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_peer_is_its_spiffe_id_over_tls13(port: int, certs: Path, host: str) -> None:
    """An enrolled chain gets through over TLS 1.3, and the channel gives exactly its SPIFFE id."""
    files = TlsFiles.within(certs, "cfrs-mdt")
    assert await ask(port, channel_credentials(files), host) == MDT


@pytest.mark.parametrize("name", ["cfrs-expired", "cfrs-future", "live"])
async def test_unusable_certificates_are_turned_away(port: int, certs: Path, name: str) -> None:
    """Expired, not yet valid, and a server's certificate used as a client's: no call gets through."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask_as(port, certs, name)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert await ask_as(port, certs, "cfrs-mdt") == MDT


async def test_a_client_without_certificate_is_turned_away(port: int, certs: Path) -> None:
    """A client that only knows the root gets nowhere."""
    await refused(port, grpc.ssl_channel_credentials((certs / "ca.pem").read_bytes()))


async def test_another_authoritys_client_is_turned_away(port: int, certs: Path, others: Path) -> None:
    """The same names from another authority do not help, though it knows our root."""
    cert, key = (others / "cfrs-mdt" / name for name in ("cert.pem", "key.pem"))
    root = (certs / "ca.pem").read_bytes()
    await refused(port, grpc.ssl_channel_credentials(root, key.read_bytes(), cert.read_bytes()))


async def test_a_client_does_not_talk_to_another_authoritys_server(certs: Path, others: Path) -> None:
    """An impostor broker with the right names is not trusted."""
    async with serving(TlsFiles.within(others, "live")) as port:
        with pytest.raises(grpc.aio.AioRpcError):
            await ask_as(port, certs, "cfrs-mdt")
        assert await ask_as(port, others, "cfrs-mdt") == MDT


async def test_a_system_cannot_pass_for_the_broker(certs: Path) -> None:
    """A server that shows a system's certificate, from the right authority, is not trusted by a client."""
    async with serving(TlsFiles.within(certs, "cfrs-mdt")) as port:
        files = TlsFiles.within(certs, "cfrs-expired")
        options = (("grpc.ssl_target_name_override", "mdt"),)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", channel_credentials(files), options) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="CERTIFICATE_VERIFY_FAILED"):
                await channel.unary_unary("/test.Who/Ask")(b"", timeout=10)


async def test_a_stolen_issuing_key_is_bound_to_its_trust_domain(port: int, certs: Path) -> None:
    """What the issuing key signs for another trust domain fails the handshake by name constraints."""
    issuing, key = CertificateFolder(certs).issuing(), authority.new_key()
    root = (certs / "ca.pem").read_bytes()

    async def call(uri: str) -> str:
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
        leaf = authority._issue(
            issuing, profile.load("client"), x509.Name([]), names, key.public_key(), NOW, None
        )
        chain = certificates_pem(leaf, issuing.certificate)
        return await ask(port, grpc.ssl_channel_credentials(root, key_pem(key), chain))

    with pytest.raises(grpc.aio.AioRpcError):
        await call("spiffe://police.test/agency/cfrs/system/mdt")
    assert await call("spiffe://blue-light.test/agency/cfrs/system/mdt") == MDT


async def test_swapped_files_are_used_from_the_next_handshake(tmp_path: Path, others: Path) -> None:
    """A new authority's files replace the old ones under a running server; half of a swap changes nothing."""
    folder = CertificateFolder(tmp_path / "certs")
    folder.init(DOMAIN, NOW)
    folder.issue_client("cfrs", "mdt", NOW)
    files = TlsFiles.within(folder.path, "broker")
    old_root = tmp_path / "old.pem"
    old_root.write_bytes(files.ca.read_bytes())
    mine = TlsFiles(old_root, folder.path / "cfrs-mdt" / "cert.pem", folder.path / "cfrs-mdt" / "key.pem")
    async with serving(files) as port:
        assert await ask(port, channel_credentials(mine)) == MDT
        swap(files.cert, others / "live" / "cert.pem")
        assert await ask(port, channel_credentials(mine)) == MDT
        swap(files.key, others / "live" / "key.pem")
        swap(files.ca, others / "ca.pem")
        assert await ask_as(port, others, "cfrs-mdt") == MDT
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(port, channel_credentials(mine))


async def test_unchanged_files_are_not_read_again(certs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handshakes after the first cost three stats: the files could even be unreadable."""
    read = TlsFiles.read
    count = 0

    def counting(self: TlsFiles) -> object:
        nonlocal count
        count += 1
        return read(self)

    credentials_files = TlsFiles.within(certs, "live")
    monkeypatch.setattr(TlsFiles, "read", counting)
    credentials = server_credentials(credentials_files)
    assert count == 1
    async with serving(credentials_files, credentials) as port:
        await asyncio.gather(*(asyncio.to_thread(refuse_tls12, "127.0.0.1", port) for _ in range(3)))
    assert count == 1


@pytest.mark.parametrize("suites", [None, "HIGH", "ECDHE-ECDSA-AES128-GCM-SHA256"])
def test_tls12_is_refused_however_the_process_was_started(certs: Path, suites: str | None) -> None:
    """With `broker` before grpc, even against the environment, the self-check lets the server serve."""
    done = run_server(certs, "import broker", suites)
    assert (done.returncode, done.stdout) == (0, "serving\n"), done.stderr


def test_a_process_that_imported_grpc_first_does_not_serve(certs: Path) -> None:
    """Where the suites came too late, TLS 1.2 is really accepted, and the self-check says so and stops it."""
    done = run_server(certs, "import grpc")
    assert done.returncode == 1
    assert "accepts TLS 1.2: import `broker` before `grpc`" in done.stderr
    assert "serving" not in done.stdout


async def test_a_full_tls12_handshake_fails(port: int, certs: Path) -> None:
    """A client with a good certificate that offers only TLS 1.2 is turned away; with 1.3 it gets in."""
    files = TlsFiles.within(certs, "cfrs-mdt")

    def connect(version: ssl.TLSVersion) -> str | None:
        context = ssl.create_default_context(cafile=str(files.ca))
        context.load_cert_chain(files.cert, files.key)
        context.set_alpn_protocols(["h2"])
        context.maximum_version = version
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            assert connection.recv(1)
            return connection.version()

    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await asyncio.to_thread(connect, ssl.TLSVersion.TLSv1_2)
    assert await asyncio.to_thread(connect, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"


def test_an_rsa_server_key_is_refused(tmp_path: Path, certs: Path) -> None:
    """An RSA key would make the one TLS 1.2 suite usable, so no server starts with it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    issuing = CertificateFolder(certs).issuing()
    leaf = read_certificates(certs / "live" / "cert.pem")[0]
    forged = x509.CertificateBuilder(
        leaf.issuer, leaf.subject, key.public_key(), 7, NOW, NOW + timedelta(days=1)
    ).sign(issuing.key, hashes.SHA256())
    (tmp_path / "cert.pem").write_bytes(certificates_pem(forged))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "key.pem").chmod(0o600)
    with pytest.raises(SetupError, match="elliptic"):
        server_credentials(TlsFiles(certs / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem"))


def test_files_that_do_not_belong_together_are_refused_at_start(certs: Path, tmp_path: Path) -> None:
    """Another's key, a missing file, and text that is no PEM are named in the error."""
    good = TlsFiles.within(certs, "live")
    with pytest.raises(SetupError, match="is not the key of"):
        server_credentials(TlsFiles(good.ca, good.cert, certs / "broker" / "key.pem"))
    with pytest.raises(SetupError, match=r"cannot read .*missing"):
        server_credentials(TlsFiles(good.ca, tmp_path / "missing", good.key))
    (tmp_path / "text").write_text("hello")
    with pytest.raises(SetupError, match="not readable PEM"):
        server_credentials(TlsFiles(tmp_path / "text", good.cert, good.key))


def run_server(certs: Path, imports: str, suites: str | None = None) -> subprocess.CompletedProcess[str]:
    """Start the server above in a process of its own, perhaps with an environment that asks for TLS 1.2."""
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_SSL_CIPHER_SUITES"}
    if suites is not None:
        environment["GRPC_SSL_CIPHER_SUITES"] = suites
    return subprocess.run(
        [sys.executable, "-c", SERVER.format(imports=imports), str(certs)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
