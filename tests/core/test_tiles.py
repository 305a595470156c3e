"""Tiles (C2SP tlog-tiles): names, proofs from tiles, and that no tile is believed unchecked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.merkle import EMPTY_RANGE, CompactRange, leaf_hash, verify_consistency, verify_inclusion
from broker.core.tiles import (
    PARTITION,
    TILE_HEIGHT,
    Tile,
    consistency_proof,
    hashes_of,
    inclusion_proof,
    may_be_dropped,
    subtree_root,
    tile_in,
    tiles_for_consistency,
    tiles_for_inclusion,
    tiles_for_range,
    tiles_of,
)
from broker.core.verified_tiles import VerifiedTiles
from broker.errors import IntegrityError

SIZES = [1, 2, 3, 7, 100, 255, 256, 257, 258, 300, 383, 511, 512, 513, 599, 600]


def tiles_by_definition(leaves: list[bytes], size: int) -> dict[Tile, bytes]:
    """Every tile of a tree: level 0 is the leaf hashes, each level above the roots of full tiles below."""
    level, row, tiles = 0, leaves[:size], {}
    while row:
        full = []
        for start in range(0, len(row), 256):
            part = row[start : start + 256]
            tiles[Tile(level, start // 256, len(part))] = b"".join(part)
            if len(part) == 256:
                full.append(root_of(part))
        level, row = level + 1, full
    return tiles


def tiles_to_verify(tiles: Iterable[Tile], size: int) -> tuple[Tile, ...]:
    """What `VerifiedTiles` reads for these: the right edge, and for each full tile those above it."""
    needed = dict.fromkeys(tiles_for_range(size))
    for tile in tiles:
        climbing = tile
        while climbing not in needed:
            needed[climbing] = None
            climbing = tile_in(climbing.level + 1, climbing.index >> TILE_HEIGHT, size)
    return tuple(needed)


def root_of(hashes: list[bytes]) -> bytes:
    """The root of a power of two of hashes."""
    while len(hashes) > 1:
        hashes = [
            hashlib.sha256(b"\x01" + hashes[i] + hashes[i + 1]).digest() for i in range(0, len(hashes), 2)
        ]
    return hashes[0]


@pytest.fixture(scope="module")
def leaves() -> list[bytes]:
    """66,000 leaf hashes, enough for a third level of tiles."""
    return [leaf_hash(b"leaf %d" % i) for i in range(66_000)]


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 5, 1), "tile/0/005.p/1"),
        (Tile(1, 1234067), "tile/1/x001/x234/067"),
        (Tile(63, 999, 255), "tile/63/999.p/255"),
        (Tile(2, 1000, 112), "tile/2/x001/000.p/112"),
    ],
)
def test_paths_are_those_of_the_standard(tile: Tile, path: str) -> None:
    """A tile's name is written as tlog-tiles says, and reads back."""
    assert tile.path == path
    assert Tile.parse(path) == tile


@given(st.builds(Tile, st.integers(0, 63), st.integers(0, 2**63 - 1), st.integers(1, 256)))
def test_paths_come_back(tile: Tile) -> None:
    """Every tile's path names that tile."""
    assert Tile.parse(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/0/0000",
        "tile/00/000",
        "tile/01/000",
        "tile/64/000",
        "tile/0/x000/005",
        "tile/0/001/005",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000/",
        "tile/0/000\n",
        "/tile/0/000",
        "tile/0/../000",
        "tile/-1/000",
        "tile/entries/000",
        "tile/0/٠٠٠",
        "tile/0/" + "x999/" * 9 + "999",
    ],
)
def test_other_spellings_of_paths_are_refused(path: str) -> None:
    """A path in any but the one spelling names no tile."""
    with pytest.raises(IntegrityError):
        Tile.parse(path)


def test_the_tiles_of_a_tree_are_those_of_the_standard(leaves: list[bytes]) -> None:
    """The standard's example of 70,000 leaves, and the definition at many sizes."""
    by_level: dict[int, list[int]] = {}
    for tile in tiles_of(70_000):
        by_level.setdefault(tile.level, []).append(tile.width)
    assert by_level == {0: [256] * 273 + [112], 1: [256, 17], 2: [1]}
    assert list(tiles_of(256)) == [Tile(0, 0), Tile(1, 0, 1)]
    for size in [0, *SIZES, 65_535, 65_536, 65_537]:
        assert set(tiles_of(size)) == set(tiles_by_definition(leaves, size))


