"""Owns the witness policy: who counts as a witness, and how many of them make a checkpoint a witnessed one.

Refused: a file of another form, and any two witnesses that share a name, a key or an address, since one agency
would then count twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from broker.core import tables
from broker.core.checkpoint import OpenedCheckpoint, open_with_cosignatures
from broker.core.keys import KeyKind, Verifier
from broker.errors import IntegrityError, InvalidRequest

MAX_POLICY_BYTES = 64 * 1024
MAX_WITNESSES = 16  # a note carries 32 signatures, and readers must take 16 (C2SP signed-note)
_ADDRESS = re.compile(r"https://[A-Za-z0-9._\-\[\]:]+(/[A-Za-z0-9._~/\-]*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Witness:
    """One partner agency's witness: a name for people, its key, and the prefix of its `add-checkpoint`.

    `address` is empty where the policy is only for verifying.
    """

    name: str
    verifier: Verifier
    address: str = ""


@dataclass(frozen=True, slots=True)
class WitnessPolicy:
    """At least `quorum` of these witnesses."""

    witnesses: tuple[Witness, ...]
    quorum: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.witnesses) <= MAX_WITNESSES:
            raise IntegrityError(f"witness policy: 1 to {MAX_WITNESSES} witnesses are needed")
        if not 1 <= self.quorum <= len(self.witnesses):
            raise IntegrityError(f"witness policy: the quorum is 1 to {len(self.witnesses)}, all of them")
        for what, values in (
            ("name", [each.name for each in self.witnesses]),
            ("key", [each.verifier.public for each in self.witnesses]),
            ("key name", [each.verifier.name for each in self.witnesses]),
            ("address", [each.address for each in self.witnesses if each.address]),
        ):
            if len(set(values)) != len(values):
                raise IntegrityError(f"witness policy: two witnesses have one {what}, and would count twice")

    @property
    def verifiers(self) -> tuple[Verifier, ...]:
        """The keys of all, in the file's order."""
        return tuple(each.verifier for each in self.witnesses)

    @property
    def enough_to_ask(self) -> int:
        """How many must answer so that every quorum there ever was has one among them."""
        return max(self.quorum, len(self.witnesses) - self.quorum + 1)

    def signed(self, opened: OpenedCheckpoint) -> tuple[str, ...]:
        """The names of the witnesses that cosigned, in the file's order."""
        names = {each.name for each in opened.cosignatures}
        return tuple(each.name for each in self.witnesses if each.verifier.name in names)

    def open(self, note: bytes, log: tuple[Verifier, ...]) -> tuple[OpenedCheckpoint, bool]:
        """A checkpoint of one of these log keys, and whether the quorum cosigned it.

        Raises IntegrityError, also where the line of a known witness does not verify.
        """
        opened = open_with_cosignatures(note, (*log, *self.verifiers))
        return opened, len(self.signed(opened)) >= self.quorum


def parse_policy(data: bytes) -> WitnessPolicy:
    """The policy of a file (TOML): `quorum`, and a `[[witness]]` for each with `name`, `vkey`, `address`.

    Raises:
        IntegrityError: saying what is wrong where.
    """
    try:
        found = tables.read(data, MAX_POLICY_BYTES)
    except InvalidRequest as e:
        raise IntegrityError(f"witness policy: {e.problem}") from e
    quorum, named = found.get("quorum"), found.get("witness")
    if set(found) - {"quorum", "witness"} or type(quorum) is not int or not isinstance(named, tuple):
        raise IntegrityError("witness policy: holds `quorum = N` and [[witness]] tables, and nothing else")
    return WitnessPolicy(tuple(_witness(each, n) for n, each in enumerate(named)), quorum)


def _witness(table: object, n: int) -> Witness:
    texts = table if isinstance(table, dict) else {}
    if not {"name", "vkey"} <= set(texts) <= {"name", "vkey", "address"} or not all(
        isinstance(each, str) for each in texts.values()
    ):
        raise IntegrityError(f"witness.{n}: holds the strings name, vkey and address")
    name, address = texts["name"], texts.get("address", "").rstrip("/")
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise IntegrityError(f"witness.{n}.name: 1 to 64 characters")
    verifier = Verifier.from_vkey(texts["vkey"])
    if verifier.kind is not KeyKind.COSIGNER:
        raise IntegrityError(f"witness.{n}.vkey: is a log's key, not a witness's")
    if address and _ADDRESS.fullmatch(address) is None:
        raise IntegrityError(f"witness.{n}.address: begins with https:// and holds no query")
    return Witness(name, verifier, address)
