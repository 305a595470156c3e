"""Owns the proof file (C2SP tlog-proof): an inclusion proof and the checkpoint it leads to, as text.

Refuses any spelling but the one it writes, more hashes than a tree has levels, and files past the bound.
What it holds is not verified here, and the extra data of a file is authenticated by nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from broker.core import base64_strict
from broker.core.merkle import HASH_BYTES, MAX_SIZE
from broker.core.note import MAX_NOTE_BYTES
from broker.errors import IntegrityError

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_HASHES = 63  # a tree has fewer than 2^63 leaves
MAX_PROOF_FILE_BYTES = 2 * MAX_NOTE_BYTES
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})", re.ASCII)
_EXTRA = "extra "


@dataclass(frozen=True, slots=True)
class ProofFile:
    """Index, inclusion proof (sibling first), the checkpoint verbatim, and extra data or None."""

    index: int
    proof: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_SIZE:
            raise IntegrityError("proof file: no such index")
        if len(self.proof) > MAX_PROOF_HASHES or any(len(each) != HASH_BYTES for each in self.proof):
            raise IntegrityError(f"proof file: not at most {MAX_PROOF_HASHES} hashes of {HASH_BYTES} bytes")
        if not self.checkpoint or self.extra == b"":
            raise IntegrityError("proof file: an empty checkpoint, or extra data that is empty")

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(_EXTRA + base64_strict.encode(self.extra))
        lines.append(f"index {self.index}")
        lines += (base64_strict.encode(each) for each in self.proof)
        return "".join(f"{line}\n" for line in lines).encode("ascii") + b"\n" + self.checkpoint

    @classmethod
    def from_bytes(cls, data: bytes) -> ProofFile:
        """Return the proof file written as `data`.

        Raises:
            IntegrityError: not a proof file, or one past the bounds.
        """
        if len(data) > MAX_PROOF_FILE_BYTES:
            raise IntegrityError(f"proof file: {len(data)} bytes, more than {MAX_PROOF_FILE_BYTES}")
        head, blank, checkpoint = data.partition(b"\n\n")
        if not blank or not head.isascii():
            raise IntegrityError("proof file: no empty line before the checkpoint, or not ASCII above it")
        lines = head.decode("ascii").split("\n")
        if lines.pop(0) != HEADER:
            raise IntegrityError(f"proof file: does not begin with {HEADER}")
        extra = None
        if lines and lines[0].startswith(_EXTRA):
            extra = base64_strict.decode(lines.pop(0).removeprefix(_EXTRA), "proof file extra data")
        index = _INDEX.fullmatch(lines.pop(0)) if lines else None
        if index is None:
            raise IntegrityError("proof file: no index where it belongs")
        if len(lines) > MAX_PROOF_HASHES:
            raise IntegrityError(f"proof file: more than {MAX_PROOF_HASHES} hashes")
        proof = tuple(base64_strict.decode(line, "proof file hash", length=HASH_BYTES) for line in lines)
        return cls(int(index[1]), proof, checkpoint, extra)