@given(st.integers(0, 140_000), st.integers(0, 3000))
def test_what_an_append_changes(start: int, more: int) -> None:
    """The tiles that differ after an append are those of the new tree that the old one had not."""
    assert set(tiles_of(start + more, start)) == set(tiles_of(start + more)) - set(tiles_of(start))


def test_proofs_from_tiles_are_the_rfcs(naive) -> None:
    """Proofs at many sizes are the RFC's, computed from just the tiles named."""
    for size in SIZES:
        tiles = tiles_by_definition([naive.leaf(i) for i in range(size)], size)
        for index in range(size):
            held = {tile: tiles[tile] for tile in tiles_for_inclusion(index, size)}
            assert list(inclusion_proof(index, size, held.__getitem__)) == naive.path(index, 0, size)
        for size1 in range(0, size + 1, 4):
            held = {tile: tiles[tile] for tile in tiles_for_consistency(size1, size)}
            assert list(consistency_proof(size1, size, held.__getitem__)) == naive.proof(size1, size)


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 65_800])
def test_proofs_around_the_third_level(leaves: list[bytes], size: int) -> None:
    """Proofs from checked tiles verify where a third level of tiles begins, reading only the tiles named."""
    tiles = tiles_by_definition(leaves, size)
    root = EMPTY_RANGE.extend(leaves[:size]).root()
    for index in (0, 1, 255, 256, 40_000, 65_279, 65_280, size - 1):
        held = {tile: tiles[tile] for tile in tiles_to_verify(tiles_for_inclusion(index, size), size)}
        checked = VerifiedTiles(size, root, held.__getitem__)
        verify_inclusion(leaves[index], index, size, inclusion_proof(index, size, checked.read), root)
    for size1 in (1, 255, 256, 257, 65_280, 65_535, size - 1):
        held = {tile: tiles[tile] for tile in tiles_to_verify(tiles_for_consistency(size1, size), size)}
        checked = VerifiedTiles(size, root, held.__getitem__)
        proof = consistency_proof(size1, size, checked.read)
        verify_consistency(size1, EMPTY_RANGE.extend(leaves[:size1]).root(), size, root, proof)


def every_tile_is_checked(tiles: dict[Tile, bytes], size: int, root: bytes, victims: list[Tile]) -> None:
    """Damage each of `victims` in turn, in its first, a middle and its last hash; reading it must fail."""
    for victim in victims:
        for place in {0, victim.width // 2, victim.width - 1}:
            data = bytearray(tiles[victim])
            data[place * 32 + 7] ^= 0x10
            damaged = {**tiles, victim: bytes(data)}
            with pytest.raises(IntegrityError):
                VerifiedTiles(size, root, damaged.__getitem__).read(victim)


def test_a_corrupted_tile_is_refused_at_every_size(leaves: list[bytes]) -> None:
    """Whichever tile is corrupted, full ones too, at sizes up to 600, its hashes are refused."""
    for size in [*range(1, 601, 23), *SIZES]:
        tiles = tiles_by_definition(leaves, size)
        root = EMPTY_RANGE.extend(leaves[:size]).root()
        for tile in tiles:
            assert VerifiedTiles(size, root, tiles.__getitem__).read(tile) == tiles[tile]
        every_tile_is_checked(tiles, size, root, list(tiles))


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 65_792])
def test_a_corrupted_tile_is_refused_at_the_third_level(leaves: list[bytes], size: int) -> None:
    """Around 65,536 leaves a corrupted tile of any level is refused."""
    tiles = tiles_by_definition(leaves, size)
    root = EMPTY_RANGE.extend(leaves[:size]).root()
    low = [tile for tile in tiles if tile.level == 0]
    victims = [*low[::37], *low[-2:], *(tile for tile in tiles if tile.level)]
    every_tile_is_checked(tiles, size, root, victims)


def test_a_corrupted_tile_anywhere_on_the_way_stops_a_proof(leaves: list[bytes]) -> None:
    """A proof over checked tiles fails if any tile it needs, or needs to check one, is corrupted."""
    size, index = 600, 300
    tiles = tiles_by_definition(leaves, size)
    root = EMPTY_RANGE.extend(leaves[:size]).root()
    for victim in tiles_to_verify(tiles_for_inclusion(index, size), size):
        damaged = {**tiles, victim: bytes(len(tiles[victim]))}
        with pytest.raises(IntegrityError):
            inclusion_proof(index, size, VerifiedTiles(size, root, damaged.__getitem__).read)


