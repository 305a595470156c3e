"""Killed between: what is told on is told on once, whoever dies and however many look."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.ports import Queued
from broker.store.pool import migrate
from tests.support import postgres
from tests.support.evidence import a_claim, a_draft, node
from tests.support.fleet import becomes
from tests.support.postgres import Server
from tests.support.values import replace

LATE = 150
_WORKER = """
import asyncio, sys
from pathlib import Path
from broker.escalations import Desks, Escalations
from broker.store.cases import ComplaintRows
from broker.store.escalated import EscalationRows
from broker.store.queued import OverrideRows, ReferralRows
from tests.support.evidence import node

async def main():
    async with node(sys.argv[1], Path(sys.argv[2]), size=2) as one:
        on = (one.database, one.seals)
        desks = Desks(ReferralRows(*on), OverrideRows(*on), ComplaintRows(*on))
        table = EscalationRows(one.database)
        made = Escalations(one.log, table, desks, one.facts, one.reference, one.clock)
        while True:
            await made.look()
            await asyncio.sleep(0.01)

asyncio.run(main())
"""
_ENTRIES = "select count(*) from entry"
_TOLD_ON = "select count(*) from escalation"
_WHOLE = "select count(*) from escalation e join entry on entry.id = e.id join override_use u on u.id = e.item"


def _started(dsn: str, folder: Path) -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen([sys.executable, "-c", _WORKER, dsn, str(folder)], cwd=root)


async def _until(dsn: str, count: int) -> None:
    async def reached() -> bool:
        return await _count(dsn, _TOLD_ON) >= count

    await becomes(reached, 60)


@pytest.mark.long
async def test_killed_workers_leave_each_told_on_once(postgres: Server, tmp_path: Path) -> None:
    """Two at work, killed in the middle of it one after the other: a third finishes, one entry for each."""
    folder, past = tmp_path / "state", datetime.now(UTC) - timedelta(hours=1)
    async with postgres.fresh() as dsn:
        await migrate(dsn)
        async with node(dsn, folder) as one:
            for _ in range(LATE):
                claim = a_claim()
                whose = ("cfrs", "nwas", claim.system, claim.request_id)
                queued = Queued("override", *whose, past, past, {"why": []}, "words", "life-at-risk")
                await one.log.append(replace(a_draft(claim=claim), queued=queued))
        workers = [await asyncio.to_thread(_started, dsn, folder) for _ in range(2)]
        try:
            for worker, told in zip(workers, (LATE // 5, LATE // 2), strict=True):
                await _until(dsn, told)
                worker.kill()
            workers.append(await asyncio.to_thread(_started, dsn, folder))
            await _until(dsn, LATE)
            await asyncio.sleep(0.5)
        finally:
            for worker in workers:
                worker.kill()
                await asyncio.to_thread(worker.wait, 10)
        counts = [await _count(dsn, what) for what in (_TOLD_ON, _WHOLE, _ENTRIES)]
    assert counts == [LATE, LATE, 2 * LATE]


async def _count(dsn: str, what: str) -> int:
    found: int = await postgres.ask(dsn, what)
    return found
