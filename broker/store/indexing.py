"""The filling of the search index: what has no row yet, and all of it once more where wanted.

An entry's row is made in the statement that appends it, of what the worker has in hand (`log_append`).

Owns `search_progress`. Each step is one transaction under a lock that one worker has at a time, so that many
may do this and any may die. Made anew, rows are replaced in their order while searches go on; `again` says how
far, and whoever fills the index goes on with what another has left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

from broker.core.entry import parse_entry
from broker.errors import IntegrityError, KeyDestroyed, KeyUnknown
from broker.store.packed import views_of
from broker.store.pool import Database
from broker.store.seal import Seals
from broker.store.terms import BlindTerms

BATCH = 64
_LOCK = 0x736561  # "sea": one worker fills it at a time

# Of one whose bytes are kept in an export alone the index alone says of when it is; where it has lost that, the
# entry before it does.
_AT = """
case when e.leaf is null then coalesce(
    (select s.at from search s where s.log = e.log and s.idx = e.idx),
    (select s.at from search s where s.log = e.log and s.idx < e.idx order by s.idx desc limit 1)
) end as at
"""
_ROWS = f"""
select e.idx, e.id, e.leaf, v.key, v.views, v.requester_agency, v.provider_agency, {_AT}
from entry e left join view v using (log, idx)
where e.log = $1 and e.idx = any ($2) order by e.idx
"""  # noqa: S608 - ours
# Those that have no row: an entry's is made with it.
_NEXT = """
select e.idx from entry e
where e.log = $1 and e.idx >= $2
  and not exists (select from search s where (s.log, s.idx) = (e.log, e.idx)) order by e.idx limit $3
"""
# Up to the first that has none, from where that was known before.
_REACH = """
select coalesce(
    (select e.idx from entry e
     where e.log = h.id and e.idx >= coalesce(p.done, 0)
       and not exists (select from search s where (s.log, s.idx) = (e.log, e.idx)) order by e.idx limit 1),
    (select e.idx + 1 from entry e where e.log = h.id order by e.idx desc limit 1), 0) as done, p.again
from log h left join search_progress p on p.log = h.id where h.id = $1
"""
# An erasure waits for what is made of these views, and then empties it; what is erased already is not read.
_HOLD = "select 1 from view v where v.log = $1 and v.idx = any ($2) order by v.idx for share"
_KEYS = """
select distinct v.key from view v where v.log = $1 and v.idx >= $2 and v.idx < $3 and v.key is not null
"""
_FILL = """
insert into search (log, idx, at, terms, rare)
select $1, i.idx, i.at, i.terms::integer[], search_keys(i.idx, i.rare::bigint[])
from unnest($2::bigint[], $3::timestamptz[], $4::text[], $5::text[]) i(idx, at, terms, rare)
on conflict (log, idx) do update set at = excluded.at, terms = excluded.terms, rare = excluded.rare
"""
_DONE = """
insert into search_progress (log, done) values ($1, $2)
on conflict (log) do update set done = greatest(search_progress.done, excluded.done)
"""
# Of no entry any more, or of one that had no place there: what is made anew leaves nothing of before.
_SWEEP = """
delete from search s where s.log = $1 and s.idx >= $2 and s.idx < $3
  and not exists (select from entry e where e.log = s.log and e.idx = s.idx)
"""
_AGAIN = "update search_progress set again = $2 where log = $1"
_BEGIN = """
insert into search_progress (log, done, again) values ($1, 0, 0) on conflict (log) do update set again = 0
"""
_END = (1 << 63) - 1
NO_TIME = (
    "the search index does not know of when entry {} is, whose bytes are kept in an export alone; it must be "
    "made anew first (broker audit index rebuild)"
)
_DAMAGED = (
    "the search index cannot take in entry {} of a log, whose bytes are no entry's ({} in all); "
    "`broker audit fsck` says which"
)
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the index is: `done` entries are in it; where it is made anew, `again` of these are new."""

    done: int = 0
    again: int | None = None

    @property
    def sure(self) -> int:
        """Up to here it holds what it should."""
        return self.done if self.again is None else self.again


