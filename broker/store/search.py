"""The search index of the log: made with its entries (`indexing`), and asked in terms that nobody can read.

It never decides what somebody may see: what it finds is opened, and looked at again by whoever asked. Rows are
made in order and without gaps, so that what a search says of its reach is honest; `missed` looks for what is
not there all the same.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import NoReturn

import asyncpg

from broker.core.entry import parse_entry
from broker.core.receipt import Audience
from broker.errors import BrokerError, IntegrityError
from broker.ports import Hit, Hits
from broker.store.indexing import Indexing, reach
from broker.store.packed import Openings, unpack
from broker.store.pool import Database
from broker.store.seal import Seals
from broker.store.terms import BlindTerms

_BREATH, _IDLE = 0.005, 0.5  # seconds
_REST = 9.0  # times as long as a batch took

# What few entries have is looked up; the rest is read in order, whatever the planner thinks of the index. The
# entries first, no more than are wanted; only then what belongs to them.
_FEW = "select search_find($1, $2, $7, $3, {newest}, $4, $5, $6::integer) as idx"
_MANY = """
select s.idx from search s
where s.log = $1 and s.terms @> $2 and s.idx {beyond} $3
  and ($4::timestamptz is null or s.at >= $4) and ($5::timestamptz is null or s.at < $5)
  and cardinality($7::bigint[]) = 0
order by s.log {order}, s.idx {order} limit $6
"""
_FIND = """
with hit as materialized ({hits})
select h.idx, e.id, e.leaf, v.key, v.views, v.requester_agency, v.provider_agency
from hit h
join entry e on (e.log, e.idx) = ($1, h.idx) left join view v on (v.log, v.idx) = (e.log, e.idx)
order by h.idx {order}
"""
# One statement, so one moment: a rebuild takes away rows and the count of them together.
_WITHIN = """
with hit as materialized (
    select s.idx from generate_series($3::bigint >> 16, ($4::bigint - 1) >> 16) run(n)
    cross join lateral (
        select s.idx from search s
        where s.rare @> search_keys(run.n << 16, $6) and s.terms @> $2 and +s.log = $1
          and +s.idx >= $3 and +s.idx < $4
    ) s order by s.idx limit $5
)
select (select count(*) from search where log = $1 and idx >= $3 and idx < $4) as rows,
       (select coalesce(array_agg(idx order by idx), '{}') from hit) as found
"""
_MISSED = """
select n from generate_series($2::bigint, $3::bigint - 1) n
where not exists (select from search s where s.log = $1 and s.idx = n.n) order by n limit $4
"""


class SearchIndex:
    """Fills the index of one log and asks it."""

    def __init__(self, database: Database, seals: Seals, index_key: bytes, log: int) -> None:
        self._database = database
        self.terms = self._terms = BlindTerms(index_key)
        self._log = log
        self.filling = Indexing(database, seals, self._terms, log)

    async def fill(self) -> int:
        """Take in the next entries, as `Indexing.step`."""
        return await self.filling.step()

    async def watch(self) -> NoReturn:
        """Take in what comes, a little at a time and for a tenth of the time: requests go first, and a search
        says how far it reaches."""
        loop = asyncio.get_running_loop()
        while True:
            taken, begun = 0, loop.time()
            with suppress(BrokerError):  # readiness says why
                taken = await self.fill()
            await asyncio.sleep(max(_BREATH, _REST * (loop.time() - begun)) if taken else _IDLE)

    async def progress(self) -> tuple[int, int]:
        """Entries in the index, and in the log."""
        async with self._database.connection() as connection:
            done = (await reach(connection, self._log)).done
            size = await connection.fetchval("select size from head where log = $1", self._log)
        return done, size or 0

    async def missed(self, most: int = 100) -> list[int]:
        """Indexes below `done` that have no row: there should be none."""
        async with self._database.connection() as connection:
            done = (await reach(connection, self._log)).done
            return [row["n"] for row in await connection.fetch(_MISSED, self._log, 0, done, most)]

    async def find(
        self,
        terms: frozenset[str],
        beyond: int,
        limit: int,
        *,
        newest_first: bool,
        since: datetime | None,
        until: datetime | None,
    ) -> Hits:
        """Entries that have these terms, by index, opened: those whose views are gone come without."""
        common, few = self._terms.split(terms)
        order = "desc" if newest_first else "asc"
        hits = (_FEW if few else _MANY).format(
            newest=newest_first, beyond="<" if newest_first else ">", order=order
        )
        sql = _FIND.format(hits=hits, order=order)
        async with self._database.connection() as connection:
            rows = await connection.fetch(sql, self._log, common, beyond, since, until, limit, few)
            sure = (await reach(connection, self._log)).sure
        return Hits(tuple([await self._hit(row) for row in rows]), sure)

    async def within(self, terms: frozenset[str], start: int, end: int, limit: int) -> list[int] | None:
        """Places in [start, end) of entries that may have all these terms, in order; None where the index is
        not sure of every one of these places."""
        async with self._database.connection() as connection:
            common, few = self._terms.split(terms)
            row = await connection.fetchrow(_WITHIN, self._log, common, start, end, limit, few)
            sure = (await reach(connection, self._log)).sure
        if row is None or sure < end or row["rows"] != end - start:
            return None
        return list(row["found"])

    async def _hit(self, row: asyncpg.Record) -> Hit:
        opened = await self._opened(row)
        views = {} if opened is None else {a.value: o.view for a in Audience if (o := opened.of(a.value))}
        return Hit(
            row["idx"],
            str(row["id"]),
            parse_entry(bytes(row["leaf"])).at,
            row["requester_agency"] or "",
            row["provider_agency"] or "",
            views,
            {} if opened is None else opened.view,
        )

    async def _opened(self, row: asyncpg.Record) -> Openings | None:
        """The views; None where they, or the key of their month, are gone."""
        unsealed = await self.filling.unsealed(row)
        try:
            return unpack(unsealed) if unsealed else None
        except IntegrityError:
            return None
