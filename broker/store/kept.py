"""A connection kept for one statement that is asked again and again.

Taking one from the pool and giving it back costs more than asking. Owns its connection from the first use until
something goes wrong with it, or nobody needs it any more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from broker.errors import AuditUnavailable
from broker.store.away import FAILURES, UNREACHED

Dial = Callable[[], Awaitable[asyncpg.Connection]]
Arguments = Callable[[], list[Any]]
_WAITS = "SyncRepWaitForLSN"


class Standby:
    """Whether a standby that should acknowledge each commit did: a wait for it that was cancelled is reported
    as success with a warning, and is no commit."""

    def __init__(self) -> None:
        self._silent = False

    def heard(self, _: Any, message: asyncpg.PostgresLogMessage) -> None:
        """A listener for what the server says beside its answers.

        By the name of the server's function that says it: its words are in the language of `lc_messages`, which
        the database's administrator chooses.
        """
        said_by = getattr(message, "server_source_function", None)
        self._silent = self._silent or said_by == _WAITS or "synchronous replication" in str(message)

    def check(self) -> None:
        """Raise AuditUnavailable where it was silent since the last look."""
        silent, self._silent = self._silent, False
        if silent:
            raise AuditUnavailable("a standby did not acknowledge the commit")


async def committed(connection: asyncpg.Connection, sql: str, *arguments: Any) -> asyncpg.Record:
    """The one row of an autocommit statement, durable everywhere it should be. Raises AuditUnavailable."""
    standby = Standby()
    connection.add_log_listener(standby.heard)
    try:
        row = await connection.fetchrow(sql, *arguments)
    finally:
        connection.remove_log_listener(standby.heard)
    standby.check()
    return _there(row)


class KeptStatement:
    """One statement, prepared once on a connection of its own. One call at a time."""

    def __init__(self, dial: Dial, sql: str) -> None:
        self._dial = dial
        self._sql = sql
        self._connection: asyncpg.Connection | None = None
        self._statement: PreparedStatement | None = None
        self._standby = Standby()

    async def fetch(self, arguments: Arguments) -> list[asyncpg.Record]:
        """Its rows. `arguments` is called when there is a connection to send them on: they may say what time
        it is. Raises AuditUnavailable where the database cannot serve, PostgresError where it refuses."""
        try:
            statement = self._statement
            if statement is None or self._connection is None or self._connection.is_closed():
                statement = await self._prepare()
            return await statement.fetch(*arguments())
        except BaseException as e:
            # Whether the server got it, and what it still does with it, is not known: never used again.
            self.close()
            if isinstance(e, FAILURES):
                raise AuditUnavailable(UNREACHED) from e
            raise

    async def commit(self, arguments: Arguments) -> asyncpg.Record:
        """Its one row, durable everywhere it should be. Raises as `fetch` does."""
        rows = await self.fetch(arguments)
        self._standby.check()
        return _there(rows[0] if rows else None)

    def close(self) -> None:
        """Hang up; the next call dials again."""
        connection, self._connection, self._statement = self._connection, None, None
        if connection is not None:
            connection.terminate()

    async def _prepare(self) -> PreparedStatement:
        self.close()
        self._connection = await self._dial()
        self._connection.add_log_listener(self._standby.heard)
        self._statement = await self._connection.prepare(self._sql)
        return self._statement


def _there(row: asyncpg.Record | None) -> asyncpg.Record:
    if row is None:
        raise AuditUnavailable("a statement that always has a row had none")
    return row
