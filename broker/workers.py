"""The workers of one deployment: who serves now, who is going, and whose adapters they reach.

Owns this worker's own row (written every second, so that its absence says that it is dead) and what was last
seen of the others. While the database is away the last sight of them stands: that is no reason to tell adapters
that everybody has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from broker.errors import AuditUnavailable, BrokerError

BEAT = 1.0  # seconds
# A worker that has not been heard for so long is gone: three beats, and one that was slow.
GONE_AFTER = 5.0
# An adapter that has attached elsewhere takes about two beats to come here too.
COVERED_WITHIN = 2.0


@dataclass(frozen=True, slots=True, order=True)
class Worker:
    """One process. `address` is where it alone can be dialled, empty where it cannot be."""

    id: str
    address: str


@dataclass(frozen=True, slots=True)
class Beat:
    """What a worker says of itself every second. `attached` are agencies whose adapters have a link to it,
    `next_vkey` the key that it holds for the next log (empty: none)."""

    worker: Worker
    draining: bool
    attached: frozenset[str]
    next_vkey: str = ""


class WorkerTable(Protocol):
    """Where beats are kept."""

    async def beat(self, own: Beat, gone_after: float) -> tuple[Beat, ...]:
        """Write `own`; the beats of all others not older than `gone_after` seconds. Raises AuditUnavailable."""

    async def leave(self, worker: str) -> None:
        """Forget a worker. Raises AuditUnavailable."""


class Workers:
    """This worker among the others. `attached()` gives the agencies linked here."""

    def __init__(self, own: Worker, table: WorkerTable, attached: Callable[[], Iterable[str]]) -> None:
        self.own = own
        self.draining = False
        # Called with the live workers whenever they have changed.
        self.changed: Callable[[tuple[Worker, ...]], None] = lambda live: None
        # The key for the next log that this worker holds.
        self.held: Callable[[], str] = lambda: ""
        self._table = table
        self._attached = attached
        self._others: tuple[Beat, ...] = ()
        self._lacking_since: dict[str, float] = {}

    @property
    def live(self) -> tuple[Worker, ...]:
        """Workers that an adapter should have a link to, this one among them unless it is going."""
        found = {other.worker for other in self._others if not other.draining}
        return tuple(sorted(found if self.draining else found | {self.own}))

    def holding(self) -> dict[str, str]:
        """By the id of each worker that lives, the key that it holds for the next log."""
        return {self.own.id: self.held()} | {other.worker.id: other.next_vkey for other in self._others}

    def lacking(self) -> frozenset[str]:
        """Agencies that another live worker reaches and this one does not."""
        known = {agency for other in self._others if not other.draining for agency in other.attached}
        return frozenset(known - set(self._attached()))

    def reasons(self) -> tuple[str, ...]:
        """Why this worker is not ready, in words that anybody may read."""
        if self.draining:
            return ("this worker is stopping",)
        now = asyncio.get_running_loop().time()
        self._lacking_since = {agency: self._lacking_since.get(agency, now) for agency in self.lacking()}
        late = sum(now - since >= COVERED_WITHIN for since in self._lacking_since.values())
        if late:
            return (f"adapters of {late} provider(s) that other workers reach are not attached to this one",)
        return ()

    async def beat(self) -> None:
        """Say once that this worker lives, and see who else does. Raises AuditUnavailable."""
        before = self.live
        own = Beat(self.own, self.draining, frozenset(self._attached()), self.held())
        self._others = await self._table.beat(own, GONE_AFTER)
        if self.live != before:
            self.changed(self.live)

    async def watch(self) -> None:
        """Beat for ever."""
        while True:
            with suppress(AuditUnavailable):  # readiness says why
                await self.beat()
            await asyncio.sleep(BEAT)

    async def covered(self, within: float) -> bool:
        """Wait, for at most `within` seconds, until every provider known to others is attached here too."""
        deadline = asyncio.get_running_loop().time() + within
        while self.lacking():
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    async def drain(self) -> None:
        """Say to all that this worker is going."""
        self.draining = True
        with suppress(BrokerError):  # the others will see it with the next beat, or miss the beats
            await self.beat()

    async def leave(self) -> None:
        """Say that it has gone; where that cannot be said its silence will."""
        with suppress(BrokerError):
            await self._table.leave(self.own.id)
