"""Partitions that a log says lie in an export alone: their hashes must be there, and lead to the root.

Refuses a list that is not written as a log writes it. Nobody signs it, so it excuses nothing whose hashes are
not good, and no entries that a log never drops: of a partition that is not whole, its first 256, those with its
last.
"""

from __future__ import annotations

import re

from broker.core.checkpoint import Checkpoint
from broker.core.tiles import PARTITION, TILE_WIDTH, Tile, hashes_of, may_be_dropped
from broker.core.verified_tiles import VerifiedTiles
from broker.errors import IntegrityError
from broker.offline.source import Missing, Source

_LINE = re.compile(rb"(0|[1-9][0-9]{0,18}) (0|[1-9][0-9]{0,18}) [0-9a-f]{64}")


class Dropped:
    """Of one log. Raises IntegrityError where its list can be none, Unreadable."""

    def __init__(self, source: Source, checkpoint: Checkpoint) -> None:
        self._source = source
        self._checkpoint = checkpoint
        self._tiles: VerifiedTiles | None = None
        self._first = _firsts(source.dropped())

    def hashes(self, bundle: int) -> list[bytes]:
        """The leaf hashes of a bundle of them; none where it is no such bundle, or its tile is not good."""
        first = bundle * TILE_WIDTH
        listed = first - first % PARTITION in self._first
        if not listed or not may_be_dropped(bundle, self._checkpoint.size):
            return []
        try:
            if self._tiles is None:
                self._tiles = VerifiedTiles(self._checkpoint.size, self._checkpoint.root, self._source.tile)
            tile = Tile(0, bundle)
            return hashes_of(tile, self._tiles.read(tile))
        except (Missing, IntegrityError):
            return []


def _firsts(data: bytes) -> frozenset[int]:
    """First entries of the partitions of a list."""
    found = set[int]()
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        match = _LINE.fullmatch(line.removesuffix(b"\n"))
        if match is None or not line.endswith(b"\n"):
            raise IntegrityError(
                f"dropped: line {number} is not a first entry, the one after the last and a digest"
            )
        first, after = int(match[1]), int(match[2])
        if first % PARTITION or after != first + PARTITION or first in found:
            raise IntegrityError(
                f"dropped: line {number} is no partition of {PARTITION} entries, or there twice"
            )
        found.add(first)
    return frozenset(found)
