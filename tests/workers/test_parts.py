"""The parts by themselves: beats, who is live, who is lacking, and when a stream is ended."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from broker.errors import AuditUnavailable
from broker.rpc.draining import YOUNG, finish
from broker.store.pool import Database, migrate
from broker.store.workers import WorkerRows
from broker.workers import COVERED_WITHIN, Beat, Worker, Workers
from tests.support.memory import MemoryWorkers
from tests.support.postgres import Server

ONE, TWO, THREE = (Worker(f"w{n}", f"localhost:{n}") for n in range(3))


@pytest.fixture(scope="module")
async def rows(postgres: Server):  # type: ignore[no-untyped-def]
    """The table in a database of its own, and a way to make a beat old."""
    async with postgres.fresh() as dsn:
        await migrate(dsn)
        database = Database(dsn, size=2)
        await database.open()
        try:
            yield WorkerRows(database), dsn
        finally:
            await database.close()


async def test_a_beat_shows_the_others_and_sweeps_the_dead(rows: tuple[WorkerRows, str]) -> None:
    """One statement writes one's own row, gives the live others', and removes who has been silent too long."""
    table, dsn = rows
    await table.beat(Beat(ONE, False, frozenset({"cfrs"})), 5)
    await table.beat(Beat(TWO, True, frozenset()), 5)
    assert set(await table.beat(Beat(THREE, False, frozenset()), 5)) == {
        Beat(ONE, False, frozenset({"cfrs"})),
        Beat(TWO, True, frozenset()),
    }
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "update worker set beat_at = clock_timestamp() - interval '6 s' where id = $1", ONE.id
        )
        assert [beat.worker for beat in await table.beat(Beat(THREE, False, frozenset()), 5)] == [TWO]
        await table.leave(TWO.id)
        assert await table.beat(Beat(THREE, False, frozenset()), 5) == ()
        assert await connection.fetchval("select array_agg(id) from worker") == [THREE.id]
        assert await connection.fetchval("select relpersistence from pg_class where relname = 'worker'") == b"u"
    finally:
        await connection.close()


async def test_adapters_are_told_when_the_live_workers_change() -> None:
    """A newcomer and one that drains are told once; while the database is away, the last sight stands."""
    table, told = MemoryWorkers(), []
    workers = Workers(ONE, table, lambda: ())
    workers.changed = told.append
    table.others = (Beat(TWO, False, frozenset()),)
    await workers.beat()
    await workers.beat()
    table.away = True
    with pytest.raises(AuditUnavailable):
        await workers.beat()
    assert workers.live == (ONE, TWO)
    table.away, table.others = False, (Beat(TWO, True, frozenset()),)
    await workers.beat()
    assert told == [(ONE, TWO), (ONE,)]


async def test_a_draining_worker_lists_the_others_only() -> None:
    """It says so in its row, is not ready, and no longer names itself as one to attach to."""
    table = MemoryWorkers((Beat(TWO, False, frozenset()),))
    workers = Workers(ONE, table, lambda: ())
    await workers.drain()
    assert workers.live == (TWO,)
    assert table.own[-1].draining
    assert workers.reasons() == ("this worker is stopping",)


async def test_a_provider_known_elsewhere_is_lacking_here() -> None:
    """At once for a worker that joins; a reason not to be ready once its adapter has had time to come."""
    here: set[str] = {"ncic"}
    table = MemoryWorkers((Beat(TWO, False, frozenset({"cfrs", "ncic"})), Beat(THREE, True, frozenset({"wf"}))))
    workers = Workers(ONE, table, lambda: here)
    await workers.beat()
    assert workers.lacking() == {"cfrs"}
    assert not await workers.covered(0.05)
    assert workers.reasons() == ()
    await asyncio.sleep(COVERED_WITHIN)
    assert len(workers.reasons()) == 1
    here.add("cfrs")
    assert await workers.covered(0)
    assert workers.reasons() == ()


class Stream:
    """A stream whose requests a test begins and answers."""

    def __init__(self, *in_flight: str) -> None:
        self.in_flight: set[str] = set(in_flight)
        self.said: list[str] = []

    def close(self) -> None:
        self.said.append("close")

    def end(self) -> None:
        self.said.append("end")


async def test_an_idle_stream_ends_at_once() -> None:
    """Nothing in flight, nothing to wait for."""
    stream = Stream()
    assert await _finished(stream, within=5) < 0.1
    assert stream.said == ["close", "end"]


async def test_what_is_old_is_waited_for_while_new_requests_are_taken() -> None:
    """One slow request keeps its stream open for all; the stream closes when only young ones are left."""
    stream = Stream("slow")
    ending = asyncio.create_task(_finished(stream, within=5))
    for n in range(20):
        stream.in_flight.add(f"young-{n}")
        await asyncio.sleep(YOUNG / 10)
        stream.in_flight.discard(f"young-{n}")
    assert stream.said == []
    stream.in_flight = {"young"}
    await asyncio.sleep(YOUNG / 2)
    assert stream.said == ["close"]
    stream.in_flight.clear()
    await ending
    assert stream.said == ["close", "end"]


async def test_a_stream_is_ended_when_the_time_is_up() -> None:
    """What has no answer by then is given up: the client sends it again elsewhere."""
    stream = Stream("endless")
    assert await _finished(stream, within=0.3) < 1.2
    assert stream.said == ["close", "end"]
    assert stream.in_flight == {"endless"}


async def _finished(stream: Stream, within: float) -> float:
    """Seconds until the stream was finished."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    await finish(lambda: [] if "end" in stream.said else [stream], started + within)
    return loop.time() - started
