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


def test_what_is_urgent_leaves_first_and_in_turns() -> None:
    """Ahead of whatever waits; and one agency's urgent flood does not hold up another's one."""
    mixed = queue()
    for n in range(500):
        mixed.put(("police", n), 1000, "police")
        mixed.put(("fire", n), 1000, "fire", urgent=True)
    mixed.put(("nwas", 0), 1000, "nwas", urgent=True)
    first = mixed.take(64, 1 << 20, everything)
    assert {owner for owner, _ in first} == {"fire", "nwas"}
    rest = [owner for _ in range(20) for owner, _ in mixed.take(64, 1 << 20, everything)]
    assert rest == ["fire"] * rest.count("fire") + ["police"] * 500


def test_an_ordinary_flood_leaves_room_for_what_is_urgent() -> None:
    """The urgent line has room of its own, past which urgent items wait among the others, or are refused."""
    bounded = queue(most=16, most_of_one=16)
    for n in range(16):
        bounded.put(("police", n), 1, "police")
    with pytest.raises(Saturated):
        bounded.put(("nwas", 0), 1, "nwas")
    for n in range(2):
        bounded.put(("nwas", n), 1, "nwas", urgent=True)
    with pytest.raises(Saturated):
        bounded.put(("nwas", 2), 1, "nwas", urgent=True)
    assert len(bounded) == 18
    assert bounded.take(3, 1 << 20, everything) == [("nwas", 0), ("nwas", 1), ("police", 0)]
    bounded.put(("nwas", 3), 1, "nwas", urgent=True)
    bounded.put(("nwas", 4), 1, "nwas", urgent=True)
    bounded.put(("nwas", 5), 1, "nwas", urgent=True)  # in the place that the police item left
    assert len(bounded) == 18


def test_a_large_item_travels_alone() -> None:
    """However large, it comes, and nothing beside it."""
    mixed = queue()
    mixed.put(("a", 0), 10, "a")
    mixed.put(("a", 1), 3 << 20, "a")
    mixed.put(("a", 2), 10, "a")
    batches = [mixed.take(64, 1 << 20, everything) for _ in range(3)]
    assert [[n for _, n in batch] for batch in batches] == [[0], [1], [2]]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2 << 20), st.booleans()), max_size=60),
    st.integers(1, 8),
    st.sets(st.integers(0, 59)),
)
def test_nothing_is_lost_doubled_or_out_of_order(
    items: list[tuple[str, int, bool]], most: int, gone: set[int]
) -> None:
    """Every item that is still wanted comes once, each owner's of a lane in order, urgent ones before all
    others, within the bounds of a batch."""
    mixed = queue()
    for n, (owner, size, urgent) in enumerate(items):
        mixed.put((owner, n), size, owner, urgent=urgent)
    sizes, urgent_ones = [size for _, size, _ in items], {n for n, item in enumerate(items) if item[2]}
    came: list[tuple[str, int]] = []
    while len(mixed):
        batch = mixed.take(most, 1 << 20, lambda item: item[1] not in gone)
        assert len(batch) <= most
        assert len(batch) <= 1 or sum(sizes[n] for _, n in batch) <= 1 << 20
        came += batch
    assert sorted(n for _, n in came) == [n for n in range(len(items)) if n not in gone]
    lanes = [n in urgent_ones for _, n in came]
    assert lanes == sorted(lanes, reverse=True)
    for owner in "abc":
        for lane in (True, False):
            own = [n for whose, n in came if whose == owner and (n in urgent_ones) is lane]
            assert own == sorted(own)
