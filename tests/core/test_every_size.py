"""The tree at every size: what a receipt carries, what the tiles give and what the RFC says are one proof."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.merkle import (
    EMPTY_RANGE,
    CompactRange,
    extend_to_root,
    extend_with_proofs,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from broker.core.tiles import (
    TILE_WIDTH,
    Tile,
    consistency_proof,
    inclusion_proof,
    subtree_root,
    tile_in,
    tiles_of,
)
from broker.core.verified_tiles import VerifiedTiles
from broker.errors import IntegrityError
from broker.offline.derive import Derivation, KeptTile
from tests.core.conftest import NaiveTree

ENTRIES = [b"entry %d" % n for n in range(66_100)]
LEAVES = [leaf_hash(each) for each in ENTRIES]


@pytest.fixture(scope="module")
def rfc() -> NaiveTree:
    """The RFC's own words over 66,100 entries."""
    return NaiveTree(ENTRIES)


def tiles_at(size: int, rows: list[list[bytes]]) -> dict[Tile, bytes]:
    """Every tile of the first `size` leaves; `rows` are the hashes of each tile level."""
    return {
        tile: b"".join(rows[tile.level][tile.index * TILE_WIDTH :][: tile.width]) for tile in tiles_of(size)
    }


def rows_of(leaves: list[bytes]) -> list[list[bytes]]:
    """The hashes of each tile level."""
    rows = [leaves]
    while len(rows[-1]) >= TILE_WIDTH:
        last = rows[-1]
        rows.append(
            [subtree_root(last[n : n + TILE_WIDTH]) for n in range(0, len(last) - TILE_WIDTH + 1, TILE_WIDTH)]
        )
    return rows


ROWS = rows_of(LEAVES)


def one_proof(rfc: NaiveTree, size: int, indexes: Iterable[int], batch: int) -> None:
    """Receipts of a batch that ends at `size`, tiles and RFC agree on the root and on these entries' proofs."""
    old = EMPTY_RANGE.extend(LEAVES[: size - batch])
    grown, root, receipts = extend_to_root(old, LEAVES[size - batch : size])
    assert root == grown.root()
    root = grown.root()
    assert root == rfc.root(size)
    tiles = tiles_at(size, ROWS)
    checked = VerifiedTiles(size, root, tiles.__getitem__)
    for index in indexes:
        proof = inclusion_proof(index, size, checked.read)
        assert list(proof) == rfc.path(index, 0, size), (index, size)
        if index >= size - batch:
            assert proof == receipts[index - (size - batch)], (index, size)
        verify_inclusion(LEAVES[index], index, size, proof, root)


