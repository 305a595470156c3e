"""Whether the tables that decisions read are what the log's entries say of them (`told`, `tables`).

A row that no entry says, a state that an entry ended and that still counts, one that ended although no entry
says so, and one that is not there: each is named by its table and its own name, with the entry that says
otherwise. Where entries that may have said it are gone, as the log says, or cannot be opened, that is said.
"""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from broker.core.entry import parse_entry
from broker.core.retention import CHANGES, is_held
from broker.errors import IntegrityError
from broker.store.fsck.gone import Gone
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import has
from broker.store.fsck.tables import TABLES, Stands, Table, rows
from broker.store.fsck.told import State, Told, log_and_index, place_of
from broker.store.said import Said

_SOME = 10_000
_NAMED = 5
_LEAVES = "select leaf from entry where id = any ($1::uuid[])"
# A change says when it was asked for, its entry when it was made: so many seconds later at most.
_LATER = 60


class Lost:
    """Which entries may have said something and cannot be heard any more."""

    def __init__(self, connection: asyncpg.Connection, told: Told, said: Said, logs: Sequence[Gone]) -> None:
        self._connection = connection
        self._said = said
        # Wrong, not opened, kept in an export alone: of any time.
        for each in logs:
            for problem in each.report.problems:
                if problem.kind in ("view", "entry") and problem.index >= 0:
                    told.not_heard(each.log, problem.index)
            if each.report.more or each.undated:
                told.not_heard(each.log, each.report.size)
        self.any_time = told.gap > 0
        self.months = {month for month, name in said.ended if name == CHANGES or is_held(name)}
        ended = [
            place_of(each.log, each.months[month][2])
            for each in logs
            for month in self.months & each.months.keys()
        ]
        # The last of all of them; 0: there is none.
        self.last = max((told.gap, *ended))
        self._erased: list[float] | None = None

    async def at(self, at: datetime | None) -> bool:
        """Whether the entry of a change of this moment may be among them."""
        if at is None or self.any_time:
            return True
        if {f"{at:%Y-%m}", f"{at + timedelta(seconds=_LATER):%Y-%m}"} & self.months:
            return True
        if self._erased is None:
            self._erased = sorted(await self._times())
        if self._erased and self._erased[-1] == math.inf:  # of one of them it is not known
            return True
        first = bisect.bisect_left(self._erased, at.timestamp() - 1)
        return first < len(self._erased) and self._erased[first] <= at.timestamp() + _LATER

    async def _times(self) -> list[float]:
        """When the entries were made that erasures took whole; infinite where it is not known."""
        ids, found = [UUID(bytes=each) for each in self._said.erased()], list[float]()
        for start in range(0, len(ids), _SOME):
            for row in await self._connection.fetch(_LEAVES, ids[start : start + _SOME]):
                try:
                    found.append(parse_entry(bytes(row["leaf"] or b"")).at.timestamp())
                except IntegrityError:
                    found.append(math.inf)  # its bytes are kept elsewhere, or it is named as wrong
        return found


