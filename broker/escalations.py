"""Telling on what waited for a human past its time: whether or not anybody looks at a list.

Referrals that nobody has decided, overrides that nobody has reviewed, complaints that nobody has acknowledged.
Every worker looks; each escalation is one entry all the same, because it reads and writes a key of its own, so
that the second to be appended is given back. Its row is made in the same statement: a worker that dies in
between has done all of it or nothing. Owns no decision: what is late stays open, and blocks nobody's request.
What cannot be read keeps nothing else from being told on, and is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn, Protocol

from msgspec import Struct

from broker.cases import ComplaintStore, StoredComplaint
from broker.complaints import lock_of as lock_of_complaint
from broker.core.canonical import Json
from broker.core.reference import Reference
from broker.core.succession import takers
from broker.core.views import ProviderView, RequesterView
from broker.core.vocabulary import OVERDUE
from broker.desk import Row, escalation, lock_of
from broker.errors import AuditUnavailable, IntegrityError, KeyMissing
from broker.ids import entry_id
from broker.ports import Appended, Asked, Change, Clock, Draft, FactsSource, Log, Reads, ReferenceSource
from broker.queues import OverrideStore, ReferralStore, StoredOverride

EVERY: Final = 30.0  # seconds between looks
MOST: Final = 100  # of one look; what is left is found by the next, which follows at once
TRIES: Final = 3


class Item(Struct, frozen=True):
    """What waits: `queue` is `referral`, `override` or `complaint`."""

    queue: str
    id: str


class Escalated(Struct, frozen=True):
    """An escalation of which the owner's software has not been told; `id` is its entry's."""

    id: str
    item: Item
    provider: str
    requester: str
    district: str
    due_at: datetime
    at: datetime


class EscalationTable(Protocol):
    """What is late, and what was told on. All raise AuditUnavailable."""

    async def late(self, now: datetime, most: int) -> list[Item]:
        """What is open and due by now and has not been escalated: in rounds of one of each queue and of each
        agency that asked or was complained to, what was due first."""

    async def stands(self, item: Item) -> bool:
        """Whether it has been escalated."""

    async def claim(self, most: int, again_after: float) -> list[Escalated]:
        """Some to be told of, nobody else's for `again_after` seconds, longer with each try."""

    async def told(self, escalation: str) -> None:
        """The owner's software has been told."""


@dataclass(frozen=True, slots=True)
class Desks:
    """Where what waits is read."""

    referrals: ReferralStore
    overrides: OverrideStore
    complaints: ComplaintStore


class Escalations:
    """Looks for what is late, and says so in the log."""

    def __init__(
        self,
        log: Log,
        table: EscalationTable,
        desks: Desks,
        facts: FactsSource,
        reference: ReferenceSource,
        clock: Clock,
    ) -> None:
        self._log = log
        self._table = table
        self._desks = desks
        self._facts = facts
        self._reference = reference
        self._clock = clock
        # Items that could not be read at the last look: they take nobody's place in the next.
        self._unread = 0

    async def run(self) -> NoReturn:
        """For as long as the worker lives, or until something does not hold. Raises IntegrityError."""
        while True:
            more = False
            with suppress(AuditUnavailable):  # readiness says why
                found = await self._table.late(self._clock.now(), MOST + self._unread)
                # Other workers do some of them; where nobody gets on, there is time until the next look.
                more = await self._each(found) > 0 and len(found) == MOST
            await asyncio.sleep(0 if more else EVERY)

    async def look(self) -> int:
        """Escalate what is late now; how many of it this worker did.

        Raises AuditUnavailable; and, once all else is done, IntegrityError or KeyMissing of what could not be
        read.
        """
        return await self._each(await self._table.late(self._clock.now(), MOST + self._unread))

    async def _each(self, items: Sequence[Item]) -> int:
        done, unread = 0, list[IntegrityError | KeyMissing]()
        for item in items:
            try:
                done += await self._escalate(item)
            except (IntegrityError, KeyMissing) as e:
                unread.append(e)
        self._unread = len(unread)
        if unread:
            raise unread[0]
        return done

    async def _escalate(self, item: Item) -> bool:
        """Whether it was ours to do: decided meanwhile, or told on by another worker, it is not."""
        for _ in range(TRIES):
            # Before the row is read, so that whatever moves after it is seen.
            policy = (await self._facts.read(Asked((), "", ()))).policy
            reference = await self._reference.refresh()
            row = await self._row(item)
            if (
                row is None
                or not _open(row)
                or row.due_at > self._clock.now()
                or await self._table.stands(item)
            ):
                return False
            draft, change = self._said(item, row, policy, reference)
            if isinstance(await self._log.change(draft, change), Appended):
                return True
        return False  # it keeps changing; the next look finds it, if it is still late then

    async def _row(self, item: Item) -> Row | StoredComplaint | None:
        if item.queue == "referral":
            return await self._desks.referrals.by_id(item.id)
        if item.queue == "override":
            return await self._desks.overrides.by_id(item.id)
        return await self._desks.complaints.by_id(item.id)

    def _said(
        self, item: Item, row: Row | StoredComplaint, policy: int, reference: Reference
    ) -> tuple[Draft, Change]:
        now, entry = self._clock.now(), entry_id()
        if isinstance(row, StoredComplaint):
            provider, requester, district, request = row.agency, "", "", None
        else:
            provider, requester, district, request = row.provider, row.requester, row.district, row.request
        whose = takers(reference.agencies, provider, district, now) or (provider,)
        stored: dict[str, Json] = {
            "id": entry,
            "queue": item.queue,
            "item": item.id,
            "provider": provider,
            "district": district,
            "requester": requester,
            "due": row.due_at.isoformat(),
            "at": now.isoformat(),
        }
        lock: frozenset[str | bytes] = frozenset({f"escalation:{item.queue}:{item.id}"})
        # A decision of a human at the same moment comes first: its entry is not followed by one that it is
        # late.
        reads = Reads(policy, lock | _decided(item, row))
        # The owner alone reads it: that there was anything to decide is nobody else's to learn.
        view = RequesterView("escalated", request, OVERDUE, provider=whose[0], controller=whose[0])
        shown = ProviderView(view, requester=requester or None)
        full: dict[str, Json] = {
            **shown.as_json(),
            "policy": policy,
            "now": now.isoformat(),
            "requester": None,
            "system": None,
            "detail": {**stored, "waits_for": [*whose], "to": [*_to(row, whose, reference)]},
        }
        draft = Draft(entry, now, None, shown, full, provider_agency=whose[0], reads=reads)
        return draft, Change("escalation", stored, lock, reference=False)


def _open(row: Row | StoredComplaint) -> bool:
    if isinstance(row, StoredComplaint):
        return row.acknowledged_at is None and row.closed_at is None
    return row.status == "open"


def _decided(item: Item, row: Row | StoredComplaint) -> frozenset[str | bytes]:
    """What a human's decision of it writes."""
    if isinstance(row, StoredComplaint):
        return lock_of_complaint(item.id)
    return lock_of(row)


def _to(row: Row | StoredComplaint, whose: tuple[str, ...], reference: Reference) -> list[str]:
    """Who is to hear of it."""
    if isinstance(row, StoredComplaint):
        return [f"the data protection officer of {row.agency}"]
    asked = row.used if isinstance(row, StoredOverride) else row.asked
    return [escalation(agency, asked, reference) for agency in whose]
