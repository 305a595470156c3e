"""Killed between: a request's claim, its entry and the row in a human's queue stand together or not at all."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg

from broker.errors import SetupError
from broker.store.embedded import EmbeddedPostgres
from broker.store.pool import migrate
from tests.support.postgres import open_folder

_WORKER = """
import asyncio, sys, uuid
from datetime import UTC, datetime
from pathlib import Path
from broker.ports import Queued
from tests.support.evidence import a_claim, a_draft, node
from tests.support.values import replace

async def main():
    async with node(sys.argv[1], Path(sys.argv[2])) as one:
        async def caller(kind):
            while True:
                claim, now = a_claim(), datetime.now(UTC)
                whose = ("cfrs", "nwas", claim.system, claim.request_id)
                queued = Queued(kind, *whose, now, now, {"why": []}, "words", "life-at-risk")
                await one.log.append(replace(a_draft(claim=claim), queued=queued))
                print(claim.request_id, flush=True)
        await asyncio.gather(*(caller(kind) for kind in ["referral", "override"] * 8))

asyncio.run(main())
"""
# Claims without entry or row, rows without claim or entry; and how many there are of each.
_APART = """
with rows as (
    select id, system, request from referral union all select id, system, request from override_use
)
select (select count(*) from claim c
        left join rows r on (r.system, r.request, r.id) = (c.system, c.request, c.entry)
        where r.id is null),
       (select count(*) from rows r
        left join claim c on (c.system, c.request, c.entry) = (r.system, r.request, r.id)
        where c.entry is null),
       (select count(*) from claim c left join entry e on e.id = c.entry where e.id is null),
       (select count(*) from rows), (select count(*) from entry)
"""


async def _apart(dsn: str) -> tuple[tuple[int, ...], set[str]]:
    connection = await asyncpg.connect(dsn)
    try:
        row = await connection.fetchrow(_APART)
        claims = await connection.fetch("select request from claim")
        assert row is not None
        return tuple(row.values()), {str(each["request"]) for each in claims}
    finally:
        await connection.close()


def _run(dsn: str, folder: Path, lines: int) -> tuple[subprocess.Popen[str], set[str]]:
    """A worker that appends, after so many of its appends were acknowledged."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKER, dsn, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert process.stdout is not None
    return process, {process.stdout.readline().strip() for _ in range(lines)}


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(10)
    assert process.stdout is not None
    process.stdout.close()


async def _again(state: Path) -> EmbeddedPostgres:
    """The server started again: what the killed one left behind takes a moment to notice that it is gone."""
    for _ in range(200):
        try:
            return EmbeddedPostgres.start(state)
        except SetupError as error:
            if "already running" not in str(error):
                raise
        await asyncio.sleep(0.1)
    raise AssertionError("what was killed is still there")


async def test_a_killed_worker_leaves_no_half(tmp_path: Path) -> None:
    """SIGKILL of the worker under load, several times: whatever was acknowledged is there, whole."""
    with open_folder() as folder, EmbeddedPostgres.start(folder / "state") as server:
        await migrate(server.dsn)
        told: set[str] = set()
        for lines in (40, 75, 121):
            process, heard = await asyncio.to_thread(_run, server.dsn, tmp_path / "state", lines)
            _end(process)
            told |= heard
        counts, claims = await _apart(server.dsn)
        assert counts[:3] == (0, 0, 0)
        assert counts[3] == counts[4] >= len(told) > 200
        assert told <= claims


async def test_a_killed_database_leaves_no_half(tmp_path: Path) -> None:
    """SIGKILL of PostgreSQL itself in the middle of it, and started again."""
    with open_folder() as folder:
        with EmbeddedPostgres.start(folder / "state") as server:
            await migrate(server.dsn)
            process, told = await asyncio.to_thread(_run, server.dsn, tmp_path / "state", 150)
            os.kill(server.pid, signal.SIGKILL)
            _end(process)
        with await _again(folder / "state") as server:
            counts, claims = await _apart(server.dsn)
        assert counts[:3] == (0, 0, 0)
        assert counts[3] == counts[4]
        assert told <= claims
