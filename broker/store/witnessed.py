"""What came of the witnesses, in PostgreSQL: the same for every worker, and after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from broker.store.pool import Database
from broker.witnessed import Published, WitnessProgress

_LEAD = """
insert into witnessing as w (one, sender, until) values (true, $1, clock_timestamp() + $2::interval)
on conflict (one) do update set sender = excluded.sender, until = excluded.until
    where w.sender = excluded.sender or w.until < clock_timestamp()
returning sender
"""
_READ = """
select size, note, published_size, published from witnessed w join log l on l.id = w.log where l.origin = $1
"""
# What is published never goes back, whoever writes: a reader would take that for entries taken away.
_PUBLISH = """
insert into witnessed as w (log, size, note, published_size, published, cosigners)
select id, case when $4 then $2::bigint else -1 end, case when $4 then $3::bytea else '' end, $2, $3, $5
from log where origin = $1
on conflict (log) do update set
    size = case when $4 and $2 >= w.size then $2 else w.size end,
    note = case when $4 and $2 >= w.size then $3 else w.note end,
    published_size = greatest($2, w.published_size),
    published = case
        when $2 > w.published_size or ($2 = w.published_size and $5 > w.cosigners) then $3 else w.published
    end,
    cosigners = case
        when $2 > w.published_size then $5
        when $2 = w.published_size then greatest($5, w.cosigners)
        else w.cosigners
    end
"""
_SAY = """
insert into witness (name, size, cosigned_at, problem)
values ($1, $2, case when $3 = '' then clock_timestamp() end, $3)
on conflict (name) do update set
    size = coalesce(excluded.size, witness.size),
    cosigned_at = coalesce(excluded.cosigned_at, witness.cosigned_at),
    problem = excluded.problem
"""


class WitnessedRows:
    """Implements `witnessing.WitnessTable` for one log."""

    def __init__(self, database: Database, origin: str) -> None:
        self._database = database
        self._origin = origin

    async def lead(self, worker: str, seconds: float) -> bool:
        """Whether this worker sends, and does so for so many seconds from now. Raises AuditUnavailable."""
        async with self._database.connection() as connection:
            return await connection.fetchval(_LEAD, worker, timedelta(seconds=seconds)) is not None

    async def resign(self, worker: str) -> None:
        """Leave the sending to others, from now on. Raises AuditUnavailable."""
        async with self._database.connection() as connection:
            await connection.execute("delete from witnessing where sender = $1", worker)

    async def read(self) -> tuple[Published, Mapping[str, WitnessProgress]]:
        """What is published, and each witness by name. Raises AuditUnavailable."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_READ, self._origin)
            rows = await connection.fetch("select name, size, problem from witness")
        published = Published()
        if row is not None:
            published = Published(
                row["size"], bytes(row["note"]), row["published_size"], bytes(row["published"])
            )
        return published, {each["name"]: WitnessProgress(each["size"], each["problem"]) for each in rows}

    async def publish(self, size: int, note: bytes, cosigners: int, *, witnessed: bool) -> None:
        """Publish a checkpoint, unless a greater one is. Raises AuditUnavailable."""
        async with self._database.connection() as connection:
            await connection.execute(_PUBLISH, self._origin, size, note, witnessed, cosigners)

    async def say(self, witness: str, progress: WitnessProgress) -> None:
        """Write down how far a witness is. Raises AuditUnavailable."""
        async with self._database.connection() as connection:
            await connection.execute(_SAY, witness, progress.size, progress.problem)
