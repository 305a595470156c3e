"""One look at a database that changes nothing and sees one moment: who checks a log reads it through this.

Owns the connection and its bounds. Every statement, and every part that a cursor gives, has a limit of time;
nothing is written, whatever the role could write. Raises Unreadable where there is no database of a broker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from broker.offline.source import Unreadable
from broker.store.away import FAILURES

PART = 4096  # rows that are in memory at once
_CONNECT = 10.0
STATEMENT = 60.0  # seconds for one statement, or for one part of what it gives
_TABLES = ("log", "head", "entry", "view", "view_key", "tile", "claim")
_SETTINGS = {
    "application_name": "bluelight-broker fsck",
    "default_transaction_read_only": "on",
    "lock_timeout": "2000",
    "idle_in_transaction_session_timeout": "600000",
    "timezone": "UTC",
    # Rows come in the order of the log, from its index, as they are wanted: nothing is sorted or hashed whole.
    "enable_hashjoin": "off",
    "enable_sort": "off",
    "cursor_tuple_fraction": "0.01",
    "jit": "off",
}


@asynccontextmanager
async def snapshot(dsn: str, statement: float = STATEMENT) -> AsyncIterator[asyncpg.Connection]:
    """A connection in one read-only REPEATABLE READ transaction; what fails in it raises Unreadable."""
    name = place(dsn)
    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=_CONNECT,
            command_timeout=statement + 5,
            server_settings={**_SETTINGS, "statement_timeout": str(int(statement * 1000))},
        )
    except (*FAILURES, asyncpg.PostgresError, ValueError) as e:
        raise Unreadable(name, f"cannot be reached ({_why(e)})") from e
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            for table in _TABLES:
                if await connection.fetchval("select to_regclass($1)", table) is None:
                    raise Unreadable(name, f"holds no table {table}: not a broker's database")
            yield connection
    except (*FAILURES, asyncpg.PostgresError) as e:
        raise Unreadable(name, f"stopped answering ({_why(e)})") from e
    finally:
        connection.terminate()


async def parts(connection: asyncpg.Connection, sql: str, *args: Any) -> AsyncIterator[list[asyncpg.Record]]:
    """What a statement gives, `PART` rows at a time, by a cursor of the server's."""
    cursor = await connection.cursor(sql, *args)
    while rows := await cursor.fetch(PART):
        yield rows


async def has(connection: asyncpg.Connection, table: str) -> bool:
    """Whether this database has a table that not every release makes."""
    return await connection.fetchval("select to_regclass($1)", table) is not None


def place(dsn: str) -> str:
    """The database's address as it may be shown: without user and password."""
    parsed = urlsplit(dsn)
    host = parsed.hostname or next(iter(parse_qs(parsed.query).get("host", ())), "") or "local"
    return f"postgresql://{host}{f':{parsed.port}' if parsed.port else ''}{parsed.path}"


def _why(error: BaseException) -> str:
    if isinstance(error, asyncpg.QueryCanceledError):
        return "a statement took too long; try again when the server has less to do"
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return "it does not let this user in: name the role, postgresql://ROLE@HOST/DATABASE"
    return type(error).__name__
