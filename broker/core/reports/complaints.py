"""Complaints to controllers: received, acknowledged within 30 days, closed with what outcome (DPA s.164A)."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from broker.core.reports.against import Against
from broker.core.reports.document import MOST, Cell, Document, Table, columns
from broker.core.reports.tally import Tally
from broker.core.reports.times import shown

OUTCOMES = ("upheld", "partly-upheld", "not-upheld", "withdrawn")
_ABOUT = (
    (
        "A controller acknowledges a complaint within 30 days of receiving it, takes appropriate steps "
        "without undue delay, and tells what came of it (DPA 2018 s.164A, as inserted by the Data (Use and "
        "Access) Act 2025 s.103)."
    ),
)


class Complaint(Struct, frozen=True):
    """One of them, and what is past."""

    id: str
    agency: str
    reference: str
    received_at: datetime
    due_at: datetime
    acknowledged_at: datetime | None
    closed_at: datetime | None
    outcome: str

    def acknowledged(self, now: datetime) -> str:
        """in time, late, overdue or waiting."""
        if self.acknowledged_at is not None:
            return "in time" if self.acknowledged_at <= self.due_at else "late"
        return "overdue" if self.due_at < now else "waiting"


class Received:
    """Takes in complaints."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._states = Tally()
        self._rows: list[tuple[Cell, ...]] = []
        self._more = False

    def add(self, each: Complaint) -> None:
        """One of them."""
        acknowledged = each.acknowledged(self._now)
        self._states.add(each.agency, acknowledged, each.outcome or "open")
        if len(self._rows) == MOST:
            self._more = True
            return
        days = ((each.closed_at or self._now) - each.received_at).days
        due = shown(each.due_at)
        whose = (shown(each.received_at), each.agency, each.reference)
        self._rows.append((*whose, due, acknowledged, days, each.outcome or "open", each.id))

    def document(self, facts: tuple[tuple[str, str], ...], held: Against) -> Document:
        """The report; `held` is what of the rows does not fit the log."""
        heads = columns(
            received="Received",
            agency="By",
            reference="Their reference",
            due="To acknowledge by",
            acknowledged="Acknowledged",
            days="Days open",
            outcome="Outcome",
            complaint="Complaint",
        )
        notes = (f"Only the newest {MOST} are listed.",) if self._more else ()
        tables = (
            *held.tables(),
            Table(
                "By agency",
                columns(
                    agency="Agency", acknowledged="Acknowledged", outcome="Outcome", complaints="Complaints"
                ),
                self._states.rows(),
                "In short",
                chart="complaints",
            ),
            Table("Each complaint, newest first", heads, tuple(self._rows), "Complaints", notes),
        )
        told = (*facts, *held.facts())
        return Document("complaints", "Complaints", _ABOUT, told, tables, "No complaint was received.")
