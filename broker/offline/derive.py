"""A tree derived from its leaves in order, in bounded memory, and held against the full tiles kept of it.

Two trees grow side by side: the one that the leaves make, and the one that the kept tiles claim. Where they
differ, the roots that were signed say which of the two was changed. Owns that bookkeeping; whose leaves and
tiles they are, and what is signed, is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from broker.core.merkle import EMPTY_ROOT, HASH_BYTES, node_hash
from broker.core.tiles import TILE_WIDTH, Tile, hashes_of, subtree_root

_NOTHING = bytes(HASH_BYTES)
MOST = 100  # differences that are remembered; more are counted


@dataclass(frozen=True, slots=True)
class KeptTile:
    """A full tile as it was kept: its 256 hashes, and its own hash in the level above."""

    hashes: bytes
    root: bytes


@dataclass(frozen=True, slots=True)
class Difference:
    """A hash of a kept tile that is not what the leaves make: `first` of the `span` leaves below it."""

    tile: Tile
    place: int
    first: int
    span: int


@dataclass(frozen=True, slots=True)
class Roots:
    """Of so many leaves: the root that they make, and the one that the kept tiles claim."""

    made: bytes
    claimed: bytes


@dataclass
class Derivation:
    """Takes leaf hashes in order; None for one that is not there, whose tile's word is taken for it."""

    size: int = 0
    tiles: int = 0
    differences: list[Difference] = field(default_factory=list)
    more: int = 0
    spoilt: list[Tile] = field(default_factory=list)
    roots: dict[int, Roots] = field(default_factory=dict)
    _made: list[list[bytes]] = field(default_factory=lambda: [[]])
    _claimed: list[list[bytes]] = field(default_factory=lambda: [[]])

    def take(
        self,
        leaves: Sequence[bytes | None],
        kept: Mapping[tuple[int, int], KeptTile],
        marks: Sequence[int] = (),
    ) -> None:
        """The next leaves: whole tiles' worth, until the last. `kept` are the tiles, by level and index, that
        they complete; at sizes among `marks` the roots are remembered."""
        if self.size % TILE_WIDTH:
            raise ValueError("leaves come in whole tiles, until the last")
        if 0 in marks and not self.size:
            self.roots[0] = Roots(EMPTY_ROOT, EMPTY_ROOT)
        for start in range(0, len(leaves), TILE_WIDTH):
            self._block(leaves[start : start + TILE_WIDTH], kept, marks)

    def compact_range(self) -> list[bytes]:
        """The roots of the full subtrees that the leaves make, largest first."""
        return _peaks(self._made)

    def _block(
        self, block: Sequence[bytes | None], kept: Mapping[tuple[int, int], KeptTile], marks: Sequence[int]
    ) -> None:
        tile = Tile(0, self.size // TILE_WIDTH)
        row = kept.get((0, tile.index)) if len(block) == TILE_WIDTH else None
        claimed = hashes_of(tile, row.hashes) if row else [leaf or _NOTHING for leaf in block]
        made = [leaf or theirs for leaf, theirs in zip(block, claimed, strict=True)]
        for mark in marks:
            if self.size < mark <= self.size + len(block):
                count = mark - self.size
                self._made[0], self._claimed[0] = made[:count], claimed[:count]
                self.roots[mark] = Roots(_root(_peaks(self._made)), _root(_peaks(self._claimed)))
        self._made[0], self._claimed[0] = made, claimed
        self.size += len(block)
        if len(block) == TILE_WIDTH:
            self._complete(tile, row, kept)

    def _complete(self, tile: Tile, row: KeptTile | None, kept: Mapping[tuple[int, int], KeptTile]) -> None:
        made, claimed = self._made[tile.level], self._claimed[tile.level]
        if row is not None:
            self.tiles += 1
            claimed = hashes_of(tile, row.hashes)
            self._compare(tile, made, claimed)
        above = tile.level + 1
        if above == len(self._made):
            self._made.append([])
            self._claimed.append([])
        root = subtree_root(made)
        said = root if claimed == made else subtree_root(claimed)
        if row is not None and row.root != said:
            self.spoilt.append(tile)
        self._made[tile.level], self._claimed[tile.level] = [], []
        self._made[above].append(root)
        self._claimed[above].append(said)
        if len(self._made[above]) == TILE_WIDTH:
            parent = Tile(above, tile.index // TILE_WIDTH)
            self._complete(parent, kept.get((above, parent.index)), kept)

    def _compare(self, tile: Tile, made: list[bytes], claimed: list[bytes]) -> None:
        if made == claimed:
            return
        span = TILE_WIDTH**tile.level
        for place, (mine, theirs) in enumerate(zip(made, claimed, strict=True)):
            if mine != theirs:
                first = (tile.index * TILE_WIDTH + place) * span
                if len(self.differences) < MOST:
                    self.differences.append(Difference(tile, place, first, span))
                else:
                    self.more += 1


def _peaks(levels: Sequence[list[bytes]]) -> list[bytes]:
    """The roots of the full subtrees of a tree whose unfinished tiles these are, by level, largest first."""
    peaks: list[bytes] = []
    for hashes in reversed(levels):
        start = 0
        for height in reversed(range(len(hashes).bit_length())):
            if len(hashes) >> height & 1:
                peaks.append(subtree_root(hashes[start : start + (1 << height)]))
                start += 1 << height
    return peaks


def _root(peaks: list[bytes]) -> bytes:
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for left in reversed(peaks[:-1]):
        root = node_hash(left, root)
    return root
