"""Where questions wait while every adapter that could answer them is busy.

Owns their order: agencies in turn, what is urgent first (`fairqueue.py`), and record types in turn where one
adapter serves several. Bounded; refuses with `Saturated`. A place that becomes free is given to one who waits,
and passed on where that one has gone meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from broker.errors import Saturated
from broker.fairqueue import QUANTUM, FairQueue

MAX_WAITING = 8192  # for one record type of one provider
MAX_WAITING_OF_ONE = 2048  # of one agency: as many as it may have under way

# Of a provider (agency id) and a record type.
Kind = tuple[str, str]
# Whom the place is for that somebody was called to: all of these.
_Turn = asyncio.Future[tuple[Kind, ...]]


@dataclass(slots=True)
class _Line:
    """Who waits for one kind. `turns` also holds those who have gone, so how many are left is counted apart."""

    turns: FairQueue[_Turn]
    called: int  # the higher, the later; a new one stands behind all others
    left: int = 0


class WaitingRoom:
    """Lines by what is asked for. Whoever is called looks again whether there is room."""

    def __init__(self) -> None:
        self._lines: dict[Kind, _Line] = {}
        self._calls = itertools.count()

    def __contains__(self, kind: Kind) -> bool:
        return kind in self._lines

    def __len__(self) -> int:
        return sum(line.left for line in self._lines.values())

    async def wait(self, kind: Kind, agency: str, deadline: float, *, urgent: bool) -> tuple[Kind, ...]:
        """Until called; all the kinds that the free place is for, to be called where it is not taken.

        Raises Saturated where too many wait or nobody is called before `deadline`.
        """
        line = self._lines.get(kind)
        if line is None:
            turns: FairQueue[_Turn] = FairQueue(kind[0], most=MAX_WAITING, most_of_one=MAX_WAITING_OF_ONE)
            line = self._lines[kind] = _Line(turns, next(self._calls))
        turn: _Turn = asyncio.get_running_loop().create_future()
        line.turns.put(turn, QUANTUM, agency, urgent=urgent)  # a turn each
        line.left += 1
        try:
            async with asyncio.timeout_at(deadline):
                return await turn
        except (TimeoutError, asyncio.CancelledError) as e:
            if turn.done() and not turn.cancelled():
                self.call(turn.result())
            else:
                self._gone(kind, 1)
            if isinstance(e, TimeoutError):
                raise Saturated("the provider's adapters took no more requests in the time allowed") from None
            raise

    def call(self, kinds: Iterable[Kind], places: int = 1) -> None:
        """So many places have become free for any of these: for what is urgent first, then for each in turn."""
        if not self._lines:
            return
        free = tuple(kinds)
        waiting = [kind for kind in free if kind in self._lines]
        while waiting and places > 0:
            kind = min(waiting, key=self._turn) if len(waiting) > 1 else waiting[0]
            line = self._lines[kind]
            line.called = next(self._calls)
            most = 1 if len(waiting) > 1 else places
            called = line.turns.take(most, most * QUANTUM, _waits)
            for turn in called:
                turn.set_result(free)
            self._gone(kind, len(called))
            places -= len(called)
            if not called or kind not in self._lines:
                waiting.remove(kind)

    def call_all(self, kinds: Iterable[Kind]) -> None:
        """Everybody is to look again: there may be nobody left to ask."""
        for kind in kinds:
            if line := self._lines.get(kind):
                self.call((kind,), line.left)

    def _turn(self, kind: Kind) -> tuple[bool, int]:
        line = self._lines[kind]
        return not line.turns.urgent, line.called

    def _gone(self, kind: Kind, count: int) -> None:
        """So many wait no longer. A line in which nobody is left must not hold up who comes next."""
        line = self._lines[kind]
        line.left -= count
        if not line.left:
            del self._lines[kind]


def _waits(turn: _Turn) -> bool:
    return not turn.done()
