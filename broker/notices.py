"""Telling an owner's own software of each override and of what is overdue, off every request's path.

A notice is a small JSON document by HTTP POST, without anything about a person: what it says leads to the
queue, where a look is an entry. Owns the pace: what waits stands in the database and is claimed there for a
while, so that a worker that dies in between loses nothing, and a receiver that is away is asked less and less
often and in the end no more (the queue still has it). A notice may come twice; its `override`, or
`escalation`, says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import httpx

from broker.core.succession import takers
from broker.errors import AuditUnavailable
from broker.escalations import Escalated, EscalationTable
from broker.ports import Clock, ReferenceSource
from broker.queues import Notice, NoticeTable

EVERY: Final = 1.0  # seconds between looks
AGAIN: Final = 10.0  # seconds until the second try; then twice as long each time
MOST: Final = 16  # notices of one look
PATIENCE: Final = 5.0  # seconds for one POST, redirects refused


class Notices:
    """Sends what waits to one address; without one it sends nothing."""

    def __init__(
        self,
        table: NoticeTable,
        url: str,
        count: Callable[..., None],
        reference: ReferenceSource,
        clock: Clock,
        late: EscalationTable | None = None,
    ) -> None:
        self._late = late
        self._table = table
        self._reference = reference
        self._clock = clock
        self._url = url
        self._count = count
        self._client = httpx.AsyncClient(timeout=PATIENCE, trust_env=False) if url else None

    async def run(self) -> None:
        """For as long as the worker lives."""
        while self._client is not None:
            with suppress(AuditUnavailable):  # readiness says why
                await self.look()
            await asyncio.sleep(EVERY)

    async def look(self) -> int:
        """Send what is due now, each once; how many arrived. Raises AuditUnavailable."""
        told = 0
        claimed = await self._table.claim(MOST, AGAIN)
        agencies = (await self._reference.refresh()).agencies if claimed else {}
        for notice in claimed:
            whose = takers(agencies, notice.provider, notice.district, self._clock.now())
            if await self._sent(document(notice, whose)):
                await self._table.told(notice.override)
                told += 1
        return told + await self._look_late()

    async def _look_late(self) -> int:
        """The same for what is overdue."""
        told = 0
        claimed = await self._late.claim(MOST, AGAIN) if self._late is not None else []
        agencies = (await self._reference.refresh()).agencies if claimed else {}
        for each in claimed:
            whose = takers(agencies, each.provider, each.district, self._clock.now())
            if self._late is not None and await self._sent(overdue(each, whose)):
                await self._late.told(each.id)
                told += 1
        return told

    async def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            await self._client.aclose()

    async def _sent(self, said: dict[str, str | list[str]]) -> bool:
        if self._client is None:
            return False
        try:
            async with (
                asyncio.timeout(PATIENCE),
                self._client.stream("POST", self._url, json=said) as answer,
            ):  # whatever it says beside its status is not read
                arrived = answer.is_success
        except (httpx.HTTPError, TimeoutError):
            arrived = False
        self._count(told=arrived)
        return arrived


def document(notice: Notice, reviewers: Sequence[str]) -> dict[str, str | list[str]]:
    """What is said: which override, whose record, who used it, on what code, and by whom (another only where it
    took the provider's place) and when it is to be reviewed."""
    return {
        "event": "override-used",
        "override": notice.override,
        "provider": notice.provider,
        "requester": notice.requester,
        "code": notice.code,
        "used_at": notice.used_at.isoformat(),
        "review_due": notice.due_at.isoformat(),
        "reviewed_by": [*reviewers],
    }


def overdue(late: Escalated, whose: Sequence[str]) -> dict[str, str | list[str]]:
    """What is said of what waited past its time: what it is, since when, and whose humans it waits for."""
    return {
        "event": "overdue",
        "escalation": late.id,
        "queue": late.item.queue,
        "item": late.item.id,
        "provider": late.provider,
        "requester": late.requester,
        "due_at": late.due_at.isoformat(),
        "escalated_at": late.at.isoformat(),
        "waits_for": [*whose],
    }
