"""What is stopped (SIGSTOP) while it holds the head of the log, or waits for it, and how soon others go on."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from broker.client import Broker
from broker.errors import AuditUnavailable
from broker.store.pool import migrate
from tests.support.cutting_proxy import cutting_proxy
from tests.support.evidence import a_draft, node
from tests.support.fleet import Fleet, ask, becomes, environment
from tests.support.held_head import HeldHead, Sleeping, WaitingForLock, blocked_by, held_head
from tests.support.insistence import Ledger
from tests.support.postgres import Server

pytestmark = pytest.mark.long
# What others may wait for, in seconds, whatever has been stopped.
BOUND = 3.0


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process stopped for the block, and not just told to."""
    os.kill(pid, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + 5
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < deadline
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _pid(pair: Fleet, number: int) -> int:
    return next(pid for pid in pair.pids() if environment(pid)["BROKER_WORKER"] == str(number))


def _dsn(pair: Fleet) -> str:
    return environment(pair.child.pid)["BROKER_DATABASE_URL"]


@pytest.fixture
async def clients(pair: Fleet) -> AsyncIterator[tuple[Broker, Broker]]:
    """A client of each worker, its stream open."""
    async with pair.client(target=pair.direct(0)) as one, pair.client(target=pair.direct(1)) as two:
        await becomes(lambda: _both_serve(one, two), 20)
        yield one, two


async def _both_serve(*clients: Broker) -> bool:
    try:
        await asyncio.gather(*(ask(client) for client in clients))
    except AuditUnavailable:
        return False
    return True


@pytest.mark.parametrize("kind", [WaitingForLock, Sleeping])
async def test_a_worker_stopped_while_it_holds_the_head(
    pair: Fleet, clients: tuple[Broker, Broker], kind: type[WaitingForLock] | type[Sleeping]
) -> None:
    """The server ends its statement, and the other worker goes on within three seconds; the stopped one, when
    it is let go, answers what it had in hand."""
    request_id = str(uuid.uuid4())
    ledger = Ledger(timeout=20.0)
    async with held_head(_dsn(pair), request_id, kind) as held:
        asking = asyncio.create_task(ledger.insist(clients[0], request_id))
        await held.backend()
        with stopped(_pid(pair, 0)):
            started = time.monotonic()
            assert not await held.free(), "the worker was stopped too late"
            answer = await ask(clients[1], 10.0)
            assert time.monotonic() - started < BOUND
            assert answer.record is not None
            assert not asking.done()
            await held.let_go()
    assert (await asking).record is not None


async def test_a_worker_stopped_before_the_last_message_of_its_statement(
    any_postgres: Server, tmp_path: Path
) -> None:
    """A statement that ran but was not ended by its worker gives the head back within three seconds."""
    async with any_postgres.fresh(await any_postgres.template("migrated", migrate)) as dsn:
        with tempfile.TemporaryDirectory() as folder:
            async with (
                cutting_proxy(dsn, Path(folder)) as proxy,
                node(proxy.dsn, tmp_path / "state", size=1) as silent,
                node(dsn, tmp_path / "state") as other,
            ):
                await silent.append()
                await other.append()
                connection = await asyncpg.connect(dsn, timeout=10)
                try:
                    proxy.lose_ends = True
                    sent = asyncio.ensure_future(silent.log.append(a_draft()))
                    await proxy.lost.wait()
                    held = HeldHead(connection, "")
                    await becomes(lambda: _taken(held), 5)
                    started = time.monotonic()
                    receipt = await other.append()
                    assert time.monotonic() - started < BOUND
                    proxy.cut()
                    await sent
                finally:
                    await connection.close(timeout=5)
                other.check(receipt)
                assert await other.reader.size() == 4


async def _taken(held: HeldHead) -> bool:
    return not await held.free()


async def _waits(looks: asyncpg.Connection, holder: asyncpg.Connection) -> bool:
    return await blocked_by(looks, holder) is not None


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_backend_stopped_while_it_waits_for_the_head(
    pair: Fleet, clients: tuple[Broker, Broker], end: str
) -> None:
    """It is first in the queue and never takes its turn: the other worker goes on within three seconds all the
    same, and its own worker by itself."""
    dsn = _dsn(pair)
    holder, looks = await asyncpg.connect(dsn, timeout=10), await asyncpg.connect(dsn, timeout=10)
    try:
        await holder.execute("begin")
        await holder.execute("update head set size = size")
        ledger = Ledger(timeout=10.0)
        asking = asyncio.create_task(ledger.insist(clients[0], str(uuid.uuid4())))
        await becomes(lambda: _waits(looks, holder), 5)
        pid = await blocked_by(looks, holder)
        assert pid is not None
        with stopped(pid):
            behind = asyncio.create_task(ask(clients[1], 10.0))
            await asyncio.sleep(0.2)
            assert not behind.done()
            started = time.monotonic()
            await holder.execute(end)
            assert (await behind).record is not None
            assert time.monotonic() - started < BOUND
            assert (await asking).record is not None, "its worker takes another connection"
    finally:
        await holder.close(timeout=5)
        await looks.close(timeout=5)


async def test_a_backend_stopped_while_it_holds_the_head(pair: Fleet, clients: tuple[Broker, Broker]) -> None:
    """That is a database that does not answer, which no worker can end: callers hear so in their own time and
    nothing is released; once it goes on, so does everybody within three seconds."""
    request_id = str(uuid.uuid4())
    ledger = Ledger(timeout=20.0)
    async with held_head(_dsn(pair), request_id, WaitingForLock) as held:
        asking = asyncio.create_task(ledger.insist(clients[0], request_id))
        with stopped(await held.backend()):
            assert not await held.free(), "the backend was stopped too late"
            for timeout in (1.0, 4.0):
                started = time.monotonic()
                with pytest.raises(AuditUnavailable):
                    await ask(clients[1], timeout)
                assert time.monotonic() - started < timeout + 1.0
            assert not await held.free()
        started = time.monotonic()
        await becomes(lambda: _both_serve(clients[1]), BOUND)
        assert time.monotonic() - started < BOUND
    assert (await asking).record is not None
