"""Rows of what waits past its time, and of what was told on."""

from __future__ import annotations

from datetime import datetime

from broker.escalations import Escalated, Item
from broker.store.pool import Database
from broker.store.untold import Untold

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


class EscalationRows:
    """Implements `escalations.EscalationTable`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._untold = Untold(database, "escalation", "at")

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
        return [
            Escalated(
                *(str(r["id"]), Item(r["queue"], str(r["item"])), r["provider"], r["requester"], r["district"]),
                *(r["due_at"], r["at"]),
            )
            for r in await self._untold.claim(most, again_after)
        ]

    async def told(self, escalation: str) -> None:
        """As `EscalationTable.told`."""
        await self._untold.told(escalation)
