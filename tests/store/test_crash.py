"""Killed without warning: what was acknowledged is there, the tree is whole, and the next start goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from broker.errors import AuditUnavailable
from broker.store.embedded import EmbeddedPostgres
from broker.store.pool import migrate
from tests.support.evidence import Node, entry_root, node
from tests.support.postgres import open_folder

_WORKER = """
import asyncio, sys
from pathlib import Path
from tests.support.evidence import a_draft, node

async def main():
    async with node(sys.argv[1], Path(sys.argv[2])) as one:
        async def caller():
            while True:
                receipt = await one.append(a_draft())
                print(receipt.index, receipt.entry.hex(), flush=True)
        await asyncio.gather(*(caller() for _ in range(16)))

asyncio.run(main())
"""


async def _hold(one: Node, acknowledged: dict[int, bytes]) -> None:
    """Every acknowledged entry stands where its receipt says, and the tree is the entries' own."""
    async with one.database.connection() as connection:
        rows = await connection.fetch("select idx, leaf from entry order by idx")
    entries = [bytes(row["leaf"]) for row in rows]
    assert [row["idx"] for row in rows] == list(range(len(rows)))
    assert acknowledged.items() <= dict(enumerate(entries)).items()
    _, note = await one.reader.head()
    checkpoint = one.opened(note)
    assert (checkpoint.size, checkpoint.root) == (len(entries), entry_root(entries))
    assert (await one.append()).index == len(entries)


async def test_a_killed_server_has_lost_nothing_acknowledged(tmp_path: Path) -> None:
    """The database killed under load and started again holds every entry that has a receipt."""
    acknowledged: dict[int, bytes] = {}
    enough = asyncio.Event()

    async def caller(one: Node) -> None:
        with contextlib.suppress(AuditUnavailable):
            while True:
                receipt = await one.append()
                acknowledged[receipt.index] = receipt.entry
                if len(acknowledged) >= 300:
                    enough.set()

    with open_folder() as folder:
        with EmbeddedPostgres.start(folder / "state") as server:
            await migrate(server.dsn)
            async with node(server.dsn, tmp_path / "state") as one:
                callers = [asyncio.ensure_future(caller(one)) for _ in range(16)]
                await enough.wait()
                os.kill(server.pid, signal.SIGKILL)
                await asyncio.wait(callers, timeout=0.3)
                for one_caller in callers:
                    one_caller.cancel()
                await asyncio.gather(*callers, return_exceptions=True)
        with EmbeddedPostgres.start(folder / "state") as server:
            async with node(server.dsn, tmp_path / "state") as one:
                await _hold(one, acknowledged)


async def test_a_killed_worker_has_lost_nothing_acknowledged(local_dsn: str, tmp_path: Path) -> None:
    """A worker killed under load leaves a log that the next one accepts, with all that it had receipts for."""
    acknowledged: dict[int, bytes] = {}
    (tmp_path / "state").mkdir()
    for _ in range(2):
        process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs meanwhile
            [sys.executable, "-c", _WORKER, local_dsn, str(tmp_path / "state")],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        for _ in range(100):
            index, entry = process.stdout.readline().split()
            acknowledged[int(index)] = bytes.fromhex(entry)
        process.kill()
        rest = process.stdout.read().splitlines()
        process.wait(10)
        for line in rest[:-1]:  # the last may be cut
            index, entry = line.split()
            acknowledged[int(index)] = bytes.fromhex(entry)
        time.sleep(0.05)  # noqa: ASYNC251 - the server notices that its client is gone
        async with node(local_dsn, tmp_path / "state") as one:
            await _hold(one, acknowledged)
