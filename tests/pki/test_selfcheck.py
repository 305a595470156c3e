"""The TLS 1.2 self-check against servers that are not gRPC: what does not answer rightly does not pass."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from broker.errors import SetupError
from broker.pki.selfcheck import refuse_tls12


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port of 127.0.0.1 where each connection is given to `answer`, then closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def speak(certs: Path, lowest: ssl.TLSVersion, highest: ssl.TLSVersion) -> Callable[[socket.socket], None]:
    """Shake hands like a server that requires a client certificate and takes these versions."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certs / "live" / "cert.pem", certs / "live" / "key.pem")
    context.load_verify_locations(certs / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version, context.maximum_version = lowest, highest

    def answer(connection: socket.socket) -> None:
        with suppress(OSError):
            context.wrap_socket(connection, server_side=True).close()

    return answer


def silent(connection: socket.socket) -> None:
    """Say nothing until the other side gives up."""
    while connection.recv(4096):
        pass


def test_a_server_that_takes_only_tls13_passes(certs: Path) -> None:
    """OpenSSL's refusal, an alert, counts as one."""
    with listening(speak(certs, ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)) as port:
        refuse_tls12("127.0.0.1", port)


def test_a_server_that_takes_tls12_is_seen_though_it_wants_a_certificate(certs: Path) -> None:
    """We show no certificate, so the handshake fails in the end; that TLS 1.2 was taken up counts."""
    with (
        listening(speak(certs, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)) as port,
        pytest.raises(SetupError, match=r"accepts TLS 1\.2"),
    ):
        refuse_tls12("127.0.0.1", port)


def test_a_server_without_tls13_does_not_pass(certs: Path) -> None:
    """TLS 1.2 alone fails the control."""
    with (
        listening(speak(certs, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)) as port,
        pytest.raises(SetupError, match=r"does not take up a TLS 1\.3"),
    ):
        refuse_tls12("127.0.0.1", port)


@pytest.mark.parametrize(
    ("answer", "timeout", "words"),
    [
        (lambda connection: connection.recv(1), 5, "does not take up"),
        (lambda connection: connection.sendall(b"\x00\x00\x12\x04"), 5, "does not speak TLS"),
        (silent, 0.3, "did not answer"),
    ],
)
def test_a_port_that_is_not_ours_does_not_pass(
    answer: Callable[[socket.socket], None], timeout: float, words: str
) -> None:
    """A port that closes, speaks plain HTTP/2, or says nothing is an error, within the time given."""
    start = time.monotonic()
    with listening(answer) as port, pytest.raises(SetupError, match=words):
        refuse_tls12("127.0.0.1", port, timeout=timeout)
    assert time.monotonic() - start < 4


def test_a_closed_port_does_not_pass() -> None:
    """Where nothing listens there is nothing to serve."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SetupError, match="cannot be reached"):
        refuse_tls12("127.0.0.1", port)
