"""Owns the tiled form of the tree (C2SP tlog-tiles): tile names, and proofs computed from tiles.

A tile is up to 256 consecutive hashes, eight tree levels above those of the tile level below. Proofs are pure
functions of a `Read`, so that a store can fetch the tiles named by `tiles_for_inclusion` or
`tiles_for_consistency` in one statement and then run them. Refused: tile names in any but the one spelling,
and tiles of the wrong length. Nothing here checks that a tile is true: see `verified_tiles`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from broker.core.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, node_hash
from broker.errors import IntegrityError

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
# Entries below one full tile of tiles: what is exported and dropped as one.
PARTITION = TILE_WIDTH * TILE_WIDTH
_MAX_LEVEL = 63

_NUMBER = r"(?:x[0-9]{3}/)*[0-9]{3}"
_NAME = re.compile(rf"tile/(0|[1-9][0-9]?)/({_NUMBER})(?:\.p/([1-9][0-9]{{0,2}}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tile:
    """The name of a tile: `width` hashes of tile level `level`, from number 256 * `index` of that level."""

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not 0 <= self.level <= _MAX_LEVEL or not 0 <= self.index <= MAX_SIZE:
            raise IntegrityError(f"no such tile: level {self.level}, index {self.index}")
        if not 1 <= self.width <= TILE_WIDTH:
            raise IntegrityError(f"a tile is 1 to {TILE_WIDTH} hashes wide, not {self.width}")

    @property
    def path(self) -> str:
        """`tile/<L>/<N>[.p/<W>]`, relative to the log's prefix."""
        return f"tile/{self.level}/{format_number(self.index)}{partial_suffix(self.width)}"

    @classmethod
    def parse(cls, path: str) -> Tile:
        """Return the tile named by `path`; refuses any spelling but that of `path`."""
        match = _NAME.fullmatch(path)
        if match is None:
            raise IntegrityError("not the path of a tile")
        level, number, width = match.groups()
        tile = cls(int(level), parse_number(number), int(width or TILE_WIDTH))
        if tile.path != path:
            raise IntegrityError("not the one spelling of a tile's path")
        return tile


Read = Callable[[Tile], bytes]


def format_number(index: int) -> str:
    """Return a tile index as path elements of three digits, all but the last led by `x`: `x001/x234/067`."""
    text = f"{index % 1000:03d}"
    while index := index // 1000:
        text = f"x{index % 1000:03d}/{text}"
    return text


def parse_number(text: str) -> int:
    """Return the index written by `format_number`. The caller compares spellings."""
    return int(text.replace("x", "").replace("/", ""))


def partial_suffix(width: int) -> str:
    """Return `.p/<W>` for a partial tile or bundle, nothing for a full one."""
    return "" if width == TILE_WIDTH else f".p/{width}"


def tile_in(level: int, index: int, size: int) -> Tile:
    """Return the tile at these coordinates as wide as a tree of `size` leaves has it."""
    width = min(TILE_WIDTH, (size >> TILE_HEIGHT * level) - TILE_WIDTH * index)
    if width < 1:
        raise IntegrityError(f"a tree of {size} leaves has no tile {index} at level {level}")
    return Tile(level, index, width)


def tiles_of(size: int, start: int = 0) -> Iterator[Tile]:
    """Yield every tile of a tree of `size` leaves that differs from those of `start` leaves, by level."""
    level = 0
    while rows := size >> TILE_HEIGHT * level:
        had = start >> TILE_HEIGHT * level
        if rows > had:
            for index in range(had >> TILE_HEIGHT, (rows + TILE_WIDTH - 1) >> TILE_HEIGHT):
                yield tile_in(level, index, size)
        level += 1


