"""A published log's entries read from the first to the last, and when to give that up.

A size is only what somebody signed. Where one bundle after the other is not a log's, or where the tiles of a
million entries lead nowhere, the rest is not looked for, and the report says so: nobody is kept busy for good.
"""

from __future__ import annotations

from broker.core.bundles import Bundle, bundle_in
from broker.core.checkpoint import Checkpoint
from broker.core.entry import Entry, Rotation, parse_entry
from broker.core.merkle import leaf_hash
from broker.core.tiles import PARTITION, TILE_WIDTH, Tile
from broker.core.verified_tiles import VerifiedTiles
from broker.errors import IntegrityError
from broker.offline.dropped import Dropped
from broker.offline.problems import MISPLACED, Problem, Report
from broker.offline.source import Missing, Source

Leaves = list[bytes | None]

ON_END = 64  # bundles one after the other with something wrong in each
BAD = 4096  # bundles with something wrong in them, wherever they are
ASTRAY = 16  # partitions on end whose tiles do not lead to the root: a million entries
_PER_PARTITION = PARTITION // TILE_WIDTH


class Reading:
    """Reads one log into a report."""

    def __init__(
        self, source: Source, checkpoint: Checkpoint, trusted: VerifiedTiles | None, report: Report
    ) -> None:
        self._source = source
        self._size = checkpoint.size
        self._trusted = trusted
        self._report = report
        self._ids: dict[str, int] = {}
        self._on_end = self._bad = self._astray = 0
        self._dropped: Dropped | None = None
        try:
            self._dropped = Dropped(source, checkpoint)
        except IntegrityError as e:
            report.add(Problem("dropped", -1, "dropped", str(e).removeprefix("dropped: ")))

    def bundle(self, number: int) -> Leaves:
        """The leaf hashes of a bundle's entries, which are read as entries; None for one that is not there."""
        bundle = bundle_in(number, self._size)
        wrong = self._report.count
        found = self._leaves(bundle)
        if self._report.count > wrong:
            self._on_end += 1
            self._bad += 1
        else:
            self._on_end = 0
        return found

    def enough(self, number: int) -> bool:
        """Whether the rest is not to be looked for, after that bundle; the report then says why."""
        why = ""
        if self._on_end >= ON_END:
            why = f"{ON_END} bundles on end are not as they should be"
        elif self._bad >= BAD:
            why = f"{BAD} bundles are not as they should be"
        elif (number + 1) % _PER_PARTITION == 0:
            partition = number // _PER_PARTITION
            self._astray = 0 if self._leads(Tile(1, partition)) else self._astray + 1
            if self._astray >= ASTRAY:
                first = (partition + 1 - ASTRAY) * PARTITION
                why = f"no tile of the {ASTRAY * PARTITION} entries from {first} on leads to the signed root"
                self._report.add(Problem("tile", first, Tile(1, first // PARTITION).path, why))
        after = (number + 1) * TILE_WIDTH
        if why and after < self._size:
            self._report.unchecked.append(f"entries {after} to {self._size - 1} were not looked for: {why}")
            return True
        return False

    def _leaves(self, bundle: Bundle) -> Leaves:
        first = bundle.index * TILE_WIDTH
        try:
            served, data = self._source.bundle(bundle)
        except (Missing, IntegrityError) as e:
            if isinstance(e, Missing) and self._dropped and (hashes := self._dropped.hashes(bundle.index)):
                if (partition := first - first % PARTITION) not in self._report.dropped[-1:]:
                    self._report.dropped.append(partition)
                return list(hashes)
            self._report.add(Problem("entry", first, bundle.path, f"its bundle cannot be read: {e}"))
            return [None] * bundle.width
        entries, left = split(data, served.width)
        if len(entries) < bundle.width:
            ends = "inside it" if left else "before it"
            self._report.add(
                Problem("entry", first + len(entries), bundle.path, f"is not there: its bundle ends {ends}")
            )
        elif left or len(entries) < served.width:
            more = f"{left} bytes follow its last entry" if left else f"holds {len(entries)} entries"
            text = f"{more}, and no log writes that; its {bundle.width} entries are looked at by themselves"
            self._report.add(Problem("bundle", first, served.path, text))
        found: Leaves = []
        for at, entry in enumerate(entries[: bundle.width], first):
            found.append(leaf_hash(entry))
            self._entry(entry, at, bundle.path)
        return found + [None] * (bundle.width - len(found))

    def _entry(self, entry: bytes, at: int, path: str) -> None:
        self._report.entries += 1
        try:
            parsed: Entry | Rotation = parse_entry(entry)
        except IntegrityError as e:
            self._report.add(Problem("entry", at, path, str(e).removeprefix("entry: ")))
            return
        self._report.rotations += isinstance(parsed, Rotation)
        if isinstance(parsed, Rotation) and 0 < at < self._size - 1:
            self._report.add(Problem("entry", at, path, MISPLACED))
        if at == self._size - 1 and self._report.dropped and not isinstance(parsed, Rotation):
            text = "says that entries were dropped of a log that no last entry has closed"
            self._report.add(Problem("dropped", self._report.dropped[0], "dropped", text))
        if (before := self._ids.setdefault(parsed.id, at)) != at:
            self._report.add(Problem("entry", at, path, f"has the id of entry {before}"))

    def _leads(self, tile: Tile) -> bool:
        """Whether a tile is as the root says."""
        try:
            return self._trusted is not None and bool(self._trusted.read(tile))
        except (Missing, IntegrityError):
            return False


def split(data: bytes, width: int) -> tuple[list[bytes], int]:
    """The whole entries that a bundle begins with, at most `width`, and how many bytes follow them."""
    entries: list[bytes] = []
    at = 0
    while at + 2 <= len(data) and len(entries) < width:
        start = at + 2
        end = start + int.from_bytes(data[at:start], "big")
        if end > len(data):
            break
        entries.append(data[start:end])
        at = end
    return entries, len(data) - at