class Judge:
    """Holds every table against what was heard; what it finds stands in the current log's report."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        told: Told,
        said: Said,
        lost: Lost,
        reports: Mapping[int, StoreReport],
    ) -> None:
        self._connection = connection
        self._told = told
        self._said = said
        self._lost = lost
        self._newest = max(reports)
        self._report = reports[self._newest]
        self._origins = {log: report.origin for log, report in reports.items()}
        # By table: rows of which nothing is known, there or not.
        self._unknown: defaultdict[str, list[str]] = defaultdict(list)
        # Of rows that are as an entry says: its place, and the count of changes from which the row counts.
        self._counts: list[tuple[int, int, str]] = []
        self._changes = 0  # the last that any row names

    async def run(self) -> None:
        """Look at all of them."""
        for table in TABLES:
            if await has(self._connection, table.name):
                await self._table(table)
        self._order()
        if (count := await self._connection.fetchval("select policy from head") or 0) < self._changes:
            text = f"counts {count} changes of what decisions read, and there are {self._changes} at least"
            self._report.wrong("state", -1, "head", text)
        for table_name, names in self._unknown.items():
            named = ", ".join(each[:200] for each in names[:_NAMED])
            more = " ..." if len(names) > _NAMED else ""
            self._report.unchecked.append(
                f"{len(names)} rows of `{table_name}` ({named}{more}), there or not: what would say so is "
                "gone, or cannot be opened"
            )

    async def _table(self, table: Table) -> None:
        group: list[Stands] = []
        async for row in rows(self._connection, table):
            self._changes = max(self._changes, row.since, row.until or 0)
            if group and row.name != group[0].name:
                await self._name(table, group)
                group = []
            group.append(row)
        if group:
            await self._name(table, group)
        for name in self._told.names(table.name):
            await self._missing(table, name, self._told.take(table.name, name))

    async def _name(self, table: Table, group: list[Stands]) -> None:
        """All rows of one name."""
        name = group[0].name
        states = self._told.take(table.name, name)
        if table.name == "directive" and (by := self._said.directive_by(UUID(name).bytes)):
            self._wrong(table, name, f"erased by {by} and there again")
        elif (why := await self._why(table, group, states)) is not None:
            self._wrong(table, name, why)

    async def _why(self, table: Table, group: list[Stands], states: list[State]) -> str | None:
        matched = self._matched(group, states)
        if len(matched) < len(states):
            return f"is not what entry {self._entry(states[len(matched)].place)} says"
        if not states and not await self._may_be(table, group[-1].at):
            return "is there, and no entry of the log says so"
        if len(matched) < len(group) and states:
            # Of the last, the one that counts, an entry that is gone may have said otherwise; never one before.
            if len(group) - 1 not in matched and self._lost.last < states[-1].place:
                return f"is not what entry {self._entry(states[-1].place)} says, the last that changed it"
            if not self._lost.last:
                return "has been what no entry of the log says"
        if extra := len(group) - len(matched):
            self._unknown[table.name] += [group[0].name] * extra
        for n, state in zip(matched, states, strict=True):
            row = group[n]
            if state.ended and not row.ended:
                return f"counts, although entry {self._entry(state.ended)} ended it"
            if row.ended and not state.ended and not await self._may_have_ended(table, row, state):
                return f"counts no more, and no entry says so: entry {self._entry(state.place)} made it"
            if table.follows and n + 1 < len(group) and row.until != group[n + 1].since:
                return f"counts until {row.until}, and what follows it from {group[n + 1].since}"
            if row.since:
                self._counts.append((state.place, row.since, f"{table.name} {row.name}"))
        return None

    def _matched(self, group: list[Stands], states: list[State]) -> list[int]:
        """Which rows are as each state says, in order; fewer where one state is in no row."""
        found: list[int] = []
        for state in states:
            start = found[-1] + 1 if found else 0
            n = next((n for n in range(start, len(group)) if state.digest in group[n].digests), None)
            if n is None:
                break
            found.append(n)
        return found

    async def _may_be(self, table: Table, at: datetime | None) -> bool:
        """Whether a row may have been said by an entry that is gone."""
        return self._lost.last > 0 if at is None else await self._lost.at(at)

    async def _may_have_ended(self, table: Table, row: Stands, state: State) -> bool:
        if self._lost.last > state.place:
            return True
        return row.ended_at is not None and await self._lost.at(row.ended_at)

    async def _missing(self, table: Table, name: str, states: list[State]) -> None:
        last = states[-1]
        if table.name == "directive":
            if self._said.directive_by(UUID(name).bytes):
                return
            # A month's end takes what was withdrawn in it.
            if last.ended and any(name == CHANGES for _, name in self._said.ended):
                return
        if last.place < self._lost.last and table.name == "directive":
            self._unknown[table.name].append(name)
        else:
            made = self._entry(last.place)
            self._wrong(table, name, f"is not there: entry {made} made it, and no entry says that it went")

    def _order(self) -> None:
        """Changes count in the order of their entries."""
        before: tuple[int, int, str] | None = None
        for each in sorted(self._counts):
            if before is not None and (each[1] < before[1] or (each[0] > before[0] and each[1] == before[1])):
                text = (
                    f"counts from change {each[1]}, and {before[2]} from {before[1]}, although entry "
                    f"{self._entry(before[0])} of that stands before entry {self._entry(each[0])} of this"
                )
                self._report.wrong("state", -1, each[2], text)
                return
            before = each

    def _wrong(self, table: Table, name: str, text: str) -> None:
        self._report.wrong("state", -1, f"{table.name} {name[:200]}", text)

    def _entry(self, place: int) -> str:
        """An entry as commands take it: by its index in the current log, with its half-year in another."""
        log, index = log_and_index(place)
        return str(index) if log == self._newest else f"{self._origins[log].rpartition('/')[2]}:{index}"
