"""How many bytes of records a worker holds between providers' answers and the replies.

What is bounded by number alone is not bounded: thousands of questions may be answered at once with a record
of 1 MiB each. So a question waits for room before it is asked, as much as its provider's records of that type
took lately; an answer that turns out larger, and finds no room, is dropped. What an agency holds of one kind
may be as much as is left free beyond all that it holds (dynamic thresholds, Choudhury and Hahne, 1998): one
alone a third, two a quarter each, and whoever comes finds room, also for another kind where one provider
hangs. An eighth more is kept for what is urgent. Refuses with `Saturated`.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from broker.errors import Saturated
from broker.lanes import Lanes, reserve

MAX_HELD = 192 * 1024 * 1024  # bytes, of one worker
# What a record is taken to be of whose like none has been seen: the largest. And what any is taken for at
# least.
UNSEEN, LEAST = 1024 * 1024, 1024
# One so much smaller than what was expected lowers that by so much.
_FORGETS = 32
_MOST_KINDS = 4096
RETRY = 1.0  # seconds

# Of a provider (agency id) and a record type.
Kind = tuple[str, str]


class Held:
    """Room for one record of an agency's request, from before it is asked for until it has been dealt with."""

    __slots__ = ("_holding", "agency", "kind", "size", "urgent")

    def __init__(self, holding: Holding, agency: str, kind: Kind, size: int, urgent: bool) -> None:
        self._holding = holding
        self.agency = agency
        self.kind = kind
        self.size = size
        self.urgent = urgent

    def arrived(self, size: int) -> None:
        """It is of this size. Raises Saturated where it was taken for smaller, and there is no room for it."""
        self._holding.arrived(self, size)

    def shrink(self, size: int) -> None:
        """No more of it than this is needed."""
        self._holding.resize(self, min(self.size, size))

    def release(self) -> None:
        """It is needed no more. Idempotent."""
        self._holding.resize(self, 0)


class Holding:
    """All that one worker holds. Whoever waits for room is served in turn, agencies and kinds one by one."""

    def __init__(self, most: int = MAX_HELD) -> None:
        self.total = 0
        self._most = most
        self._of: Counter[str] = Counter()
        self._kinds: Counter[tuple[str, Kind]] = Counter()
        self._expected: dict[Kind, int] = {}
        self._lines: dict[tuple[str, Kind], Lanes[tuple[Held, asyncio.Future[None]]]] = {}

    async def room(self, agency: str, kind: Kind, until: float, *, urgent: bool) -> Held:
        """Room for what such a record may take, once there is some.

        Raises Saturated where there is none by `until` (event-loop time).
        """
        held = Held(self, agency, kind, 0, urgent)
        size = self._expected.get(kind, UNSEEN)
        line = agency, kind
        if (urgent or line not in self._lines) and self._fits(held, size):
            self.resize(held, size)
            return held
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(line, Lanes()).append((held, turn), urgent=urgent)
        try:
            async with asyncio.timeout_at(until):
                await turn
        except TimeoutError:
            held.release()
            self._call()
            raise self._full(agency) from None
        except asyncio.CancelledError:
            held.release()
            self._call()
            raise
        return held

    def arrived(self, held: Held, size: int) -> None:
        """As `Held.arrived`."""
        expected = self._expected.get(held.kind, UNSEEN)
        if len(self._expected) >= _MOST_KINDS:
            self._expected.clear()
        self._expected[held.kind] = max(size, LEAST, expected - expected // _FORGETS)
        if size > held.size and not self._fits(held, size - held.size):
            raise self._full(held.agency)
        self.resize(held, size)

    def resize(self, held: Held, size: int) -> None:
        """From now on it takes so much."""
        more = size - held.size
        if not more:
            return
        held.size = size
        self.total += more
        self._of[held.agency] += more
        self._kinds[held.agency, held.kind] += more
        if not self._of[held.agency]:
            del self._of[held.agency]
        if not self._kinds[held.agency, held.kind]:
            del self._kinds[held.agency, held.kind]
        if more < 0 and self._lines:
            self._call()

    def _fits(self, held: Held, more: int) -> bool:
        most = self._most + reserve(self._most) if held.urgent else self._most
        whole, own = self._of[held.agency] + more, self._kinds[held.agency, held.kind] + more
        return own <= most - (self.total + more) - whole

    def _full(self, agency: str) -> Saturated:
        most = self._most // 1024**2
        return Saturated(f"records of {agency} fill its share of {most} MiB at this worker", RETRY)

    def _call(self) -> None:
        """Give room to whoever waits: one of each agency and kind in turn, for as long as there is some."""
        waiting = list(self._lines)
        while waiting:
            waiting = [each for each in waiting if self._call_one(each)]

    def _call_one(self, whose: tuple[str, Kind]) -> bool:
        """The first of a line that still waits, where there is room; whether there was."""
        line = self._lines[whose]
        while line:
            held, turn = line.first
            if turn.done():
                line.popleft()
                continue
            size = self._expected.get(held.kind, UNSEEN)
            if not self._fits(held, size):
                return False
            line.popleft()
            self.resize(held, size)
            turn.set_result(None)
            self._lines[whose] = self._lines.pop(whose)  # behind all others
            return True
        del self._lines[whose]
        return False
