"""Time stamps in PostgreSQL: the same for every worker, and after a restart."""

from __future__ import annotations

from collections.abc import Callable
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
    insert into anchor (log, size, note, response, stamped_at) values ($1, $2, $3, $4, $5)
    on conflict do nothing
)
update anchoring set until = clock_timestamp(), due = clock_timestamp() + $6::interval, problem = '', tries = 0
"""
_STANDING = """
select a.size, a.stamped_at, coalesce((select problem from anchoring), '') as problem
from (select 1) one left join lateral (
    select size, stamped_at from anchor where log = $1 order by log desc, size desc limit 1
) a on true
"""
_COVERING = """
select size, note, response, stamped_at from anchor where log = $1 and size > $2 order by log, size limit 1
"""


class AnchorRows:
    """Implements `anchor.hourly.AnchorTable` for the current log, whose number `log` gives."""

    def __init__(self, database: Database, log: Callable[[], int]) -> None:
        self._database = database
        self._log = log

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
                kept = (anchor.size, anchor.note, anchor.response, anchor.stamped_at)
                await connection.execute(_KEEP, self._log(), *kept, pause)

    async def failed(self, problem: str, pause: float) -> None:
        """As `AnchorTable`."""
        async with self._database.connection() as connection:
            await connection.execute(_NEXT, timedelta(seconds=pause), problem)

    async def standing(self) -> Standing:
        """As `AnchorTable`."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_STANDING, self._log())
        return Standing(row["size"] or 0, row["stamped_at"], row["problem"]) if row else Standing()

    async def covering(self, index: int) -> Anchor | None:
        """As `AnchorTable`."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_COVERING, self._log(), index)
        if row is None:
            return None
        return Anchor(row["size"], bytes(row["note"]), bytes(row["response"]), row["stamped_at"])
