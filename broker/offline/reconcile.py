"""An agency's kept receipts against the log: is each of them still there, at its place, as it was.

Each receipt is verified by itself, with its record where that was kept, then its entry and the checkpoint it
leads to are looked for in the log as it is now. And a record against what the receipts say was released.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from broker.core.bundles import bundle_in
from broker.core.checkpoint import Checkpoint, Verifier, open_checkpoint
from broker.core.merkle import leaf_hash, verify_consistency
from broker.core.receipt import Receipt
from broker.core.record import Record
from broker.core.tiles import TILE_WIDTH, consistency_proof, hashes_of, tile_in
from broker.core.verified_tiles import VerifiedTiles
from broker.errors import IntegrityError
from broker.offline.dropped import Dropped
from broker.offline.receipts import Kept, read, receipts
from broker.offline.rotation import half_of, opened
from broker.offline.source import Missing, Source, entries_in

MOST_UNSOUND = 1000  # that are named; more are counted


def reconcile(folder: Path, source: Source, verifiers: Sequence[Verifier]) -> Iterator[Kept]:
    """Each receipt of the folder, looked for in the log.

    Raises Unreadable and IntegrityError for the log, SetupError for the folder and for keys that are missing.
    """
    current = opened(source.checkpoint(), verifiers)
    now = _Log(source, current)
    logs: dict[str, _Log | None] = {current.origin: now}
    for proof, why in receipts(folder):
        try:
            if why:
                raise IntegrityError(why)
            receipt, kept = read(proof, verifiers, with_record=True)
        except IntegrityError as e:
            yield Kept(proof, problem=f"does not verify: {e}")
            continue
        checkpoint = open_checkpoint(receipt.checkpoint, verifiers)
        if checkpoint.origin not in logs:
            logs[checkpoint.origin] = _older(source, checkpoint.origin, verifiers)
        log = logs[checkpoint.origin] or now
        yield dataclasses.replace(kept, problem=log.problem(receipt, checkpoint))


def _older(source: Source, origin: str, verifiers: Sequence[Verifier]) -> _Log | None:
    """The log of this name, where it stays beside the current one."""
    try:
        there = half_of(source, origin)
        checkpoint = open_checkpoint(there.checkpoint(), verifiers)
    except (Missing, IntegrityError):
        return None
    return _Log(there, checkpoint) if checkpoint.origin == origin else None


@dataclass
class Matched:
    """What the receipts of a folder say of one record: `found` say that it was released, `unsound` nothing that
    can be believed, and `unopened` of them, which have no opening, nothing of any record."""

    found: list[Kept] = field(default_factory=list)
    unsound: list[Kept] = field(default_factory=list)
    more: int = 0
    looked: int = 0
    unopened: int = 0

    @property
    def decided(self) -> bool:
        """Whether a record that no receipt speaks of was not released by any of them."""
        return bool(self.looked) and not self.unsound and not self.unopened


def matches(record: bytes, folder: Path, verifiers: Sequence[Verifier]) -> Matched:
    """The kept receipts that say that exactly this record (a serialised Any) was released, and the others.

    Raises IntegrityError where the bytes are no Any, SetupError for the folder.
    """
    wanted = Record.from_any(record).digest()
    told = Matched()
    for proof, why in receipts(folder):
        told.looked += 1
        try:
            if why:
                raise IntegrityError(why)
            _, kept = read(proof, verifiers, with_record=False)
        except IntegrityError as e:
            if len(told.unsound) < MOST_UNSOUND:
                told.unsound.append(Kept(proof, problem=str(e)))
            else:
                told.more += 1
            continue
        told.unopened += not kept.opened
        if kept.response == wanted:
            told.found.append(kept)
    return told


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
        try:
            return self._place(receipt) or self._consistency(checkpoint)
        except (Missing, IntegrityError) as e:
            return f"the log shows nothing that proves its entry {receipt.index}: {e}"

    def _place(self, receipt: Receipt) -> str:
        """Why its entry does not stand at its place; empty where it does."""
        tile = tile_in(0, receipt.index // TILE_WIDTH, self._now.size)
        there = hashes_of(tile, self._tiles.read(tile))[receipt.index % TILE_WIDTH]
        if there != leaf_hash(receipt.entry):
            return f"another entry stands at {receipt.index}"
        bundle = bundle_in(receipt.index // TILE_WIDTH, self._now.size)
        try:
            entries = entries_in(self._source, bundle)
        except Missing:
            if not self._dropped.hashes(bundle.index):
                raise
            return ""  # it lies in an export alone, and its hash is good
        if entries[receipt.index % TILE_WIDTH] != receipt.entry:
            return f"the log no longer serves entry {receipt.index} as it was"
        return ""

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
