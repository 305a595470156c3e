"""The sentences that stand in for gRPC's bare UNAVAILABLE, by real handshakes."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from pathlib import Path

import pytest

from broker.pki.explain import explain_tls
from broker.pki.files import certificates_pem, read_certificates
from broker.pki.tls import TlsFiles, https_context
from tests.pki.conftest import serving
from tests.pki.test_selfcheck import listening, silent, speak


async def why(target: str | int, ca: Path, name: str | None = "cfrs-mdt", **options: float | str) -> str:
    """Explain off the event loop, as the client of a broker in the same process would."""
    address = f"127.0.0.1:{target}" if isinstance(target, int) else target
    files = (ca / name / "cert.pem", ca / name / "key.pem") if name else ()
    return await asyncio.to_thread(explain_tls, address, ca / "ca.pem", *files, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["127.0.0.1:{}", "localhost:{}", "dns:///localhost:{}", "ipv4:127.0.0.1:{}"])
async def test_a_good_handshake_is_said_to_be_good(port: int, certs: Path, target: str) -> None:
    """Nothing is blamed on certificates that work."""
    assert "succeeds now" in await why(target.format(port), certs)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (None, "turned our certificate away: none was shown"),
        ("cfrs-expired", "turned our certificate away: it expired on 20"),
        ("cfrs-future", "turned our certificate away: it is not valid before 20"),
        ("live", "turned our certificate away: it is not a client certificate"),
    ],
)
async def test_what_is_wrong_with_our_certificate(port: int, certs: Path, name: str | None, words: str) -> None:
    """gRPC closes without an alert; the reason is found in the certificate that was shown."""
    assert words in await why(port, certs, name)


async def test_our_certificate_from_another_authority(port: int, certs: Path, others: Path) -> None:
    """A chain that does not lead to the authority we were given is said to be that."""
    stranger = [others / "cfrs-mdt" / name for name in ("cert.pem", "key.pem")]
    said = await asyncio.to_thread(explain_tls, f"127.0.0.1:{port}", certs / "ca.pem", *stranger)
    assert "it does not lead" in said


async def test_our_certificate_without_its_issuer(port: int, certs: Path, tmp_path: Path) -> None:
    """A leaf alone in its file, the commonest slip, is said to be that."""
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(certificates_pem(read_certificates(certs / "cfrs-mdt" / "cert.pem")[0]))
    key = certs / "cfrs-mdt" / "key.pem"
    said = await asyncio.to_thread(explain_tls, f"127.0.0.1:{port}", certs / "ca.pem", leaf, key)
    assert "it does not lead" in said


async def test_a_server_that_trusts_others(certs: Path, others: Path) -> None:
    """Where our certificate looks good and is still turned away, the server's trust is what is left."""
    mixed = TlsFiles(others / "ca.pem", certs / "live" / "cert.pem", certs / "live" / "key.pem")
    async with serving(mixed) as port:
        assert "the server trusts another authority" in await why(port, certs)


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("broker", "shows a certificate that has expired"),
        ("cfrs-mdt", "shows a certificate that is not a server's"),
    ],
)
async def test_what_is_wrong_with_the_servers_certificate(certs: Path, server: str, words: str) -> None:
    """An expired server certificate, and a system's used as a server's, are told apart."""
    async with serving(TlsFiles.within(certs, server)) as port:
        said = await why(port, certs, server_name="127.0.0.1")
    assert words in said


async def test_a_server_of_another_authority(certs: Path, others: Path) -> None:
    """An impostor, or the wrong ca.pem, is named as such."""
    async with serving(TlsFiles.within(others, "live")) as port:
        said = await why(port, certs)
    assert said.endswith(f"does not come from the authority in {certs / 'ca.pem'}")


async def test_a_name_the_server_does_not_have(port: int, certs: Path) -> None:
    """Connecting by another name than the certificate's says which."""
    assert "for other names than broker.example" in await why(port, certs, server_name="broker.example")


async def test_places_where_there_is_no_broker(certs: Path) -> None:
    """No listener, no such name, no TLS 1.3, silence and a bad address each have a sentence."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    assert "nothing listens at" in await why(free, certs)
    assert "cannot be resolved" in await why("no-such-host.invalid:1", certs)
    assert "not an address" in await why("localhost", certs)
    old = speak(certs, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    for answer in (old, lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")):
        with listening(answer) as port:
            assert "not with TLS 1.3" in await why(port, certs)
    start = time.monotonic()
    with listening(silent) as port:
        assert "does not answer" in await why(port, certs, timeout=0.3)
    assert time.monotonic() - start < 3


async def test_files_that_cannot_be_used(port: int, certs: Path) -> None:
    """A missing certificate and a key of another are told before the server is blamed."""
    assert "cannot read" in await why(port, certs, "nobody")
    key = certs / "live" / "key.pem"
    cert = certs / "cfrs-mdt" / "cert.pem"
    said = await asyncio.to_thread(explain_tls, f"127.0.0.1:{port}", certs / "ca.pem", cert, key)
    assert "not a pair" in said


@pytest.mark.parametrize(
    ("protocol", "says"), [("h2", "succeeds now"), ("http/1.1", "is this the broker's HTTPS")]
)
async def test_a_server_that_waits_for_us_to_speak(certs: Path, protocol: str, says: str) -> None:
    """One that accepted the certificate and waits is not said to refuse it; an HTTPS port is told for one."""
    context = https_context(TlsFiles.within(certs, "live"))
    context.set_alpn_protocols([protocol])
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(
        lambda _reader, writer: held.append(writer), "127.0.0.1", 0, ssl=context
    )
    async with server:
        said = await why(server.sockets[0].getsockname()[1], certs, timeout=0.5)
        held.pop().close()
    assert says in said
