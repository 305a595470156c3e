"""Overrides: how many were used and by whom, which were reviewed in time, what the reviews said."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from broker.core.reports.against import Against
from broker.core.reports.document import MOST, Cell, Document, Table, columns
from broker.core.reports.line import Line
from broker.core.reports.tally import Tally
from broker.core.reports.times import shown

_ABOUT = (
    (
        "Overrides that a provider answered, 'not found' included. A review is due within the time that the "
        "agreement names; each is by a named human of the provider."
    ),
)


class Review(Struct, frozen=True):
    """How the review of an override stands: `open` or its verdict. `due_at` is None where its row is gone."""

    due_at: datetime | None
    status: str
    reviewed_at: datetime | None = None

    def timeliness(self, now: datetime) -> str:
        """in time, late, overdue or waiting."""
        if self.due_at is None:
            return "not known"
        if self.reviewed_at is not None:
            return "in time" if self.reviewed_at <= self.due_at else "late"
        return "overdue" if self.due_at <= now else "waiting"


class Used:
    """Takes in overrides with their reviews."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._states = Tally()
        self._by = Tally()
        self._rows: list[tuple[Cell, ...]] = []
        self._more = False

    def add(self, line: Line, review: Review) -> None:
        """One that was used."""
        when = review.timeliness(self._now)
        self._states.add(when, review.status)
        who = line.actor.get("id", "")
        role = line.actor.get("role", "")
        self._by.add(line.requester, line.provider, role, who, line.override)
        if len(self._rows) == MOST:
            self._more = True
            return
        whom = (line.requester, who, role, line.provider)
        what = (line.override, line.record_type, line.purpose)
        due = shown(review.due_at) if review.due_at else None
        self._rows.append((shown(line.at), *whom, *what, due, when, review.status, line.id))

    def document(self, facts: tuple[tuple[str, str], ...], held: Against) -> Document:
        """The report; `held` is what of the rows does not fit the log."""
        heads = columns(
            at="Used",
            requester="Used by",
            actor="Actor",
            role="Role",
            provider="Record of",
            override="Why",
            type="Record type",
            purpose="Purpose",
            due="Review due",
            review="Review",
            verdict="Verdict",
            entry="Entry",
        )
        notes = (f"Only the newest {MOST} are listed.",) if self._more else ()
        by = columns(
            requester="Used by", provider="Record of", role="Role", actor="Actor", override="Why", used="Used"
        )
        tables = (
            *held.tables(),
            Table(
                "Reviews",
                columns(review="Review", verdict="Verdict", overrides="Overrides"),
                self._states.rows(),
                "In short",
                chart="overrides",
            ),
            Table("Used by", by, self._by.rows(), "By whom"),
            Table("Each override, newest first", heads, tuple(self._rows), "Entries", notes),
        )
        none = "No override was used in that time."
        return Document(
            "overrides", "Overrides and their reviews", _ABOUT, (*facts, *held.facts()), tables, none
        )
