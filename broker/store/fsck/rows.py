"""The tables of humans' work, held against what the entries say of them, both ways.

Named are rows that no entry made, that are not there although their entry stands, and that say otherwise than
the entries that made and changed them. What entries whose views are gone may have said is known no more: it is
let by where such an entry is of the minute that the row gives, and counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from broker.core.agreement import read
from broker.core.canonical import Json
from broker.core.retention import CHANGES
from broker.errors import InvalidRequest
from broker.offline.problems import MOST
from broker.store.blind import Blind
from broker.store.fsck.expected import Columns, Expectations, Expected
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import has, parts
from broker.store.fsck.views import Views
from broker.store.queued import OVERRIDE, OVERRIDE_REVIEW, REFERRAL, REFERRAL_DECISION
from broker.store.said import WORDS, Said

# Each table, the column of its key, and what its later steps set, by what dates them, as it stands before.
_TABLES: dict[str, tuple[str, dict[str, Columns]]] = {
    "referral": ("id", {"decided_at": {"status": "open", "decided_at": None, "until": None}}),
    "override_use": (
        "id",
        {"reviewed_at": {"status": "open", "reviewed_at": None, "reviewed_by": None, "told": None}},
    ),
    "override_restriction": ("id", {"lifted_at": {"lifted_at": None}}),
    "complaint": (
        "id",
        {"acknowledged_at": {"acknowledged_at": None}, "closed_at": {"closed_at": None, "outcome": ""}},
    ),
    "access_request": ("id", {"issued_at": {"issued_at": None}}),
    "breach": ("id", {}),
    "escalation": ("id", {}),
    "published_month": ("month", {}),
}
# What a later step sets that the row had from its beginning.
_ENDS = {("access_request", "issued_at"): ("subjects",)}
# What dates the entry that made a row, where that is not the entry of its id.
_MADE = {"breach": "aware_at"}
# Sealed: under which key column, and as what.
_SEALED = {
    ("referral", "asked"): ("key", REFERRAL),
    ("referral", "words"): ("key", f"{REFERRAL}-words"),
    ("referral", "decision"): ("decision_key", REFERRAL_DECISION),
    ("override_use", "used"): ("key", OVERRIDE),
    ("override_use", "words"): ("key", f"{OVERRIDE}-words"),
    ("override_use", "review"): ("review_key", OVERRIDE_REVIEW),
    ("override_restriction", "detail"): ("key", "override-restriction"),
    ("complaint", "detail"): ("key", "complaint"),
    ("access_request", "asked"): ("key", "access-start"),
}
_STANDS = """
select e.idx, v.key from entry e left join view v on v.log = e.log and v.idx = e.idx where e.id = $1
"""
_EPOCH = datetime.fromisoformat("2000-01-01T00:00:00+00:00")
_MINUTE = timedelta(minutes=1)


class Rows:
    """Hears all entries, and judges the tables after them."""

    def __init__(self, blind: Blind) -> None:
        self.compared: dict[str, int] = {}
        self._said = Expectations(blind)
        # A bit for each minute of which an entry's views are gone; whether one is of nobody knows when.
        self._gone = bytearray()
        self._undated = False
        self._unknown: dict[str, int] = {}
        self._over = 0

    def hear(self, report: StoreReport, index: int, entry: str, full: Mapping[str, Json]) -> None:
        """One full view that has been verified."""
        self._said.hear(report, index, entry, full)

    def not_heard(self, at: datetime | None) -> None:
        """An entry of that time has no views that open."""
        if at is None:
            self._undated = True
            return
        minute = max(0, (at - _EPOCH) // _MINUTE)
        if minute >> 3 >= len(self._gone):
            self._gone.extend(bytes((minute >> 3) + 1 - len(self._gone)))
        self._gone[minute >> 3] |= 1 << (minute & 7)

    def may_be_said(self, at: datetime | None) -> bool:
        """Whether an entry without views may have said what happened then: it is dated then or just after."""
        if self._undated or at is None:
            return self._undated
        first = (at - _EPOCH) // _MINUTE
        return any(
            0 <= n >> 3 < len(self._gone) and self._gone[n >> 3] & 1 << (n & 7) for n in (first, first + 1)
        )

    async def judge(
        self, connection: asyncpg.Connection, said: Said, views: Views, current: StoreReport
    ) -> None:
        """Hold every table against what was heard."""
        for table in _TABLES:
            if await has(connection, table):
                await _Table(self, connection, said, views, current, table).run()
        if self._said.more:
            current.unchecked.append(f"of {self._said.more} more rows of humans' work, what their entries say")
        if self._over:
            current.unchecked.append(
                f"who deleted {self._over} restrictions that are over, as a schedule may have it"
            )
        for table, count in self._unknown.items():
            current.unchecked.append(
                f"all that {count} rows of {table} say: the views of entries that may have said it are gone"
            )


class _Table:
    """One of them, as all rows together see it."""

    def __init__(
        self,
        rows: Rows,
        connection: asyncpg.Connection,
        said: Said,
        views: Views,
        current: StoreReport,
        table: str,
    ) -> None:
        self._rows = rows
        self._connection = connection
        self._said = said
        self._views = views
        self._opens = frozenset(views.opens())
        self._current = current
        self._table = table
        self._key, self._steps = _TABLES[table]
        self._expected = {key: row for (of, key), row in rows._said.rows.items() if of == table}
        self._told = 0

    async def run(self) -> None:
        """Rows first, then what is missing among them."""
        seen, count = set[str](), 0
        if self._table == "override_use":
            await self._due()
        async for part in parts(self._connection, f"select * from {self._table}"):  # noqa: S608 - ours
            for row in part:
                count += 1
                key = str(row[self._key])
                seen.add(key)
                await self._row(key, row, self._expected.get(key))
        now = await self._connection.fetchval("select clock_timestamp()")
        for key, expected in self._expected.items():
            if key in seen or expected.made is None or self._may_be_missing(key, expected):
                continue
            if self._table == "override_restriction" and _is_over(expected, now):
                self._rows._over += 1
                continue
            self._wrong(
                expected, f"is not there, and nothing says that it went: entry {expected.index} made it"
            )
        self._rows.compared[self._table] = count

    async def _due(self) -> None:
        """By when an override is to be reviewed, as its agreement says, which is compared too."""
        hours = dict[str, timedelta]()
        for row in await self._connection.fetch("select file from agreement"):
            with suppress(InvalidRequest):  # of one that was changed, which is named
                terms = read(bytes(row["file"]))
                if terms.override is not None:
                    hours[terms.label] = timedelta(hours=terms.override.review_hours)
        for made in (each.made for each in self._expected.values() if each.made):
            after = hours.get(made.pop("due_at") or "")
            if after is not None:
                made["due_at"] = made["used_at"] + after

    def _may_be_missing(self, key: str, expected: Expected) -> bool:
        return expected.free or (self._table == "referral" and self._said.gave_up(UUID(key).bytes, "provider"))

    async def _row(self, key: str, row: asyncpg.Record, expected: Expected | None) -> None:
        unknown = False
        if expected is None or expected.made is None:
            why, unknown = await self._unmade(row)
            if why:
                self._current_wrong(f"{self._table} {key}", why)
                return
        expected = expected or Expected(self._current, -1)
        # What a later step says too, that one is held against.
        later_said = {name for _, columns in expected.steps.values() for name in columns}
        for dated in self._steps:
            if row[dated] is not None:  # whether any entry says so is asked below
                later_said.update(_ENDS.get((self._table, dated), ()))
        made = {name: said for name, said in (expected.made or {}).items() if name not in later_said}
        if wrong := [*self._differs(row, made)]:
            self._wrong(expected, f"says otherwise than that entry: {', '.join(wrong)}")
        for dated, before in self._steps.items():
            index, columns = expected.steps.get(dated, (-1, before))
            wrong = [*self._differs(row, columns)]
            if not wrong:
                continue
            later = index < 0 or (row[dated] is not None and row[dated] > columns[dated])
            if index >= 0 and not (later and self._rows.may_be_said(row[dated])):
                self._wrong(expected, f"says otherwise than entry {index}: {', '.join(wrong)}", index)
            elif later and self._rows.may_be_said(row[dated]):
                unknown = True
            else:
                self._wrong(expected, f"was changed, and no entry says so: {', '.join(wrong)}")
        self._sealed(key, row, expected)
        if unknown:
            self._rows._unknown[self._table] = self._rows._unknown.get(self._table, 0) + 1

    async def _unmade(self, row: asyncpg.Record) -> tuple[str, bool]:
        """Of a row whose making was not heard: what is wrong, and whether it may have been said."""
        if self._rows._said.more:
            return "", True
        entry = await self._connection.fetchrow(_STANDS, row["id"])
        if entry is None:
            return "belongs to no entry", False
        if self._table in _MADE:
            said = self._rows.may_be_said(row[_MADE[self._table]])
            return "" if said else "was made by no entry", True
        if entry["key"] in self._opens:
            return f"says that entry {entry['idx']} made it, which says nothing of it", False
        return "", True

    def _differs(self, row: asyncpg.Record, columns: Columns) -> list[str]:
        return [name for name, value in columns.items() if not _same(name, row[name], value)]

    def _sealed(self, key: str, row: asyncpg.Record, expected: Expected) -> None:
        """What is sealed in it opens; what should be there and is not, an erasure took."""
        gone = [each for each in expected.there if row[each] is None and not self._taken(key, each)]
        if "reviewed_at" in expected.steps and row["review"] is None and not self._taken(key, "review"):
            gone.append("review")
        if "decided_at" in expected.steps and row["decision"] is None and not self._taken(key, "decision"):
            gone.append("decision")
        if gone:
            self._wrong(expected, f"has lost what is sealed in it, and nothing says so: {', '.join(gone)}")
        for (table, column), (under, what) in _SEALED.items():
            if table != self._table or row[column] is None:
                continue
            if not self._views.opened(row[under], bytes(row[column]), key, what):
                self._wrong(expected, f"has something else sealed in it than was: {column}")

    def _taken(self, key: str, column: str) -> bool:
        entry = UUID(key).bytes
        if self._said.gave_up(entry, "provider"):
            return True
        if column == "words":
            return self._said.gave_up(entry, WORDS)
        # What a human wrote goes with the key of its own month.
        return column in ("review", "decision") and any(name == CHANGES for _, name in self._said.ended)

    def _wrong(self, expected: Expected, text: str, index: int = -1) -> None:
        place = index if index >= 0 else expected.index
        path = f"{self._table} of entry {expected.index if expected.index >= 0 else place}"
        self._add(expected.report, place, path, text)

    def _current_wrong(self, path: str, text: str) -> None:
        self._add(self._current, -1, path, text)

    def _add(self, report: StoreReport, index: int, path: str, text: str) -> None:
        if self._told < MOST:
            self._told += 1
            report.wrong("row", index, path, text)
        else:
            report.more += 1


def _is_over(expected: Expected, now: datetime) -> bool:
    """Whether a restriction is in force no more."""
    until = expected.made and expected.made["until"]
    return "lifted_at" in expected.steps or bool(until and until <= now)


def _same(name: str, stands: Any, said: Any) -> bool:
    if name == "issued_at" and stands is not None and said is not None:
        return bool(timedelta(0) <= said - stands <= _MINUTE)
    if isinstance(stands, UUID):
        return bool(str(stands) == said)
    if name == "page":
        return bool((json.loads(stands) if isinstance(stands, str) else stands) == said)
    if name == "subjects":
        return sorted(map(bytes, stands)) == sorted(said)
    return bool(stands == said)
