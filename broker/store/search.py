"""The search index of the log: filled behind it, entry by entry, and asked in terms that nobody can read.

It never decides what somebody may see: what it finds is opened, and looked at again by whoever asked. Rows are
made in order and without gaps, so that `done` says honestly how far it has come; `missed` looks for what is not
there all the same.
"""

from __future__ import annotations

import asyncio
import hmac
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import NoReturn

import asyncpg

from broker.core.entry import parse_entry
from broker.core.receipt import Audience
from broker.core.searchterms import SELECTIVE, selective, terms_of
from broker.errors import BrokerError, IntegrityError, KeyDestroyed
from broker.ports import Hit, Hits
from broker.store.packed import Openings, full_view, unpack
from broker.store.pool import Database
from broker.store.seal import Seals

BATCH = 64
_BREATH, _IDLE = 0.005, 0.5  # seconds
_REST = 9.0  # times as long as a batch took
_LOCK = 0x736561  # "sea": one worker fills it at a time
_BITS = 1 << 64

_NEXT = """
select e.idx, e.id, e.leaf, v.key, v.views
from entry e left join view v using (log, idx)
where e.log = $1 and e.idx >= $2 and e.idx < $2 + $3 order by e.idx
"""
_KEYS = """
select distinct v.key from view v
where v.log = $1 and v.idx >= $2 and v.idx < $2 + $3 and v.key is not null
"""
_FILL = """
insert into search (log, idx, at, terms)
select $1, i.idx, i.at, i.terms::bigint[]
from unnest($2::bigint[], $3::timestamptz[], $4::text[]) i(idx, at, terms)
on conflict (log, idx) do update set at = excluded.at, terms = excluded.terms
"""
_DONE = """
insert into search_progress (log, done) values ($1, $2)
on conflict (log) do update set done = greatest(search_progress.done, excluded.done)
"""
# A selective question is looked up; another is read in order, whatever the planner thinks of the index.
_BY_TERM = "s.terms @> $2"
_IN_ORDER = "(s.terms || '{{}}'::bigint[]) @> $2"
# The entries first, in the index's own order and no more than are wanted; only then what belongs to them.
_FIND = """
with hit as materialized (
    select s.log, s.idx from search s
    where s.log = $1 and {terms} and s.idx {beyond} $3
      and ($4::timestamptz is null or s.at >= $4) and ($5::timestamptz is null or s.at < $5)
    order by s.log {order}, s.idx {order} limit $6
)
select h.idx, e.id, e.leaf, v.key, v.views, v.requester_agency, v.provider_agency
from hit h join entry e using (log, idx) left join view v using (log, idx)
order by h.idx {order}
"""
_MISSED = """
select n from generate_series($2::bigint, $3::bigint - 1) n
where not exists (select from search s where s.log = $1 and s.idx = n.n) order by n limit $4
"""


class SearchIndex:
    """Fills the index of one log and asks it."""

    def __init__(self, database: Database, seals: Seals, index_key: bytes, log: int) -> None:
        self._database = database
        self._seals = seals
        self._key = hmac.digest(index_key, b"search", "sha256")
        self._log = log
        # Agencies, record types, purposes: few, and in every entry. Who was asked about is not remembered.
        self._remembered = lru_cache(maxsize=4096)(self._digest)

    async def fill(self) -> int:
        """Take in the next entries; how many. None where another worker does it, or there are none."""
        async with self._database.connection() as connection:
            keys = await connection.fetch(_KEYS, self._log, await _done(connection, self._log), BATCH)
        for row in keys:  # here, where no connection is held while another is waited for
            with suppress(KeyDestroyed):
                await self._seals.by_id(row["key"])
        async with self._database.connection() as connection, connection.transaction():
            if not await connection.fetchval("select pg_try_advisory_xact_lock($1, $2)", _LOCK, self._log):
                return 0
            done = await _done(connection, self._log)
            rows = await connection.fetch(_NEXT, self._log, done, BATCH)
            if not rows:
                return 0
            made = [await self._row(row) for row in rows]
            columns = [list(column) for column in zip(*made, strict=True)]
            await connection.execute(_FILL, self._log, *columns)
            await connection.execute(_DONE, self._log, rows[-1]["idx"] + 1)
            return len(rows)

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
            done = await _done(connection, self._log)
            size = await connection.fetchval("select size from head where log = $1", self._log)
        return done, size or 0

    async def rebuild(self) -> None:
        """Begin anew: searches find less until it has caught up, and say so."""
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute("delete from search_progress where log = $1", self._log)
            await connection.execute("delete from search where log = $1", self._log)

    async def missed(self, most: int = 100) -> list[int]:
        """Indexes below `done` that have no row: there should be none."""
        async with self._database.connection() as connection:
            done = await _done(connection, self._log)
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
        sql = _FIND.format(
            terms=(_BY_TERM if selective(terms) else _IN_ORDER).format(),
            beyond="<" if newest_first else ">",
            order="desc" if newest_first else "asc",
        )
        async with self._database.connection() as connection:
            rows = await connection.fetch(sql, self._log, self._blind(terms), beyond, since, until, limit)
            done = await _done(connection, self._log)
        return Hits(tuple([await self._hit(row) for row in rows]), done)

    async def _row(self, row: asyncpg.Record) -> tuple[int, datetime, str]:
        unsealed = await self._unsealed(row)
        try:
            terms = terms_of(full_view(unsealed)) if unsealed else frozenset()
        except IntegrityError:
            terms = frozenset()
        blind = ",".join(map(str, self._blind(terms)))  # arrays of arrays must all be of one length
        return row["idx"], parse_entry(bytes(row["leaf"])).at, f"{{{blind}}}"

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
        unsealed = await self._unsealed(row)
        try:
            return unpack(unsealed) if unsealed else None
        except IntegrityError:
            return None

    async def _unsealed(self, row: asyncpg.Record) -> bytes | None:
        if row["key"] is None:
            return None
        try:
            key = await self._seals.by_id(row["key"])
            return key.open(row["views"], str(row["id"]), "views")
        except (KeyDestroyed, IntegrityError):
            return None  # what was changed is for `fsck` to name; a search must not stop at it

    def _blind(self, terms: frozenset[str]) -> list[int]:
        """Keyed digests, 64 bits each: one in ten billion entries is found wrongly, and then not shown."""
        return sorted(
            self._digest(each) if each.partition("|")[0] in SELECTIVE else self._remembered(each)
            for each in terms
        )

    def _digest(self, term: str) -> int:
        value = int.from_bytes(hmac.digest(self._key, term.encode(), "sha256")[:8], "big")
        return value - _BITS if value >= _BITS // 2 else value


async def _done(connection: asyncpg.Connection, log: int) -> int:
    done: int | None = await connection.fetchval("select done from search_progress where log = $1", log)
    return done or 0
