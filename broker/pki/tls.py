"""TLS as each port uses it: gRPC servers and channels with mutual TLS, and the HTTPS context.

Owns reading a party's three files together and again when they change, so that a renewed certificate or a new
root is used from the next handshake on, without a restart. Refuses a key that does not belong to its
certificate (half of a renewal: the last good pair stays in use), a server key that is not elliptic (that is
what keeps TLS 1.2 out of gRPC, see `broker/__init__.py`), and a gRPC client without a certificate.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from broker.errors import SetupError
from broker.pki.files import read_file

log = logging.getLogger(__name__)

# TLS 1.2 suites of the HTTPS port (RFC 9325 section 4.2); TLS 1.3 suites are not affected by this list.
_HTTPS_CIPHERS = "ECDHE+AESGCM"

_Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where a party keeps what it trusts (`ca`), its certificate with issuing certificate, and its key."""

    ca: Path
    cert: Path
    key: Path

    @classmethod
    def within(cls, certs: Path, name: str) -> TlsFiles:
        """The files of `<agency>-<system>` or of a server in a folder laid out by `broker.pki.folder`."""
        return cls(certs / "ca.pem", certs / name / "cert.pem", certs / name / "key.pem")

    def read(self) -> TlsMaterial:
        """Read all three; raises `SetupError` if one is missing or broken, or the key is another's."""
        ca, cert, key = read_file(self.ca), read_file(self.cert), read_file(self.key)
        if self.key.stat().st_mode & 0o007:
            raise SetupError(f"{self.key} can be read by everybody; run: chmod 600 {self.key}")
        try:
            x509.load_pem_x509_certificates(ca)
            leaf = x509.load_pem_x509_certificates(cert)[0]
            private = load_pem_private_key(key, None)
            same = private.public_key() == leaf.public_key()
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SetupError(f"{self.ca}, {self.cert} or {self.key} is not readable PEM") from error
        if not same:
            raise SetupError(f"{self.key} is not the key of {self.cert}")
        return TlsMaterial(ca, cert, key, leaf)

    def stamp(self) -> _Stamp | None:
        """Changes whenever a file is replaced or written; None while one is missing."""
        try:
            found = [path.stat() for path in (self.ca, self.cert, self.key)]
        except OSError:
            return None
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in found)


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """The bytes of `TlsFiles` at one moment (PEM), and the parsed leaf."""

    ca: bytes
    cert: bytes
    key: bytes
    leaf: x509.Certificate


class Reloader:
    """Gives the current material of some files; reads them again only when they have changed on disk."""

    def __init__(self, files: TlsFiles, read: Callable[[TlsFiles], TlsMaterial] = TlsFiles.read) -> None:
        self._files = files
        self._read = read
        self._lock = threading.Lock()
        self._stamp = files.stamp()
        self.material = read(files)

    def changed(self) -> TlsMaterial | None:
        """The new material if the files have changed and hold together, else None: keep what you have."""
        with self._lock:
            stamp = self._files.stamp()
            if stamp is None or stamp == self._stamp:
                return None
            # Taken before reading: a write that comes between changes it again, so is read next time.
            self._stamp = stamp
            try:
                self.material = self._read(self._files)
            except SetupError as error:
                log.warning("certificate not reloaded, the previous one stays in use: %s", error)
                return None
            return self.material


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials for a gRPC server: its key is elliptic, a client certificate from `files.ca` is required.

    Raises `SetupError` if the files do not hold together now; later changes that do not are only
    logged.
    """
    reloader = Reloader(files, _read_elliptic)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        material = reloader.changed()
        return None if material is None else _configuration(material)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(reloader.material),
        # The type stub leaves out None, which means no change.
        cast("Callable[[], grpc.ServerCertificateConfiguration]", fetch),
        require_client_authentication=True,
    )


def channel_credentials(files: TlsFiles) -> grpc.ChannelCredentials:
    """Credentials for a gRPC channel: trust `files.ca` only, show our certificate. Raises `SetupError`."""
    material = files.read()
    return grpc.ssl_channel_credentials(
        root_certificates=material.ca, private_key=material.key, certificate_chain=material.cert
    )


def https_context(files: TlsFiles) -> ssl.SSLContext:
    """The HTTPS port's context: TLS 1.3, or 1.2 with ECDHE and AES-GCM; a client certificate is optional.

    A certificate that is shown must come from `files.ca`, or the handshake fails. For uvicorn:
    `uvicorn.Config(app, ssl_context_factory=lambda config, default: https_context(files),
    http="broker.console.peer:PeerCertificateProtocol")`. Raises `SetupError` if
    the files do not hold together now.
    """
    reloader = Reloader(files)
    try:
        outer = _https_context(files)
    except OSError as error:  # ssl.SSLError is one: OpenSSL is stricter than who read them before
        raise SetupError(f"{files.ca}, {files.cert} or {files.key} cannot be used: {error.strerror}") from error
    inner = outer

    def renew(connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _outer: ssl.SSLContext) -> None:
        nonlocal inner
        if reloader.changed() is not None:
            try:
                inner = _https_context(files)
            except (OSError, SetupError) as error:
                log.warning("certificate not reloaded, the previous one stays in use: %s", error)
        connection.context = inner

    _on_hello(outer, renew)
    return outer


def _on_hello(context: ssl.SSLContext, callback: Callable[..., None]) -> None:
    """OpenSSL asks for the server name at every hello, whether or not the client sent one."""
    context.sni_callback = callback


def _https_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_HTTPS_CIPHERS)
    # A ticket key would live as long as the process, and end forward secrecy with it (RFC 9325 section 3.4).
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(files.ca)
    context.load_cert_chain(files.cert, files.key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.cert)], root_certificates=material.ca
    )


def _read_elliptic(files: TlsFiles) -> TlsMaterial:
    material = files.read()
    if not isinstance(material.leaf.public_key(), ec.EllipticCurvePublicKey):
        raise SetupError(
            f"{files.key} must be an elliptic-curve key: with any other, TLS 1.2 could be negotiated"
        )
    return material
