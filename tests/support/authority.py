"""A time-stamp authority (RFC 3161) made of OpenSSL's command behind a tiny HTTP server, and its bad moods."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

OPENSSL = shutil.which("openssl")
_CONFIG = """
[tsa]
default_tsa = one
[one]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""


@dataclass
class TestAuthority:
    """`root` is what is believed. `mood`: good, slow, garbage, other-bytes, refuses, long, empty, replay."""

    __test__ = False
    folder: Path
    url: str = ""
    mood: str = "good"
    asked: int = 0
    root: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.root = self.folder / "root.pem"
        self._make()
        (self.folder / "config").write_text(_CONFIG.format(folder=self.folder))
        (self.folder / "serial").write_text("01\n")

    def reply(self, query: bytes) -> bytes:
        """What OpenSSL answers."""
        (self.folder / "query").write_bytes(query)
        command = [
            *(str(OPENSSL), "ts", "-reply", "-config", str(self.folder / "config"), "-section", "one"),
            *("-queryfile", str(self.folder / "query"), "-signer", str(self.folder / "tsa.pem")),
            *(
                "-inkey",
                str(self.folder / "tsa.key"),
                "-chain",
                str(self.root),
                "-out",
                str(self.folder / "reply"),
            ),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=20)
        return (self.folder / "reply").read_bytes()

    def query(self, data: bytes) -> bytes:
        """A query for these bytes, by OpenSSL."""
        (self.folder / "data").write_bytes(data)
        command = [str(OPENSSL), "ts", "-query", "-data", str(self.folder / "data"), "-sha256", "-cert"]
        return subprocess.run(command, check=True, capture_output=True, timeout=20).stdout

    def answer(self, query: bytes) -> tuple[int, bytes]:
        """Status and body, by mood."""
        self.asked += 1
        match self.mood:
            case "slow":
                time.sleep(3)
                return 200, b""
            case "garbage":
                return 200, b"<html>Welcome to our hotel</html>"
            case "empty":
                return 200, b""
            case "long":
                return 200, b"\x30" * 100_000
            case "refuses":
                return 503, b"closed for the weekend"
            case "other-bytes":
                return 200, self.reply(self.query(b"something else"))
            case "replay":  # a good answer over these very bytes, to an older question
                return 200, (self.folder / "reply").read_bytes()
        return 200, self.reply(query)

    def _make(self) -> None:
        """The root and, signed by it, the authority's own certificate."""
        root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root = _certificate("Example Root", root_key, "Example Root", root_key, tsa=False)
        own = _certificate("Example Time-stamping", key, "Example Root", root_key, tsa=True)
        self.root.write_bytes(root.public_bytes(serialization.Encoding.PEM))
        (self.folder / "tsa.pem").write_bytes(own.public_bytes(serialization.Encoding.PEM))
        (self.folder / "tsa.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuing: ec.EllipticCurvePrivateKey,
    *,
    tsa: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=not tsa, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuing.public_key()), critical=False)
    )
    if tsa:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(issuing, hashes.SHA256())


@contextmanager
def authority_at(folder: Path) -> Iterator[TestAuthority]:
    """An authority that answers over HTTP until the end of the block."""
    if OPENSSL is None:
        pytest.skip("NOT TESTED: time stamps need OpenSSL's command, and it is not installed here")
    made = TestAuthority(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/timestamp-query"
            status, body = made.answer(query)
            self.send_response(status)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):  # who waited too long has hung up
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}/tsr"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
