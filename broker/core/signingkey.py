"""Owns an agency's signing keys: their ids, the days on which they count, and how one key vouches for the next.

Ed25519 (RFC 8032), distinct from the keys of certificates: these open no connection, they sign agreements. A
key ended early counts on no day any more, those before its end included: whoever stole it can write any date.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.core import base64_strict, statement
from broker.errors import IntegrityError

PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64
ENDORSEMENT_FORMAT = "bluelight-broker/agency-key/v1"


def key_id(public: bytes) -> str:
    """Hex SHA-256 of the DER SubjectPublicKeyInfo of a raw Ed25519 key, as certificates' keys are named too.

    Raises IntegrityError for what is no such key.
    """
    der = load_public(public).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def load_public(public: bytes) -> Ed25519PublicKey:
    """The key of 32 raw bytes. Raises IntegrityError."""
    if len(public) != PUBLIC_BYTES:
        raise IntegrityError(f"an Ed25519 public key is {PUBLIC_BYTES} bytes, not {len(public)}")
    return Ed25519PublicKey.from_public_bytes(public)


def holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether the key made this signature over this message (RFC 8032 section 5.1.7)."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        load_public(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Proposal:
    """Who asked for a key that waits for a second person: actor, system's certificate key, and when."""

    system: str
    actor: str
    key_digest: str
    at: datetime


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key of one agency. Days are whole days in UTC; `valid_until` is the last one, None: no end."""

    agency: str
    public: bytes
    valid_from: date
    valid_until: date | None = None
    # Ended before its time: counts no more.
    ended_on: date | None = None
    # Set while it waits for a second person, and ever after where it never got one.
    proposal: Proposal | None = None
    id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", key_id(self.public))
        if self.valid_until is not None and self.valid_until < self.valid_from:
            raise IntegrityError("valid_until: is before valid_from")

    def problem_on(self, day: date) -> str:
        """Why the key does not count on `day`, in words that follow its name; empty where it does."""
        if self.ended_on is not None:
            return f"was ended on {self.ended_on}"
        if self.proposal is not None:
            return "waits for a second person to confirm it"
        if day < self.valid_from:
            return f"counts from {self.valid_from}, not yet on {day}"
        if self.valid_until is not None and day > self.valid_until:
            return f"counted until {self.valid_until}, not on {day}"
        return ""

    def status(self, today: date) -> str:
        """One of `ended`, `proposed`, `not yet in force`, `expired`, `in force`."""
        if self.ended_on is not None:
            return "ended"
        if self.proposal is not None:
            return "proposed"
        if today < self.valid_from:
            return "not yet in force"
        return "in force" if not self.problem_on(today) else "expired"


@dataclass(frozen=True, slots=True)
class Endorsement:
    """A key of an agency says that another is to sign for it between these days."""

    agency: str
    key_id: str
    public: bytes
    valid_from: date
    valid_until: date | None
    signature: bytes

    def __post_init__(self) -> None:
        statement.agency(self.agency, "endorsement: agency")

    @property
    def message(self) -> bytes:
        """What is signed; the format's name keeps it from being anything else that a key could sign."""
        until = self.valid_until.isoformat() if self.valid_until else ""
        parts = (ENDORSEMENT_FORMAT, self.agency, self.valid_from.isoformat(), until)
        return b"".join(part.encode("ascii") + b"\x00" for part in parts) + self.public

    @classmethod
    def make(
        cls, agency: str, old: Ed25519PrivateKey, public: bytes, valid_from: date, valid_until: date | None
    ) -> Self:
        """The endorsement of the new key `public` by `old`."""
        signer = key_id(old.public_key().public_bytes_raw())
        key_id(public)
        unsigned = cls(agency, signer, public, valid_from, valid_until, b"")
        return cls(agency, signer, public, valid_from, valid_until, old.sign(unsigned.message))

    def made_by(self, key: SigningKey) -> bool:
        """Whether this key of the same agency made it."""
        same = key.agency == self.agency and key.id == self.key_id
        return same and holds(key.public, self.signature, self.message)

    def to_bytes(self) -> bytes:
        """The file."""
        return statement.encode(
            {
                "format": ENDORSEMENT_FORMAT,
                "agency": self.agency,
                "key": self.key_id,
                "new_key": base64_strict.encode(self.public),
                "valid_from": self.valid_from.isoformat(),
                "valid_until": self.valid_until.isoformat() if self.valid_until else "",
                "signature": base64_strict.encode(self.signature),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The endorsement in a file. Raises IntegrityError for anything but what `to_bytes` gives."""
        what = "endorsement"
        names = ("format", "agency", "key", "new_key", "valid_from", "valid_until", "signature")
        values = statement.decode(data, names, what)
        if values["format"] != ENDORSEMENT_FORMAT:
            raise IntegrityError(f"{what}: its format is not {ENDORSEMENT_FORMAT}")
        until = values["valid_until"]
        return cls(
            agency=values["agency"],
            key_id=values["key"],
            public=base64_strict.decode(values["new_key"], f"{what}: new_key", length=PUBLIC_BYTES),
            valid_from=statement.day(values["valid_from"], f"{what}: valid_from"),
            valid_until=statement.day(until, f"{what}: valid_until") if until else None,
            signature=base64_strict.decode(values["signature"], f"{what}: signature", length=SIGNATURE_BYTES),
        )
