"""What the rounds of witnesses are made of: their answers, how far each is, and the ports to both.

Owns the reading of a witness's answer: the one line of its key, verified over the text that was asked about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from broker.core.checkpoint import Note, NoteSignature
from broker.core.quorum import Witness
from broker.core.witness import Submission
from broker.errors import IntegrityError


class Cosigned:
    """What a witness answered: its signature lines, unverified."""

    def __init__(self, lines: bytes) -> None:
        self.lines = lines


class Stale:
    """What a witness answered: it last cosigned a checkpoint of this size (409)."""

    def __init__(self, size: int) -> None:
        self.size = size


class Refused:
    """What a witness answered, or why there was no answer, in a few words of ours. `disputed`: it does not find
    the history proven that it is shown (422)."""

    def __init__(self, why: str, *, disputed: bool = False) -> None:
        self.why = why
        self.disputed = disputed


class Asker(Protocol):
    """Puts a submission to a witness; bounded in time and size, never raises for what a witness may do."""

    async def add_checkpoint(self, witness: Witness, submission: Submission) -> Cosigned | Stale | Refused:
        """Its answer."""


class ProvableLog(Protocol):
    """What is needed of the log. Each raises AuditUnavailable, IntegrityError."""

    async def head(self) -> tuple[int, bytes]:
        """Size of the committed head, and the checkpoint signed over it."""

    async def proof_between(self, old: int, new: int) -> tuple[bytes, ...]:
        """Consistency proof; nothing is signed. KeyError where the log is smaller."""

    async def proof_at(self, index: int, size: int) -> tuple[bytes, ...]:
        """Inclusion proof of an entry in the first `size`. KeyError where the log is smaller."""


@dataclass(frozen=True, slots=True)
class Published:
    """`size` and `note` of the newest witnessed checkpoint (-1 and nothing: none yet), and of the published."""

    size: int = -1
    note: bytes = b""
    published_size: int = -1
    published: bytes = b""


@dataclass(frozen=True, slots=True)
class WitnessProgress:
    """How far one witness is. `size` is None where it has cosigned nothing that we know of."""

    size: int | None = None
    problem: str = ""


class WitnessTable(Protocol):
    """What the workers share. Each raises AuditUnavailable."""

    async def lead(self, worker: str, seconds: float) -> bool:
        """Whether this worker sends, and does so for so many seconds from now."""

    async def resign(self, worker: str) -> None:
        """Leave the sending to others, from now on."""

    async def read(self) -> tuple[Published, Mapping[str, WitnessProgress]]:
        """What is published, and each witness by name."""

    async def publish(self, size: int, note: bytes, cosigners: int, *, witnessed: bool) -> None:
        """Publish a checkpoint unless a greater one is, or one of this size with as many cosignatures."""

    async def say(self, witness: str, progress: WitnessProgress) -> None:
        """Write down how far a witness is."""


def own_line(witness: Witness, text: str, lines: bytes) -> NoteSignature:
    """The one line of an answer that this witness's key made over the text; others are ignored.

    Raises IntegrityError where there is none, or it does not verify.
    """
    try:
        # As the specification suggests: what was answered, behind the text that was asked about.
        note = Note.parse(text.encode() + b"\n" + lines)
    except IntegrityError as e:
        raise IntegrityError("it is no list of signature lines") from e
    own = [each for each in note.signatures if witness.verifier.made(each)]
    if len(own) != 1:
        raise IntegrityError("it holds not exactly one line of the key in the policy")
    witness.verifier.verify(text, own[0])
    return own[0]
