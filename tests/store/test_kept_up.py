"""What a worker keeps up beside its requests, on a log that somebody has damaged."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker.compose import jobs
from broker.compose.stored import Stored
from broker.errors import AuditUnavailable
from broker.store.chain import Chain
from broker.upkeep import Upkeep
from tests.support.evidence import ORIGIN, Node
from tests.support.postgres import ask

NEXT = "blue-light.test/log/2027h1"


async def _until(true: Any) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - it is told by nobody
            await asyncio.sleep(0.02)


def _stored(one: Node) -> Stored:
    chain = Chain(one.database, one.notary, one.reader)
    parts = {
        "seals": one.seals,
        "halves": one.halves,
        "notary": one.notary,
        "reader": one.reader,
        "reference": one.reference,
    }
    return cast(Stored, SimpleNamespace(chain=chain, **parts))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks that come soon."""
    monkeypatch.setattr(jobs, "REFRESH", 0.05)


async def test_a_missing_entry_is_said_and_all_else_goes_on(
    local: Node, local_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other tiles are made, the guard file is synced, a rotation is noticed; readiness names the tile until
    the entry is back."""
    synced: list[int] = []
    fdatasync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (synced.append(file), fdatasync(file)))
    await local.grow(800)
    local.database.check = None  # as on connections that stand: a new one finds out, and is refused
    await ask(
        local_dsn,
        "create table aside as select * from entry where idx = 300",
        "delete from entry where idx = 300",
        "select 1",
    )
    upkeep = Upkeep()
    async with AsyncExitStack() as stack:
        jobs.begin(stack, upkeep, jobs.kept(_stored(local)))
        await _until(upkeep.reasons)
        assert upkeep.reasons() == (
            f"entries of the log are not there, so {ORIGIN}/tile/0/001 cannot be made (1 in all)",
        )
        assert await ask(local_dsn, "select array_agg(n order by n) from tile") == [0, 2]
        synced.clear()
        await local.append()
        await _until(lambda: synced)
        await local.halves.rotate(ORIGIN, local.halves.prepare(NEXT))
        await local.grow(3)
        await _until(lambda: local.reader.log == 2)
        await ask(local_dsn, "insert into entry select * from aside", "select 1")
        await _until(lambda: not upkeep.reasons())
    assert await ask(local_dsn, "select count(*) from tile where log = 1") == 3


async def test_what_was_signed_outlasts_us_while_the_database_is_away(
    local: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guard file is synced whatever else fails."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)

    async def away() -> None:
        raise AuditUnavailable("the evidence store cannot be reached")

    monkeypatch.setattr(local.halves, "finish", away)
    monkeypatch.setattr(local.reader, "fill_tiles", away)
    await local.append()
    upkeep = Upkeep()
    async with AsyncExitStack() as stack:
        jobs.begin(stack, upkeep, jobs.kept(_stored(local)))
        await _until(lambda: synced)
        await _until(upkeep.reasons)
        assert upkeep.reasons() == ("the evidence store cannot be reached",)
