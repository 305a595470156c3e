"""Appends that are made to stand still while they hold the head of the log, and looks at who holds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

_LOCKED_BY = (
    "select pid from pg_stat_activity where $1 = any(pg_blocking_pids(pid)) and query like '%log_append%'"
)
_SLEEPING = (
    "select pid from pg_stat_activity where wait_event = 'PgSleep' and query like '%log_append%'"
    " and datname = current_database()"
)


async def blocked_by(connection: asyncpg.Connection, holder: asyncpg.Connection) -> int | None:
    """The backend of an append that waits for a lock of `holder`'s, if there is one."""
    pid: int | None = await connection.fetchval(_LOCKED_BY, holder.get_server_pid())
    return pid


class HeldHead:
    """Of one database. An append that claims `request_id` stands still, the head in its hand."""

    def __init__(self, connection: asyncpg.Connection, request_id: str) -> None:
        self._connection = connection
        self._request_id = request_id

    async def free(self) -> bool:
        """Whether nobody holds the head row now."""
        found = await self._connection.fetchval("select size from head for update skip locked")
        return found is not None

    async def backend(self, within: float = 5.0) -> int:
        """The backend that stands still, once it does and the head is not free."""
        async with asyncio.timeout(within):
            while True:
                pid: int | None = await self._standing()
                if pid is not None and not await self.free():
                    return pid
                await asyncio.sleep(0.01)

    async def _standing(self) -> int | None:
        raise NotImplementedError


class WaitingForLock(HeldHead):
    """It waits for a row that somebody else has made and not committed."""

    async def _standing(self) -> int | None:
        return await blocked_by(self._connection, self._other)

    async def hold(self, other: asyncpg.Connection) -> None:
        """From now on."""
        self._other = other
        await other.execute("begin")
        await other.execute(
            "insert into claim (system, request, content, entry, settled)"
            f" values ('nwas/cad', '{self._request_id}', '', gen_random_uuid(), true)"
        )

    async def let_go(self) -> None:
        """No more."""
        await self._other.execute("rollback")


class Sleeping(HeldHead):
    """It is busy with something else than a lock, for half a minute."""

    async def _standing(self) -> int | None:
        pid: int | None = await self._connection.fetchval(_SLEEPING)
        return pid

    async def hold(self, other: asyncpg.Connection) -> None:
        """From now on."""
        self._other = other
        await other.execute(
            "create function test_stand_still() returns trigger language plpgsql as"
            " $$ begin perform pg_sleep(30); return new; end $$"
        )
        await other.execute(
            "create trigger test_stand_still before insert on claim for each row"
            f" when (new.request = '{self._request_id}') execute function test_stand_still()"
        )

    async def let_go(self) -> None:
        """No more."""
        await self._other.execute("drop function if exists test_stand_still cascade")


@asynccontextmanager
async def held_head(
    dsn: str, request_id: str, kind: type[WaitingForLock] | type[Sleeping]
) -> AsyncIterator[WaitingForLock | Sleeping]:
    """Appends that claim `request_id` stand still for the block."""
    looks, holds = await asyncpg.connect(dsn, timeout=10), await asyncpg.connect(dsn, timeout=10)
    try:
        held = kind(looks, request_id)
        await held.hold(holds)
        try:
            yield held
        finally:
            await held.let_go()
    finally:
        await looks.close(timeout=5)
        await holds.close(timeout=5)
