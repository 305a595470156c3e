"""Connections to PostgreSQL, each with bounded waits and a known state, and the numbered migrations.

Refuses servers older than 15, isolation other than READ COMMITTED, and a commit that a standby has not
acknowledged although it should have.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any, cast

import asyncpg
import msgspec

from broker.errors import AuditUnavailable, SetupError
from broker.store.acknowledged import Acknowledged
from broker.store.away import FAILURES, UNREACHED
from broker.store.kept import KeptStatement, committed

# Every wait has a limit. The lock and the statement are bounded by the server too, so that a worker that has
# stopped cannot hold the head of the log for others: they go on within three seconds.
_SERVER_SETTINGS = {
    "application_name": "bluelight-broker",
    "default_transaction_isolation": "read committed",
    "lock_timeout": "2000",
    "statement_timeout": "2500",
    "idle_in_transaction_session_timeout": "2500",
    "tcp_user_timeout": "5000",
    # A worker's machine that vanishes sends nothing more, and is waited for no longer than about ten seconds.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "synchronous_commit": "on",
    "timezone": "UTC",
    # Everything we ask is a look-up by key, and plans are kept: one made while a table was small must not
    # read the whole of it when it is large. (Where a whole table is meant, it is read all the same. Before 18
    # such a plan looks dear enough to be compiled.)
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
# For statements that are asked all the time, with arrays of whatever was in a batch: to plan them each time for
# how many there are takes longer than any plan could save.
_ONE_PLAN = {"plan_cache_mode": "force_generic_plan"}
# From release 17 on. A statement that ran and whose last message never comes (the worker stopped between two
# writes) is in no statement and not idle either: only this ends it. Above the others, which cost no connection.
_TRANSACTION_TIMEOUT = "set transaction_timeout = 2700"
# The server ends a statement before that: past it the connection leads nowhere. With a try on another one, that
# is still inside the time that callers usually give.
COMMAND_TIMEOUT = 3.0
ACQUIRE_TIMEOUT = 3.0
_RELEASE_TIMEOUT = 1.0
_MIGRATION_LOCK = 0x6272_6F6B_6572  # "broker"

Check = Callable[[asyncpg.Connection], Awaitable[None]]


class Database:
    """A bounded pool. `check` runs on every new connection, before anything else may use it."""

    def __init__(self, dsn: str, *, size: int = 8) -> None:
        self._dsn = dsn
        self.size = size
        self._pool: asyncpg.Pool | None = None
        self._kept: list[KeptStatement] = []
        self.check: Check | None = None
        self.acknowledged = Acknowledged()

    async def open(self) -> None:
        """Connect, or SetupError with the sentence that says what to do."""
        try:
            self._pool = await asyncpg.create_pool(
                self._dsn,
                min_size=1,
                max_size=self.size,
                command_timeout=COMMAND_TIMEOUT,
                timeout=ACQUIRE_TIMEOUT,
                max_inactive_connection_lifetime=300,
                server_settings=_SERVER_SETTINGS,
                init=self._init,
                reset=_reset,
            )
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as e:
            raise SetupError(f"the database refuses us: {e}; check BROKER_DATABASE_URL") from e
        except FAILURES as e:
            raise SetupError(
                f"the database cannot be reached ({type(e).__name__}); check BROKER_DATABASE_URL"
            ) from e

    async def close(self) -> None:
        """Close all connections, waiting at most five seconds for those in use."""
        for kept in self._kept:
            kept.close()
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), 5)
            except TimeoutError:
                self._pool.terminate()
            self._pool = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection, or AuditUnavailable when the database cannot serve."""
        if self._pool is None:
            raise AuditUnavailable("the database is not open")
        try:
            connection = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT)
            try:
                yield cast(asyncpg.Connection, connection)  # the pool's proxy behaves as one
            finally:
                await self._pool.release(connection, timeout=_RELEASE_TIMEOUT)
        except FAILURES as e:
            raise AuditUnavailable(UNREACHED) from e

    async def commit(self, sql: str, arguments: Callable[[], list[Any]]) -> asyncpg.Record:
        """One autocommit statement and its row, as `KeptStatement.commit` does, for one that is asked seldom
        and by several at a time. Raises AuditUnavailable where the commit is not durable everywhere it should
        be."""
        async with self.connection() as connection:
            return await committed(connection, sql, *arguments())

    def keep(self, sql: str) -> KeptStatement:
        """A statement that is asked all the time, on a connection of its own beside the pool's."""
        kept = KeptStatement(self._dial, sql)
        self._kept.append(kept)
        return kept

    async def _dial(self) -> asyncpg.Connection:
        if self._pool is None:
            raise AuditUnavailable("the database is not open")
        connection = await asyncpg.connect(
            self._dsn,
            command_timeout=COMMAND_TIMEOUT,
            timeout=ACQUIRE_TIMEOUT,
            server_settings=_SERVER_SETTINGS | _ONE_PLAN,
        )
        try:
            await self._init(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _init(self, connection: asyncpg.Connection) -> None:
        await connection.set_type_codec(
            "jsonb", encoder=_dump, decoder=_load, schema="pg_catalog", format="text"
        )
        if connection.get_server_version().major >= 17:
            await connection.execute(_TRANSACTION_TIMEOUT)
        if self.check is not None:
            await self.check(connection)


async def _reset(connection: asyncpg.Connection) -> None:
    """What happens as a connection goes back: nothing, where the pool would spend a round trip on clearing
    session state. Our statements leave none; one that was cut off inside a transaction is rolled back."""
    if connection.is_in_transaction():
        await connection.execute("rollback")


async def one(connection: asyncpg.Connection, sql: str, *args: Any) -> asyncpg.Record:
    """The row of a statement that always has one."""
    row = await connection.fetchrow(sql, *args)
    if row is None:
        raise AuditUnavailable("a statement that always has a row had none")
    return row


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _load(text: str) -> Any:
    return msgspec.json.decode(text)


def migrations() -> list[tuple[int, str, str]]:
    """(number, name, SQL) of every migration of this release, in order."""
    folder = resources.files(__package__).joinpath("migrations")
    found = sorted(f.name for f in folder.iterdir() if f.name.endswith(".sql"))
    return [(int(n[:4]), n, folder.joinpath(n).read_text(encoding="utf-8")) for n in found]


async def migrate(dsn: str) -> list[str]:
    """Apply what is missing, each in a transaction, under an advisory lock. Names of those applied.

    Raises SetupError when the database is newer than this release, too old a server, or not ours to change.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=10, command_timeout=120)
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as e:
        raise SetupError(f"the database refuses us: {e}; check BROKER_DATABASE_URL") from e
    except FAILURES as e:
        raise SetupError(
            f"the database cannot be reached ({type(e).__name__}); check BROKER_DATABASE_URL"
        ) from e
    try:
        if connection.get_server_version().major < 15:
            raise SetupError("PostgreSQL 15 or newer is needed")
        await connection.execute("select pg_advisory_lock($1)", _MIGRATION_LOCK)
        return await _apply_missing(connection)
    except asyncpg.InsufficientPrivilegeError as e:
        raise SetupError(f"the database role may not make its tables: {e}") from e
    finally:
        await connection.close(timeout=5)


async def _apply_missing(connection: asyncpg.Connection) -> list[str]:
    await connection.execute(
        "create table if not exists migration (number integer primary key, name text not null,"
        " applied_at timestamptz not null default clock_timestamp())"
    )
    done = {row["number"] for row in await connection.fetch("select number from migration")}
    ours = migrations()
    if unknown := done - {number for number, _, _ in ours}:
        raise SetupError(
            f"the database has migration {max(unknown)}, which this release does not know: upgrade"
        )
    applied = []
    for number, name, sql in ours:
        if number not in done:
            async with connection.transaction():
                await connection.execute(sql)
                await connection.execute("insert into migration (number, name) values ($1, $2)", number, name)
            applied.append(name)
    return applied
