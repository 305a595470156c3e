"""Holds and erasures, read: implements `keeping.Keeping`. What is done to rows is done by migration 0012."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from broker.core.model import SubjectRef
from broker.keeping import Attached, Hold
from broker.store.blind import Blind
from broker.store.pool import Database
from broker.store.terms import BlindTerms

STEP = 20_000  # places that one statement looks at, well within its time

_HELD = """
select id, entry_under_hold(id) as held,
       exists (select from entry e join view v using (log, idx) where e.id = k.id and v.words is not null)
           as worded
from unnest($1::uuid[]) k(id)
"""
# A row in use is somebody's work still: undecided, not reviewed, or a grant that runs.
_QUEUED = """
select r.id, r.system, r.request, r.provider as whose,
       r.status = 'open' or (r.status = 'granted' and r.until > $2) as waiting
from referral r where r.id = any ($1::uuid[])
union all
select u.id, null, null, u.provider, u.status = 'open' from override_use u where u.id = any ($1::uuid[])
union all
select a.id, null, null, a.agency, a.issued_at is null from access_request a where a.id = any ($1::uuid[])
union all
select c.id, null, null, c.agency, c.closed_at is null from complaint c where c.id = any ($1::uuid[])
"""
_DIRECTIVES = """
select d.id, directive_under_hold(d.subject, d.recorder) as held,
       d.policy_until is null and coalesce((d.detail ->> 'valid_until')::timestamptz > $3, true) as standing
from directive d where d.subject = $1 and d.recorder = any ($2) order by d.policy_from
"""
_MISSED = """
select n from generate_series($2::bigint, $3::bigint - 1) n
where not exists (select from search s where s.log = $1 and s.idx = n.n) order by n limit 1
"""


class KeepingRows:
    """Reads what is held and what hangs together."""

    def __init__(self, database: Database, blind: Blind, terms: BlindTerms) -> None:
        self._database = database
        self._blind = blind
        self._terms = terms

    def blind(self, terms: frozenset[str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """As `Keeping.blind`."""
        common, few = self._terms.anyhow(terms)
        return tuple(common), tuple(few)

    async def holds(self, hold: str = "") -> list[Hold]:
        """As `Keeping.holds`."""
        async with self._database.connection() as connection:
            if hold:
                rows = await connection.fetch("select * from hold where id = $1", hold)
            else:
                rows = await connection.fetch("select * from hold where released_at is null order by placed_at")
        return [_hold(row) for row in rows]

    async def attached(
        self, entries: Sequence[str], subject: SubjectRef | None, agencies: frozenset[str], now: datetime
    ) -> Attached:
        """As `Keeping.attached`."""
        async with self._database.connection() as connection:
            kept = await connection.fetch(_HELD, list(entries)) if entries else []
            queued = await connection.fetch(_QUEUED, list(entries), now) if entries else []
            about = (self._blind.subject(subject), sorted(agencies), now) if subject else ()
            said = await connection.fetch(_DIRECTIVES, *about) if about else []
        over = [row for row in said if not row["standing"]]
        return Attached(
            held=frozenset(str(row["id"]) for row in kept if row["held"]),
            # Whether another agency's humans have work with it is not for these to learn.
            waiting=frozenset(str(r["id"]) for r in queued if r["waiting"] and r["whose"] in agencies),
            rulings=frozenset((r["system"], str(r["request"])) for r in queued if r["system"] is not None),
            directives=tuple(str(row["id"]) for row in over if not row["held"]),
            standing=tuple(str(row["id"]) for row in said if row["standing"]),
            held_directives=tuple(str(row["id"]) for row in over if row["held"]),
            worded=frozenset(str(row["id"]) for row in kept if row["worded"]),
        )

    async def waiting(self) -> float:
        """As `Keeping.waiting`."""
        async with self._database.connection() as connection:
            left = await connection.fetchval(
                "select extract(epoch from until - clock_timestamp()) from last_look"
            )
        return max(0.0, float(left or 0))

    async def forget(self) -> None:
        """That something was said of people of whom nothing is said any more, an hour after it was erased."""
        async with self._database.connection() as connection:
            await connection.execute("select policy_forget()")

    async def missed(self) -> tuple[str, int] | None:
        """As `Keeping.missed`."""
        async with self._database.connection() as connection:
            logs = await connection.fetch(
                "select p.log, p.done, l.origin from search_progress p join log l on l.id = p.log"
                " order by l.id desc"
            )
        for log, done, origin in logs:
            for start in range(0, done, STEP):
                async with self._database.connection() as connection:
                    found: int | None = await connection.fetchval(_MISSED, log, start, min(start + STEP, done))
                if found is not None:
                    return origin, found
        return None


def _hold(row: asyncpg.Record) -> Hold:
    return Hold(
        str(row["id"]),
        row["agency"],
        row["everything"],
        row["kind"],
        row["agreement"],
        row["reference"],
        row["placed_at"],
        row["released_at"],
    )
