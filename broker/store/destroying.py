"""The end of a month's views of one class: implements `keeping.Destroying`.

Looks at the log in steps that each end well within a statement's time, so that nobody waits for it. What
outlives its class is sealed anew first; once the entry has been committed that ends the key (migration 0012),
the key outside the database is destroyed, then its rows. Whatever is interrupted is found, and gone on with.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from broker.errors import IntegrityError, KeyDestroyed, KeyMissing
from broker.keeping import Counted, Unfinished, ViewClass
from broker.keys import KeyRing
from broker.store.cases import ACCESS, COMPLAINT
from broker.store.ended import require_said
from broker.store.pool import Database, one
from broker.store.queued import OVERRIDE, OVERRIDE_RESTRICTION, OVERRIDE_REVIEW, REFERRAL, REFERRAL_DECISION
from broker.store.seal import Seals, ViewKey

_LOOKED = 5_000  # places that one statement looks at, some hundred holds and all
_COUNTED = 20_000  # the same where holds are not asked for
_SOME = 500  # entries sealed anew in one statement
_FEW = 2_000  # places whose entries are removed in one transaction
# One look at all that is held, before each hold is looked at for what may be: few entries are.
_TERMS = """
select array(select distinct unnest(terms) from hold where released_at is null) as common,
    array(select distinct unnest(rare) from hold where released_at is null) as few
"""
_MAY_BE_HELD = (
    "(coalesce(s.terms && $4 or s.rare && search_keys(v.idx, $5), cardinality($4) + cardinality($5) > 0)"
    " or exists (select from search_progress p where p.log = v.log and p.again <= v.idx))"
)
_COUNT = f"""
select v.key, count(*) as entries, count(*) filter (
    where {_MAY_BE_HELD} and under_hold(v.log, v.idx)
) as held
from view v left join search s using (log, idx)
where v.log = $1 and v.idx >= $2 and v.idx < $3 group by v.key
"""  # noqa: S608 - ours
_HELD = f"""
select v.idx, e.id, v.views, v.words
from view v join entry e using (log, idx) left join search s using (log, idx)
where v.log = $1 and v.idx >= $2 and v.idx < $3 and v.key = $6
  and case when {_MAY_BE_HELD} then under_hold(v.log, v.idx) end
order by v.idx limit $7
"""  # noqa: S608 - ours
# Only what still is as it was read: words that were erased meanwhile do not come back.
_SET_ASIDE = """
update view v set key = $3, views = n.views, words = n.words
from unnest($4::bigint[], $5::bytea[], $6::bytea[], $7::bytea[], $8::bytea[])
    n(idx, views, words, read_views, read_words)
where v.log = $1 and v.idx = n.idx and v.key = $2
  and v.views = n.read_views and v.words is not distinct from n.read_words
