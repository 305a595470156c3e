"""What removes erased bytes from a database's files: tables written anew, the write-ahead log left behind.

A deleted row stays in its page until something is written over it, and vacuum alone does not; a write-ahead log
that is recycled keeps what it held until it comes round again. So: VACUUM FULL, then a whole segment of filler,
then a checkpoint, on a server with `wal_recycle = off`, as the embedded one has. Nobody can append while a
table is written anew.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import asyncpg

from broker.errors import AuditUnavailable
from broker.keeping import Scrubbed
from broker.store.away import FAILURES, UNREACHED

# What held anything about a person, in the order of how long it takes.
TABLES = (
    "hold",
    "erasure_plan",
    "view_key",
    "policy_change",
    "unsaid",
    "directive",
    "access_request",
    "complaint",
    "override_restriction",
    "override_use",
    "referral",
    "search",
    "view",
)
_TIMEOUT = 24 * 3600.0  # seconds, of one table
_LOCK_TIMEOUT = "10s"
_RECYCLED = "set wal_recycle = off and reload: until then old segments keep what they held"
_NO_CHECKPOINT = (
    "grant pg_checkpoint to the broker's role, or let an administrator run CHECKPOINT; else the server does "
    "it by itself within checkpoint_timeout"
)


class Scrubber:
    """Scrubs one database, on a connection of its own."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def scrub(self) -> AsyncIterator[Scrubbed]:
        """Every step as it is done. Raises AuditUnavailable."""
        try:
            connection = await asyncpg.connect(self._dsn, timeout=10, command_timeout=_TIMEOUT)
            try:
                async for step in _scrub(connection):
                    yield step
            finally:
                connection.terminate()
        except FAILURES as e:
            raise AuditUnavailable(UNREACHED) from e


async def _scrub(connection: asyncpg.Connection) -> AsyncIterator[Scrubbed]:
    await connection.execute(f"set lock_timeout = '{_LOCK_TIMEOUT}'")
    for table in TABLES:
        begun = time.monotonic()
        await connection.execute(f"vacuum (full) {table}")
        size = await connection.fetchval("select pg_total_relation_size($1::text::regclass)", table)
        yield Scrubbed(table, time.monotonic() - begun, size)
    begun = time.monotonic()
    recycled = await connection.fetchval("show wal_recycle") == "on"
    segment = await connection.fetchval(
        "select setting::bigint from pg_settings where name = 'wal_segment_size'"
    )
    # Filler that nobody reads: what is written next no longer shares a segment with what was erased.
    await connection.execute("select pg_logical_emit_message(false, 'scrub', repeat('x', $1))", segment)
    problem = _RECYCLED if recycled else ""
    try:
        await connection.execute("checkpoint")
    except asyncpg.InsufficientPrivilegeError:
        problem = "; ".join(filter(None, (problem, _NO_CHECKPOINT)))
    yield Scrubbed("write-ahead log", time.monotonic() - begun, 0, problem)
