"""The search index of the log: made with its entries (`indexing`), and asked in terms that nobody can read.

It never decides what somebody may see: what it finds is opened, and looked at again by whoever asked. Rows are
made in order and without gaps, so that what a search says of its reach is honest; `keeping` looks for what is
not there all the same. Of a whole log that is not there, the first entry of the next one says how long it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NoReturn

import asyncpg

from broker.core.checkpoint import Checkpoint
from broker.core.note import Note
from broker.core.receipt import Audience
from broker.core.rotation import rotation
from broker.core.searchterms import parties
from broker.errors import AuditUnavailable, IndexBehind, IntegrityError
from broker.lanes import by_steps
from broker.ports import Hit, Hits, Remains
from broker.store.indexing import NO_TIME, Indexing, made_at, reach
from broker.store.packed import Openings, unpack
from broker.store.pool import Database, one
from broker.store.seal import Seals
from broker.store.terms import BlindTerms

_BREATH, _IDLE = 0.005, 0.5  # seconds
_REST = 9.0  # times as long as a batch took

# Logs are taken in one after the other, so that what is said of one goes for those before it.
_BEHIND = """
select l.id from log l
left join head h on h.log = l.id left join search_progress p on p.log = l.id
where coalesce(p.done, 0) < coalesce(l.entries, h.size) or p.again is not null order by l.id
"""
_WHICH = """
select l.id, l.origin, o.origin as older, coalesce(l.entries, h.size) as size,
    case when position('"log":"'::bytea in e.leaf) > 0 then e.leaf end as link
from log l
left join head h on h.log = l.id
left join log o on o.id = (select max(id) from log where id < l.id)
left join entry e on e.log = l.id and e.idx = 0
where case when $1 = '' then l.id = (select log from head)
    else $1 in (l.origin, split_part(l.origin, '/log/', 2)) end
"""
# Who says that there was a log; and which of those that are here came before that.
_LINKS = "select e.leaf as link from log l join entry e on e.log = l.id and e.idx = 0"
_BEFORE = "select max(origin) from log where origin < $1"
# What few entries have is looked up; the rest is read in order, whatever the planner thinks of the index. The
# entries first, no more than are wanted; only then what belongs to them.
_FEW = "select search_find($1, $2, $7, $3, {newest}, $4, $5, $6::integer, $8) as idx"
_MANY = """
select s.idx from search s
where s.log = $1 and s.terms @> $2 and s.idx {beyond} $3
  and ($4::timestamptz is null or s.at >= $4) and ($5::timestamptz is null or s.at < $5)
  and cardinality($7::bigint[]) = 0
  and ($8::text = '' or exists (
      select from view v
      where (v.log, v.idx) = (s.log, s.idx) and $8 in (v.requester_agency, v.provider_agency)))
order by s.log {order}, s.idx {order} limit $6
"""
_FIND = """
with hit as materialized ({hits})
select h.idx, s.at, e.id, v.key, v.views, v.requester_agency, v.provider_agency
from hit h
join search s on (s.log, s.idx) = ($1, h.idx)
join entry e on (e.log, e.idx) = ($1, h.idx) left join view v on (v.log, v.idx) = (e.log, e.idx)
order by h.idx {order}
"""
_ONE = """
select e.idx, s.at, e.id, e.leaf, l.origin, v.key, v.views, v.requester_agency, v.provider_agency
from entry e join log l on l.id = e.log
left join search s on (s.log, s.idx) = (e.log, e.idx) left join view v on (v.log, v.idx) = (e.log, e.idx)
where e.id = $1
"""
_REMAINS = """
select e.idx, e.id, e.leaf, s.at, l.origin,
       exists (select from view v join view_key k on k.id = v.key
               where (v.log, v.idx) = (e.log, e.idx) and k.wrapped is not null) as kept
from entry e join log l on l.id = e.log left join search s on (s.log, s.idx) = (e.log, e.idx)
where e.id = any ($1::uuid[])
"""
# One statement, so one moment: a rebuild takes away rows and the count of them together.
_WITHIN = """
with hit as materialized (
    select s.idx from generate_series($3::bigint >> 16, ($4::bigint - 1) >> 16) run(n)
    cross join lateral (
        select s.idx from search s
        where s.rare @> search_keys(run.n << 16, $6) and s.terms @> $2 and +s.log = $1
          and +s.idx >= $3 and +s.idx < $4
          and ($7 = '' or exists (
              select from view v
              where (v.log, v.idx) = (s.log, s.idx) and $7 in (v.requester_agency, v.provider_agency)))
    ) s order by s.idx limit $5
)
select (select count(*) from search where log = $1 and idx >= $3 and idx < $4) as rows,
       (select coalesce(array_agg(idx order by idx), '{}') from hit) as found