"""
_LAST_LOOK = """
insert into last_look (until) values (clock_timestamp() + $1)
on conflict (one) do update set until = excluded.until
"""
_UNDER = "select count(*) from view where log = $1 and idx >= $2 and idx < $3 and key = $4"
_OF_KEY = "select idx from view where log = $1 and idx >= $2 and idx < $3 and key = $4"
# The rows stay, empty, and say that the index has looked at them.
_UNFIND = "update search set terms = '{}', rare = '{}' where log = $1 and idx = any ($2)"
_REMOVE = "delete from view where log = $1 and idx = any ($2) and key = $3"
_WITHDRAWN = """
with gone as (
    delete from directive
    where policy_until is not null and not directive_under_hold(subject, recorder)
      and withdrawn_at >= $2::text::timestamptz and withdrawn_at < $2::text::timestamptz + interval '1 month'
    returning id, subject
), silent as (
    insert into unsaid (subject) select distinct subject from gone on conflict do nothing
)
insert into erased (item, by) select id, $1 from gone on conflict do nothing
"""


@dataclass(frozen=True, slots=True)
class _Part:
    """What of a table is sealed under one key column: (column, under what it is sealed), and which rows of it
    are in use whoever holds what."""

    table: str
    key: str
    sealed: tuple[tuple[str, str], ...]
    in_use: str


_REFERRED = "(status = 'open' or (status = 'granted' and until > clock_timestamp()) or entry_under_hold(id))"
_OVERRODE = "(status = 'open' or entry_under_hold(id))"
_ASKED = "(issued_at is null or entry_under_hold(id))"
_COMPLAINED = "(closed_at is null or entry_under_hold(id))"
_RESTRICTS = "((lifted_at is null and coalesce(until > clock_timestamp(), true)) or entry_under_hold(override))"
_PARTS = (
    _Part("referral", "key", (("asked", REFERRAL), ("words", f"{REFERRAL}-words")), _REFERRED),
    _Part("referral", "decision_key", (("decision", REFERRAL_DECISION),), _REFERRED),
    _Part("override_use", "key", (("used", OVERRIDE), ("words", f"{OVERRIDE}-words")), _OVERRODE),
    _Part("override_use", "review_key", (("review", OVERRIDE_REVIEW),), _OVERRODE),
    _Part("override_restriction", "key", (("detail", OVERRIDE_RESTRICTION),), _RESTRICTS),
    _Part("access_request", "key", (("asked", ACCESS),), _ASKED),
    _Part("complaint", "key", (("detail", COMPLAINT),), _COMPLAINED),
)
# What can be opened no more: rows whose request is gone go, others lose what was sealed.
_QUEUES = (
    "delete from referral where key = $1",
    "update referral set decision = null, decision_key = null where decision_key = $1",
    "delete from override_use where key = $1",
    "update override_use set review = null, review_key = null where review_key = $1",
    "delete from override_restriction where key = $1",
    "delete from access_request where key = $1",
    "delete from complaint where key = $1",
)


class DestroyingRows:
    """Ends months and classes of views."""

    def __init__(self, database: Database, seals: Seals, ring: KeyRing) -> None:
        self._database = database
        self._seals = seals
        self._ring = ring

    async def classes(self) -> list[ViewClass]:
        """As `Destroying.classes`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("select * from view_key order by month, class")
        return [_class(row) for row in rows]

    async def standing(self) -> list[str]:
        """As `Destroying.standing`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("select id from hold where released_at is null order by id")
        return [str(row["id"]) for row in rows]

    async def counted(self) -> dict[int, Counted]:
        """As `Destroying.counted`."""
        found: dict[int, Counted] = {}
        for part in _PARTS:
            sql = f"select {part.key} as key, count(*) from {part.table} where {part.in_use} group by 1"  # noqa: S608 - ours
            async with self._database.connection() as connection:
                for row in await connection.fetch(sql):
                    if row["key"] is not None:
                        known = found.get(row["key"], Counted())
                        found[row["key"]] = Counted(in_use=known.in_use + row["count"])
        terms = await self._held_terms()
        async for log, start, end in self._steps():
            async with self._database.connection() as connection:
                rows = await connection.fetch(_COUNT, log, start, end, *terms)
            for row in rows:
                known = found.get(row["key"], Counted())
                found[row["key"]] = Counted(
                    known.entries + row["entries"], known.held + row["held"], known.in_use
                )
        return found

    async def set_aside(self, view: ViewClass, to: str) -> int:
        """As `Destroying.set_aside`."""
        new: ViewKey | None = None
        moved = 0
        try:
            old = await self._seals.by_id(view.key)
        except KeyDestroyed:
            return 0
        except KeyMissing:
            kept = (await self.counted()).get(view.key, Counted())
            if kept.held or kept.in_use:
                raise  # what outlives its class cannot be sealed anew until the key is back
            return 0
        for part in _PARTS:
            new = await self._set_part_aside(part, old, view, to, new)
        terms = await self._held_terms()
        async for log, start, end in self._steps():
            while True:
                async with self._database.connection() as connection:
                    rows = await connection.fetch(_HELD, log, start, end, *terms, view.key, _SOME)
                if not rows:
                    break
                new = new or await self._seals.of(view.month, to)
                sealed = [(r["idx"], *_moved(r, old, new, _VIEW), r["views"], r["words"]) for r in rows]
                columns = [list(column) for column in zip(*sealed, strict=True)]
                async with self._database.connection() as connection:
                    done = await connection.execute(_SET_ASIDE, log, view.key, new.id, *columns)
                moved += int(done.split()[-1])
        return moved

    async def under(self, view: ViewClass) -> int:
        """As `Destroying.under`."""
        found = 0
        async for log, start, end in self._steps(_COUNTED):
            async with self._database.connection() as connection:
                found += await connection.fetchval(_UNDER, log, start, end, view.key)
        return found

    async def last_look(self, seconds: float) -> None:
        """As `Destroying.last_look`. Whoever is killed in it holds nobody up for longer."""
        async with self._database.connection() as connection:
            await connection.execute(_LAST_LOOK, timedelta(seconds=seconds))

    async def unfinished(self) -> list[Unfinished]:
        """As `Destroying.unfinished`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("select * from destroyed where done_at is null order by at")
        return [
            Unfinished(str(row["id"]), ViewClass(row["key"], row["month"], row["class"], True)) for row in rows
        ]

    async def finish(self, end: Unfinished) -> int:
        """As `Destroying.finish`."""
        removed, view = 0, end.view
        await require_said(self._database, self._seals, end)
        self._ring.destroy_wrapping_key(view.month, view.name)  # first: what is left opens no more
        async for log, start, stop in self._steps(_FEW):
            async with self._database.connection() as connection, connection.transaction():
                places = [row["idx"] for row in await connection.fetch(_OF_KEY, log, start, stop, view.key)]
                if places:  # in the order in which an erasure locks them
                    await connection.execute(_REMOVE, log, places, view.key)
                    await connection.execute(_UNFIND, log, places)
            removed += len(places)
        async with self._database.connection() as connection:
            for sql in _QUEUES:
                await connection.execute(sql, view.key)
            if view.name == "changes":
                await connection.execute(_WITHDRAWN, end.id, f"{view.month}-01")
        async with self._database.connection() as connection:
            await connection.execute("update destroyed set done_at = clock_timestamp() where id = $1", end.id)
        return removed

    async def _held_terms(self) -> tuple[list[int], list[int]]:
        async with self._database.connection() as connection:
            row = await one(connection, _TERMS)
        return row["common"], row["few"]

    async def _steps(self, step: int = _LOOKED) -> AsyncIterator[tuple[int, int, int]]:
        """Every log in ranges of places."""
        async with self._database.connection() as connection:
            logs = await connection.fetch(
                "select l.id, (select max(idx) from view where log = l.id) as last from log l order by l.id"
            )
        for row in logs:
            for start in range(0, -1 if row["last"] is None else row["last"] + 1, step):
                yield row["id"], start, start + step

    async def _set_part_aside(
        self, part: _Part, old: ViewKey, view: ViewClass, to: str, new: ViewKey | None
    ) -> ViewKey | None:
        names = [name for name, _ in part.sealed]
        select = (
            f"select id, {', '.join(names)} from {part.table} where {part.key} = $1 and {part.in_use} limit $2"  # noqa: S608 - ours
        )
        places = ", ".join(f"{name} = ${n}" for n, name in enumerate(names, 4))
        same = " and ".join(f"{name} is not distinct from ${n}" for n, name in enumerate(names, 4 + len(names)))
        update = (
            f"update {part.table} set {part.key} = $3, {places} where id = $1 and {part.key} = $2 and {same}"  # noqa: S608 - ours
        )
        while True:
            async with self._database.connection() as connection:
                rows = await connection.fetch(select, view.key, _SOME)
            if not rows:
                return new
            new = new or await self._seals.of(view.month, to)
            for row in rows:
                sealed = _moved(row, old, new, part.sealed)
                async with self._database.connection() as connection:
                    await connection.execute(
                        update, row["id"], view.key, new.id, *sealed, *(row[n] for n in names)
                    )


_VIEW = (("views", "views"), ("words", "words"))


def _moved(
    row: asyncpg.Record, old: ViewKey, new: ViewKey, sealed: tuple[tuple[str, str], ...]
) -> list[bytes | None]:
    """A row's sealed columns under another key. What does not open is kept as it is: it may be evidence of who
    changed it, and nothing else can be made of it."""
    found: list[bytes | None] = []
    for column, audience in sealed:
        text = row[column]
        try:
            found.append(
                None
                if text is None
                else new.seal(old.open(bytes(text), str(row["id"]), audience), str(row["id"]), audience)
            )
        except IntegrityError:
            found.append(bytes(text))
    return found


def _class(row: asyncpg.Record) -> ViewClass:
    return ViewClass(row["id"], row["month"], row["class"], row["wrapped"] is None)
