"""Records of the largest size, hundreds in flight: a worker does not grow with their number."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from adapters.sdk import Found, Question
from broker.v1 import exchange_pb2 as pb
from broker.v1 import exchange_pb2_grpc
from records.fire.v1 import premises_risk_pb2
from records.shared.v1 import fact_pb2
from tests.faults.conftest import FLOODS, agree
from tests.faults.flood import request
from tests.faults.test_emergency import resident
from tests.support.fleet import Risks, attached, fleet
from tests.support.postgres import Server

SIZE = 1000 * 1024  # bytes of a record
AT_ONCE = 256  # of one agency
STUCK = 6.0  # seconds in which nothing can be written down
GROWS = 700  # MB that a worker may hold more than before


class Large(Risks):
    """Every record is as large as one may be; all are answered at once, so that they arrive together."""

    async def answer(self, question: Question) -> Found:
        self.asked += 1
        await asyncio.sleep(0.2)
        assert question.subject is not None
        record = premises_risk_pb2.PremisesRisk(uprn="1" * SIZE)
        for part in (record.oxygen, record.access, record.hazards, record.evacuation):
            part.state = fact_pb2.FACT_STATE_NONE_RECORDED
        return Found(record, (question.subject,), datetime.now(UTC))


async def ask_all(stub: exchange_pb2_grpc.ExchangeServiceStub) -> Counter[str]:
    """So many in flight on one stream, read as fast as they come; how they ended."""
    told: Counter[str] = Counter()
    call = stub.Exchange()
    asked = [request() for _ in range(AT_ONCE)]
    for each in asked:
        each.timeout.FromSeconds(30)
    await call.write(pb.ExchangeRequest(requests=asked))
    while told.total() < AT_ONCE:
        reply = await call.read()
        assert isinstance(reply, pb.ExchangeReply)
        told.update(outcome.WhichOneof("result") or "" for outcome in reply.outcomes)
    await call.done_writing()
    return told


async def stuck(dsn: str) -> None:
    """The head of the log is in another hand for a while: what was answered waits to be written down."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        async with connection.transaction():
            await connection.execute("select from head for update")
            await asyncio.sleep(STUCK)
    finally:
        await connection.close(timeout=5)


async def peak(pid: int, until: asyncio.Event) -> int:
    """MB that a process held at most."""
    most = 0
    while not until.is_set():
        most = max(most, resident(pid))
        await asyncio.sleep(0.01)
    return most


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_a_worker_does_not_grow_with_the_records_in_flight(postgres: Server, tmp_path: Path) -> None:
    """256 in flight by each of two agencies while nothing can be written down: what is held of them stays
    bounded, and once it can every request is answered."""
    done = asyncio.Event()
    async with (
        postgres.fresh() as dsn,
        fleet(dsn, tmp_path, 1) as running,
        attached(running, Large()),
        running.channel(FLOODS) as one,
        running.channel("nwas-cad") as two,
    ):
        await agree(running, "nwas", 2, None)
        await agree(running, "wf", 1, None)
        pid = running.child.pid
        before = resident(pid)
        growing = asyncio.create_task(peak(pid, done))
        began = time.monotonic()
        stubs = [exchange_pb2_grpc.ExchangeServiceStub(each) for each in (one, two)]
        *told, _ = await asyncio.gather(*map(ask_all, stubs), stuck(dsn))
        done.set()
        most = await growing
    print(f"\n{before} MB before, {most} MB at most, {time.monotonic() - began:.1f} s, {told}")
    assert told == [Counter(disclosure=AT_ONCE)] * 2
    assert most - before <= GROWS
