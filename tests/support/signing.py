"""Agencies that sign, for tests: a key of each, and an agreement's file with whatever a test changes in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.core.signature import Signature, file_name, sign
from broker.core.signingkey import SigningKey
from broker.pki.signing import public_pem

RISK = "records.fire.v1.PremisesRisk"


def today() -> date:
    """The day in UTC."""
    return datetime.now(UTC).date()


@dataclass(frozen=True)
class Signatory:
    """An agency with a signing key."""

    agency: str
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def enrolled(self, valid_from: date, valid_until: date | None = None) -> SigningKey:
        """The key as a directory holds it."""
        return SigningKey(self.agency, self.public, valid_from, valid_until)

    def sign(self, file: bytes, on: date | None = None) -> Signature:
        """Its signature on a file."""
        return sign(file, self.agency, self.key, on or today(), "Pat Example", "Caldicott Guardian")

    def put(self, folder: Path, name: str, file: bytes) -> None:
        """The file and this agency's signature in a folder, as `broker agreement sign` leaves them."""
        (folder / file_name(name, self.agency)).write_bytes(self.sign(file).to_bytes())
        (folder / name).write_bytes(file)

    def pin(self, path: Path) -> Path:
        """The public key as a file."""
        path.write_bytes(public_pem(self.key.public_key()))
        return path


def agreement(
    *,
    id: str = "cumbria-blue-light",
    version: int = 1,
    provider: str = "cfrs",
    requester: str = "nwas",
    purpose: str = "emergency-response",
    permitted: Iterable[str] = ("uprn",),
    roles: Iterable[str] = ("dispatcher",),
    valid_from: str = "2026-01-01",
    valid_until: str = "2030-12-31",
    assurance: str = "asserted",
    queries: bool = False,
    record_type: str = RISK,
    scheme: str = "uprn",
) -> bytes:
    """The TOML file of an agreement on premises' risks between two parties."""

    def listed(values: Iterable[str]) -> str:
        return "[" + ", ".join(f'"{value}"' for value in values) + "]"

    return f"""\
id = "{id}"
version = {version}
title = "Premises risk"
purpose = "{purpose}"
valid_from = {valid_from}
valid_until = {valid_until}
review_on = 2026-06-30

[legal]
basis = "art6-1-e"

[directives]
weight = "recorded"

[actors]
minimum_assurance = "{assurance}"

[[parties]]
agency = "{requester}"
regime = "uk-gdpr"

[[parties]]
agency = "{provider}"
regime = "uk-gdpr"

[[flows]]
provider = "{provider}"
requester = "{requester}"
record_type = "{record_type}"
permitted = {listed(permitted)}
roles = {listed(roles)}
subject_schemes = ["{scheme}"]
queries = {str(queries).lower()}
""".encode()
