"""Published counts: no small one shows, and none can be worked out from the others."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.reports.suppression import LEAST, Counted, Published, publish

COUNTS = st.integers(0, 60)


def tree(name: str, *parts: Counted) -> Counted:
    """A sum of its parts."""
    return Counted(name, sum(part.count for part in parts), parts)


def leaves(names: str, counts: list[int]) -> tuple[Counted, ...]:
    """Parts that are not divided."""
    return tuple(Counted(f"{names}{n}", count) for n, count in enumerate(counts))


TREES = st.lists(
    st.one_of(
        COUNTS.map(lambda n: Counted("leaf", n)),
        st.lists(COUNTS, min_size=1, max_size=4).map(lambda counts: tree("sum", *leaves("part", counts))),
    ),
    min_size=1,
    max_size=5,
).map(lambda parts: tree("all", *parts))


def ranges(published: Published, low: int, high: int) -> dict[int, tuple[int, int]]:
    """What each withheld count might be, for all that the shown sums say, by identity: worked out downwards."""
    found: dict[int, tuple[int, int]] = {}
    if published.count is None:
        found[id(published)] = (low, high)
    hidden = [part for part in published.parts if part.count is None]
    rest = (high if published.count is None else published.count) - sum(p.count or 0 for p in published.parts)
    for part in published.parts:
        if part.count is not None:
            found |= ranges(part, part.count, part.count)
        elif published.count is not None and len(hidden) == 1:
            found |= ranges(part, rest, rest)
        else:
            found |= ranges(part, 0, rest)
    return found


@given(counted=TREES)
def test_no_small_count_shows_and_each_withheld_one_might_be_anything_small(counted: Counted) -> None:
    """From the shown sums and parts alone, every withheld count might be anything below ten."""
    published = publish(counted)
    shown = [count for _, _, count in published.rows() if count is not None]
    assert all(count >= LEAST for count in shown)
    for low, high in ranges(published, 0, 10**9).values():
        assert low == 0
        assert high >= LEAST - 1


@given(counted=TREES)
def test_what_is_shown_is_true(counted: Counted) -> None:
    """Nothing is changed, only withheld; and what is large enough and needed for nobody else is shown."""
    published = publish(counted)
    real = [(depth, count) for depth, _, count in _rows(counted)]
    for (depth, count), (d, _, told) in zip(real, published.rows(), strict=True):
        assert depth == d
        assert told in (None, count)
    if all(count >= LEAST for _, count in real):
        assert all(told is not None for _, _, told in published.rows())


def _rows(counted: Counted, depth: int = 0) -> list[tuple[int, str, int]]:
    return [(depth, counted.name, counted.count), *(row for p in counted.parts for row in _rows(p, depth + 1))]


@pytest.mark.parametrize("fewest", [0, 1])
@pytest.mark.parametrize("width", [2, 3])
def test_even_who_knows_the_rule_cannot_tell_a_withheld_count(width: int, fewest: int) -> None:
    """Every table of so many counts, by what is published of it: no withheld count has one value only,
    whether or not counts of nothing have a row."""
    most = 24 if width == 2 else 21
    seen: dict[tuple[object, ...], list[set[int]]] = defaultdict(lambda: [set() for _ in range(width)])
    for counts in product(range(fewest, most + 1), repeat=width):
        published = publish(tree("all", *leaves("part", list(counts))))
        told = tuple(count for _, _, count in published.rows())
        for values, count in zip(seen[told], counts, strict=True):
            values.add(count)
    for told, values in seen.items():
        # Beyond the largest count tried there are more tables, so sums that need them are passed over.
        if told[0] is not None and int(str(told[0])) > most:
            continue
        for count, possible in zip(told[1:], values, strict=True):
            assert count is not None or len(possible) > 1, told


def test_a_part_of_what_is_withheld_is_withheld() -> None:
    """Refusals are few, and a second outcome goes with them: neither's parts show."""
    few = tree("refused", *leaves("code", [2, 3]))
    more = tree("given", *leaves("kind", [12, 15]))
    published = publish(tree("all", few, more, Counted("not found", 40)))
    assert [count for _, _, count in published.rows()] == [72, None, None, None, None, None, None, 40]


def test_a_total_below_ten_shows_nothing() -> None:
    """Not even that there was anything."""
    published = publish(tree("all", *leaves("part", [0, 9])))
    assert {count for _, _, count in published.rows()} == {None}
