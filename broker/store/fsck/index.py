"""Whether the search index holds what it should: the terms of every entry derived again from its full view.

Read only, in one snapshot. Names entries that the index missed, has wrong, or still has although their views
are gone. No view that it opens is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import asyncpg

from broker.core.entry import Rotation, parse_entry
from broker.core.searchterms import parties, terms_of
from broker.errors import IntegrityError
from broker.keys import KeyRing
from broker.offline.source import Unreadable
from broker.store.blind import Blind
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import has, parts, place, snapshot
from broker.store.fsck.views import Of, Views
from broker.store.indexing import Reach, reach
from broker.store.terms import BlindTerms

_ROWS = """
select e.idx, e.id::text as id, e.leaf, v.key, v.views, v.words, v.requester_agency, v.provider_agency,
       s.idx is not null as indexed, s.at, s.terms::bigint[] || s.rare as terms
from entry e
left join view v on v.log = e.log and v.idx = e.idx
left join search s on s.log = e.log and s.idx = e.idx
where e.log = $1 and e.idx < $2 order by e.log, e.idx
"""
_LOGS = """
select l.id, l.origin, coalesce(l.entries, h.size) as size
from log l left join head h on h.log = l.id order by l.id
"""
_FOREIGN = """
select s.idx from search s where s.log = $1
  and not exists (select from entry e where e.log = s.log and e.idx = s.idx)
order by s.idx limit 100
"""


@dataclass
class IndexReport(StoreReport):
    """`looked` entries were compared, `links` of which link two half-years and open to nothing; `reach` is how
    far the index says it is."""

    reach: Reach = field(default_factory=Reach)
    looked: int = 0
    links: int = 0
    # Of the logs before, oldest first; `earlier` are the same.
    before: list[IndexReport] = field(default_factory=list)


async def check_index(dsn: str, ring: KeyRing, progress: Callable[[int, int], None]) -> IndexReport:
    """Compare all of it: the report is the current log's, and has those `before`.

    Raises Unreadable, IntegrityError where the ring is another than the database's.
    """
    async with snapshot(dsn) as connection:
        known = await connection.fetchval("select index_check from head")
        logs = await connection.fetch(_LOGS)
        if not logs or not await has(connection, "search"):
            raise Unreadable(place(dsn), "holds no log with a search index yet")
        if known is not None and known != Blind(ring.index_key()).key("check"):
            raise IntegrityError(
                "this key folder's index key is not the one that the database was written with"
            )
        keys, reports = await connection.fetch("select * from view_key"), list[IndexReport]()
        for log in logs:
            report = IndexReport(log["origin"], log["size"], reach=await reach(connection, log["id"]))
            await _Check(connection, report, ring, keys).run(log["id"], progress)
            reports.append(report)
        *earlier, current = reports
        current.before, current.earlier = earlier, [*earlier]
        return current


class _Check:
    def __init__(
        self, connection: asyncpg.Connection, report: IndexReport, ring: KeyRing, keys: list[asyncpg.Record]
    ) -> None:
        self._connection = connection
        self._report = report
        self._views = Views(ring, keys)
        self._terms = BlindTerms(ring.index_key())

    async def run(self, log: int, progress: Callable[[int, int], None]) -> None:
        for why in self._views.wrong_keys():
            self._report.wrong("key", -1, "view key", why)
        done = self._report.reach.done
        async for rows in parts(self._connection, _ROWS, log, done):
            for row in rows:
                self._row(row)
            progress(self._report.looked, done)
        for row in await self._connection.fetch(_FOREIGN, log):
            self._wrong(row["idx"], "is in it and should not be: there is no such entry, or not yet")

    def _row(self, row: asyncpg.Record) -> None:
        self._report.looked += 1
        index = row["idx"]
        try:
            entry = None if row["leaf"] is None else parse_entry(bytes(row["leaf"]))
        except IntegrityError:
            self._wrong(index, "is no entry; see broker audit fsck")
            return
        # Without its bytes, which are kept in an export alone, its view is compared as it opens.
        checked = None if isinstance(entry, Rotation) else self._views.check(entry, row)
        if checked is not None and checked.of is Of.WRONG:
            self._wrong(index, f"cannot be compared: {checked.why}; see broker audit fsck")
            return
        if checked is not None and checked.of is Of.UNOPENED:
            return  # its key is named once
        gone = checked is None or checked.full is None
        if checked is None:
            self._report.links += 1
        if not row["indexed"]:
            if checked is None:
                return
            if gone:
                self._report.gone(index)
            else:
                self._wrong(index, "is missed: it is not in the index")
            return
        if entry is not None and row["at"] != entry.at:
            self._wrong(index, "is in it under another time than its own")
        there = set(row["terms"])
        if checked is None or checked.full is None:
            if there:
                why = "its views are gone" if checked is not None else "it links two half-years"
                self._wrong(index, f"is still found by {len(there)} terms although {why}")
            if checked is not None:
                self._report.gone(index)
            return
        found_by = terms_of(checked.full) | parties(row["requester_agency"], row["provider_agency"])
        wanted = set(self._terms.of(found_by, index))
        if missed := wanted - there:
            self._wrong(index, f"is missed by {len(missed)} of its {len(wanted)} terms")
        elif extra := there - wanted:
            self._wrong(index, f"is found by {len(extra)} terms that are not its own")
        else:
            self._report.opened += 1

    def _wrong(self, index: int, text: str) -> None:
        self._report.wrong("index", index, f"entry {index}", text)
