"""Owns the checked reading of tiles: no hash from a tile is believed before the tile leads to a known root.

Every tile is checked, full ones too. Full tiles are named by position, not by content, so a wrong one can
stand at the right name for every tree size; a reader that checks only the tiles at the right edge accepts it.
A partial tile is checked by the root itself, a full one by its hash in the tile above, up to a partial one.
Refused: any tile whose bytes do not lead to the root, with the tile's path in the error.
"""

from __future__ import annotations

from collections import OrderedDict

from broker.core.merkle import HASH_BYTES, CompactRange
from broker.core.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Read,
    Tile,
    hashes_of,
    subtree_root,
    tile_in,
    tiles_for_range,
)
from broker.errors import IntegrityError

MAX_HELD = 256  # full tiles kept after checking, 2 MiB: a path upward is eight tiles at most


def _above(tile: Tile, size: int) -> Tile:
    return tile_in(tile.level + 1, tile.index >> TILE_HEIGHT, size)


class VerifiedTiles:
    """Tiles of the tree of `size` leaves with `root`, which is that of a checkpoint already verified.

    `read` returns a tile's bytes, believed nowhere. Making one reads the right edge and checks it; `read` of
    the instance checks each other tile the first time it is used, and serves as a `Read` for proofs.

    Raises:
        IntegrityError: when made or read, for a tile that does not lead to the root.
    """

    def __init__(self, size: int, root: bytes, read: Read) -> None:
        self._size = size
        self._read = read
        self._edge = {tile: read(tile) for tile in tiles_for_range(size)}
        self._held: OrderedDict[Tile, bytes] = OrderedDict()
        if len(root) != HASH_BYTES or self._range().root() != root:
            names = ", ".join(tile.path for tile in self._edge) or "the empty tree"
            raise IntegrityError(f"the right edge does not lead to the root at size {size}: {names}")

    def _range(self) -> CompactRange:
        """The compact range the edge claims: each partial tile holds the peaks of its eight heights."""
        peaks: list[bytes] = []
        for tile, data in self._edge.items():
            peaks += _peaks(hashes_of(tile, data))
        return CompactRange(self._size, tuple(peaks))

    def read(self, tile: Tile) -> bytes:
        """Return the bytes of a tile of this tree, checked.

        Raises:
            IntegrityError: the tile is not one of this tree, or is not what the root says it is.
        """
        if (known := self._edge.get(tile)) is not None:
            return known
        if tile in self._held:
            self._held.move_to_end(tile)
            return self._held[tile]
        if tile != tile_in(tile.level, tile.index, self._size):
            raise IntegrityError(f"{tile.path} is not a tile of the tree of {self._size} leaves")
        data = self._read(tile)
        above = self.read(_above(tile, self._size))
        place = tile.index % TILE_WIDTH * HASH_BYTES
        if subtree_root(hashes_of(tile, data)) != above[place : place + HASH_BYTES]:
            raise IntegrityError(f"{tile.path} does not lead to the root at size {self._size}")
        self._held[tile] = data
        if len(self._held) > MAX_HELD:
            self._held.popitem(last=False)
        return data


def _peaks(hashes: list[bytes]) -> list[bytes]:
    """The roots of the perfect subtrees of a partial tile, largest first."""
    peaks, start = [], 0
    for height in reversed(range(len(hashes).bit_length())):
        if len(hashes) >> height & 1:
            peaks.append(subtree_root(hashes[start : start + (1 << height)]))
            start += 1 << height
    return peaks
