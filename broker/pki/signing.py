"""Agencies' signing keys as PEM files: Ed25519, private ones mode 0600, public ones one or several to a file.

Owns reading and writing them. Refuses to replace a key, a private key that others can read, keys of another
kind, and text in a key file that is neither a key nor a comment.
"""

from __future__ import annotations

import re
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from broker.errors import SetupError
from broker.pki.files import read_file, write_new

MAX_KEYS = 100
_BLOCK = re.compile(rb"-----BEGIN PUBLIC KEY-----\n[A-Za-z0-9+/=\n]+-----END PUBLIC KEY-----\n?")


def make_signing_key(path: Path) -> Ed25519PrivateKey:
    """A new key in a new file `path`, mode 0600, its public half in `<path>.pub`. Raises SetupError."""
    key = Ed25519PrivateKey.generate()
    write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    write_new(public_path(path), public_pem(key.public_key()), 0o644)
    return key


def public_path(path: Path) -> Path:
    """Where the public half of the private key `path` lies."""
    return path.with_name(f"{path.name}.pub")


def public_pem(key: Ed25519PublicKey) -> bytes:
    """The public key as PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_signing_key(path: Path) -> Ed25519PrivateKey:
    """A private key. Raises SetupError, also where others than its owner can read the file."""
    data = read_file(path)
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SetupError(f"{path} holds no readable private key without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SetupError(f"{path} holds no Ed25519 key: make one with `broker agency key new`")
    if path.stat().st_mode & 0o077:
        raise SetupError(f"{path} can be read by others: chmod 600 it, and replace the key if they may have")
    return key


def read_public_keys(path: Path) -> tuple[Ed25519PublicKey, ...]:
    """The public keys of a file, at least one; lines that begin with # are comments. Raises SetupError."""
    data = b"".join(line for line in read_file(path).splitlines(keepends=True) if not line.startswith(b"#"))
    blocks = _BLOCK.findall(data)
    if not 1 <= len(blocks) <= MAX_KEYS or _BLOCK.sub(b"", data).strip():
        raise SetupError(f"{path} must hold 1 to {MAX_KEYS} public keys in PEM, and nothing else")
    keys = []
    for block in blocks:
        try:
            key = load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise SetupError(f"{path} holds a public key that cannot be read") from error
        if not isinstance(key, Ed25519PublicKey):
            raise SetupError(f"{path} holds a key that is not Ed25519")
        keys.append(key)
    return tuple(keys)


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The one public key of a file, or the public half of a private one. Raises SetupError."""
    if b"PRIVATE KEY" in read_file(path):
        return read_signing_key(path).public_key()
    keys = read_public_keys(path)
    if len(keys) != 1:
        raise SetupError(f"{path} holds {len(keys)} keys; give a file with one")
    return keys[0]
