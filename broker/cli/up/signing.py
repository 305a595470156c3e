"""Each agency's part of its agreements: a signing key, a signature, and the copies its adapters hold.

Stands for people at each agency, who would do this with `broker agency key new` and `broker agreement sign`.
Doing it again changes nothing: a key is made once, and a file signed once for each of its parties.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.cli.up.state import State
from broker.core import agreement as agreements
from broker.core.signature import Signature, file_name, sign
from broker.pki.files import make_folders, replace
from broker.pki.signing import make_signing_key, public_path, read_signing_key

SIGNATORY, ROLE = "Demonstration", "Caldicott Guardian"


def files() -> Iterator[tuple[str, bytes]]:
    """The demonstration's agreements: file name and bytes, in order."""
    folder = resources.files("broker.cli.up").joinpath("agreements")
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        yield file.name, file.read_bytes()


def key_file(state: State, agency: str) -> Path:
    """An agency's private signing key."""
    return state.agency(agency) / "signing.pem"


def public_file(state: State, agency: str) -> Path:
    """Its public half, which the operator enrols and the agency's adapters pin."""
    return public_path(key_file(state, agency))


def copies(state: State, agency: str) -> Path:
    """The folder of an agency's copies of its agreements."""
    return state.agency(agency) / "agreements"


def signed(state: State, name: str, data: bytes) -> list[Signature]:
    """Every party's signature on a file; what is missing is made, and lies with each party's copy."""
    parties = [party.agency for party in agreements.read(data).parties]
    signatures = [_signature(state, agency, name, data) for agency in parties]
    for agency in parties:
        folder = copies(state, agency)
        for each in signatures:
            _put(folder / file_name(name, each.agency), each.to_bytes())
        _put(folder / name, data)
    return signatures


def _key(state: State, agency: str) -> Ed25519PrivateKey:
    path = key_file(state, agency)
    if path.exists():
        return read_signing_key(path)
    make_folders(copies(state, agency))
    for folder in (path.parent, copies(state, agency)):
        folder.chmod(0o700)
    return make_signing_key(path)


def _signature(state: State, agency: str, name: str, data: bytes) -> Signature:
    key, kept = _key(state, agency), copies(state, agency) / file_name(name, agency)
    if kept.exists():
        before = Signature.from_bytes(kept.read_bytes())
        if before.digest == agreements.digest(data):
            return before
    return sign(data, agency, key, datetime.now(UTC).date(), SIGNATORY, ROLE)


def _put(path: Path, data: bytes) -> None:
    if not path.exists() or path.read_bytes() != data:
        replace(path, data, 0o644)