def test_a_whole_other_tree_is_refused(leaves: list[bytes]) -> None:
    """Tiles that agree with each other but not with the checkpoint's root are refused."""
    other = tiles_by_definition(leaves[1:], 600)
    with pytest.raises(IntegrityError, match="right edge"):
        VerifiedTiles(600, EMPTY_RANGE.extend(leaves[:600]).root(), other.__getitem__)


def test_tiles_of_another_size_or_length_are_refused(leaves: list[bytes]) -> None:
    """A reader refuses a tile the tree has not, or bytes that are not the tile's width."""
    tiles = tiles_by_definition(leaves, 600)
    root = EMPTY_RANGE.extend(leaves[:600]).root()
    checked = VerifiedTiles(600, root, tiles.__getitem__)
    for tile in (Tile(0, 2, 87), Tile(0, 2), Tile(0, 3), Tile(1, 0), Tile(2, 0, 1), Tile(0, 0, 255)):
        with pytest.raises(IntegrityError):
            checked.read(tile)
    for change in (
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"",
        lambda data: data[32:],
    ):
        for victim in tiles:
            damaged = {**tiles, victim: change(tiles[victim])}
            with pytest.raises(IntegrityError):
                VerifiedTiles(600, root, damaged.__getitem__).read(victim)


def test_checked_tiles_are_kept_within_a_bound(leaves: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that has let a tile go reads and checks it again."""
    monkeypatch.setattr("broker.core.verified_tiles.MAX_HELD", 2)
    tiles = tiles_by_definition(leaves, 2000)
    asked: list[Tile] = []

    def read(tile: Tile) -> bytes:
        asked.append(tile)
        return tiles[tile]

    checked = VerifiedTiles(2000, EMPTY_RANGE.extend(leaves[:2000]).root(), read)
    for index in (0, 0, 1, 2, 0):
        assert checked.read(Tile(0, index)) == tiles[Tile(0, index)]
    assert [tile.index for tile in asked if tile.level == 0 and tile.width == 256] == [0, 1, 2, 0]


def test_the_empty_tree_has_no_tiles() -> None:
    """A log of nothing verifies under the root of nothing only."""

    def read(tile: Tile) -> bytes:
        raise AssertionError(tile)

    assert list(tiles_of(0)) == []
    VerifiedTiles(0, EMPTY_RANGE.root(), read)
    with pytest.raises(IntegrityError):
        VerifiedTiles(0, bytes(32), read)
    with pytest.raises(IntegrityError):
        inclusion_proof(0, 0, read)


def test_what_a_proof_may_not_be_asked() -> None:
    """Indexes and sizes outside the tree, and tiles that cannot be, are refused."""
    for ask in (
        lambda: tiles_for_inclusion(5, 5),
        lambda: tiles_for_inclusion(-1, 5),
        lambda: tiles_for_consistency(6, 5),
        lambda: tiles_for_consistency(-1, 5),
        lambda: tile_in(0, 1, 256),
        lambda: Tile(64, 0),
        lambda: Tile(0, -1),
        lambda: Tile(0, 0, 257),
        lambda: Tile(0, 0, 0),
        lambda: subtree_root([]),
        lambda: subtree_root([bytes(32)] * 3),
        lambda: hashes_of(Tile(0, 0, 2), bytes(63)),
        lambda: CompactRange(1, (bytes(31),)),
    ):
        with pytest.raises(IntegrityError):
            ask()


@pytest.mark.parametrize(
    ("bundle", "size", "may"),
    [
        (0, 2 * PARTITION, False),
        (1, 2 * PARTITION, True),
        (1, PARTITION, True),
        (1, PARTITION - 1, False),
        (255, PARTITION, False),
        (255, PARTITION + 1, True),
        (256, PARTITION + 1, False),
        (256, 2 * PARTITION, True),
        (511, 2 * PARTITION, False),
    ],
)
def test_what_links_a_log_and_what_is_no_whole_partition_stays(bundle: int, size: int, may: bool) -> None:
    """The first 256 entries and those with the last are never dropped, nor what is short of 65,536."""
    assert may_be_dropped(bundle, size) is may
