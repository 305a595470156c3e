"""What readiness says of a log that cannot be looked at in time, on a real PostgreSQL."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from broker import readiness
from broker.readiness import Readiness
from tests.support.evidence import Node


async def test_a_log_that_is_never_seen_in_time_is_told(local: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look that is not over in time says nothing, since much may just have been appended. Several in a row
    are told, keep nobody from being served, and are told no more once a look came to its end."""
    monkeypatch.setattr(readiness, "PATIENCE", 1.0)
    monkeypatch.setattr(readiness, "LOOKS", 2)
    slow = asyncio.Event()
    slow.set()
    changes: list[bool] = []

    async def changed(ready: bool) -> None:
        changes.append(ready)

    async def look(connection: asyncpg.Connection) -> None:
        await connection.fetchval("select pg_sleep($1)", 30.0 if slow.is_set() else 0.0)

    ready = Readiness(local.database, local.clock, changed, tuple, look)
    await ready.look()
    assert ready() == (True, ())
    await ready.look()
    assert ready() == (
        True,
        ("whether the database holds what was signed could not be seen in time, 2 times in a row",),
    )
    slow.clear()
    await ready.look()
    assert ready() == (True, ())
    assert changes == [True]
