"""The queue behind every hop: bounded, and fair between those who share it."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Saturated
from broker.fairqueue import QUANTUM, FairQueue


def queue(most: int = 10_000, most_of_one: int = 5_000) -> FairQueue[tuple[str, int]]:
    """An empty queue."""
    return FairQueue("test", most=most, most_of_one=most_of_one)


def everything(_: object) -> bool:
    """Somebody waits for all."""
    return True


def test_one_owners_flood_does_not_hold_up_another() -> None:
    """Behind two thousand of one agency, the other's only item is in the next batch."""
    flooded = queue()
    for n in range(2000):
        flooded.put(("police", n), 1000, "police")
    flooded.put(("nwas", 0), 1000, "nwas")
    assert ("nwas", 0) in flooded.take(64, 1 << 20, everything)


def test_turns_are_of_equal_bytes() -> None:
    """Whoever sends small items gets more of them through, not less work done."""
    shared = queue()
    for n in range(2000):
        shared.put(("small", n), 500, "small")
        shared.put(("large", n), 4000, "large")
    taken: Counter[str] = Counter()
    for _ in range(20):
        for owner, _n in shared.take(100, 1 << 20, everything):
            taken[owner] += 500 if owner == "small" else 4000
    assert abs(taken["small"] - taken["large"]) <= 2 * QUANTUM


def test_each_owner_has_a_bound_and_all_have_one() -> None:
    """A flood is refused to whoever makes it, and past the whole to everybody."""
    bounded = queue(most=5, most_of_one=3)
    for n in range(3):
        bounded.put(("police", n), 1, "police")
    with pytest.raises(Saturated, match="police"):
        bounded.put(("police", 3), 1, "police")
    bounded.put(("nwas", 0), 1, "nwas")
    bounded.put(("fire", 0), 1, "fire")
    with pytest.raises(Saturated):
        bounded.put(("nwas", 1), 1, "nwas")


def test_a_large_item_travels_alone() -> None:
    """However large, it comes, and nothing beside it."""
    mixed = queue()
    mixed.put(("a", 0), 10, "a")
    mixed.put(("a", 1), 3 << 20, "a")
    mixed.put(("a", 2), 10, "a")
    batches = [mixed.take(64, 1 << 20, everything) for _ in range(3)]
    assert [[n for _, n in batch] for batch in batches] == [[0], [1], [2]]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2 << 20)), max_size=60),
    st.integers(1, 8),
    st.sets(st.integers(0, 59)),
)
def test_nothing_is_lost_doubled_or_out_of_order(
    items: list[tuple[str, int]], most: int, gone: set[int]
) -> None:
    """Every item that is still wanted comes once, each owner's in order, within the bounds of a batch."""
    mixed = queue()
    for n, (owner, size) in enumerate(items):
        mixed.put((owner, n), size, owner)
    sizes = [size for _, size in items]
    came: list[tuple[str, int]] = []
    while len(mixed):
        batch = mixed.take(most, 1 << 20, lambda item: item[1] not in gone)
        assert len(batch) <= most
        assert len(batch) <= 1 or sum(sizes[n] for _, n in batch) <= 1 << 20
        came += batch
    assert sorted(n for _, n in came) == [n for n in range(len(items)) if n not in gone]
    for owner in "abc":
        own = [n for whose, n in came if whose == owner]
        assert own == sorted(own)
