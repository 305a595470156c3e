"""Owns a party's signature on an agreement: what is signed, the file it is kept in, and when it counts.

What is signed (Ed25519, RFC 8032):

    "bluelight-broker/agreement/v1" 00 | agency | 00 | SHA-256 of the file's bytes | said

`said` is the canonical JSON (RFC 8785) of `role`, `signatory` and `signed_at`, so that nobody can give a
signature another day or another name. The first words keep it from passing for anything else; the digest has
a fixed length, so it has one reading. Where people signed on paper, the agency's key attests that they did:
the first words are then "bluelight-broker/agreement-on-paper/v1", and `said` has a member `paper` too, of
`attested_at`, `delegation`, `gateway_reference` and `sha256`; `signed_at` is the day on the paper.

Refused: a signature by a key that did not count on the day of signing (on paper: of attesting) and on the day
it is used, over other bytes, by no party, by one party twice, and a party without any.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.core import base64_strict, canonical, statement
from broker.core.canonical import Json
from broker.core.signingkey import SIGNATURE_BYTES, SigningKey, holds, key_id
from broker.errors import IntegrityError, InvalidRequest

FORMAT = "bluelight-broker/agreement/v1"
ON_PAPER = "bluelight-broker/agreement-on-paper/v1"
ALGORITHM = "ed25519"
SUFFIX = ".sig"
_WHAT = "signature"
_HEX64 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Paper:
    """What people signed on paper: the SHA-256 of its scan (hex), and what stands behind the hand that signed.

    `delegation` is under which authority they signed for their agency, `gateway_reference` where a filing
    system or an information sharing gateway keeps it; either may be empty. `attested_at` is the day, in UTC,
    on which the agency's key said so.
    """

    sha256: str
    attested_at: date
    delegation: str = ""
    gateway_reference: str = ""

    def __post_init__(self) -> None:
        if _HEX64.fullmatch(self.sha256) is None:
            raise IntegrityError(f"{_WHAT}: paper: not 64 lower-case hex digits")
        for name, value in (("delegation", self.delegation), ("gateway_reference", self.gateway_reference)):
            if value:
                statement.text(value, f"{_WHAT}: {name}")

    @property
    def said(self) -> dict[str, str]:
        """As it stands in a statement, `sha256` as `paper`."""
        return {
            "paper": self.sha256,
            "delegation": self.delegation,
            "gateway_reference": self.gateway_reference,
            "attested_at": self.attested_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Signature:
    """One agency's signature on one file. `signed_at` is a day in UTC, as the signatory gives it."""

    agency: str
    key_id: str
    digest: str
    signed_at: date
    signatory: str
    role: str
    signature: bytes
    # Where people signed on paper, and the key attests it.
    paper: Paper | None = None

    def __post_init__(self) -> None:
        statement.agency(self.agency, f"{_WHAT}: agency")
        for name, value in (("key", self.key_id), ("digest", self.digest)):
            if _HEX64.fullmatch(value) is None:
                raise IntegrityError(f"{_WHAT}: {name}: not 64 lower-case hex digits")
        statement.text(self.signatory, f"{_WHAT}: signatory")
        statement.text(self.role, f"{_WHAT}: role")
        if len(self.signature) != SIGNATURE_BYTES:
            raise IntegrityError(f"{_WHAT}: an Ed25519 signature is {SIGNATURE_BYTES} bytes")

    @property
    def message(self) -> bytes:
        """What is signed; see the module."""
        said: dict[str, Json] = {
            "role": self.role,
            "signatory": self.signatory,
            "signed_at": self.signed_at.isoformat(),
        }
        if self.paper is not None:
            on_paper: dict[str, Json] = {**self.paper.said}
            on_paper["sha256"] = on_paper.pop("paper")
            said["paper"] = on_paper
        head = self.format.encode("ascii") + b"\x00" + self.agency.encode("ascii") + b"\x00"
        return head + bytes.fromhex(self.digest) + canonical.encode(said)

    @property
    def format(self) -> str:
        """The first words of what is signed."""
        return FORMAT if self.paper is None else ON_PAPER

    @property
    def made_on(self) -> date:
        """The day on which the key must have counted."""
        return self.signed_at if self.paper is None else self.paper.attested_at

    def verify(self, file: bytes, key: SigningKey) -> None:
        """Raises IntegrityError unless `key`, of the signing agency, signed exactly these bytes.

        Whether the key counted on the day is `SigningKey.problem_on`.
        """
        if key.agency != self.agency or key.id != self.key_id:
            raise IntegrityError(f"{_WHAT}: made with another key than {key.agency}'s {key.id[:16]}")
        if hashlib.sha256(file).hexdigest() != self.digest:
            raise IntegrityError(f"{_WHAT}: {self.agency} signed other bytes than these")
        if not holds(key.public, self.signature, self.message):
            raise IntegrityError(f"{_WHAT}: of {self.agency} does not verify")

    def to_bytes(self) -> bytes:
        """The signature file."""
        return statement.encode(
            {
                "format": self.format,
                "agency": self.agency,
                "key": self.key_id,
                "algorithm": ALGORITHM,
                "digest": self.digest,
                "signed_at": self.signed_at.isoformat(),
                "signatory": self.signatory,
                "role": self.role,
                **(self.paper.said if self.paper else {}),
                "signature": base64_strict.encode(self.signature),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The signature in a file. Raises IntegrityError for anything but what `to_bytes` gives."""
        on_paper = data.startswith(statement.encode({"format": ON_PAPER}).removesuffix(b"\n}\n") + b",")
        values = statement.decode(data, _ON_PAPER_NAMES if on_paper else _NAMES, _WHAT)
        if values["format"] != (ON_PAPER if on_paper else FORMAT) or values["algorithm"] != ALGORITHM:
            raise IntegrityError(f"{_WHAT}: not {FORMAT} or {ON_PAPER} with {ALGORITHM}")
        paper = None
        if on_paper:
            attested_at = statement.day(values["attested_at"], f"{_WHAT}: attested_at")
            paper = Paper(values["paper"], attested_at, values["delegation"], values["gateway_reference"])
        return cls(
            agency=values["agency"],
            key_id=values["key"],
            digest=values["digest"],
            signed_at=statement.day(values["signed_at"], f"{_WHAT}: signed_at"),
            signatory=values["signatory"],
            role=values["role"],
            signature=base64_strict.decode(values["signature"], _WHAT, length=SIGNATURE_BYTES),
            paper=paper,
        )


_NAMES = ("format", "agency", "key", "algorithm", "digest", "signed_at", "signatory", "role", "signature")
_ON_PAPER_NAMES = (*_NAMES[:-1], "paper", "delegation", "gateway_reference", "attested_at", "signature")


def sign(
    file: bytes,
    agency: str,
    key: Ed25519PrivateKey,
    signed_at: date,
    signatory: str,
    role: str,
    paper: Paper | None = None,
) -> Signature:
    """`agency`'s signature over the file's exact bytes, or its word that people signed on paper.

    Raises IntegrityError for words that may not stand.
    """
    unsigned = Signature(
        agency=agency,
        key_id=key_id(key.public_key().public_bytes_raw()),
        digest=hashlib.sha256(file).hexdigest(),
        signed_at=signed_at,
        signatory=signatory,
        role=role,
        signature=bytes(SIGNATURE_BYTES),
        paper=paper,
    )
    return replace(unsigned, signature=key.sign(unsigned.message))


def file_name(agreement: str, agency: str) -> str:
    """Where an agency's signature stands: beside the file `agreement`, as `agreement.<agency>.sig`."""
    return f"{agreement}.{agency}{SUFFIX}"


def check_signed(
    file: bytes,
    parties: Iterable[str],
    signatures: Sequence[Signature],
    keys: Mapping[str, Sequence[SigningKey]],
    today: date,
) -> None:
    """Every party has signed this file, once, with a key that counted then and counts today.

    `keys` are those ever enrolled, by agency. Raises InvalidRequest naming the party and what to do.
    """
    wanted = set(parties)
    seen: set[str] = set()
    for n, signature in enumerate(signatures):
        where = f"signatures.{n}"
        if signature.agency not in wanted:
            raise InvalidRequest(f"{where}.agency", f"{signature.agency} is no party; leave its signature out")
        if signature.agency in seen:
            raise InvalidRequest(f"{where}.agency", f"{signature.agency} signed twice; give one signature")
        seen.add(signature.agency)
        _check_one(where, file, signature, keys.get(signature.agency, ()), today)
    for agency in sorted(wanted - seen):
        raise InvalidRequest(
            "signatures",
            f"{agency} has not signed; it signs with `broker agreement sign FILE --agency {agency}`, and the "
            f"file FILE.{agency}{SUFFIX} that this makes belongs beside FILE",
        )


def _check_one(where: str, file: bytes, signature: Signature, keys: Sequence[SigningKey], today: date) -> None:
    agency = signature.agency
    if hashlib.sha256(file).hexdigest() != signature.digest:
        raise InvalidRequest(
            f"{where}.digest", f"{agency} signed other bytes than this file's; it must sign this very file"
        )
    key = next((each for each in keys if each.id == signature.key_id), None)
    if key is None:
        raise InvalidRequest(
            f"{where}.key_id",
            f"{agency} signed with a key that is not enrolled for it; enrol it with `broker agency key enrol`, "
            "or have it signed with one that is",
        )
    if signature.signed_at > today:
        raise InvalidRequest(f"{where}.signed_at", f"{agency} signed on a day that is still to come")
    if not signature.signed_at <= signature.made_on <= today:
        raise InvalidRequest(
            f"{where}.attested_at", f"{agency} attests a paper on a day before it was signed, or still to come"
        )
    for day in (signature.made_on, today):
        if problem := key.problem_on(day):
            raise InvalidRequest(
                f"{where}.key_id",
                f"{agency}'s key {key.id[:16]} {problem}; have it signed with a key that counts",
            )
    try:
        signature.verify(file, key)
    except IntegrityError as error:
        raise InvalidRequest(f"{where}.signature", f"{error}; have {agency} sign the file again") from None
