"""What somebody read from the log, and what they changed: the part of a breach without a record.

Owns how many entries each look showed, as far as its entry says: a stolen certificate may have taken them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.core.reports.document import MOST, Cell, Table, columns
from broker.core.reports.line import ASKED, Line
from broker.core.reports.tally import Tally
from broker.core.reports.times import shown
from broker.core.vocabulary import LOOKS, LOOKS_KEPT

_EXPORT = "log-exported"
# Steps of a request, which the other tables count by how it ended; and what the broker did by itself.
_OTHERS = ASKED | {"intent", "received", "undelivered", "escalated", "calls-refused"}
_CUT = "cut off, or not at its end yet: up to all of its range"
_READ = LOOKS | LOOKS_KEPT  # a try of a decision tells why it would not hold
_LISTS = ("overrides", "breaches", "complaints", "accesses")


class Taken:
    """Takes in entries, newest first, of whoever a breach is of. `agency`: of its own people's alone, where a
    breach is by agency."""

    def __init__(self, agency: str, *, people: bool) -> None:
        self._agency = agency
        self._people = people
        self._looks = Tally()
        self._changes = Tally()
        self._rows: list[tuple[Cell, ...]] = []
        self._more = False
        self._exported = 0
        self._uncounted = 0
        # Rows of exports whose beginning is still to come, by its entry.
        self._ends: dict[str, int] = {}

    def add(self, line: Line) -> None:
        """One entry; the asking of a record is passed over."""
        if line.event in _OTHERS or self._agency not in ("", line.acted_for):
            return
        ends = line.detail.get("ends") if line.event == _EXPORT else None
        if isinstance(ends, str):  # told with its beginning
            self._ends[ends] = int(line.detail.get("rows") or 0)
            self._exported += self._ends[ends]
            return
        if line.event not in _READ:
            self._changes.add(line.event)
            self._list(line, "")
            return
        self._looks.add(line.event)
        count = self._count(line)
        self._uncounted += not isinstance(count, int)
        self._list(line, count)

    def _count(self, line: Line) -> str | int:
        if line.event == _EXPORT:
            return self._ends.pop(line.id, _CUT)
        return showed(line.event, line.detail)

    def _list(self, line: Line, count: str | int) -> None:
        if len(self._rows) == MOST:
            self._more = True
            return
        whom = "; ".join(f"{each.scheme} {each.value}" for each in line.subjects)
        who = (line.actor.get("id", ""), whom) if self._people else ()
        self._rows.append((shown(line.at), line.event, asked(line.detail), count, *who, line.id))

    def facts(self) -> tuple[tuple[str, str], ...]:
        """What stands on the first page."""
        looks, changes = self._looks.total(), self._changes.total()
        taken = f"{_counted(self._exported, 'entry', 'entries')} went out in exports that ended"
        unsaid = f"; of {self._uncounted} no exact number is known" if self._uncounted else ""
        people = "The people in these are not among those counted here"
        read = f"{_counted(looks, 'look', 'looks')}: {taken}{unsaid}. {people}"
        return (
            ("Read from the log", read if looks or self._exported else "nothing"),
            ("Changed", _counted(changes, "entry", "entries") if changes else "nothing"),
        )

    def tables(self) -> tuple[Table, ...]:
        """Those of looks and changes."""
        kinds = columns(event="Event", entries="Entries")
        who = {"actor": "Actor", "subject": "About"} if self._people else {}
        heads = {"at": "When", "event": "Event", "asked": "What was asked for", "shown": "Entries shown"}
        notes = [f"Only the newest {MOST} are listed."] if self._more else []
        if self._ends:
            notes.append(f"{len(self._ends)} exports began before this time and ended in it.")
        notes.append(
            "An export says at its end how many entries went out; a search how many were wanted at most, "
            "before it shows any. What an export or a search held is found by making it again."
        )
        return (
            Table("Looks at the log, its lists and reports", kinds, self._looks.rows(), "Read"),
            Table("What was changed or written down", kinds, self._changes.rows(), "Changed"),
            Table(
                "Each look and change, newest first",
                columns(**heads, **who, entry="Entry"),
                tuple(self._rows),
                "Looks and changes",
                tuple(notes),
            ),
        )


def _counted(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


def showed(event: str, detail: Mapping[str, Any]) -> str | int:
    """How many entries a look showed, as far as its entry says."""
    if event == "log-searched":
        most = f"at most {detail.get('limit')}" if detail.get("limit") else "what came"
        return f"{most}, and what came" if detail.get("follow") and detail.get("limit") else most
    if isinstance(found := detail.get("found"), int):
        return found
    for name in _LISTS:
        if isinstance(listed := detail.get(name), list):
            return len(listed)
    if event in ("entry-viewed", "explained"):
        return int(isinstance(detail.get("entry"), str))
    return "what it tells"


def asked(detail: Mapping[str, Any]) -> str:
    """What a look asked for, in short, and about nobody."""
    said = [
        str(each) for each in detail.get("facts") or () if not str(each).startswith(("actor ", "callsign "))
    ]
    for name in ("entry", "report", "agency", "since", "until", "first", "before", "log", "in_place_of"):
        value = detail.get(name)
        if isinstance(value, str | int) and value not in ("", 0):
            said.append(f"{name} {value}")
    if detail.get("subject") or detail.get("subjects"):
        said.append("one person")
    return "; ".join(said)
