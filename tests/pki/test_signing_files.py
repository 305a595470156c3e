"""Signing keys as files: several public ones to a file, and nothing that is not one."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.errors import SetupError
from broker.pki.signing import (
    make_signing_key,
    public_path,
    read_public_key,
    read_public_keys,
    read_signing_key,
)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two private keys."""
    paths = tmp_path / "old.pem", tmp_path / "new.pem"
    for path in paths:
        make_signing_key(path)
    return paths


def test_a_key_file_holds_several_keys_and_comments(two: tuple[Path, Path], tmp_path: Path) -> None:
    """As `cat old.pub new.pub` makes it, with comment lines between."""
    together = tmp_path / "keys.pem"
    together.write_bytes(b"# until 2027\n" + b"\n".join(public_path(path).read_bytes() for path in two))
    expected = [read_signing_key(path).public_key().public_bytes_raw() for path in two]
    assert [key.public_bytes_raw() for key in read_public_keys(together)] == expected
    with pytest.raises(SetupError, match="holds 2 keys"):
        read_public_key(together)


def test_a_private_key_has_its_mode_from_the_start(two: tuple[Path, Path]) -> None:
    """0600 for the private half; its public half is the same key."""
    assert two[0].stat().st_mode & 0o777 == 0o600
    assert read_public_key(two[0]) == read_public_key(public_path(two[0]))


def test_what_is_no_signing_key_is_refused(two: tuple[Path, Path], tmp_path: Path) -> None:
    """Keys of another kind, cut ones, text beside keys, and too many of them."""
    public = public_path(two[0]).read_bytes()
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    for data, says in (
        (b"", "1 to 100 public keys"),
        (public[:-30], "1 to 100 public keys"),
        (public + b"trust me\n", "and nothing else"),
        (public * 101, "1 to 100 public keys"),
        (public.replace(b"MCow", b"MCox"), "cannot be read"),
        (other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "not Ed25519"),
        (two[0].read_bytes(), "1 to 100 public keys"),
    ):
        path = tmp_path / "keys.pem"
        path.write_bytes(data)
        with pytest.raises(SetupError, match=says):
            read_public_keys(path)


def test_a_private_key_that_others_can_read_is_refused(two: tuple[Path, Path]) -> None:
    """Its mode is its only protection."""
    two[0].chmod(0o604)
    with pytest.raises(SetupError, match="can be read by others"):
        read_signing_key(two[0])