def may_be_dropped(bundle: int, size: int) -> bool:
    """Whether a closed log of `size` entries may have these 256 in an export alone: they are of a whole
    partition, and neither its first nor the ones with its last, which link it to the logs before and after."""
    first = bundle * TILE_WIDTH
    return bundle not in (0, (size - 1) // TILE_WIDTH) and first - first % PARTITION + PARTITION <= size


def hashes_of(tile: Tile, data: bytes) -> list[bytes]:
    """Return the hashes of a tile.

    Raises:
        IntegrityError: `data` is not exactly `tile.width` hashes.
    """
    if len(data) != tile.width * HASH_BYTES:
        raise IntegrityError(f"{tile.path}: {len(data)} bytes, not {tile.width * HASH_BYTES}")
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def subtree_root(hashes: list[bytes]) -> bytes:
    """Return the root over a power of two of hashes: over a full tile, its hash in the level above."""
    if not hashes or len(hashes) & (len(hashes) - 1):
        raise IntegrityError(f"{len(hashes)} hashes are not a perfect subtree")
    while len(hashes) > 1:
        pairs = iter(hashes)
        hashes = [node_hash(left, right) for left, right in zip(pairs, pairs, strict=True)]
    return hashes[0]


@dataclass(frozen=True, slots=True)
class _Node:
    """A perfect subtree: the leaves `index << height` up to `(index + 1) << height`."""

    height: int
    index: int

    def tile(self, size: int) -> Tile:
        level, inner = divmod(self.height, TILE_HEIGHT)
        return tile_in(level, (self.index << inner) >> TILE_HEIGHT, size)

    def hash(self, size: int, read: Read) -> bytes:
        tile, inner = self.tile(size), self.height % TILE_HEIGHT
        first = (self.index << inner) % TILE_WIDTH
        if first + (1 << inner) > tile.width:
            raise IntegrityError(f"{tile.path} does not reach node {self.index} of height {self.height}")
        return subtree_root(hashes_of(tile, read(tile))[first : first + (1 << inner)])


def _inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The leaf ranges whose roots are PATH(index, D[size]), RFC 6962 section 2.1.1, sibling first."""
    if not 0 <= index < size <= MAX_SIZE:
        raise IntegrityError(f"index {index} is not in a tree of {size} leaves")
    low, high, ranges = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    return ranges[::-1]


def _consistency_ranges(size1: int, size2: int) -> list[tuple[int, int]]:
    """The leaf ranges whose roots are PROOF(size1, D[size2]), RFC 6962 section 2.1.2."""
    if not 0 <= size1 <= size2 <= MAX_SIZE:
        raise IntegrityError(f"no tree of {size2} leaves extends one of {size1}")
    if size1 in (0, size2):
        return []
    low, high, ranges = 0, size2, []
    while high != size1:
        middle = low + _split(high - low)
        if size1 <= middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    if low:  # otherwise the earlier tree is itself a node of the later one, and its root is known
        ranges.append((low, high))
    return ranges[::-1]


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _nodes(low: int, high: int) -> Iterator[_Node]:
    """The perfect subtrees of a leaf range of the tree, largest first."""
    while low < high:
        height = (high - low).bit_length() - 1
        yield _Node(height, low >> height)
        low += 1 << height


def _tiles(ranges: Iterable[tuple[int, int]], size: int) -> tuple[Tile, ...]:
    return tuple(dict.fromkeys(node.tile(size) for low, high in ranges for node in _nodes(low, high)))


def _root(low: int, high: int, size: int, read: Read) -> bytes:
    hashes = [node.hash(size, read) for node in _nodes(low, high)]
    root = hashes.pop()
    while hashes:
        root = node_hash(hashes.pop(), root)
    return root


def tiles_for_inclusion(index: int, size: int) -> tuple[Tile, ...]:
    """Return the tiles that `inclusion_proof(index, size, read)` reads, each once."""
    return _tiles(_inclusion_ranges(index, size), size)


def inclusion_proof(
    index: int, size: int, read: Read, known: dict[tuple[int, int], bytes] | None = None
) -> tuple[bytes, ...]:
    """Return the proof of leaf `index` in the tree of `size` leaves, sibling first (RFC 6962 2.1.1).

    `known` keeps roots of ranges of this very tree from one proof to the next; whoever gives it bounds it.
    """
    if known is None:
        return tuple(_root(low, high, size, read) for low, high in _inclusion_ranges(index, size))
    ranges = _inclusion_ranges(index, size)
    for low, high in ranges:
        if (low, high) not in known:
            known[low, high] = _root(low, high, size, read)
    return tuple(known[each] for each in ranges)


def tiles_for_consistency(size1: int, size2: int) -> tuple[Tile, ...]:
    """Return the tiles that `consistency_proof(size1, size2, read)` reads, each once."""
    return _tiles(_consistency_ranges(size1, size2), size2)


def consistency_proof(size1: int, size2: int, read: Read) -> tuple[bytes, ...]:
    """Return the proof that `size1` leaves are a prefix of `size2` (RFC 6962 2.1.2); empty from none."""
    return tuple(_root(low, high, size2, read) for low, high in _consistency_ranges(size1, size2))


def tiles_for_range(size: int) -> tuple[Tile, ...]:
    """Return the tiles that `CompactRange` of `size` leaves lies in: the partial ones, by level."""
    return _tiles([(0, size)], size)


def tree_root(size: int, read: Read) -> bytes:
    """Return the root of the first `size` leaves, from the tiles of `tiles_for_range(size)`."""
    return _root(0, size, size, read) if size else EMPTY_ROOT