class Indexing:
    """Fills the index of one log."""

    def __init__(self, database: Database, seals: Seals, terms: BlindTerms, log: int) -> None:
        self._database = database
        self._seals = seals
        self._terms = terms
        self._log = log
        self._damaged = set[int]()

    async def step(self, batch: int = BATCH) -> int:
        """Take in the next entries, and where there is time left make old ones anew; how many.

        None where another worker does it, or there is nothing to do. Raises AuditUnavailable; and, once all
        else is done, IntegrityError of entries whose bytes are none: what row these have stays.
        """
        self._damaged.clear()
        done = await self._next(batch) or await self._once_more(batch)
        if self._damaged:
            raise IntegrityError(_DAMAGED.format(min(self._damaged), len(self._damaged)))
        return done

    async def begin_again(self) -> None:
        """From now on everything is made anew, from the first entry; where that had begun it begins again."""
        async with self._database.connection() as connection:
            await connection.execute(_BEGIN, self._log)

    async def reach(self) -> Reach:
        """How far it is."""
        async with self._database.connection() as connection:
            return await reach(connection, self._log)

    async def unsealed(self, row: asyncpg.Record | Mapping[str, Any]) -> bytes | None:
        """The views; None where they, or the key of their month, are gone. Raises KeyMissing: what nobody has
        looked at is not indexed as if there were nothing."""
        if row["key"] is None:
            return None
        try:
            key = await self._seals.by_id(row["key"])
            return key.open(row["views"], str(row["id"]), "views")
        except (KeyDestroyed, IntegrityError):
            return None  # what was changed is for `fsck` to name; a search must not stop at it

    async def _next(self, batch: int) -> int:
        """Take in what has no row, and note how far the index reaches."""
        begins = (await self.reach()).done
        await self._unwrap(begins, begins + batch)
        async with self._database.connection() as connection, connection.transaction():
            if not await self._mine(connection):
                return 0
            begins = (await reach(connection, self._log)).done
            missing = [row["idx"] for row in await connection.fetch(_NEXT, self._log, begins, batch)]
            rows = await self._rows(connection, missing)
            written = await self._write(connection, rows)
            await connection.execute(_DONE, self._log, (await reach(connection, self._log)).done)
            return written

    async def _once_more(self, batch: int) -> int:
        so_far = await self.reach()
        if so_far.again is None:
            return 0
        await self._unwrap(so_far.again, so_far.again + batch)
        async with self._database.connection() as connection, connection.transaction():
            if not await self._mine(connection):
                return 0
            so_far = await reach(connection, self._log)
            if so_far.again is None:
                return 0
            ends = min(so_far.done, so_far.again + batch)
            finished = ends >= so_far.done
            await connection.execute(_SWEEP, self._log, so_far.again, _END if finished else ends)
            made = await self._made(connection, so_far.again, ends)
            await connection.execute(_AGAIN, self._log, None if finished else ends)
            return made

    async def _mine(self, connection: asyncpg.Connection) -> bool:
        return bool(await connection.fetchval("select pg_try_advisory_xact_lock($1, $2)", _LOCK, self._log))

    async def _unwrap(self, begins: int, ends: int) -> None:
        """Get the keys here, where no connection is held while another is waited for."""
        async with self._database.connection() as connection:
            keys = await connection.fetch(_KEYS, self._log, begins, ends)
        for row in keys:
            with suppress(KeyDestroyed, KeyUnknown):
                await self._seals.by_id(row["key"])

    async def _made(self, connection: asyncpg.Connection, begins: int, ends: int) -> int:
        """Write the rows of these entries; how many there are."""
        rows = await self._rows(connection, range(begins, ends))
        await self._write(connection, rows)
        return len(rows)

    async def _rows(self, connection: asyncpg.Connection, places: Sequence[int]) -> list[asyncpg.Record]:
        await connection.execute(_HOLD, self._log, list(places))
        return await connection.fetch(_ROWS, self._log, list(places))

    async def _write(self, connection: asyncpg.Connection, rows: list[asyncpg.Record]) -> int:
        """Write their rows but those of damaged entries; how many."""
        made = []
        for row in rows:
            try:
                made.append(await self._row(row))
            except IntegrityError:
                self._damaged.add(row["idx"])
        if made:
            columns = [list(column) for column in zip(*made, strict=True)]
            await connection.execute(_FILL, self._log, *columns)
        return len(made)

    async def _row(self, row: asyncpg.Record) -> tuple[int, datetime, str, str]:
        unsealed = await self.unsealed(row)
        try:  # as literals: arrays of arrays must all be of one length
            sides = row["requester_agency"], row["provider_agency"]
            found_by = self._terms.literals(*views_of(unsealed), sides) if unsealed else ("{}", "{}")
        except IntegrityError:
            found_by = ("{}", "{}")
        return (row["idx"], made_at(row["leaf"], row["at"]) or _LONG_AGO, *found_by)


async def reach(connection: asyncpg.Connection, log: int) -> Reach:
    """How far the index of a log is, as this connection sees it."""
    row = await connection.fetchrow(_REACH, log)
    return Reach(row["done"], row["again"]) if row else Reach()


def made_at(leaf: bytes | None, known: datetime | None) -> datetime | None:
    """When an entry was made; of one whose bytes are kept in an export alone, as the index knew before. Not as
    its view says: that may be another time, and not for everybody."""
    return known if leaf is None else parse_entry(bytes(leaf)).at
