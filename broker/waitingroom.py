"""Where questions wait while every adapter that could answer them is busy.

Owns their order: agencies in turn, what is urgent first (`fairqueue.py`). Bounded; refuses with `Saturated`. A
place that becomes free is given to one who waits, and passed on where that one has gone meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from broker.errors import Saturated
from broker.fairqueue import QUANTUM, FairQueue

MAX_WAITING = 8192  # for one record type of one provider
MAX_WAITING_OF_ONE = 2048  # of one agency: as many as it may have under way

# Of a provider (agency id) and a record type.
Kind = tuple[str, str]


class WaitingRoom:
    """Lines by what is asked for. Whoever is called looks again whether there is room."""

    def __init__(self) -> None:
        # A line also holds those who have gone; how many are left is counted apart.
        self._lines: dict[Kind, FairQueue[asyncio.Future[None]]] = {}
        self._left: Counter[Kind] = Counter()

    def __contains__(self, kind: Kind) -> bool:
        return kind in self._lines

    async def wait(self, kind: Kind, agency: str, deadline: float, *, urgent: bool) -> None:
        """Until called. Raises Saturated where too many wait or nobody is called before `deadline`."""
        line = self._lines.get(kind)
        if line is None:
            line = self._lines[kind] = FairQueue(kind[0], most=MAX_WAITING, most_of_one=MAX_WAITING_OF_ONE)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.put(turn, QUANTUM, agency, urgent=urgent)  # a turn each
        self._left[kind] += 1
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except (TimeoutError, asyncio.CancelledError) as e:
            if turn.done() and not turn.cancelled():
                self.call((kind,))
            else:
                self._gone(kind, 1)
            if isinstance(e, TimeoutError):
                raise Saturated("the provider's adapters took no more requests in the time allowed") from None
            raise

    def call(self, kinds: Iterable[Kind], places: int = 1) -> None:
        """So many places have become free for any of these."""
        if not self._lines:
            return
        for kind in kinds:
            line = self._lines.get(kind)
            if line is None:
                continue
            called = line.take(places, places * QUANTUM, _waits)
            for turn in called:
                turn.set_result(None)
            self._gone(kind, len(called))
            places -= len(called)
            if not places:
                return

    def call_all(self, kinds: Iterable[Kind]) -> None:
        """Everybody is to look again: there may be nobody left to ask."""
        for kind in kinds:
            if left := self._left[kind]:
                self.call((kind,), left)

    def _gone(self, kind: Kind, count: int) -> None:
        """So many wait no longer. A line in which nobody is left must not hold up who comes next."""
        self._left[kind] -= count
        if not self._left[kind]:
            del self._left[kind]
            self._lines.pop(kind, None)


def _waits(turn: asyncio.Future[None]) -> bool:
    return not turn.done()
