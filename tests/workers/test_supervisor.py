"""What the supervisor does when workers cannot be had, and what is not its own to do."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, becomes, certificates, serve, settings
from tests.support.postgres import Server
from tests.support.processes import listening_inodes, socket_inodes


@pytest.mark.long
async def test_it_gives_up_on_workers_that_never_start(postgres: Server, tmp_path: Path) -> None:
    """After three tries, with one sentence and exit code 1; the worker's own sentence stands above it."""
    async with postgres.fresh() as dsn:
        with certificates(tmp_path) as state:
            child = serve(state, dsn, 2, CERT=state.certs / "nwas-cad" / "cert.pem")
            await becomes(lambda: not child.alive, 30)
            assert child.stop() == 1
            said = child.last_lines()
    assert "is not the key of" in said
    assert said.splitlines()[-1].startswith("error: worker 0 ended 3 times before it was ready")
    assert not (tmp_path / "ready.json").exists()


async def test_a_port_that_is_taken_is_named(postgres: Server, tmp_path: Path) -> None:
    """One sentence with the setting to change, before any worker starts."""
    with socket.create_server(("127.0.0.1", 0)) as taken, certificates(tmp_path) as state:
        port = taken.getsockname()[1]
        child = serve(state, postgres.dsn, 2, HTTP_PORT=port)
        await becomes(lambda: not child.alive, 15)
        assert child.stop() == 1
        assert f"port {port}" in child.last_lines()
        assert "BROKER_HTTP_PORT" in child.last_lines()
        assert "worker" not in child.last_lines()


def test_several_workers_need_an_address_that_can_be_dialled(postgres: Server, tmp_path: Path) -> None:
    """On a wildcard address adapters could not be told where each worker is: the setting is named."""
    with certificates(tmp_path) as state:
        env = settings(state, postgres.dsn, HOST="0.0.0.0")
        done = subprocess.run(
            [sys.executable, "-m", "broker", "serve", "--workers", "2"],
            env=env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: BROKER_ADVERTISE")


async def test_a_rolling_restart_that_cannot_succeed_costs_nothing(pair: Fleet) -> None:
    """With a certificate that no new worker can use, the old ones stay, and go on serving."""
    before, workers = pair.ids, set(pair.pids())
    cert = pair.state.certs / "broker" / "cert.pem"
    good = cert.read_bytes()
    cert.write_bytes((pair.state.certs / "nwas-cad" / "cert.pem").read_bytes())
    try:
        os.kill(pair.child.pid, signal.SIGHUP)
        await becomes(lambda: "the workers stay as they are" in pair.child.last_lines(), 30)
    finally:
        cert.write_bytes(good)
    assert pair.ids == before
    assert set(pair.pids()) == workers
    async with pair.https() as https:
        assert (await https.get("/readyz")).status_code == 200


@pytest.mark.long
async def test_a_worker_that_is_stopped_is_replaced(pair: Fleet) -> None:
    """It would keep its share of new connections and answer none: within seconds another has its place."""
    before, (stopped, other) = pair.ids, pair.pids()
    os.kill(stopped, signal.SIGSTOP)
    await becomes(lambda: stopped not in pair.pids() and len(pair.pids()) == 2, 40)
    await becomes(lambda: len(set(pair.ids) - set(before)) == 1, 30)
    assert other in pair.pids()
    assert "a worker is stopped or stuck, and is killed" in pair.child.last_lines()
    async with pair.https() as https:
        assert (await https.get("/healthz")).status_code == 200


async def test_the_supervisor_serves_nothing_itself(pair: Fleet) -> None:
    """It has loaded neither gRPC nor the database's driver, and does not listen on the ports it keeps."""
    maps = await asyncio.to_thread(Path(f"/proc/{pair.child.pid}/maps").read_text)
    assert "python" in maps
    assert "cygrpc" not in maps
    assert "asyncpg" not in maps
    assert not socket_inodes(pair.child.pid) & listening_inodes()
