"""The whole log derived again from its entries, and held against every tile and the checkpoint's root.

Names what is wrong by index or by path, first things first. What the root vouches for is believed, so an entry
that was changed is told from a tile that was. Where an entry and its tile were changed together, the tile above
tells of which 256 entries one is wrong; which of them, only a receipt or a mirror can say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from broker.core.bundles import bundle_in
from broker.core.checkpoint import Checkpoint, Verifier, open_checkpoint
from broker.core.entry import Entry, Rotation, parse_entry
from broker.core.merkle import CompactRange, leaf_hash
from broker.core.tiles import PARTITION, TILE_WIDTH, Tile, hashes_of, subtree_root, tiles_of
from broker.core.verified_tiles import VerifiedTiles
from broker.errors import IntegrityError
from broker.offline.source import Missing, Source

MOST = 100  # problems that are named; more are counted
_ON_END = 64  # bundles that are missing one after the other: the log ends there


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `index` is that of the first entry it bears on; -1 for the checkpoint.

    `kind` is checkpoint, entry or tile; `path` the tile's or bundle's name.
    """

    kind: str
    index: int
    path: str
    text: str

    def __str__(self) -> str:
        where = f"entry {self.index}" if self.kind == "entry" else self.path
        return f"{where}: {self.text}"


@dataclass
class Report:
    """What was looked at, and what was wrong with it, by index."""

    origin: str = ""
    size: int = 0
    root: bytes = b""
    tiles: int = 0
    entries: int = 0
    rotations: int = 0
    # First entry of each partition that lies in an export alone; its tiles were checked.
    dropped: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    more: int = 0

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def first(self) -> Problem | None:
        """The problem that comes first in the log."""
        return min(self.problems, key=lambda each: (each.index, each.kind != "entry"), default=None)

    def add(self, problem: Problem) -> None:
        """One more, named or counted."""
        if len(self.problems) < MOST:
            self.problems.append(problem)
        else:
            self.more += 1


Progress = Callable[[int, int], None]


def fsck(source: Source, verifiers: Sequence[Verifier], progress: Progress = lambda _done, _of: None) -> Report:
    """Check everything that a log publishes. `progress` hears of entries done and to do.

    Raises Unreadable where the log cannot be read; what is not there counts as wrong.
    """
    report = Report()
    try:
        checkpoint = open_checkpoint(source.checkpoint(), verifiers)
    except IntegrityError as e:
        report.add(Problem("checkpoint", -1, "checkpoint", str(e).removeprefix("checkpoint: ")))
        return report
    report.origin, report.size, report.root = checkpoint.origin, checkpoint.size, checkpoint.root
    leaves = _leaves(source, checkpoint, report, progress)
    if leaves is not None:
        _Comparison(source, checkpoint, leaves, report).run()
    report.problems.sort(key=lambda each: (each.index, each.kind))
    return report


def _leaves(
    source: Source, checkpoint: Checkpoint, report: Report, progress: Progress
) -> list[bytes | None] | None:
    """Leaf hashes of the entries; None for one that is not there. Entries are read as entries on the way.

    None where so much is missing on end that the rest is not looked for: a size is only what somebody signed,
    and 2^60 of them would keep whoever checks busy for good.
    """
    found: list[bytes | None] = []
    missing = 0
    seen: dict[str, int] = {}
    size, dropped = checkpoint.size, Dropped(source, checkpoint)
    for n in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
        bundle = bundle_in(n, size)
        first = n * TILE_WIDTH
        try:
            entries = decode_up_to(source.bundle(bundle), bundle.width)
        except (Missing, IntegrityError) as e:
            if isinstance(e, Missing) and (hashes := dropped.hashes(n)):
                found += hashes
                if (partition := first - first % PARTITION) not in report.dropped:
                    report.dropped.append(partition)
                progress(min(size, first + TILE_WIDTH), size)
                continue
            report.add(Problem("entry", first, bundle.path, f"its bundle cannot be read: {e}"))
            found += [None] * bundle.width
            missing += isinstance(e, Missing)
            if missing == _ON_END:
                gone = f"from here to entry {size} was not looked for: {_ON_END} bundles on end are not there"
                report.add(Problem("entry", first, bundle.path, gone))
                return None
            continue
        missing = 0
        if len(entries) < bundle.width:
            ends = "is not there: its bundle ends before it"
            report.add(Problem("entry", first + len(entries), bundle.path, ends))
        for at, entry in enumerate(entries, first):
            found.append(leaf_hash(entry))
            _read(entry, at, bundle.path, seen, report)
        found += [None] * (bundle.width - len(entries))
        progress(min(size, first + TILE_WIDTH), size)
    return found


