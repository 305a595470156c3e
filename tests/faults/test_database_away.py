"""The database away, stopped or gone: nothing is released without evidence, and all recovers by itself."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.client import Broker, Disclosure
from broker.errors import AuditUnavailable, BrokerError, ProviderTimeout
from tests.support.fleet import Fleet, Risks, ask, attached, becomes, fleet
from tests.support.naive_log import entries_of
from tests.support.postgres import open_folder
from tests.support.tcp_postgres import TcpPostgres, tcp_postgres

ASKERS = 16
# What a caller may be told late by: scheduling of a busy machine, and nothing of ours.
SLACK = 1.0
RECOVERS_WITHIN = 15.0


@contextmanager
def unresponsive(server: TcpPostgres) -> Iterator[None]:
    """Connections stay, new ones are taken, and nothing is ever said on them."""
    with server.stopped():
        yield


@contextmanager
def gone(server: TcpPostgres) -> Iterator[None]:
    """Connections are reset and new ones are refused."""
    server.kill(whole=True)
    yield
    server.start()


Away = Callable[[TcpPostgres], AbstractContextManager[None]]


@dataclass
class Watched:
    """Who asks all the while, when each was answered, and with what."""

    answers: list[tuple[float, float, Disclosure]] = field(default_factory=list)
    failures: list[tuple[float, float, BrokerError]] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    stopping: bool = False

    async def keep_asking(self, client: Broker) -> None:
        while not self.stopping:
            timeout = random.uniform(0.5, 4.0)
            started = time.monotonic()
            try:
                answer = await ask(client, timeout)
                self.answers.append((started, time.monotonic(), answer))
            except BrokerError as e:
                self.failures.append((started, time.monotonic(), e))
                await asyncio.sleep(0.05)
            self.late.append(time.monotonic() - started - timeout)


@pytest.fixture
async def server() -> AsyncIterator[TcpPostgres]:
    """A server of the test's own."""
    with open_folder() as folder, tcp_postgres(folder) as made:
        yield made


@pytest.mark.parametrize(
    ("away", "seconds"),
    [
        pytest.param(unresponsive, 6.0, marks=pytest.mark.long),
        pytest.param(gone, 6.0, marks=pytest.mark.long),
        pytest.param(unresponsive, 30.0, marks=pytest.mark.long),
        pytest.param(gone, 30.0, marks=pytest.mark.long),
    ],
)
async def test_the_database_away(server: TcpPostgres, tmp_path: Path, away: Away, seconds: float) -> None:
    """Callers hear UNAVAILABLE inside their own time, no record leaves meanwhile, and once the database is
    back everything goes on, with the same processes."""
    async with fleet(server.dsn, tmp_path) as running, attached(running, Risks()):
        workers = set(running.pids())
        watched = Watched()
        async with running.client() as one, running.client(unary=True) as two:
            askers = [asyncio.create_task(watched.keep_asking(one if n % 4 else two)) for n in range(ASKERS)]
            await becomes(lambda: len(watched.answers) >= 50, 20)
            with away(server):
                left = time.monotonic()
                await _while_away(running, watched, left, seconds)
                back = time.monotonic()
            answered = len(watched.answers)
            await becomes(lambda: len(watched.answers) >= answered + 50, RECOVERS_WITHIN)
            await becomes(lambda: _ready(running), RECOVERS_WITHIN)
            watched.stopping = True
            await asyncio.gather(*askers)
        assert set(running.pids()) == workers, "recovered by itself"
        assert max(watched.late) < SLACK
        told = Counter(type(e).__name__ for _, at, e in watched.failures if left + 0.1 < at < back)
        # A busy machine may bring a word too late, and then it is the client that says so; seldom.
        assert told.keys() <= {AuditUnavailable.__name__, ProviderTimeout.__name__}
        assert told[AuditUnavailable.__name__] > 0.8 * told.total()
        assert not any(left + 1.0 < at < back for _, at, _ in watched.answers), "a record without evidence"
        entries = await entries_of(server.dsn)
        for _, _, answer in watched.answers:
            assert entries[answer.receipt.index] == answer.receipt.entry


async def _while_away(running: Fleet, watched: Watched, left: float, seconds: float) -> None:
    await becomes(lambda: _unready(running), 5)
    await asyncio.sleep(left + seconds - time.monotonic())


async def _unready(running: Fleet) -> bool:
    async with running.https(0) as https:
        return (await https.get("/readyz")).status_code == 503


async def _ready(running: Fleet) -> bool:
    return not await _unready(running)