def around(size: int) -> set[int]:
    """Indexes at the edges of a tree and its tiles, and some that are another set at each size."""
    edges = {0, 1, 254, 255, 256, 257, size // 2, size - 2, size - 1}
    return {index for index in (*edges, *range(size % 7, size, max(7, size // 40))) if 0 <= index < size}


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 127, 128, 129, 255, 256, 257, 300, 511, 512, 513, 1100])
def test_receipt_tiles_and_rfc_give_one_proof(rfc: NaiveTree, size: int) -> None:
    """At the sizes where trees and tiles change their form."""
    one_proof(rfc, size, around(size), batch=min(size, 64))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_receipt_tiles_and_rfc_give_one_proof_at_every_size(rfc: NaiveTree) -> None:
    """Up to 1,100, with batches of every length to 64 and all of the tree."""
    for size in range(1, 1101):
        one_proof(rfc, size, around(size), batch=min(size, 1 + size % 64))
        one_proof(rfc, size, (size - 1,), batch=size)


@pytest.mark.parametrize("size", [*range(65_533, 65_540), 65_791, 65_792, 65_793, 66_048])
def test_receipt_tiles_and_rfc_give_one_proof_around_65536(rfc: NaiveTree, size: int) -> None:
    """Where the third level of tiles begins."""
    edges = {0, 255, 256, 32_767, 32_768, 65_279, 65_280, 65_535, 65_536, 65_791, 65_792, size - 2, size - 1}
    one_proof(rfc, size, sorted(index for index in edges if index < size), batch=300)


@pytest.mark.parametrize("most", [70, pytest.param(200, marks=pytest.mark.long)])
def test_every_consistency_proof_from_tiles_is_the_rfcs(rfc: NaiveTree, most: int) -> None:
    """Every pair of sizes up to that, and pairs across the edges of tiles, from tiles that were checked."""
    pairs = [(old, new) for new in range(1, most + 1) for old in range(1, new + 1)]
    edges = [255, 256, 257, 511, 512, 513, 768, 1000, 1024, 1100]
    pairs += [(old, new) for new in edges for old in (*edges, 1, 7, 128, 200) if old <= new]
    checked: dict[int, VerifiedTiles] = {}
    for old, new in pairs:
        if new not in checked:
            checked[new] = VerifiedTiles(new, rfc.root(new), tiles_at(new, ROWS).__getitem__)
        proof = consistency_proof(old, new, checked[new].read)
        assert list(proof) == rfc.proof(old, new)
        verify_consistency(old, rfc.root(old), new, rfc.root(new), proof)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8))
def test_how_entries_are_split_into_batches_changes_nothing(rfc: NaiveTree, batches: list[int]) -> None:
    """The range after them, whatever the batches; and each batch's proofs lead to the root of its end."""
    grown = EMPTY_RANGE
    for count in batches:
        start = grown.size
        grown, proofs = extend_with_proofs(grown, LEAVES[start : start + count])
        assert grown.root() == rfc.root(grown.size)
        for index in {start, start + count // 2, grown.size - 1}:
            verify_inclusion(LEAVES[index], index, grown.size, proofs[index - start], grown.root())
    assert grown == EMPTY_RANGE.extend(LEAVES[: grown.size])


def derived(size: int, marks: list[int], parts: int) -> Derivation:
    """A derivation that was given its leaves in parts, with the tiles kept of them."""
    made = Derivation()
    for start in range(0, size, parts):
        leaves, end = LEAVES[start : min(size, start + parts)], min(size, start + parts)
        kept = {}
        for level, row in enumerate(ROWS):
            for n in range(start >> 8 * (level + 1), end >> 8 * (level + 1)):
                hashes = b"".join(row[n * TILE_WIDTH : (n + 1) * TILE_WIDTH])
                kept[level, n] = KeptTile(hashes, ROWS[level + 1][n])
        made.take(leaves, kept, marks)
    return made


@pytest.mark.parametrize("parts", [256, 1024, 4096])
def test_a_tree_derived_in_parts_is_the_rfcs(rfc: NaiveTree, parts: int) -> None:
    """At the marks on the way too, past the third level of tiles, and in whatever parts it comes."""
    marks = [1, 255, 256, 257, 1000, 4096, 4097, 65_535, 65_536, 65_537, 66_050]
    made = derived(66_050, marks, parts)
    assert (made.differences, made.spoilt, made.tiles) == ([], [], 258 + 1)
    assert {mark: made.roots[mark].made for mark in marks} == {mark: rfc.root(mark) for mark in marks}
    assert {mark: made.roots[mark].claimed for mark in marks} == {mark: rfc.root(mark) for mark in marks}
    assert CompactRange(66_050, tuple(made.compact_range())) == EMPTY_RANGE.extend(LEAVES[:66_050])


def every_tile_refused(rfc: NaiveTree, size: int) -> int:
    """Each tile of a tree spoilt in turn, and refused by a reader; how many there were."""
    tiles = tiles_at(size, ROWS)
    for n, victim in enumerate(tiles):
        data = bytearray(tiles[victim])
        data[(n * 37 + size) % len(data)] ^= 1 << size % 8
        damaged = {**tiles, victim: bytes(data)}
        with pytest.raises(IntegrityError):
            VerifiedTiles(size, rfc.root(size), damaged.__getitem__).read(victim)
    return len(tiles)


def test_each_tile_spoilt_at_every_size_is_refused_by_a_reader(rfc: NaiveTree) -> None:
    """Up to 1,100, full tiles too: what a well-known reader let through at nearly all of them."""
    assert sum(every_tile_refused(rfc, size) for size in range(1, 1101)) == sum(
        len(list(tiles_of(size))) for size in range(1, 1101)
    )
    assert tile_in(1, 0, 1100).width == 4
