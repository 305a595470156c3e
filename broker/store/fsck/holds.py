"""Whether anything was destroyed past a legal hold, from what the entries say: which holds stood at each place
of the log, which of them whoever destroyed something was shown, and what they cover.

Tables say nothing here. A hold that was put out of sight by hand, and back afterwards, stood in the log all the
while. What of an erased entry is left with its other party is held against the holds themselves; where nothing
is left, only which holds were seen can be told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from broker.core.canonical import Json
from broker.core.entry import parse_entry
from broker.core.model import SubjectRef
from broker.core.searchterms import parties, person, term
from broker.core.sights import terms_of
from broker.errors import IntegrityError
from broker.store.fsck.report import StoreReport
from broker.store.fsck.views import Views
from broker.store.said import Said

_MANY = 200_000  # entries that erasures name, of which the rest is left unchecked
_SOME = 5_000
_LEFT = """
select e.idx, e.id::text as id, e.leaf, v.key, v.views, v.words, v.requester_agency, v.provider_agency
from entry e join view v using (log, idx) where e.id = any ($1::uuid[])
"""


@dataclass(frozen=True, slots=True)
class _Hold:
    """A hold as its entry has it: its place, its month, and the terms of what it covers."""

    id: str
    index: int
    month: str
    terms: frozenset[str]
    # Of the agencies whose entries it covers; empty: all.
    whose: frozenset[str]


@dataclass
class Held:
    """Hears the full views of all logs, in the order of the logs and of their entries."""

    compared: int = 0
    _standing: dict[str, _Hold] = field(default_factory=dict)
    # Of an erasure or a retention: where it is said, and the hold that it was not shown.
    _unseen: list[tuple[StoreReport, int, str, _Hold]] = field(default_factory=list)
    # By an entry that was erased or lost its words: where that is said, and the holds that stood.
    _named: dict[str, tuple[StoreReport, int, tuple[_Hold, ...]]] = field(default_factory=dict)
    _more: int = 0
    _silent: int = 0

    def hear(self, report: StoreReport, index: int, full: Mapping[str, Json]) -> None:
        """One full view that has been verified."""
        event, detail = full.get("event"), full.get("detail")
        if not isinstance(detail, dict):
            return
        if event == "hold-placed":
            placed = _hold(index, detail, str(full.get("now"))[:7])
            self._standing[placed.id] = placed
        elif event == "hold-released":
            self._standing.pop(str(detail.get("id")), None)
        elif event in ("erasure", "retention"):
            self.compared += 1
            self._destroyed(report, index, str(event), detail)

    def _destroyed(self, report: StoreReport, index: int, kind: str, detail: Mapping[str, Json]) -> None:
        if not self._standing:
            return
        seen = detail.get("holds")
        if not isinstance(seen, list):
            self._silent += 1
            seen = [*self._standing]
        for hold in self._standing.values():
            if hold.id not in seen:
                self._unseen.append((report, index, kind, hold))
        stood = tuple(self._standing.values())
        for each in (*_listed(detail, "entries"), *_listed(detail, "words")):
            if len(self._named) < _MANY:
                self._named.setdefault(each, (report, index, stood))
            else:
                self._more += 1

    async def judge(
        self, connection: asyncpg.Connection, said: Said, views: Views, current: StoreReport
    ) -> None:
        """Say what was destroyed past a hold."""
        for report, index, kind, hold in self._unseen:
            if said.silent(hold.month):
                current.unchecked.append(
                    f"whether the hold of entry {hold.index} stood when entry {index} destroyed something: "
                    "what may have released it has ended itself"
                )
                continue
            text = f"destroyed although the hold of entry {hold.index} stood, which it was not shown"
            report.wrong("hold", index, f"entry {index} ({kind})", text)
        ids = [*self._named]
        for start in range(0, len(ids), _SOME):
            some: Sequence[str] = ids[start : start + _SOME]
            for row in await connection.fetch(_LEFT, some):
                self._left(said, row, views)
        if self._silent:
            current.unchecked.append(f"which holds {self._silent} erasures and retentions were shown")
        if self._more:
            current.unchecked.append(f"of {self._more} more erased entries, whether a hold covered them")

    def _left(self, said: Said, row: asyncpg.Record, views: Views) -> None:
        """An entry of which an erasure took a part, and of which something can be opened still."""
        report, index, stood = self._named[row["id"]]
        try:
            checked = views.check(parse_entry(bytes(row["leaf"])) if row["leaf"] else None, row)  # type: ignore[arg-type]
        except IntegrityError:
            return
        if checked.full is None:
            return
        terms = terms_of(checked.full) | parties(row["requester_agency"], row["provider_agency"])
        for hold in stood:
            if hold.terms & terms and (not hold.whose or hold.whose & terms) and not said.silent(hold.month):
                text = (
                    f"erased of entry {row['idx']} although the hold of entry {hold.index} covers it and stood"
                )
                report.wrong("hold", index, f"entry {index} (erasure)", text)
                return


def _hold(index: int, detail: Mapping[str, Any], month: str) -> _Hold:
    subject, what = detail.get("subject"), str(detail.get("what"))
    if isinstance(subject, dict):
        terms = frozenset({person(SubjectRef(str(subject.get("scheme")), str(subject.get("value"))))})
    else:
        terms = frozenset({term(what, str(detail.get("value")))})
    own = [] if detail.get("everything") else [str(detail.get("agency")), *_listed(detail, "agencies")]
    return _Hold(str(detail.get("id")), index, month, terms, parties(*own))


def _listed(detail: Mapping[str, Json], name: str) -> list[str]:
    found = detail.get(name)
    return [str(each) for each in found] if isinstance(found, list) else []
