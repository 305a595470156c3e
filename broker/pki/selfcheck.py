"""A server's check on itself: it offers its own port a TLS 1.2 hello and refuses to run if that is taken up.

gRPC has no minimum version. `broker/__init__.py` leaves TLS 1.2 without a usable suite, but only if it ran
before gRPC was first used in the process; this sees what the port really does, however it was started.
"""

from __future__ import annotations

import socket
import ssl
import time

from broker.errors import SetupError

# First byte of a TLS record (RFC 8446 section 5.1): what the server answers a hello with.
_ALERT, _HANDSHAKE = 0x15, 0x16


def refuse_tls12(host: str, port: int, timeout: float = 5.0) -> None:
    """Return if the gRPC port at `host:port` takes a TLS 1.3 hello and turns a TLS 1.2 hello away.

    Raises `SetupError` otherwise, also when the port does not answer within `timeout` seconds in all: a
    server must then stop. Looks at the first byte of the reply, since a server that picked TLS 1.2 would
    still fail this handshake later, for want of our certificate. Blocks: call it with `asyncio.to_thread`.
    """
    deadline = time.monotonic() + timeout
    where = f"{host}:{port}"
    # The control: without it a port that answers nothing at all would pass.
    if not _takes(host, port, ssl.TLSVersion.TLSv1_3, deadline):
        raise SetupError(f"{where} does not take up a TLS 1.3 handshake")
    if _takes(host, port, ssl.TLSVersion.TLSv1_2, deadline):
        raise SetupError(
            f"{where} accepts TLS 1.2: import `broker` before `grpc`, and use elliptic-curve server keys"
        )


def _takes(host: str, port: int, version: ssl.TLSVersion, deadline: float) -> bool:
    """Whether the port answers a hello that offers `version` and nothing newer with a handshake message."""
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=_left(deadline, where)) as connection:
            connection.settimeout(_left(deadline, where))
            connection.sendall(_hello(version))
            connection.settimeout(_left(deadline, where))
            reply = connection.recv(1)
    except TimeoutError as error:
        raise SetupError(f"{where} did not answer a TLS hello in time") from error
    except ConnectionResetError:
        return False
    except OSError as error:
        raise SetupError(f"{where} cannot be reached: {error.strerror}") from error
    if reply not in (b"", bytes([_ALERT]), bytes([_HANDSHAKE])):
        raise SetupError(f"{where} does not speak TLS")
    return reply == bytes([_HANDSHAKE])


def _hello(version: ssl.TLSVersion) -> bytes:
    """A client hello that offers `version` with every suite this OpenSSL knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only the first byte of the reply is read
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.set_alpn_protocols(["h2"])
    context.maximum_version = version
    context.minimum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake cannot finish before the server has spoken")


def _left(deadline: float, where: str) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise SetupError(f"{where} did not answer a TLS hello in time")
    return left
