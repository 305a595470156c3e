"""Requests for access, breaches and complaints in memory. One suite runs over these and over PostgreSQL's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from broker.cases import StoredAccess, StoredBreach, StoredClearing, StoredComplaint
from broker.core.canonical import encode
from broker.core.model import SubjectRef
from broker.escalations import Item
from broker.figures import KIND as FIGURES
from broker.figures import StoredFigures
from broker.ports import Change
from broker.queues import StoredOverride
from tests.support.static_log import ORIGIN
from tests.support.values import replace

KINDS = ("access-start", "access-clearing", "access-issue")
COMPLAINTS = ("complaint", "complaint-acknowledged", "complaint-closed")


@dataclass
class MemoryAccesses:
    """Implements `cases.AccessStore`. `index_of` is the place of an entry."""

    index_of: Callable[[str], int]
    rows: dict[str, StoredAccess] = field(default_factory=dict)
    clearings: dict[tuple[str, str, str], StoredClearing] = field(default_factory=dict)
    held: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # Whom each is about.
    about: dict[str, tuple[SubjectRef, ...]] = field(default_factory=dict)

    async def open(self, most: int) -> list[StoredAccess]:
        """Those not answered."""
        waiting = [await self._placed(each) for each in self.rows.values() if each.issued_at is None]
        waiting.sort(key=lambda each: each.due_at)
        rounds = [sum(one.agency == each.agency for one in waiting[:n]) for n, each in enumerate(waiting)]
        ordered = sorted(zip(rounds, waiting, strict=True), key=lambda pair: (pair[0], pair[1].due_at))
        return [each for _, each in ordered][:most]

    async def waiting(self, agency: str) -> int:
        """One controller's that are not answered."""
        return sum(each.agency == agency and each.issued_at is None for each in self.rows.values())

    async def by_id(self, access: str) -> StoredAccess | None:
        """One of them."""
        row = self.rows.get(access)
        return None if row is None else await self._placed(row)

    async def cleared(self, access: str, agency: str) -> list[StoredClearing]:
        """One controller's."""
        return [each for (of, _, by), each in self.clearings.items() if (of, by) == (access, agency)]

    async def rulings(self, access: str) -> list[StoredClearing]:
        """Everybody's."""
        return [each for (of, _, _), each in self.clearings.items() if of == access]

    async def told(self, access: str) -> list[str]:
        """What the answer held when it was first given."""
        return list(self.held.get(access, ()))

    async def _placed(self, row: StoredAccess) -> StoredAccess:
        return replace(row, index=self.index_of(row.id))

    def apply(self, change: Change) -> None:
        """A change of these."""
        detail: dict[str, Any] = dict(change.detail)
        at = datetime.fromisoformat(detail["at"])
        if change.kind == "access-start":
            encode(change.sealed or {})
            due = datetime.fromisoformat(detail["due"])
            row = StoredAccess(detail["id"], detail["agency"], at, due, ORIGIN, -1, change.sealed or {})
            self.rows[row.id] = row
            self.about[row.id] = change.subjects
        elif change.kind == "access-clearing":
            for entry in detail["entries"]:
                agency = detail["agency"]
                made = StoredClearing(entry, agency, detail["code"], at, detail["cleared_by"])
                self.clearings[detail["access"], entry, agency] = made
        else:
            self.rows[detail["access"]] = replace(self.rows[detail["access"]], issued_at=at)
            self.about[detail["access"]] = ()
            self.held[detail["access"]] = tuple(detail["told"])


@dataclass
class MemoryBreaches:
    """Implements `cases.BreachStore`."""

    rows: dict[str, StoredBreach] = field(default_factory=dict)

    async def of(self, agency: str, most: int) -> list[StoredBreach]:
        """Newest first."""
        own = [each for each in self.rows.values() if agency in ("", each.provider, each.requester)]
        return sorted(own, key=lambda each: each.aware_at, reverse=True)[:most]

    async def by_id(self, breach: str) -> StoredBreach | None:
        """One of them."""
        return self.rows.get(breach)

    def begins(self, used: StoredOverride) -> None:
        """A review said that it was the wrong person."""
        at = used.reviewed_at
        assert at is not None
        whose = (used.reviewed_by or used.provider, used.requester, used.system)
        self.rows.setdefault(used.id, StoredBreach(used.id, *whose, used.used_at, at, at + timedelta(hours=72)))


@dataclass
class MemoryComplaints:
    """Implements `cases.ComplaintStore`."""

    rows: dict[str, StoredComplaint] = field(default_factory=dict)
    # Whom each is about, where somebody was named.
    about: dict[str, SubjectRef] = field(default_factory=dict)

    async def of(
        self, agency: str, since: datetime | None, until: datetime | None, most: int
    ) -> list[StoredComplaint]:
        """Newest first."""
        own = [
            each
            for each in self.rows.values()
            if agency in ("", each.agency)
            and (since is None or each.received_at >= since)
            and (until is None or each.received_at < until)
        ]
        return sorted(own, key=lambda each: each.received_at, reverse=True)[:most]

    async def waiting(self, agency: str) -> int:
        """One controller's that are not closed."""
        return sum(each.agency == agency and each.closed_at is None for each in self.rows.values())

    async def by_id(self, complaint: str) -> StoredComplaint | None:
        """One of them."""
        return self.rows.get(complaint)

    def apply(self, change: Change) -> None:
        """A change of these."""
        detail: dict[str, Any] = dict(change.detail)
        if change.kind == "complaint":
            encode(change.sealed or {})
            received, due = (datetime.fromisoformat(detail[name]) for name in ("received", "due"))
            row = StoredComplaint(detail["id"], detail["agency"], received, due, change.sealed or {})
            self.rows[row.id] = row
            if change.subject is not None:
                self.about[row.id] = change.subject
            return
        row, at = self.rows[detail["complaint"]], datetime.fromisoformat(detail["at"])
        if change.kind == "complaint-acknowledged":
            self.rows[row.id] = replace(row, acknowledged_at=at)
        else:
            self.rows[row.id] = replace(row, closed_at=at, outcome=detail["outcome"])


@dataclass
class MemoryFigures:
    """Implements `figures.FiguresStore`."""

    months: dict[date, StoredFigures] = field(default_factory=dict)

    async def month(self, month: date) -> StoredFigures | None:
        """One of them."""
        return self.months.get(month)

    def apply(self, change: Change) -> None:
        """A month published."""
        detail: dict[str, Any] = dict(change.detail)
        month, at = date.fromisoformat(detail["month"]), datetime.fromisoformat(detail["at"])
        self.months[month] = StoredFigures(month, detail["id"], at, detail["page"])


@dataclass
class MemoryCases:
    """All of them."""

    index_of: Callable[[str], int]

    def __post_init__(self) -> None:
        self.accesses = MemoryAccesses(self.index_of)
        self.breaches = MemoryBreaches()
        self.complaints = MemoryComplaints()
        self.figures = MemoryFigures()

    def unacknowledged(self) -> list[tuple[Item, datetime, str]]:
        """Complaints that nobody has acknowledged, until when there is time, and to whom."""
        return [
            (Item("complaint", row.id), row.due_at, row.agency)
            for row in self.complaints.rows.values()
            if row.acknowledged_at is None and row.closed_at is None
        ]

    def apply(self, change: Change) -> bool:
        """Make a change, if it is one of these."""
        if change.kind in KINDS:
            self.accesses.apply(change)
        elif change.kind in COMPLAINTS:
            self.complaints.apply(change)
        elif change.kind == FIGURES:
            self.figures.apply(change)
        else:
            return False
        return True