"""


class SearchIndex:
    """Fills the index of every log and asks it. `log` is the one that `rebuild` is about."""

    def __init__(self, database: Database, seals: Seals, index_key: bytes, log: int) -> None:
        self._database = database
        self._seals = seals
        self.terms = BlindTerms(index_key)
        self.filling = Indexing(database, seals, self.terms, log)

    async def fill(self) -> int:
        """Take in the next entries of the oldest log that has any, as `Indexing.step`. What is damaged in one
        keeps no other back."""
        async with self._database.connection() as connection:
            behind = [row["id"] for row in await connection.fetch(_BEHIND)]
        damaged: IntegrityError | None = None
        for log in behind:
            try:
                if taken := await Indexing(self._database, self._seals, self.terms, log).step():
                    return taken
            except IntegrityError as e:
                damaged = damaged or e
        if damaged is not None:
            raise damaged
        return 0

    async def watch(self) -> NoReturn:
        """Take in what comes, a little at a time and for a tenth of the time: requests go first, and a search
        says how far it reaches. Until something does not hold: raises IntegrityError."""
        loop = asyncio.get_running_loop()
        while True:
            taken, begun = 0, loop.time()
            with suppress(AuditUnavailable):  # readiness says why
                taken = await self.fill()
            await asyncio.sleep(max(_BREATH, _REST * (loop.time() - begun)) if taken else _IDLE)

    async def progress(self) -> tuple[int, int]:
        """Entries in the index, and in the log, of the current one."""
        async with self._database.connection() as connection:
            row = await one(connection, "select log, size from head")
            return (await reach(connection, row["log"])).done, row["size"]

    async def find(
        self,
        terms: frozenset[str],
        beyond: int,
        limit: int,
        *,
        newest_first: bool,
        since: datetime | None,
        until: datetime | None,
        log: str = "",
        party: str = "",
    ) -> Hits:
        """Entries that have these terms, by index, opened: those whose views are gone come without, and to a
        party not at all.

        Of a log that is not here, although another says that it follows it, nothing is in the index. KeyError
        where there is no log of this name.
        """
        common, few = self.terms.split(terms | parties(party))
        order = "desc" if newest_first else "asc"
        hits = (_FEW if few else _MANY).format(
            newest=newest_first, beyond="<" if newest_first else ">", order=order
        )
        sql = _FIND.format(hits=hits, order=order)
        async with self._database.connection() as connection:
            which = await connection.fetchrow(_WHICH, log)
            if which is None:
                return await _lacking(connection, log)
            # Asked before: what another worker takes in meanwhile may be found, and is not promised.
            sure = (await reach(connection, which["id"])).sure
            rows = await connection.fetch(sql, which["id"], common, beyond, since, until, limit, few, party)
        found = [await self._hit(row, which["origin"]) async for row in by_steps(rows)]
        follows = _linked(which["link"])
        older = follows.origin if follows and follows.origin < which["origin"] else which["older"] or ""
        return Hits(tuple(found), sure, which["size"], which["origin"], older)

    async def entry(self, entry: str) -> Hit:
        """As `LogSearch.entry`."""
        async with self._database.connection() as connection:
            try:
                row = await connection.fetchrow(_ONE, entry)
            except asyncpg.DataError as e:  # what is no id is no entry's
                raise KeyError(entry) from e
        if row is None:
            raise KeyError(entry)
        if (at := row["at"] or made_at(row["leaf"], None)) is None:
            raise IndexBehind(NO_TIME.format(row["idx"]))
        return await self._hit({**row, "at": at}, row["origin"])

    async def remains(self, entries: Sequence[str]) -> dict[str, Remains]:
        """As `LogSearch.remains`. A month's views end with its key, whether their rows have gone or not."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_REMAINS, list(entries))
        found = dict[str, Remains]()
        for row in rows:
            if (at := row["at"] or made_at(row["leaf"], None)) is None:
                raise IndexBehind(NO_TIME.format(row["idx"]))
            found[str(row["id"])] = Remains(at, row["kept"], row["origin"], row["idx"])
        return found

    async def within(
        self, terms: frozenset[str], start: int, end: int, limit: int, log: int, party: str = ""
    ) -> list[int] | None:
        """Places in [start, end) of entries that may have all these terms, of this party (empty: of anybody),
        in order; None where the index is not sure of every one of these places. Of the log of that number."""
        async with self._database.connection() as connection:
            common, few = self.terms.split(terms | parties(party))
            sure = (await reach(connection, log)).sure
            row = await connection.fetchrow(_WITHIN, log, common, start, end, limit, few, party)
        if row is None or sure < end or row["rows"] != end - start:
            return None
        return list(row["found"])

    async def _hit(self, row: asyncpg.Record | Mapping[str, Any], log: str) -> Hit:
        unsealed = await self.filling.unsealed(row)
        opened = _opened(unsealed)
        views = {} if opened is None else {a.value: o.view for a in Audience if (o := opened.of(a.value))}
        return Hit(
            row["idx"],
            str(row["id"]),
            row["at"],
            row["requester_agency"] or "",
            row["provider_agency"] or "",
            views,
            {} if opened is None else opened.view,
            log,
        )


async def _lacking(connection: asyncpg.Connection, log: str) -> Hits:
    """What is found in a log that is not here, and that another says it follows. KeyError where none does."""
    for row in await connection.fetch(_LINKS):
        end = _linked(row["link"])
        if end is not None and end.origin == log:
            return Hits((), 0, end.size, log, await connection.fetchval(_BEFORE, log) or "")
    raise KeyError(log)


def _linked(leaf: bytes | None) -> Checkpoint | None:
    """The end of the log before, as a log's first entry has it; None where that is no such link."""
    try:
        return Checkpoint.parse(Note.parse(rotation(bytes(leaf or b"")).encode()).text)
    except IntegrityError:
        return None


def _opened(unsealed: bytes | None) -> Openings | None:
    """The views; None where they, or the key of their month, are gone."""
    try:
        # Only `pack` can have written what a seal of ours opens; whoever proves an entry looks at its form.
        return unpack(unsealed, committed=True) if unsealed else None
    except IntegrityError:
        return None
