"""Rows of what waits past its time, and of what was told on."""

from __future__ import annotations

from datetime import datetime

from broker.escalations import Escalated, Item
from broker.store.pool import Database

MAX_NOTICES = 12  # tries to tell the owner's software of one
_FORGET = "72 hours"
# In rounds of one of each queue and of each agency that made it wait: the many of one delay nobody's few.
_LATE = """
select queue, item from (
    select 'referral' as queue, id as item, due_at, requester as made_by from referral
    where status = 'open' and due_at <= $1
    union all
    select 'override', id, due_at, requester from override_use where status = 'open' and due_at <= $1
    union all
    select 'complaint', id, due_at, agency from complaint
    where acknowledged_at is null and closed_at is null and due_at <= $1
) late
where not exists (select from escalation e where e.queue = late.queue and e.item = late.item)
order by row_number() over (partition by queue, made_by order by due_at), due_at limit $2
"""
_CLAIM = f"""
update escalation e
set notices = e.notices + 1,
    notice_at = clock_timestamp() + $2::float8 * least(power(2, e.notices), 512) * interval '1 s'
from (
    select id from escalation
    where noticed_at is null and notice_at <= clock_timestamp() and notices < {MAX_NOTICES}
      and at > clock_timestamp() - interval '{_FORGET}'
    order by notice_at limit $1 for update skip locked
) due
where e.id = due.id
returning e.*
"""  # noqa: S608 - ours


class EscalationRows:
    """Implements `escalations.EscalationTable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def late(self, now: datetime, most: int) -> list[Item]:
        """As `EscalationTable.late`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_LATE, now, most)
        return [Item(row["queue"], str(row["item"])) for row in rows]

    async def stands(self, item: Item) -> bool:
        """As `EscalationTable.stands`."""
        async with self._database.connection() as connection:
            found = await connection.fetchval(
                "select 1 from escalation where queue = $1 and item = $2", item.queue, item.id
            )
        return found is not None

    async def claim(self, most: int, again_after: float) -> list[Escalated]:
        """As `EscalationTable.claim`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_CLAIM, most, again_after)
        return [
            Escalated(
                *(str(r["id"]), Item(r["queue"], str(r["item"])), r["provider"], r["requester"], r["district"]),
                *(r["due_at"], r["at"]),
            )
            for r in rows
        ]

    async def told(self, escalation: str) -> None:
        """As `EscalationTable.told`."""
        async with self._database.connection() as connection:
            await connection.execute(
                "update escalation set noticed_at = clock_timestamp() where id = $1", escalation
            )
