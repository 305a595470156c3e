"""Time stamps in memory. One suite runs over these and over PostgreSQL's."""

from __future__ import annotations

from datetime import timedelta

from broker.anchor.hourly import Anchor, Standing
from broker.ports import Clock
from tests.support.static_log import ORIGIN


class MemoryAnchors:
    """Implements `anchor.hourly.AnchorTable`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = self._due = clock.now()
        self._tries = 0
        self._problem = ""
        self._anchors: list[Anchor] = []

    async def claim(self, worker: str, seconds: float) -> int | None:
        """As `AnchorTable`."""
        now = self._clock.now()
        if self._due > now or self._until > now:
            return None
        self._until = now + timedelta(seconds=seconds)
        return self._tries

    async def keep(self, anchor: Anchor | None, every: float) -> None:
        """As `AnchorTable`."""
        if anchor is not None and (anchor.log, anchor.size) not in {(a.log, a.size) for a in self._anchors}:
            self._anchors.append(anchor)
        self._next(every, "", 0)

    async def failed(self, problem: str, pause: float) -> None:
        """As `AnchorTable`."""
        self._next(pause, problem, self._tries + 1)

    async def standing(self, log: str = "") -> Standing:
        """As `AnchorTable`."""
        newest = max(self._anchors, key=lambda each: each.stamped_at, default=None)
        size = max((each.size for each in self._anchors if each.log == (log or ORIGIN)), default=0)
        return Standing(size, newest.stamped_at if newest else None, self._problem)

    async def covering(self, log: str, index: int) -> Anchor | None:
        """As `AnchorTable`."""
        later = [each for each in self._anchors if each.log == log and each.size > index]
        return min(later, key=lambda each: each.size, default=None)

    def _next(self, pause: float, problem: str, tries: int) -> None:
        self._until = self._clock.now()
        self._due = self._until + timedelta(seconds=pause)
        self._problem, self._tries = problem, tries
