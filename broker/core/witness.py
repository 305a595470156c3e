"""Owns what a witness judges (C2SP tlog-witness): a submitted checkpoint against the last one it cosigned.

A pure function from what was submitted and what was seen to `Accepted` or `Refusal`; whoever calls it makes the
new checkpoint durable, and only then signs. Refused: submissions of another form, logs and keys that are not
known, and everything that is not proven to extend what was seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker.core import base64_strict
from broker.core.checkpoint import Checkpoint
from broker.core.keys import Verifier, verified_signatures
from broker.core.merkle import EMPTY_ROOT, HASH_BYTES, verify_consistency
from broker.core.note import MAX_NOTE_BYTES, Note
from broker.errors import IntegrityError

MAX_PROOF_LINES = 63
MAX_SUBMISSION_BYTES = MAX_NOTE_BYTES + MAX_PROOF_LINES * 45 + 32
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Submission:
    """The body of `add-checkpoint`: the size cosigned before, the proof from there, and the signed note."""

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """Return the body."""
        lines = [f"old {self.old_size}", *(base64_strict.encode(each) for each in self.proof)]
        return "".join(f"{line}\n" for line in lines).encode("ascii") + b"\n" + self.note

    @classmethod
    def from_bytes(cls, data: bytes) -> Submission:
        """Return the submission written as `data`.

        Raises:
            IntegrityError: not an old size line, at most 63 hashes, an empty line and more.
        """
        head, blank, note = data.partition(b"\n\n")
        if not blank or not note or not head.isascii():
            raise IntegrityError("submission: no empty line before the checkpoint, or not ASCII above it")
        first, *hashes = head.decode("ascii").split("\n")
        old = _OLD.fullmatch(first)
        if old is None:
            raise IntegrityError("submission: the first line is not `old` and a size")
        if len(hashes) > MAX_PROOF_LINES:
            raise IntegrityError(f"submission: more than {MAX_PROOF_LINES} hashes")
        proof = tuple(base64_strict.decode(line, "submission hash", length=HASH_BYTES) for line in hashes)
        return cls(int(old[1]), proof, note)


@dataclass(frozen=True, slots=True)
class Accepted:
    """What may be cosigned once it is durable."""

    checkpoint: Checkpoint
    text: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, as an HTTP status and a sentence. `size` (with 409) is that of the last one cosigned; `forked`
    says that the log's own key signed two roots for that size."""

    status: int
    text: str
    size: int | None = None
    forked: bool = False


def judge(
    body: bytes, logs: Mapping[str, tuple[Verifier, ...]], seen: Callable[[str], Checkpoint | None]
) -> Accepted | Refusal:
    """Judge a submission in the order of the specification.

    `logs` gives the keys of each known origin; `seen` the last checkpoint cosigned for a known origin.
    """
    try:
        submission = Submission.from_bytes(body)
        note = Note.parse(submission.note)
        checkpoint = Checkpoint.parse(note.text)
    except IntegrityError as e:
        return Refusal(400, str(e))
    keys = logs.get(checkpoint.origin)
    if keys is None:
        return Refusal(404, "this log is not one that is witnessed here")
    try:
        if not verified_signatures(note, keys):
            return Refusal(403, "not signed by a key of this log that is known here")
    except IntegrityError as e:
        return Refusal(403, str(e))
    if submission.old_size > checkpoint.size:
        return Refusal(400, "the old size is greater than the checkpoint's")
    return _extends(submission, checkpoint, note.text, seen(checkpoint.origin))


def _extends(
    submission: Submission, checkpoint: Checkpoint, text: str, last: Checkpoint | None
) -> Accepted | Refusal:
    size, root = (last.size, last.root) if last else (0, EMPTY_ROOT)
    forked = checkpoint.size == size and checkpoint.root != root
    if submission.old_size != size:
        return Refusal(409, "another size was cosigned last", size, forked)
    if forked:
        return Refusal(409, "another root was cosigned for this size", size, forked)
    try:
        verify_consistency(size, root, checkpoint.size, checkpoint.root, submission.proof)
    except IntegrityError as e:
        return Refusal(422, str(e))
    return Accepted(checkpoint, text)
