"""Turns at long work: each owner one at a time, several owners at once, whoever waits in rounds."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.turns import Turns


async def settled() -> None:
    """Everything that could go on has."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_one_owners_slow_work_stops_no_other() -> None:
    """While it lasts others come and go in the other place; its own next waits."""
    turns = Turns(2)
    async with turns.one("nwas"):
        mine = asyncio.create_task(turns.one("nwas").__aenter__())
        for other in ("cfrs", "ncic", "cfrs"):
            async with asyncio.timeout(10), turns.one(other):
                pass
        await settled()
        assert (mine.done(), turns.waiting("nwas")) == (False, 1)
    await mine
    assert turns.waiting("nwas") == 0


async def test_anothers_next_comes_within_one_round() -> None:
    """Behind ninety of one owner, whoever comes last waits for one of them alone."""
    turns, served = Turns(1), list[str]()

    async def work(owner: str) -> None:
        async with turns.one(owner):
            served.append(owner)
            await asyncio.sleep(0)

    many = [asyncio.create_task(work("wf")) for _ in range(90)]
    await asyncio.sleep(0)
    late = [asyncio.create_task(work(owner)) for owner in ("cfrs", "ncic")]
    await asyncio.gather(*many, *late)
    assert {"cfrs", "ncic"} <= set(served[:5])
    assert Counter(served) == {"wf": 90, "cfrs": 1, "ncic": 1}


@pytest.mark.parametrize("given_too", [False, True])
async def test_whoever_gives_up_waiting_takes_no_place(given_too: bool) -> None:
    """Before its turn has come, and in the very moment at which it comes."""
    turns = Turns(1)
    held = turns.one("nwas")
    await held.__aenter__()
    gone = asyncio.create_task(turns.one("cfrs").__aenter__())
    await settled()
    if given_too:
        await held.__aexit__(None, None, None)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    if not given_too:
        await held.__aexit__(None, None, None)
    assert turns.waiting("cfrs") == 0
    async with asyncio.timeout(10), turns.one("ncic"):
        pass


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=40))
def test_places_are_kept_whoever_comes_and_goes(at_once: int, asked: list[tuple[str, bool]]) -> None:
    """Never more than there are, never two of one owner, and everybody who waits has a turn."""

    async def run() -> None:
        turns, inside, served, most = Turns(at_once), Counter[str](), 0, [(0, 0)]

        async def work(owner: str) -> None:
            nonlocal served
            async with turns.one(owner):
                inside[owner] += 1
                most.append((inside[owner], inside.total()))
                try:
                    await asyncio.sleep(0)
                finally:
                    inside[owner] -= 1
                served += 1

        tasks = [asyncio.create_task(work(owner)) for owner, _ in asked]
        await asyncio.sleep(0)
        given_up = sum(task.cancel() for task, (_, leaves) in zip(tasks, asked, strict=True) if leaves)
        async with asyncio.timeout(5):
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [each for each in ended if isinstance(each, Exception)] == []
        assert max(own for own, _ in most) <= 1
        assert max(of_all for _, of_all in most) <= at_once
        assert served >= len(asked) - given_up
        assert [turns.waiting(owner) for owner in "abcd"] == [0] * 4
        async with asyncio.timeout(10):
            for owner in "abcd":
                async with turns.one(owner):
                    pass

    asyncio.run(run())
