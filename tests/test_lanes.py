"""The emergency lane of a plain queue, and how much is done in one go while it is in use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.lanes import IN_USE, SMALL, Lanes, Pace


@given(st.lists(st.booleans(), max_size=50))
def test_what_is_urgent_leaves_first_each_lane_in_order(urgent: list[bool]) -> None:
    """Nothing is lost or overtakes its like."""
    lanes: Lanes[int] = Lanes()
    for n, each in enumerate(urgent):
        lanes.append(n, urgent=each)
    order = [n for n, each in enumerate(urgent) if each] + [n for n, each in enumerate(urgent) if not each]
    assert list(lanes) == order
    left = []
    while lanes:
        assert lanes.first == order[len(left)]
        left.append(lanes.popleft())
    assert left == order


def test_batches_are_small_only_while_the_lane_is_in_use() -> None:
    """From an urgent item on for a while; a batch that is small anyway stays as it is."""
    pace = Pace()
    assert pace.most(256, 0.0) == 256
    pace.urgent(5.0)
    assert pace.most(256, 5.0) == SMALL
    assert pace.most(4, 5.0) == 4
    assert pace.most(256, 5.0 + IN_USE) == 256
