"""A database that was restored from an old backup, as an operator meets it: `broker serve` does not start."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.cli.up.provision import provision
from broker.cli.up.state import State
from tests.support.fleet import certificates, serve, settings
from tests.support.postgres import Server, ask

pytestmark = pytest.mark.long
ROLLED_BACK = (
    "does not hold it: it was restored from a backup or failed over to a replica that lagged. Do not sign on "
    "from here: bring back the database that holds those entries, or open a new log under a new key and "
    "publish both"
)


def _refused(state: State, dsn: str, workers: int) -> tuple[int, str]:
    """`broker serve` as it is typed; its exit code and what it says on standard error."""
    line = [sys.executable, "-m", "broker", "serve", "--workers", str(workers)]
    done = subprocess.run(
        line, env=settings(state, dsn), capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr


async def _once(state: State, dsn: str, *, fill: bool) -> None:
    """Serve, with something appended, and end in good order."""
    ready = state.folder / "ready.json"
    ready.unlink(missing_ok=True)
    with serve(state, dsn, 1) as child:
        child.wait_ready(ready.exists, 60)
        said = state.write_ports(ready)
        if fill:
            await asyncio.to_thread(provision, state, f"localhost:{said['grpc']}")
        assert child.stop(30) == 0


async def test_a_restored_database_is_refused_with_what_to_do(postgres: Server, tmp_path: Path) -> None:
    """One process or several: exit code 1, the sentence on standard error, and nothing appended. So is an empty
    database, and a log whose guard file is missing; the right database is served again."""
    async with postgres.fresh() as now:
        with certificates(tmp_path) as state:
            await _once(state, now, fill=False)
            async with postgres.fresh(urlsplit(now).path[1:]) as backup, postgres.fresh() as empty:
                await _once(state, now, fill=True)
                size = await ask(backup, "select size from head")
                assert 0 < size < await ask(now, "select size from head")
                for workers in (1, 2):
                    code, said = _refused(state, backup, workers)
                    assert code == 1
                    assert f"this database, with {size}, {ROLLED_BACK}" in said
                    assert "Traceback" not in said
                code, said = _refused(state, empty, 1)
                assert code == 1
                assert f"this database, with 0, {ROLLED_BACK}" in said
                assert await ask(backup, "select size from head") == size
            kept = state.guard.read_bytes()
            state.guard.unlink()
            code, said = _refused(state, now, 1)
            assert code == 1
            assert "remembers none: bring back this node's guard file" in said
            state.guard.write_bytes(kept)
            await _once(state, now, fill=False)
