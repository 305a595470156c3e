"""The emergency lane: what is urgent leaves a queue first, has room kept for it, and finds little before it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import chain
from time import perf_counter
from typing import Generic, TypeVar

Item = TypeVar("Item")

IN_USE = 1.0  # seconds since something urgent came
SMALL = 32  # items: a few milliseconds of work
STEP = 0.0003  # seconds of long work in one go, or one item's
REST = 2.0  # times as long, while emergencies come


def reserve(most: int) -> int:
    """How much of or beside `most` is kept for what is urgent: an eighth."""
    return most // 8


async def by_steps(items: Iterable[Item]) -> AsyncIterator[Item]:
    """The items of long work (pages of searches), a little at a time: in between the event loop goes on.

    A request takes some dozen turns of the loop, and may find a step in each. So while emergencies come it
    rests twice as long as it worked.
    """
    loop, begun = asyncio.get_running_loop(), perf_counter()
    for item in items:
        yield item
        if (worked := perf_counter() - begun) >= STEP:
            await asyncio.sleep(REST * worked if loop.time() < Pace.in_use else 0)
            begun = perf_counter()


class Pace:
    """How much is done in one go: whole batches; small ones while the emergency lane is in use.

    Whatever an urgent item finds in progress it waits for, so it must not be much.
    """

    # Until when the emergency lane is in use, wherever in this process (event-loop time).
    in_use = float("-inf")

    def __init__(self) -> None:
        self._until = float("-inf")

    def urgent(self, now: float) -> None:
        """Something urgent has come (event-loop time)."""
        self._until = Pace.in_use = now + IN_USE

    def most(self, usual: int, now: float) -> int:
        """How many items to do in one go where `usual` many would be."""
        return min(usual, SMALL) if now < self._until else usual


class Lanes(Generic[Item]):
    """Two lines: urgent items in order of arrival, then all others in theirs."""

    def __init__(self) -> None:
        self._urgent: deque[Item] = deque()
        self._ordinary: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._ordinary)

    def __iter__(self) -> Iterator[Item]:
        return chain(self._urgent, self._ordinary)

    @property
    def first(self) -> Item:
        """What leaves next; IndexError where nothing waits."""
        return (self._urgent or self._ordinary)[0]

    def append(self, item: Item, *, urgent: bool = False) -> None:
        """Queue it behind its like."""
        (self._urgent if urgent else self._ordinary).append(item)

    def popleft(self) -> Item:
        """Take what leaves next; IndexError where nothing waits."""
        return (self._urgent or self._ordinary).popleft()
