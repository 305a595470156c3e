"""Why a gRPC channel cannot be set up, in a sentence.

gRPC reports every failed handshake as UNAVAILABLE, and its servers close the connection without an alert.
This makes the handshake once more with another TLS library and, where the server does not say what it
disliked, looks at the certificate that was shown. It only observes: no call is made, and
nothing here is an excuse to connect any other way.
"""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.errors import SetupError
from broker.pki.authority import signed_by
from broker.pki.files import read_certificates

# X509_V_ERR_* codes of OpenSSL, by what the operator should look at.
_NOT_YET, _EXPIRED, _PURPOSE, _NAME, _ADDRESS = 9, 10, 26, 62, 64
_OTHER_AUTHORITY = frozenset({2, 7, 18, 19, 20, 21})

_HTTP2 = "h2"  # as gRPC says it in its handshake (RFC 7301)
_TRIES = 4


class _NotGrpc(Exception):  # noqa: N818 - not an error of ours
    """The server took the handshake, and not the protocol."""


def explain_tls(
    target: str,
    ca: Path,
    cert: Path | None = None,
    key: Path | None = None,
    *,
    server_name: str | None = None,
    timeout: float = 5.0,
) -> str:
    """One sentence on what stops a mutual-TLS 1.3 handshake with a gRPC `target`, or that nothing does.

    `server_name` is the name the certificate must have, by default the target's host. Each wait is at most
    `timeout` seconds. Never raises for what it finds. Blocks: call it with `asyncio.to_thread`.
    """
    try:
        host, port = _address(target)
        anchors, chain = read_certificates(ca), read_certificates(cert) if cert else []
        context = _context(ca, cert, key)
    except SetupError as error:
        return str(error)
    where, name = f"{host}:{port}", server_name or host
    try:
        accepted = _try(host, port, timeout, context, name)
    except _NotGrpc:
        return f"{where} speaks TLS 1.3 and not gRPC: is this the broker's HTTPS port?"
    except ssl.SSLCertVerificationError as error:
        return _servers_fault(error, where, name, ca)
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
        return f"{where} answers, but not with TLS 1.3: is this the broker's gRPC port?"
    except TimeoutError:
        return f"{where} does not answer: a firewall, a wrong address, or a server that is stuck"
    except ConnectionRefusedError:
        return f"nothing listens at {where}: is the broker running, and is this its gRPC port?"
    except socket.gaierror:
        return f"the name {host} cannot be resolved"
    except OSError as error:
        return f"{where} cannot be reached: {error.strerror or error}"
    if accepted:
        return f"the TLS handshake with {where} succeeds now: the call failed for another reason, try again"
    return f"{where} turned our certificate away: {_our_fault(chain, anchors, datetime.now(UTC))}"


def _try(host: str, port: int, timeout: float, context: ssl.SSLContext, name: str) -> bool:
    """`_shake` over a connection of its own. A server that turns a certificate away hangs up at once, and its
    reset may overtake the end of our handshake: then only another try tells that from a server without TLS."""
    for tries_left in reversed(range(_TRIES)):
        try:
            with socket.create_connection((host, port), timeout=timeout) as plain:
                return _shake(plain, context, name)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
            if not tries_left:
                raise
    raise AssertionError("unreachable")


def _address(target: str) -> tuple[str, int]:
    """Host and port of a gRPC target: `host:port` or `[v6]:port`, bare or behind dns:, ipv4: or ipv6:."""
    text = target
    for scheme in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        text = text.removeprefix(scheme)
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise SetupError(f"{target!r} is not an address of the form host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _context(ca: Path, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([_HTTP2])
    try:
        context.load_verify_locations(ca)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except OSError as error:
        raise SetupError(f"{cert} and {key} cannot be used: missing, broken, or not a pair") from error
    return context


def _shake(plain: socket.socket, context: ssl.SSLContext, name: str) -> bool:
    """Whether the server kept the connection after it saw our certificate; raises if it came not so far.

    In TLS 1.3 the client has finished before the server judges its certificate (RFC 8446 section 2), so only
    the first read tells. A gRPC server speaks first; one that waits for us to speak has accepted us.
    """
    with context.wrap_socket(plain, server_hostname=name) as connection:
        if connection.selected_alpn_protocol() != _HTTP2:
            raise _NotGrpc
        try:
            return connection.recv(1) != b""
        except TimeoutError:
            return True
        except (ssl.SSLError, ConnectionError):
            return False


def _servers_fault(error: ssl.SSLCertVerificationError, where: str, name: str, ca: Path) -> str:
    """What is wrong with the certificate the server showed."""
    code = error.verify_code
    if code in _OTHER_AUTHORITY:
        return f"the server at {where} shows a certificate that does not come from the authority in {ca}"
    if code in (_NAME, _ADDRESS):
        return f"the server at {where} shows a certificate for other names than {name}"
    if code == _EXPIRED:
        return f"the server at {where} shows a certificate that has expired, or our clock is fast"
    if code == _NOT_YET:
        return f"the server at {where} shows a certificate that is not valid yet: our clock may be slow"
    if code == _PURPOSE:
        return f"the server at {where} shows a certificate that is not a server's"
    return f"the server at {where} shows a certificate that is not acceptable: {error.verify_message}"


def _our_fault(chain: list[x509.Certificate], anchors: list[x509.Certificate], now: datetime) -> str:
    """The likeliest reason for a server to turn this chain away, as far as can be seen from here."""
    if not chain:
        return "none was shown, and the server requires one"
    leaf = chain[0]
    if now > leaf.not_valid_after_utc:
        return f"it expired on {leaf.not_valid_after_utc:%Y-%m-%d}"
    if now < leaf.not_valid_before_utc:
        return f"it is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC, or our clock is slow"
    if not _for_clients(leaf):
        return "it is not a client certificate (extended key usage clientAuth)"
    if not _leads_to(chain, anchors):
        return "it does not lead, with the certificates after it in its file, to the authority we were given"
    return "it looks good from here, so the server trusts another authority, or its clock is wrong"


def _for_clients(leaf: x509.Certificate) -> bool:
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in usages


def _leads_to(chain: list[x509.Certificate], anchors: list[x509.Certificate]) -> bool:
    """Whether each certificate is signed by the next, and the last by an anchor or is one."""
    links = pairwise(chain)
    if not all(signed_by(child, parent) for child, parent in links):
        return False
    return chain[-1] in anchors or any(signed_by(chain[-1], anchor) for anchor in anchors)
