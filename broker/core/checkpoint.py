"""Owns checkpoints (C2SP tlog-checkpoint): a log's origin, size and root in a note that the log signed.

Refuses a body of another form, and a checkpoint that the log's own key, named as its origin, did not sign.
Signatures of unknown keys are ignored, as the standard wants; one of a known key that fails refuses the note.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from broker.core import base64_strict
from broker.core.keys import Cosigner, KeyKind, Signer, Verifier, verified_signatures
from broker.core.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE
from broker.core.note import Note, NoteSignature
from broker.errors import IntegrityError

__all__ = [
    "Checkpoint",
    "Cosignature",
    "Cosigner",
    "Note",
    "NoteSignature",
    "OpenedCheckpoint",
    "Signer",
    "Verifier",
    "open_checkpoint",
    "open_with_cosignatures",
    "sign_checkpoint",
]

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A claim of the log `origin`: at `size` entries its root is `root`. Extension lines are kept unread."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise IntegrityError("checkpoint: a size below 2^63 and a root of 32 bytes are needed")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise IntegrityError("checkpoint: an empty log with another root than that of nothing")
        if any(not line or "\n" in line for line in (self.origin, *self.extensions)):
            raise IntegrityError("checkpoint: an empty line")

    def text(self) -> str:
        """Return the body that is signed, final newline included."""
        lines = (self.origin, str(self.size), base64_strict.encode(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Return the checkpoint with this body.

        Raises:
            IntegrityError: not an origin, a size, a root and lines that are not empty.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop():
            raise IntegrityError("checkpoint: the body is not at least three whole lines")
        origin, size, root, *extensions = lines
        if _SIZE.fullmatch(size) is None:
            raise IntegrityError("checkpoint: the size is not a decimal number")
        decoded = base64_strict.decode(root, "checkpoint root", length=HASH_BYTES)
        return cls(origin, int(size), decoded, tuple(extensions))


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness's statement that it saw this checkpoint as the log's largest at POSIX second `timestamp`."""

    name: str
    timestamp: int


@dataclass(frozen=True, slots=True)
class OpenedCheckpoint:
    """A checkpoint that verified, and the known witnesses that cosigned it, in the note's order."""

    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """Return the checkpoint as a note signed by the log's key.

    Raises:
        IntegrityError: the key is that of another log, or the origin cannot stand in a note.
    """
    if signer.name != checkpoint.origin:
        raise IntegrityError(f"the key of {signer.name} does not sign checkpoints of {checkpoint.origin}")
    text = checkpoint.text()
    return Note(text, (signer.sign(text),)).to_bytes()


def open_checkpoint(data: bytes, verifiers: Sequence[Verifier]) -> Checkpoint:
    """Return the checkpoint of a note that the log's own key signed; as `open_with_cosignatures`."""
    return open_with_cosignatures(data, verifiers).checkpoint


def open_with_cosignatures(data: bytes, verifiers: Sequence[Verifier]) -> OpenedCheckpoint:
    """Return the checkpoint of a note, and which of the given witnesses cosigned it.

    `verifiers` are the keys believed, of logs (several across rotations) and of witnesses.

    Raises:
        IntegrityError: not a checkpoint; no given log key named as its origin signed it; or a line of a given
            key does not verify.
    """
    note = Note.parse(data)
    checkpoint = Checkpoint.parse(note.text)
    found = verified_signatures(note, tuple(dict.fromkeys(verifiers)))
    if not any(key.kind is KeyKind.LOG and key.name == checkpoint.origin for key, _ in found):
        raise IntegrityError("checkpoint: not signed by a known key of the log it names")
    seen = tuple(Cosignature(key.name, time) for key, time in found if time is not None)
    return OpenedCheckpoint(checkpoint, seen)
