"""The queues of humans in memory: referrals, overrides, restrictions, notices.

One suite runs over these and over PostgreSQL's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from broker.core.canonical import encode
from broker.core.granting import grant_from, restricted_by
from broker.core.model import Grant
from broker.core.succession import Share
from broker.escalations import Escalated, Item
from broker.ports import Change, Claimed, Queued
from broker.queues import Notice, StoredOverride, StoredReferral, StoredRestriction
from tests.support.values import replace

MOST = 500
Row = TypeVar("Row", StoredReferral, StoredOverride)


def in_rounds(rows: list[Row]) -> list[Row]:
    """What is open first, in rounds of one of each requester, what is due first."""
    turns: Counter[tuple[str, bool]] = Counter()
    ordered = []
    for row in sorted(rows, key=lambda row: row.due_at):
        turn = row.requester, row.status != "open"
        turns[turn] += 1
        ordered.append((row.status != "open", turns[turn], row.due_at, row))
    return [row for *_, row in sorted(ordered, key=lambda each: each[:3])][:MOST]


def shared(rows: Iterable[Row], shares: Sequence[Share]) -> list[Row]:
    """Those in one of the shares."""
    return [row for row in rows if any(share.holds(row.provider, row.district) for share in shares)]


def open_by_district(rows: Iterable[Row], shares: Sequence[Share]) -> dict[str, int]:
    """How many wait, by district."""
    return dict(Counter(row.district for row in shared(rows, shares) if row.status == "open"))


@dataclass
class MemoryReferrals:
    """Implements `queues.ReferralStore`."""

    rows: dict[str, StoredReferral] = field(default_factory=dict)

    async def of(self, shares: Sequence[Share]) -> list[StoredReferral]:
        """Those of one agency."""
        return in_rounds(shared(self.rows.values(), shares))

    async def open(self, shares: Sequence[Share]) -> dict[str, int]:
        """How many wait, by district."""
        return open_by_district(self.rows.values(), shares)

    async def asked(self, agency: str) -> int:
        """How many wait elsewhere."""
        return sum(row.requester == agency and row.status == "open" for row in self.rows.values())

    async def by_id(self, referral: str) -> StoredReferral | None:
        """One of them."""
        return self.rows.get(referral)


@dataclass
class MemoryOverrides:
    """Implements `queues.OverrideStore` and `queues.NoticeTable`."""

    rows: dict[str, StoredOverride] = field(default_factory=dict)
    restricted: dict[str, tuple[str, StoredRestriction]] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)
    noticed: set[str] = field(default_factory=set)

    async def of(self, shares: Sequence[Share]) -> list[StoredOverride]:
        """Those of one agency."""
        return in_rounds(shared(self.rows.values(), shares))

    async def open(self, shares: Sequence[Share]) -> dict[str, int]:
        """How many wait, by district."""
        return open_by_district(self.rows.values(), shares)

    async def by_id(self, override: str) -> StoredOverride | None:
        """One of them."""
        return self.rows.get(override)

    async def restrictions(self, providers: Collection[str]) -> list[StoredRestriction]:
        """Those that these providers have made."""
        own = [row for _, row in self.restricted.values() if row.provider in providers][::-1]
        return sorted(own, key=lambda row: row.lifted_at is not None)[: MOST * len(providers)]

    async def claim(self, most: int, again_after: float) -> list[Notice]:
        """Each once, in memory: a crash loses all of it anyway."""
        waiting = [row for row in self.rows.values() if row.id not in self.claimed][:most]
        self.claimed.update(row.id for row in waiting)
        return [Notice(r.id, r.provider, r.requester, r.code, r.used_at, r.due_at, r.district) for r in waiting]

    async def told(self, override: str) -> None:
        """It has been told."""
        self.noticed.add(override)


@dataclass
class MemoryEscalations:
    """Implements `escalations.EscalationTable`. `waiting` gives everything that is open, with its day and the
    agency that made it wait."""

    waiting: Callable[[], Iterable[tuple[Item, datetime, str]]]
    rows: dict[Item, Escalated] = field(default_factory=dict)
    claimed: set[str] = field(default_factory=set)
    noticed: set[str] = field(default_factory=set)

    async def late(self, now: datetime, most: int) -> list[Item]:
        """What is open and due, in rounds."""
        due = [each for each in self.waiting() if each[1] <= now and each[0] not in self.rows]
        turns, ordered = Counter[tuple[str, str]](), list[tuple[int, datetime, str, Item]]()
        for item, at, who in sorted(due, key=lambda each: (each[1], each[0].id)):
            turns[item.queue, who] += 1
            ordered.append((turns[item.queue, who], at, item.id, item))
        return [item for *_, item in sorted(ordered, key=lambda each: each[:3])][:most]

    async def stands(self, item: Item) -> bool:
        """Whether it has been escalated."""
        return item in self.rows

    async def claim(self, most: int, again_after: float) -> list[Escalated]:
        """Each once."""
        waiting = [row for row in self.rows.values() if row.id not in self.claimed][:most]
        self.claimed.update(row.id for row in waiting)
        return waiting

    async def told(self, escalation: str) -> None:
        """It has been told."""
        self.noticed.add(escalation)

    def apply(self, change: Change) -> None:
        """A row, with its entry."""
        detail: dict[str, Any] = dict(change.detail)
        item = Item(detail["queue"], detail["item"])
        assert item not in self.rows
        due, at = (datetime.fromisoformat(detail[name]) for name in ("due", "at"))
        whose = (detail["provider"], detail["requester"], detail["district"])
        self.rows[item] = Escalated(detail["id"], item, *whose, due, at)


@dataclass
class MemoryQueues:
    """All of them, and what decisions read of them."""

    referrals: MemoryReferrals = field(default_factory=MemoryReferrals)
    overrides: MemoryOverrides = field(default_factory=MemoryOverrides)

    def open(self) -> list[tuple[Item, datetime, str]]:
        """What waits for a decision, until when it has time, and who asked."""
        kinds = (("referral", self.referrals.rows), ("override", self.overrides.rows))
        return [
            (Item(kind, row.id), row.due_at, row.requester)
            for kind, rows in kinds
            for row in rows.values()
            if row.status == "open"
        ]

    def add(self, entry: str, queued: Queued) -> None:
        """A row, with its entry."""
        encode(queued.sealed)  # what has no canonical form could not be sealed
        whose = (entry, queued.provider, queued.requester, queued.system, queued.request)
        if queued.kind == "referral":
            row = StoredReferral(*whose, queued.at, queued.due, "open", queued.sealed, queued.words)
            self.referrals.rows[entry] = replace(row, district=queued.district)
        else:
            made = StoredOverride(
                *whose, queued.code, queued.at, queued.due, "open", queued.sealed, queued.words
            )
            self.overrides.rows[entry] = replace(made, district=queued.district)

    def apply(self, change: Change) -> None:
        """What a human decided."""
        detail: dict[str, Any] = dict(change.detail)
        sealed = change.sealed or {}
        encode(sealed)
        row, at = str(detail["id"]), datetime.fromisoformat(detail["at"])
        until = datetime.fromisoformat(detail["until"]) if detail.get("until") else None
        if change.kind == "referral-decision":
            rows, status = self.referrals.rows, detail["status"]
            rows[row] = replace(rows[row], status=status, decided_at=at, until=until, decision=sealed)
        elif change.kind == "override-review":
            used = self.overrides.rows
            used[row] = replace(
                used[row], status=detail["status"], reviewed_at=at, review=sealed, reviewed_by=detail["by"]
            )
        elif change.kind == "override-restriction":
            who = (detail["override"], detail["provider"], detail["requester"], detail["what"])
            made = StoredRestriction(row, *who, at, until, None, sealed, detail["district"])
            self.overrides.restricted[row] = (change.blind, made)
        elif change.kind == "override-restriction-lifted":
            blind, made = self.overrides.restricted[row]
            self.overrides.restricted[row] = (blind, replace(made, lifted_at=at))
        else:
            raise ValueError(change.kind)

    def ruling(
        self, system: str, retry_of: str, claims: Mapping[tuple[str, str], Claimed]
    ) -> tuple[Grant | None, str]:
        """What a human decided on a request or one that it repeats; or the referral that still waits."""
        chain = []
        while retry_of and retry_of not in chain:
            chain.append(retry_of)
            claim = claims.get((system, retry_of))
            retry_of = claim.retry_of if claim else ""
        found = [r for r in self.referrals.rows.values() if r.system == system and r.request in chain]
        if not found:
            return None, ""
        row = max(found, key=lambda r: r.opened_at)
        if row.status == "open":
            return None, row.id
        granted = row.status == "granted"
        return grant_from(row.id, row.request, dict(row.decision), row.provider, granted=granted), ""

    def restricted(self, keys: Iterable[str]) -> dict[str, datetime | None]:
        """Which of these keys are restricted, and until when."""
        found: dict[str, datetime | None] = {}
        for blind, row in self.overrides.restricted.values():
            if blind in keys and row.lifted_at is None:
                found[restricted_by(blind, row.provider)] = row.until
        return found
