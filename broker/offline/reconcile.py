"""An agency's kept receipts against the log: is each of them still there, at its place, as it was.

A receipt is a folder's `x.tlog-proof` with `x.entry`, and `x.opening` where it was kept. Each is verified by
itself, then its entry and the checkpoint it leads to are looked for in the log as it is now.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.core.bundles import bundle_in
from broker.core.checkpoint import Checkpoint, Verifier, open_checkpoint
from broker.core.entry import MAX_ENTRY_BYTES, Opening
from broker.core.merkle import leaf_hash, verify_consistency
from broker.core.proof_file import MAX_PROOF_FILE_BYTES, ProofFile
from broker.core.receipt import NOT_AT_HAND, Audience, Receipt, audience_of, verify_receipt
from broker.core.record import Record
from broker.core.tiles import TILE_WIDTH, consistency_proof, hashes_of, tile_in
from broker.core.verified_tiles import VerifiedTiles
from broker.errors import IntegrityError
from broker.offline.fsck import Dropped, decode_up_to
from broker.offline.rotation import half_of
from broker.offline.source import Missing, Source

_MAX_OPENING = 1 << 20
MAX_RECORD_FILE = 2 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """A receipt on file: `problem` is empty where it stands in the log as it says."""

    path: Path
    entry: str = ""
    index: int = -1
    event: str = ""
    response: str = ""
    problem: str = ""


def receipts(folder: Path) -> list[Path]:
    """Every proof file below a folder, by name."""
    return sorted(folder.rglob("*.tlog-proof"))


def read(proof: Path, verifiers: Sequence[Verifier]) -> tuple[Receipt, Kept]:
    """A kept receipt, verified by itself. Raises IntegrityError saying what is wrong, OSError."""
    file = ProofFile.from_bytes(_bytes(proof, MAX_PROOF_FILE_BYTES))
    entry = _bytes(proof.with_suffix(".entry"), MAX_ENTRY_BYTES)
    opening = proof.with_suffix(".opening")
    opens = Opening.from_bytes(_bytes(opening, _MAX_OPENING)) if opening.exists() else None
    whose = Audience.REQUESTER if opens is None else audience_of(entry, opens) or Audience.REQUESTER
    receipt = Receipt(entry, file.index, file.proof, file.checkpoint, opens)
    verified = verify_receipt(receipt, verifiers, record=NOT_AT_HAND, audience=whose)
    view = verified.view
    return receipt, Kept(
        proof,
        verified.entry.id,
        verified.index,
        view.event if view else "",
        (view.response or "") if view else "",
    )


def reconcile(folder: Path, source: Source, verifiers: Sequence[Verifier]) -> Iterator[Kept]:
    """Each receipt of the folder, looked for in the log. Raises Unreadable and IntegrityError for the log."""
    current = open_checkpoint(source.checkpoint(), verifiers)
    logs = {current.origin: _Log(source, current)}
    for proof in receipts(folder):
        try:
            receipt, kept = read(proof, verifiers)
        except (IntegrityError, OSError) as e:
            yield Kept(proof, problem=f"does not verify: {e}")
            continue
        checkpoint = open_checkpoint(receipt.checkpoint, verifiers)
        if checkpoint.origin not in logs and (older := _older(source, checkpoint.origin, verifiers)):
            logs[checkpoint.origin] = older
        log = logs.get(checkpoint.origin, logs[current.origin])
        yield _with(kept, log.problem(receipt, checkpoint))


def _older(source: Source, origin: str, verifiers: Sequence[Verifier]) -> _Log | None:
    """The log of this name, where it stays beside the current one."""
    try:
        there = half_of(source, origin)
        checkpoint = open_checkpoint(there.checkpoint(), verifiers)
    except (Missing, IntegrityError):
        return None
    return _Log(there, checkpoint) if checkpoint.origin == origin else None


def matches(record: bytes, folder: Path, verifiers: Sequence[Verifier]) -> list[Kept]:
    """The kept receipts that say that exactly this record (a serialised Any) was released.

    Raises IntegrityError where the bytes are no Any.
    """
    wanted = Record.from_any(record).digest()
    found = []
    for proof in receipts(folder):
        try:
            _, kept = read(proof, verifiers)
        except (IntegrityError, OSError):
            continue
        if kept.response == wanted:
            found.append(kept)
    return found


class _Log:
    """The log as it is now, through tiles that lead to its root."""

    def __init__(self, source: Source, checkpoint: Checkpoint) -> None:
        self._source = source
        self._now = checkpoint
        self._tiles = VerifiedTiles(checkpoint.size, checkpoint.root, source.tile)
        self._dropped = Dropped(source, checkpoint)
        self._consistent: dict[tuple[int, bytes], str] = {}

    def problem(self, receipt: Receipt, checkpoint: Checkpoint) -> str:
        """Why the receipt does not stand in the log; empty where it does."""
        if checkpoint.origin != self._now.origin:
            return f"is of {checkpoint.origin}, and this log is {self._now.origin}"
        if receipt.index >= self._now.size:
            return f"is entry {receipt.index}, and the log ends at {self._now.size}: it was cut"
        tile = tile_in(0, receipt.index // TILE_WIDTH, self._now.size)
        there = hashes_of(tile, self._tiles.read(tile))[receipt.index % TILE_WIDTH]
        if there != leaf_hash(receipt.entry):
            return f"another entry stands at {receipt.index}"
        bundle = bundle_in(receipt.index // TILE_WIDTH, self._now.size)
        try:
            entries = decode_up_to(self._source.bundle(bundle), bundle.width)
        except Missing:
            if not self._dropped.hashes(bundle.index):
                raise
            return self._consistency(checkpoint)  # it lies in an export alone, and its hash is good
        at = receipt.index % TILE_WIDTH
        if at >= len(entries) or entries[at] != receipt.entry:
            return f"the log no longer serves entry {receipt.index} as it was"
        return self._consistency(checkpoint)

    def _consistency(self, old: Checkpoint) -> str:
        key = (old.size, old.root)
        if key not in self._consistent:
            self._consistent[key] = self._check(old)
        return self._consistent[key]

    def _check(self, old: Checkpoint) -> str:
        if old.size > self._now.size:
            return f"leads to a log of {old.size} entries, and it shows {self._now.size}: it was cut"
        proof = consistency_proof(old.size, self._now.size, self._tiles.read)
        try:
            verify_consistency(old.size, old.root, self._now.size, self._now.root, proof)
        except IntegrityError:
            return f"its checkpoint of {old.size} entries is not the beginning of this log"
        return ""


def _with(kept: Kept, problem: str) -> Kept:
    return Kept(kept.path, kept.entry, kept.index, kept.event, kept.response, problem)


def _bytes(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise IntegrityError(f"{path.name}: longer than {most} bytes")
    return data
