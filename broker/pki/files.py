"""Reading and writing PEM files.

Keys are created with mode 0600, whatever the umask, in folders with mode 0700 that appear complete or
not at all. Refused: to replace a key, to follow a link where one is to be written, and an authority's key
that others can read.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from broker.errors import SetupError

_LARGEST = 1 << 20


def make_folders(path: Path) -> None:
    """Make a folder and its missing parents, mode 0755 whatever the umask; existing ones are left alone."""
    try:
        for folder in [*reversed(path.parents), path]:
            if not folder.exists():
                folder.mkdir(0o755)
                folder.chmod(0o755)
    except OSError as error:
        raise SetupError(f"cannot make {path}: {error.strerror}") from error


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A staged folder, mode 0700, that becomes `target` when the block ends well and vanishes otherwise.

    Raises `SetupError` if `target` exists.
    """
    if target.exists():
        raise SetupError(f"{target} already exists: it is never overwritten; move it away first")
    staged = target.parent / f".{target.name}.{secrets.token_hex(6)}"
    try:
        staged.mkdir(0o700)
        yield staged
        staged.rename(target)
    except OSError as error:
        raise SetupError(f"cannot write {target}: {error.strerror}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Create a file that did not exist, with exactly this mode from its first moment, and sync it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode & 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise SetupError(f"{path} already exists: it is never overwritten; move it away first") from error
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from error


def replace(path: Path, data: bytes, mode: int) -> None:
    """Put a new file in the place of `path` in one step: a reader finds the old or the new, never a part."""
    staged = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        write_new(staged, data, mode)
        staged.rename(path)
    except OSError as error:
        raise SetupError(f"cannot write {path}: {error.strerror}") from error
    finally:
        staged.unlink(missing_ok=True)


def certificates_pem(*certificates: x509.Certificate) -> bytes:
    """The certificates as PEM, in the order given."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as unencrypted PKCS #8 PEM; its protection is the file's mode."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_file(path: Path) -> bytes:
    """The bytes of a file of at most 1 MiB; raises `SetupError` naming it if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > _LARGEST:
        raise SetupError(f"{path} is too large to be a certificate or key")
    return data


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file, at least one; raises `SetupError`."""
    try:
        return x509.load_pem_x509_certificates(read_file(path))
    except ValueError as error:
        raise SetupError(f"{path} holds no readable PEM certificate") from error


def read_request_key(path: Path) -> ec.EllipticCurvePublicKey:
    """The public key of a certificate signing request that proves possession of it; raises `SetupError`."""
    try:
        request = x509.load_pem_x509_csr(read_file(path))
        key = request.public_key()
        valid = request.is_signature_valid
    except ValueError as error:
        raise SetupError(f"{path} is not a readable PEM certificate signing request") from error
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey):
        raise SetupError(f"{path} is not signed by the P-256 key it names")
    return key


def read_authority_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """An authority's private key; raises `SetupError` if others can read the file or it is no EC key."""
    data = read_file(path)
    if path.stat().st_mode & 0o077:
        raise SetupError(
            f"{path} can be read by others: chmod 600 it, and replace the authority if they may have"
        )
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError) as error:
        raise SetupError(f"{path} holds no readable private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SetupError(f"{path} holds no EC private key")
    return key
