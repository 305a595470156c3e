"""Time stamps in PostgreSQL: the same for every worker, and after a restart."""

from __future__ import annotations

from datetime import timedelta

from broker.anchor.hourly import Anchor, Standing
from broker.store.pool import Database

_CLAIM = """
insert into anchoring as a (one, worker, until, due)
values (true, $1, clock_timestamp() + $2::interval, clock_timestamp())
on conflict (one) do update set worker = excluded.worker, until = excluded.until
    where a.due <= clock_timestamp() and a.until < clock_timestamp()
returning tries
"""
_NEXT = """
update anchoring set until = clock_timestamp(), due = clock_timestamp() + $1::interval, problem = $2,
    tries = case when $2 = '' then 0 else tries + 1 end
"""
# One statement: an anchor is not kept without its turn being over, nor the other way about.
_KEEP = """
with kept as (
    insert into anchor (log, size, note, response, stamped_at)
    select id, $2, $3, $4, $5 from log where origin = $1
    on conflict do nothing
)
update anchoring set until = clock_timestamp(), due = clock_timestamp() + $6::interval, problem = '', tries = 0
"""
_STANDING = """
select coalesce((select max(size) from anchor where log = l.id), 0) as size,
       (select max(stamped_at) from anchor) as stamped_at,
       coalesce((select problem from anchoring), '') as problem
from log l where case when $1 = '' then l.id = (select log from head) else l.origin = $1 end
"""
_COVERING = """
select l.origin, a.size, a.note, a.response, a.stamped_at from anchor a join log l on l.id = a.log
where l.origin = $1 and a.size > $2 order by a.log, a.size limit 1
"""


class AnchorRows:
    """Implements `anchor.hourly.AnchorTable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, worker: str, seconds: float) -> int | None:
        """As `AnchorTable`."""
        async with self._database.connection() as connection:
            tries: int | None = await connection.fetchval(_CLAIM, worker, timedelta(seconds=seconds))
        return tries

    async def keep(self, anchor: Anchor | None, every: float) -> None:
        """As `AnchorTable`."""
        pause = timedelta(seconds=every)
        async with self._database.connection() as connection:
            if anchor is None:
                await connection.execute(_NEXT, pause, "")
            else:
                kept = (anchor.log, anchor.size, anchor.note, anchor.response, anchor.stamped_at)
                await connection.execute(_KEEP, *kept, pause)

    async def failed(self, problem: str, pause: float) -> None:
        """As `AnchorTable`."""
        async with self._database.connection() as connection:
            await connection.execute(_NEXT, timedelta(seconds=pause), problem)

    async def standing(self, log: str = "") -> Standing:
        """As `AnchorTable`."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_STANDING, log)
        return Standing(row["size"], row["stamped_at"], row["problem"]) if row else Standing()

    async def covering(self, log: str, index: int) -> Anchor | None:
        """As `AnchorTable`."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_COVERING, log, index)
        if row is None:
            return None
        return Anchor(row["origin"], row["size"], bytes(row["note"]), bytes(row["response"]), row["stamped_at"])
