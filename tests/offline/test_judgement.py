"""A tree derived beside the tiles kept of it: which of the two was changed, and what only bounds it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from broker.core.merkle import EMPTY_RANGE, leaf_hash
from broker.core.tiles import TILE_WIDTH, subtree_root
from broker.offline.derive import Derivation, KeptTile
from broker.offline.marks import Judgement, Mark, unlike
from broker.offline.problems import Problem

SIZE = 65_536 + 700
LEAVES = [leaf_hash(b"%d" % n) for n in range(SIZE)]
Tiles = dict[tuple[int, int], KeptTile]


def kept_of(leaves: Sequence[bytes]) -> Tiles:
    """The full tiles of these leaves."""
    tiles: Tiles = {}
    row, level = list(leaves), 0
    while len(row) >= TILE_WIDTH:
        above = []
        for n in range(len(row) // TILE_WIDTH):
            part = row[n * TILE_WIDTH : (n + 1) * TILE_WIDTH]
            above.append(subtree_root(part))
            tiles[level, n] = KeptTile(b"".join(part), above[-1])
        row, level = above, level + 1
    return tiles


KEPT = kept_of(LEAVES)
RIGHT = EMPTY_RANGE.extend(LEAVES)


def derived(leaves: Sequence[bytes | None], tiles: Tiles, marks: Sequence[Mark]) -> Derivation:
    """The derivation of these leaves beside these tiles."""
    made = Derivation()
    for start in range(0, len(leaves), 4096):
        made.take(leaves[start : start + 4096], tiles, [mark.size for mark in marks])
    return made


def judged(leaves: Sequence[bytes | None], tiles: Tiles, marks: Sequence[Mark]) -> list[Problem]:
    """What is said of it."""
    return list(Judgement(derived(leaves, tiles, marks), marks).problems())


def mark(size: int = SIZE) -> Mark:
    """What was signed of the right leaves."""
    return Mark(size, EMPTY_RANGE.extend(LEAVES[:size]).root(), f"checkpoint of {size}")


def changed(*indexes: int) -> list[bytes]:
    """The leaves with these exchanged."""
    leaves = list(LEAVES)
    for index in indexes:
        leaves[index] = leaf_hash(b"forged %d" % index)
    return leaves


def spoilt(level: int, n: int, place: int) -> Tiles:
    """The tiles with one hash of one of them changed."""
    hashes = bytearray(KEPT[level, n].hashes)
    hashes[32 * place] ^= 1
    return {**KEPT, (level, n): KeptTile(bytes(hashes), KEPT[level, n].root)}


def test_right_leaves_beside_right_tiles_have_nothing_wrong() -> None:
    """At all marks, with the tiles or without any."""
    marks = [mark(1), mark(300), mark(65_536), mark()]
    assert judged(LEAVES, KEPT, marks) == judged(LEAVES, {}, marks) == []
    assert unlike(derived(LEAVES, {}, marks), RIGHT) is None


@pytest.mark.parametrize("index", [0, 255, 256, 300, 65_535, 65_536, 66_047])
def test_a_leaf_that_differs_from_its_tile_is_the_one_that_was_changed(index: int) -> None:
    """Where the root that was signed is the tile's."""
    (found,) = judged(changed(index), KEPT, [mark()])
    assert (found.kind, found.index, found.text) == ("entry", index, "is not the one that was logged")


@pytest.mark.parametrize(
    ("level", "n", "place", "index"),
    [(0, 0, 0, 0), (0, 200, 7, 51_207), (1, 0, 200, 51_200), (0, 256, 9, 65_545)],
)
def test_a_tile_that_differs_from_right_leaves_is_the_one_that_was_changed(
    level: int, n: int, place: int, index: int
) -> None:
    """Of any level; the entries below are not accused."""
    (found,) = judged(LEAVES, spoilt(level, n, place), [mark()])
    assert (found.kind, found.index) == ("tile", index)
    assert "entries, which are good" in found.text


def test_a_leaf_changed_with_its_tile_is_named_by_the_tile_above() -> None:
    """Among 256."""
    forged = changed(300)
    tiles = {**KEPT, (0, 1): kept_of(forged)[0, 1]}
    (found,) = judged(forged, tiles, [mark()])
    assert (found.kind, found.index) == ("entry", 256)
    assert "it or another up to 511" in found.text


def test_a_leaf_changed_with_all_its_tiles_lies_between_two_marks() -> None:
    """All before the first are good; the head's own hashes bound it on the other side."""
    forged, marks = changed(5000), [mark(4000), mark(6000), mark()]
    (found,) = judged(forged, kept_of(forged), marks)
    assert (found.kind, found.index) == ("root", 4000)
    assert found.text == (
        "the first 6000 entries do not make the root that checkpoint of 6000 says; the first 4000 do"
    )
    assert unlike(derived(forged, {}, marks), RIGHT) == (0, 65_535)
    assert unlike(derived(changed(66_000), {}, marks), RIGHT) == (65_536, 66_047)


def test_without_anything_signed_only_the_contradiction_is_said() -> None:
    """Nobody is accused."""
    (found,) = judged(changed(300), KEPT, [])
    assert "they contradict each other" in found.text


def test_the_databases_own_head_decides_only_where_nothing_signed_does() -> None:
    """Whoever changed an entry could change the head with it."""
    forged = changed(300)
    head = Mark(SIZE, EMPTY_RANGE.extend(forged).root(), "the head", vouched=False)
    (found,) = judged(forged, KEPT, [head, mark()])
    assert (found.kind, found.index) == ("entry", 300)
    (found,) = judged(forged, KEPT, [head])
    assert found.kind == "tile"


def test_a_leaf_that_is_not_there_is_taken_from_its_tile() -> None:
    """So that nothing else is wrong for it; where there is no tile, the root is."""
    missing: list[bytes | None] = [*LEAVES[:300], None, *LEAVES[301:]]
    assert judged(missing, KEPT, [mark()]) == []
    assert [each.kind for each in judged(missing, {}, [mark()])] == ["root"]


def test_leaves_come_in_whole_tiles() -> None:
    """Or the next would be taken for another tile's."""
    made = Derivation()
    made.take(LEAVES[:100], {})
    with pytest.raises(ValueError, match="whole tiles"):
        made.take(LEAVES[100:], {})