class Dropped:
    """Partitions that a log says lie in an export alone: their hashes must be there, and lead to the root."""

    def __init__(self, source: Source, checkpoint: Checkpoint) -> None:
        self._source = source
        self._checkpoint = checkpoint
        self._tiles: VerifiedTiles | None = None
        self._first = {
            int(first) for first, *_ in map(bytes.split, source.dropped().splitlines()) if first.isdigit()
        }

    def hashes(self, bundle: int) -> list[bytes]:
        """The leaf hashes of a bundle of them; none where it is no such bundle, or its tile is not good."""
        first = bundle * TILE_WIDTH
        if first - first % PARTITION not in self._first:
            return []
        try:
            if self._tiles is None:
                self._tiles = VerifiedTiles(self._checkpoint.size, self._checkpoint.root, self._source.tile)
            tile = Tile(0, bundle)
            return hashes_of(tile, self._tiles.read(tile))
        except (Missing, IntegrityError):
            return []


def decode_up_to(data: bytes, width: int) -> tuple[bytes, ...]:
    """The first `width` entries of a bundle that may hold more, or fewer.

    Raises IntegrityError where it breaks off inside one.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data) and len(entries) < width:
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data):
            raise IntegrityError("entry bundle: ends inside an entry")
        entries.append(data[start:at])
    return tuple(entries)


def _read(entry: bytes, at: int, path: str, seen: dict[str, int], report: Report) -> None:
    report.entries += 1
    try:
        parsed: Entry | Rotation = parse_entry(entry)
    except IntegrityError as e:
        report.add(Problem("entry", at, path, str(e).removeprefix("entry: ")))
        return
    report.rotations += isinstance(parsed, Rotation)
    if (before := seen.setdefault(parsed.id, at)) != at:
        report.add(Problem("entry", at, path, f"has the id of entry {before}"))


class _Comparison:
    """Hashes derived from the entries against those of the tiles, level by level, and both against the root."""

    def __init__(
        self, source: Source, checkpoint: Checkpoint, leaves: list[bytes | None], report: Report
    ) -> None:
        self._source = source
        self._size = checkpoint.size
        self._root = checkpoint.root
        self._report = report
        try:
            self._trusted: VerifiedTiles | None = VerifiedTiles(checkpoint.size, checkpoint.root, source.tile)
        except (Missing, IntegrityError):
            self._trusted = None
        self._levels = [leaves]
        while len(self._levels[-1]) >= TILE_WIDTH:
            self._levels.append(list(_roots(self._levels[-1])))

    def run(self) -> None:
        """Compare everything."""
        whole = None not in self._levels[0]
        # The entries by themselves: if they make the root they are all good, whatever the tiles say.
        good = whole and CompactRange(0, ()).extend(h for h in self._levels[0] if h).root() == self._root
        for tile in tiles_of(self._size):  # by level: what is below is named first
            self._report.tiles += 1
            self._compare(tile, entries_good=good)
        if not good and not self._report.problems:
            text = "the entries and tiles agree, and do not make the root that was signed"
            self._report.add(Problem("checkpoint", -1, "checkpoint", text))

    def _compare(self, tile: Tile, *, entries_good: bool) -> None:
        derived = self._levels[tile.level][tile.index * TILE_WIDTH :][: tile.width]
        claimed = self._hashes(tile)
        if claimed is None or claimed == derived:
            return
        differs = [n for n, (mine, theirs) in enumerate(zip(derived, claimed, strict=True)) if mine != theirs]
        span = TILE_WIDTH**tile.level
        if entries_good:
            first = (tile.index * TILE_WIDTH + differs[0]) * span
            text = f"hash {differs[0]} is not that of its entries, which are good"
            self._report.add(Problem("tile", first, tile.path, text))
            return
        if not self._vouched(tile):
            first = (tile.index * TILE_WIDTH + differs[0]) * span
            text = f"does not lead to the root, and hash {differs[0]} is not that of its entries"
            self._report.add(Problem("tile", first, tile.path, text))
            return
        for n in differs:
            first = (tile.index * TILE_WIDTH + n) * span
            if derived[n] is None or self._named(first, span):
                continue  # said already: what is wrong is below
            if tile.level == 0:
                self._report.add(Problem("entry", first, tile.path, "is not the one that was logged"))
            else:
                last = min(first + span, self._size) - 1
                text = f"it or another up to {last} was changed, and with it the tile that held its hash"
                self._report.add(Problem("entry", first, tile.path, text))

    def _vouched(self, tile: Tile) -> bool:
        """Whether the root says that this tile is as it was."""
        try:
            return self._trusted is not None and bool(self._trusted.read(tile))
        except (Missing, IntegrityError):
            return False

    def _named(self, first: int, span: int) -> bool:
        """Whether something below was named already."""
        return any(first <= each.index < first + span for each in self._report.problems)

    def _hashes(self, tile: Tile) -> list[bytes] | None:
        try:
            return hashes_of(tile, self._source.tile(tile))
        except (Missing, IntegrityError) as e:
            first = tile.index * TILE_WIDTH ** (tile.level + 1)
            self._report.add(Problem("tile", first, tile.path, f"cannot be read: {e}"))
            return None


def _roots(hashes: list[bytes | None]) -> Iterator[bytes | None]:
    """The hash over each full tile of these; None where one of them is missing."""
    for first in range(0, len(hashes) - TILE_WIDTH + 1, TILE_WIDTH):
        part = [h for h in hashes[first : first + TILE_WIDTH] if h is not None]
        yield subtree_root(part) if len(part) == TILE_WIDTH else None
