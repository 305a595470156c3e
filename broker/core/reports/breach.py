"""Who and what was affected: the figures that a notification of a breach needs (UK GDPR Art. 33, DPA s.67).

A draft: numbers are of what went through the broker; whether there is a risk to anybody is for people to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from broker.core.lawfulness import EVERYTHING
from broker.core.london import local
from broker.core.reports.against import Against
from broker.core.reports.distinct import Distinct
from broker.core.reports.document import MOST, Cell, Document, Table, columns
from broker.core.reports.line import Line
from broker.core.reports.taken import Taken
from broker.core.reports.tally import Tally
from broker.core.reports.times import BREACH, in_words, shown

# Identifiers of what is no person.
_THINGS = {"uprn": "premises", "incident": "incidents"}
_ABOUT = (
    (
        "DRAFT for the controllers concerned: what went through the broker, and nothing that happened "
        "elsewhere. Whether rights and freedoms are at risk, and whether people must be told (Art. 34, s.68), "
        "is yours to judge."
    ),
    (
        "A person known by several identifiers may be counted once for each; numbers are approximate (Art. "
        "33(3)(a))."
    ),
)
_FIELDS = Mapping[str, Mapping[str, frozenset[str]]]


class Affected:
    """Takes in the entries of a breach. `labels` are what fields give away, by record type and path; `agency`
    is whose looks and changes are of it, empty where all are."""

    def __init__(self, labels: _FIELDS, *, people: bool, agency: str = "") -> None:
        self._labels = labels
        self._people = people
        self._agencies: dict[tuple[str, str], tuple[Distinct, list[int]]] = {}
        self._distinct: dict[str, Distinct] = {}
        self._records = Tally()
        self._kinds: dict[str, set[str]] = {}
        self._ends = Tally()
        self._days = Tally()
        self._rows: list[tuple[Cell, ...]] = []
        self._more = False
        self._taken = Taken(agency, people=people)

    def add(self, line: Line) -> None:
        """One entry: how the asking of a record ended, or what was read from the log or changed."""
        self._taken.add(line)
        if not line.asks:
            return
        self._ends.add(line.event, line.code)
        self._days.add(local(line.at).date().isoformat())
        for subject in line.subjects[:1]:
            kind = _THINGS.get(subject.scheme, "people")
            self._distinct.setdefault(kind, Distinct()).add(f"{subject.scheme}|{subject.value}")
        if line.released:
            self._records.add(line.record_type, line.provider)
            known = self._labels.get(line.record_type, {})
            given = {label for path in line.permitted for label in known.get(path, EVERYTHING)}
            self._kinds.setdefault(line.record_type, set()).update(given)
        for agency, part in ((line.requester, "asked"), (line.provider, "held the record")):
            if agency:
                people, counts = self._agencies.setdefault((agency, part), (Distinct(), [0, 0]))
                counts[0] += 1
                counts[1] += line.released
                for subject in line.subjects[:1]:
                    people.add(f"{subject.scheme}|{subject.value}")
        self._list(line)

    def _list(self, line: Line) -> None:
        if not self._people:
            return
        if len(self._rows) == MOST:
            self._more = True
            return
        whom = "; ".join(f"{each.scheme} {each.value}" for each in line.subjects)
        who = line.actor.get("id", "")
        cells = (line.record_type, line.requester, line.provider, who, whom, line.id)
        self._rows.append((shown(line.at), line.event, *cells))

    def document(
        self, facts: tuple[tuple[str, str], ...], aware_at: datetime | None, held: Against | None = None
    ) -> Document:
        """The pack; `held` is what of a suspected breach's row does not fit the log."""
        clock = [("Clock", "not started: give the time at which the controller became aware (--aware-at)")]
        if aware_at is not None:
            clock = [
                ("Aware since", in_words(aware_at)),
                ("To the Commissioner by", in_words(aware_at + BREACH)),
            ]
        numbers = [(f"Different {kind}", each.shown()) for kind, each in sorted(self._distinct.items())]
        released = ("Records given", str(self._records.total()))
        tables = (
            *(held.tables() if held is not None else ()),
            Table(
                "Records that were given, by type",
                columns(type="Record type", provider="Held by", records="Records", kinds="Kinds of data"),
                tuple((*row, self._sorts(str(row[0]))) for row in self._records.rows()),
                "What",
                chart="records",
            ),
            Table(
                "Agencies affected",
                columns(
                    agency="Agency", part="Part", asked="Requests", given="Records given", people="Subjects"
                ),
                tuple(
                    (agency, part, counts[0], counts[1], people.shown())
                    for (agency, part), (people, counts) in sorted(self._agencies.items())
                ),
                "Who is concerned",
                ("Each controller notifies for what it answers for.",),
            ),
            Table(
                "What came of the requests",
                columns(event="Event", code="Refused because", requests="Requests"),
                self._ends.rows(),
                "Outcomes",
            ),
            Table(
                "By day", columns(day="Day", requests="Requests"), self._days.rows(), "When", chart="requests"
            ),
            *self._taken.tables(),
            *self._listed(),
        )
        doubts = held.facts() if held is not None else ()
        told = (*facts, *doubts, *clock, *numbers, released, *self._taken.facts())
        none = "No request of that kind was made in that time, and nothing was read or changed."
        return Document("breach", "Breach: who and what was affected", _ABOUT, told, tables, none)

    def _sorts(self, record_type: str) -> str:
        return ", ".join(sorted(self._kinds.get(record_type, set()) - {"plain"})) or "none that is labelled"

    def _listed(self) -> tuple[Table, ...]:
        heads = columns(
            at="When",
            event="Event",
            type="Record type",
            requester="Asked by",
            provider="Of",
            actor="Actor",
            subject="About",
            entry="Entry",
        )
        notes = (f"Only the newest {MOST} are listed.",) if self._more else ()
        table = Table("Each request, newest first", heads, tuple(self._rows), "Entries", notes)
        return (table,) if self._people else ()
