"""Hashes derived from a log's entries against those of its tiles, level by level, and both against the root.

Owns the judgement which of the two was changed: what the root vouches for is believed.
"""

from __future__ import annotations

from collections.abc import Iterator

from broker.core.checkpoint import Checkpoint
from broker.core.merkle import CompactRange
from broker.core.tiles import TILE_WIDTH, Tile, hashes_of, subtree_root, tiles_of
from broker.core.verified_tiles import VerifiedTiles
from broker.errors import IntegrityError
from broker.offline.problems import Problem, Report
from broker.offline.reading import Leaves
from broker.offline.source import Missing, Source


class Comparison:
    """Of one log, whose entries have been read."""

    def __init__(
        self,
        source: Source,
        checkpoint: Checkpoint,
        leaves: Leaves,
        trusted: VerifiedTiles | None,
        report: Report,
    ) -> None:
        self._source = source
        self._size = checkpoint.size
        self._root = checkpoint.root
        self._report = report
        self._trusted = trusted
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
        if not good and not any(each.kind in ("entry", "tile") for each in self._report.problems):
            text = "the entries and tiles agree, and do not make the root that was signed"
            self._report.add(Problem("checkpoint", -1, "checkpoint", text))

    def derived(self, tile: Tile) -> Leaves:
        """The hashes of a tile as the entries make them, as many as there are; None for one that they do
        not."""
        if tile.level >= len(self._levels):
            return []
        first = tile.index * TILE_WIDTH
        return self._levels[tile.level][first : first + tile.width]

    def known(self, tile: Tile) -> Leaves:
        """The same as a tile of the checkpoint has them, where the root vouches for that: an entry that was
        changed is then no fault of what was right."""
        derived, whole = self.derived(tile), self.derived(Tile(tile.level, tile.index))
        try:
            if self._trusted is None or not whole:
                return derived
            vouched = Tile(tile.level, tile.index, len(whole))
            return [*hashes_of(vouched, self._trusted.read(vouched))[: tile.width]]
        except (Missing, IntegrityError):
            return derived

    def _compare(self, tile: Tile, *, entries_good: bool) -> None:
        derived = self.derived(tile)
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
        return any(
            first <= each.index < first + span
            for each in self._report.problems
            if each.kind in ("entry", "tile")
        )

    def _hashes(self, tile: Tile) -> list[bytes] | None:
        try:
            return hashes_of(tile, self._source.tile(tile))
        except (Missing, IntegrityError) as e:
            first = tile.index * TILE_WIDTH ** (tile.level + 1)
            self._report.add(Problem("tile", first, tile.path, f"cannot be read: {e}"))
            return None


def _roots(hashes: Leaves) -> Iterator[bytes | None]:
    """The hash over each full tile of these; None where one of them is missing."""
    for first in range(0, len(hashes) - TILE_WIDTH + 1, TILE_WIDTH):
        part = [h for h in hashes[first : first + TILE_WIDTH] if h is not None]
        yield subtree_root(part) if len(part) == TILE_WIDTH else None
