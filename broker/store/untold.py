"""Rows of which their owner's own software is to be told, whichever table they stand in.

Owns the pace: a row is claimed for a while, so that nothing is lost with who claimed it; less and less often,
and in the end no more.
"""

from __future__ import annotations

import asyncpg

from broker.store.pool import Database

_MOST = 12  # tries to tell of one row
_FORGET = "72 hours"


class Untold:
    """Those of one table; `made` is its column that says since when there is something to tell."""

    def __init__(self, database: Database, table: str, made: str) -> None:
        self._database = database
        self._told = f"update {table} set noticed_at = clock_timestamp() where id = $1"  # noqa: S608 - ours
        self._claim = f"""
            update {table} t
            set notices = t.notices + 1,
                notice_at = clock_timestamp() + $2::float8 * least(power(2, t.notices), 512) * interval '1 s'
            from (
                select id from {table}
                where noticed_at is null and notice_at <= clock_timestamp() and notices < {_MOST}
                  and {made} > clock_timestamp() - interval '{_FORGET}'
                order by notice_at limit $1 for update skip locked
            ) due
            where t.id = due.id
            returning t.*
            """  # noqa: S608 - ours

    async def claim(self, most: int, again_after: float) -> list[asyncpg.Record]:
        """Some that are due, nobody else's for so many seconds, and twice as many each time."""
        async with self._database.connection() as connection:
            return await connection.fetch(self._claim, most, again_after)

    async def told(self, row: str) -> None:
        """It has been told."""
        async with self._database.connection() as connection:
            await connection.execute(self._told, row)
