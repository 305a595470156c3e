"""Beats of workers in PostgreSQL: one short statement writes one's own and reads the others'.

Ages are told by the database's clock alone, so that no two machines' clocks are compared.
"""

from __future__ import annotations

from datetime import timedelta

from broker.store.pool import Database
from broker.workers import Beat, Worker

# Rows of the dead are swept by whoever beats; one that another is sweeping is left to it.
_BEAT = """
with own as (
    insert into worker (id, address, beat_at, draining, attached, next_vkey)
    values ($1, $2, clock_timestamp(), $3, $4, $6)
    on conflict (id) do update
        set beat_at = excluded.beat_at, draining = excluded.draining, attached = excluded.attached,
            next_vkey = excluded.next_vkey
), swept as (
    delete from worker where id in (
        select id from worker where beat_at < clock_timestamp() - $5::interval and id <> $1
        for update skip locked
    )
)
select id, address, draining, attached, next_vkey from worker
where id <> $1 and beat_at >= clock_timestamp() - $5::interval
"""


class WorkerRows:
    """Implements `workers.WorkerTable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def beat(self, own: Beat, gone_after: float) -> tuple[Beat, ...]:
        """Write `own`; the beats of all others not older than `gone_after` seconds. Raises AuditUnavailable."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                _BEAT,
                own.worker.id,
                own.worker.address,
                own.draining,
                sorted(own.attached),
                timedelta(seconds=gone_after),
                own.next_vkey,
            )
        return tuple(
            Beat(
                Worker(row["id"], row["address"]), row["draining"], frozenset(row["attached"]), row["next_vkey"]
            )
            for row in rows
        )

    async def leave(self, worker: str) -> None:
        """Forget a worker. Raises AuditUnavailable."""
        async with self._database.connection() as connection:
            await connection.execute("delete from worker where id = $1", worker)
