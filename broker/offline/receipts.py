"""Receipts as an agency keeps them: `x.tlog-proof` with `x.entry`, and `x.opening` and `x.record` where kept.

Owns finding and reading them. Each is verified by itself; one that is not as it should be is told with its
reason, never passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.core.checkpoint import Verifier
from broker.core.entry import MAX_ENTRY_BYTES, Opening
from broker.core.proof_file import MAX_PROOF_FILE_BYTES, ProofFile
from broker.core.receipt import NOT_AT_HAND, Audience, Receipt, audience_of, verify_receipt
from broker.core.record import Record
from broker.errors import IntegrityError, SetupError
from broker.offline import files

PROOF = ".tlog-proof"
MAX_OPENING = (1 << 20) + 32
MAX_RECORD_FILE = 2 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """A receipt on file: `problem` is empty where it holds. `opened`: its view was there, so that `response`
    says which record was released, or that none was."""

    path: Path
    entry: str = ""
    index: int = -1
    event: str = ""
    response: str = ""
    opened: bool = False
    problem: str = ""


def receipts(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every proof file below a folder, by name; and why it cannot be read, or nothing.

    What may hide receipts is there too: a link, or a folder that cannot be listed. Raises SetupError where
    there is no such folder.
    """
    try:
        for path, why in files.below(folder):
            if why or path.endswith(PROOF):
                yield folder / path, why
    except OSError as e:
        raise SetupError(f"{folder}: {e.strerror}; name a folder of kept receipts (x.tlog-proof)") from e


def read(proof: Path, verifiers: Sequence[Verifier], *, with_record: bool) -> tuple[Receipt, Kept]:
    """A kept receipt, verified by itself; and its record against it, where that is wanted and lies there.

    Raises IntegrityError saying what is wrong.
    """
    file = ProofFile.from_bytes(_bytes(proof, MAX_PROOF_FILE_BYTES))
    if file.extra is not None:
        # Our log writes none, and nothing authenticates it: a byte changed there would go unseen.
        raise IntegrityError("proof file: it carries extra data, which a receipt of this log never does")
    entry = _bytes(proof.with_suffix(".entry"), MAX_ENTRY_BYTES)
    opening = _there(proof.with_suffix(".opening"), MAX_OPENING)
    opens = None if opening is None else Opening.from_bytes(opening)
    whose = Audience.REQUESTER if opens is None else audience_of(entry, opens) or Audience.REQUESTER
    receipt = Receipt(entry, file.index, file.proof, file.checkpoint, opens)
    record = _there(proof.with_suffix(".record"), MAX_RECORD_FILE) if with_record else None
    # Where there is none, somebody may simply not have kept it.
    received = NOT_AT_HAND if record is None else Record.from_any(record)
    verified = verify_receipt(receipt, verifiers, record=received, audience=whose)
    view = verified.view
    return receipt, Kept(
        proof,
        verified.entry.id,
        verified.index,
        view.event if view else "",
        (view.response or "") if view else "",
        view is not None,
    )


def _there(path: Path, most: int) -> bytes | None:
    """A file that need not be there. Raises IntegrityError."""
    return _bytes(path, most) if path.is_symlink() or path.exists() else None


def _bytes(path: Path, most: int) -> bytes:
    try:
        return files.read(path, most)
    except OSError as e:
        raise IntegrityError(f"{path.name}: {e.strerror or e}") from e
