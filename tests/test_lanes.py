"""The emergency lane of a plain queue, and how much is done in one go while it is in use."""

from __future__ import annotations

import asyncio
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.lanes import IN_USE, REST, SMALL, STEP, Lanes, Pace, by_steps


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


async def test_long_work_gives_way_by_time_and_rests_while_emergencies_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After each item as long as a step others have a turn, after a thousand short ones hardly any; with the
    lane in use it takes as much longer as it rests."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def works(items: int, seconds: float) -> float:
        begun = perf_counter()
        async for _ in by_steps(range(items)):
            until = perf_counter() + seconds
            while perf_counter() < until:
                pass
        return perf_counter() - begun

    monkeypatch.setattr(Pace, "in_use", float("-inf"))
    going = asyncio.ensure_future(others())
    try:
        await works(1000, 0.0)
        assert turns < 500
        turns = 0
        await works(20, 2 * STEP)
        assert turns >= 20
        Pace().urgent(asyncio.get_running_loop().time())
        assert await works(20, 2 * STEP) >= 20 * 2 * STEP * (1 + REST)
    finally:
        going.cancel()
