"""Owns which log keys are believed: those given, and those that a believed log's last entry names.

What was learnt is kept as it was proven (a log's last entry under its final checkpoint), so that whoever can
write to where it is kept can make nothing be believed. Refuses a second key for a log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from broker.core import base64_strict
from broker.core.canonical import Json
from broker.core.checkpoint import open_checkpoint
from broker.core.keys import Verifier
from broker.core.merkle import HASH_BYTES
from broker.core.rotation import may_follow, successor
from broker.errors import IntegrityError


@dataclass(frozen=True, slots=True)
class Learnt:
    """Why a key is believed: the final checkpoint of the log before, its last entry, and the proof of that."""

    final: bytes
    last: bytes
    proof: tuple[bytes, ...]

    def as_json(self) -> Json:
        """For the state file."""
        hashes: list[Json] = [base64_strict.encode(each) for each in self.proof]
        return {"final": self.final.decode(), "last": self.last.decode(), "proof": hashes}

    @classmethod
    def from_json(cls, value: Json) -> Learnt:
        """As it was written. Raises IntegrityError."""
        if not isinstance(value, dict):
            raise IntegrityError("memory: not of a form that is known here")
        final, last, proof = value.get("final"), value.get("last"), value.get("proof")
        if not isinstance(final, str) or not isinstance(last, str) or not isinstance(proof, list):
            raise IntegrityError("memory: not of a form that is known here")
        hashes = tuple(
            base64_strict.decode(each if isinstance(each, str) else "", "memory", length=HASH_BYTES)
            for each in proof
        )
        return cls(final.encode(), last.encode(), hashes)


class Believed:
    """The keys, and how those came that were not given."""

    def __init__(self, given: Sequence[Verifier]) -> None:
        self.verifiers = tuple(given)
        self.learnt: list[Learnt] = []

    def has(self, origin: str) -> bool:
        """Whether a key of the log of this name is believed."""
        return any(each.name == origin for each in self.verifiers)

    def before(self, origin: str) -> str:
        """The newest log before this one whose key is believed. Raises IntegrityError where there is none."""
        names = [each.name for each in self.verifiers if each.name < origin]
        if not names:
            raise IntegrityError("checkpoint: not signed by a known key of the log it names")
        return max(names)

    def may_lead_to(self, origin: str, seen: Iterable[str]) -> bool:
        """Whether it is worth asking for a way to this log, from those seen or whose keys are believed."""
        if self.has(origin):
            return True
        known = (*seen, *(each.name for each in self.verifiers))
        try:
            return may_follow(max(known, default=""), origin)
        except IntegrityError:
            return False

    def learn(self, learnt: Learnt) -> None:
        """Believe the key that it proves. Raises IntegrityError."""
        final = open_checkpoint(learnt.final, self.verifiers)
        key = successor(final, learnt.last, learnt.proof)
        if key in self.verifiers:
            return
        if self.has(key.name):
            raise IntegrityError(f"rotation: another key for {key.name} is believed")
        self.verifiers += (key,)
        self.learnt.append(learnt)
