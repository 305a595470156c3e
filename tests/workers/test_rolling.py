"""Workers are replaced, stopped and killed under load, and those who ask need not notice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from adapters.sdk import Provides
from adapters.sdk.provides import resolve
from broker.cli.up.cast import FIRE_ADAPTER
from broker.client import Broker, Disclosure
from broker.core.checkpoint import open_checkpoint
from broker.core.keys import Verifier
from broker.core.merkle import leaf_hash, verify_inclusion
from broker.errors import BrokerError
from broker.v1 import adapter_pb2, adapter_pb2_grpc, exchange_pb2, exchange_pb2_grpc
from tests.support.fleet import (
    RISK,
    Fleet,
    Risks,
    alive,
    ask,
    asked,
    attached,
    becomes,
    children_of,
    environment,
    fleet,
)
from tests.support.postgres import Server

IN_FLIGHT = 32


@dataclass
class Load:
    """Constant load: so many askers, each asking again as soon as it has its answer."""

    answers: list[Disclosure] = field(default_factory=list)
    failures: list[BrokerError] = field(default_factory=list)
    stopping: bool = False

    async def ask(self, client: Broker) -> None:
        while not self.stopping:
            try:
                self.answers.append(await ask(client))
            except BrokerError as e:
                self.failures.append(e)


@pytest.mark.long
async def test_a_rolling_restart_fails_no_request(postgres: Server, tmp_path: Path) -> None:
    """Every worker is replaced twice under 32 requests in flight: none fails, and every receipt verifies."""
    async with postgres.fresh() as dsn, fleet(dsn, tmp_path) as running:
        seen = set(running.ids)
        async with attached(running, Risks()), running.client() as client, running.client(unary=True) as unary:
            load = Load()
            askers = [asyncio.create_task(load.ask(client)) for _ in range(IN_FLIGHT - 4)]
            askers += [asyncio.create_task(load.ask(unary)) for _ in range(4)]
            for _ in range(2):
                await _replaced(running)
                seen |= set(running.ids)
            load.stopping = True
            await asyncio.gather(*askers)
        assert load.failures == []
        assert len(seen) == 6
        assert len(load.answers) > 500
        _verify(load.answers, running)


@pytest.mark.long
async def test_plain_callers_without_retries_see_no_rolling_restart(postgres: Server, tmp_path: Path) -> None:
    """Unary calls by bare gRPC, none of them made twice, while both workers are replaced: each is answered."""
    told: Counter[str] = Counter()
    stopping = False

    async def asks(stub: exchange_pb2_grpc.ExchangeServiceStub) -> None:
        while not stopping:
            try:
                await stub.Request(asked(), timeout=10)
                told["answered"] += 1
            except grpc.aio.AioRpcError as e:
                told[e.code().name] += 1

    async with postgres.fresh() as dsn, fleet(dsn, tmp_path) as running, attached(running, Risks()):
        channels = [running.channel("nwas-cad") for _ in range(4)]
        stubs = [exchange_pb2_grpc.ExchangeServiceStub(each) for each in channels]
        askers = [asyncio.create_task(asks(stub)) for stub in stubs for _ in range(6)]
        await _replaced(running)
        stopping = True
        await asyncio.gather(*askers)
        for channel in channels:
            await channel.close()
    assert told["answered"] > 500
    assert told.keys() == {"answered"}


@pytest.mark.long
async def test_a_slow_request_outlives_its_worker(postgres: Server, tmp_path: Path) -> None:
    """What was in flight when its worker was told to go is finished there; an idle stream is told to go on."""
    risks = Risks(takes=lambda q: 3.0 if q.subject is not None and q.subject.value == "100062990002" else 0.0)
    async with (
        postgres.fresh() as dsn,
        fleet(dsn, tmp_path) as running,
        attached(running, risks),
        running.client() as client,
        running.channel("cumberland-mash", running.direct(0)) as channel,
    ):
        await ask(client)
        idle = exchange_pb2_grpc.ExchangeServiceStub(channel).Exchange()
        await idle.write(exchange_pb2.ExchangeRequest())
        asked = risks.asked
        slow = asyncio.create_task(ask(client, 4.0, ("uprn", "100062990002")))
        await becomes(lambda: risks.asked > asked, 20)
        await _replaced(running)
        assert (await slow).record is not None
        assert (risks.asked, risks.abandoned) == (asked + 1, 0)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await idle.read()
        said = rpc_status.from_call(ended.value)
        assert said is not None
        info = error_details_pb2.ErrorInfo()
        assert said.details[0].Unpack(info)
        assert (ended.value.code(), info.reason) == (grpc.StatusCode.UNAVAILABLE, "Draining")
        assert said.details[1].Unpack(error_details_pb2.RetryInfo())


@pytest.mark.long
async def test_a_call_outlives_its_worker_and_adapters_are_told_before_it_goes(
    postgres: Server, tmp_path: Path
) -> None:
    """A plain call that takes longer than leading away is answered where it began, by the link that was asked;
    an adapter on no SDK of ours hears that its worker is going while it can still dial another."""
    risks = Risks(takes=lambda q: 12.0 if q.subject is not None and q.subject.value == "100062990002" else 0.0)
    async with (
        postgres.fresh() as dsn,
        fleet(dsn, tmp_path) as running,
        attached(running, risks),
        running.client() as client,
        running.channel("nwas-cad", running.direct(0)) as plain,
        running.channel(FIRE_ADAPTER.folder, running.direct(0)) as foreign,
    ):
        await ask(client)
        link = adapter_pb2_grpc.AdapterServiceStub(foreign).Attach()
        provides = await resolve(foreign, [Provides(RISK, ("uprn",))], {}, 5.0)
        hello = adapter_pb2.Hello(software="foreign/1", provides=provides, at_once=1)
        await link.write(adapter_pb2.AttachRequest(hello=hello))
        await link.write(adapter_pb2.AttachRequest(credit=0))
        heard = asyncio.create_task(_heard(link))
        before, wanted = risks.asked, asked()
        wanted.subject.value, wanted.timeout.seconds = "100062990002", 20
        slow = exchange_pb2_grpc.ExchangeServiceStub(plain).Request(wanted, timeout=20)
        await becomes(lambda: risks.asked > before, 20)
        await _replaced(running)
        assert (await slow).HasField("record")
        assert (risks.asked, risks.abandoned) == (before + 1, 0)
        told = await heard
        assert any(reply.draining for reply in told)


async def _heard(link: Any) -> list[adapter_pb2.AttachReply]:
    """All that an adapter is told until its link ends."""
    told = []
    with suppress(grpc.aio.AioRpcError):
        while isinstance(reply := await link.read(), adapter_pb2.AttachReply):
            told.append(reply)
    return told


@pytest.mark.long
async def test_a_killed_worker_is_replaced(postgres: Server, tmp_path: Path) -> None:
    """Its place is taken, adapters attach to the successor, and the dead one is soon listed no more."""
    async with (
        postgres.fresh() as dsn,
        fleet(dsn, tmp_path) as running,
        attached(running, Risks()) as attach,
        running.client() as client,
    ):
        await ask(client)
        before = running.ids
        for pid in running.pids():
            if environment(pid)["BROKER_WORKER"] == "1":
                os.kill(pid, signal.SIGKILL)
        await becomes(lambda: running.ids != before and len(running.ids) == 2, 20)
        assert running.ids[0] == before[0]
        await becomes(lambda: set(attach.links()) == set(running.ids), 30)
        for number in range(2):
            async with running.client(target=running.direct(number)) as one:
                assert (await ask(one)).record is not None
        assert (await ask(client)).record is not None


@pytest.mark.long
async def test_stopping_finishes_what_is_in_flight(postgres: Server, tmp_path: Path) -> None:
    """SIGTERM to the whole: requests in flight are answered, then every process ends, with exit code 0."""
    risks = Risks(takes=lambda _: 1.0)
    async with (
        postgres.fresh() as dsn,
        fleet(dsn, tmp_path) as running,
        attached(running, risks),
        running.client() as client,
    ):
        asked = [asyncio.create_task(ask(client)) for _ in range(8)]
        await becomes(lambda: risks.asked == 8, 20)
        workers = running.pids()
        stopped = asyncio.create_task(asyncio.to_thread(running.child.stop, 30))
        assert all(answer.record is not None for answer in await asyncio.gather(*asked))
        assert await stopped == 0
        assert not any(map(alive, workers))


@pytest.mark.long
async def test_no_worker_outlives_its_supervisor(postgres: Server, tmp_path: Path) -> None:
    """SIGKILL of the supervisor leaves nothing running."""
    async with postgres.fresh() as dsn, fleet(dsn, tmp_path) as running:
        workers = running.pids()
        assert len(workers) == 2
        os.kill(running.child.pid, signal.SIGKILL)
        await becomes(lambda: not any(map(alive, workers)), 30)


async def _replaced(running: Fleet) -> None:
    """Ask for a rolling restart, and wait until each worker is another and the old ones have ended."""
    old, pids = set(running.ids), set(running.pids())
    os.kill(running.child.pid, signal.SIGHUP)
    await becomes(lambda: not old & set(running.ids), 60)
    await becomes(lambda: not pids & set(children_of(running.child.pid)), 40)


def _verify(answers: list[Disclosure], running: Fleet) -> None:
    """Each receipt against the log's key, once more and by hand; no entry serves two answers."""
    vkey = Verifier.from_vkey(running.told["vkey"])
    entries = Counter(answer.receipt.index for answer in answers)
    assert max(entries.values()) == 1
    for answer in answers:
        receipt = answer.receipt
        head = open_checkpoint(receipt.checkpoint, [vkey])
        verify_inclusion(leaf_hash(receipt.entry), receipt.index, head.size, receipt.proof, head.root)
