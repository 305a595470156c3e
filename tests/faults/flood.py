"""A client that floods, as a process of its own: `python -m tests.faults.flood STATE TARGET NAME WHAT`.

It stands for another machine, so it has only what time nobody else wants (SCHED_IDLE). Lines on standard input
start and stop it, each answered with a line of JSON: what it was told since it was last started.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import grpc

from broker.pki.tls import TlsFiles, channel_credentials
from broker.v1 import exchange_pb2 as pb
from broker.v1 import (
    exchange_pb2_grpc,
    keeping_pb2,
    keeping_pb2_grpc,
    override_pb2,
    override_pb2_grpc,
    referral_pb2,
    referral_pb2_grpc,
    report_pb2,
    report_pb2_grpc,
)
from tests.support.refused import retry_delay

STREAMS = 8
OPENED = 10_000
HEAVY = 300
ON_ONE = 250  # streams of one connection: more than the server allows at once


def request() -> pb.RecordRequest:
    """A request that an agreement of tests/faults/conftest.py permits."""
    return pb.RecordRequest(
        request_id=str(uuid.uuid4()),
        record_type="records.fire.v1.PremisesRisk",
        provider="cfrs",
        subject=pb.SubjectRef(scheme="uprn", value="100062990001"),
        purpose="emergency-response",
        actor=pb.Actor(id="x", role="dispatcher", assurance=pb.ASSURANCE_ROSTER),
    )


class Flood:
    """What one process does, and what it is told."""

    def __init__(self, state: Path, target: str, name: str) -> None:
        self._credentials = channel_credentials(TlsFiles.within(state / "certs", name))
        self._target = target
        self.told: Counter[str] = Counter()

    def stub(self) -> tuple[grpc.aio.Channel, exchange_pb2_grpc.ExchangeServiceAsyncStub]:
        """A connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.aio.secure_channel(self._target, self._credentials, options)
        return channel, exchange_pb2_grpc.ExchangeServiceStub(channel)  # type: ignore[return-value]

    async def requests(self) -> None:
        """Thousands in flight on several streams, new ones as fast as they are read."""
        await asyncio.gather(*(self._stream_of_requests() for _ in range(STREAMS)))

    async def calls(self) -> None:
        """Unary calls, a thousand at a time."""
        channel, stub = self.stub()
        async with channel:
            await asyncio.gather(*(self._calls(stub) for _ in range(1000)))

    async def heavy(self) -> None:
        """Hundreds of calls that read much, all kinds of them at once, on as many connections as carry them."""
        async with contextlib.AsyncExitStack() as stack:
            asking = []
            for _ in range(HEAVY // 30):
                channel, _ = self.stub()
                await stack.enter_async_context(channel)
                asking += [self._reads(call, asked) for call, asked in _heavy(channel)]
            await asyncio.gather(*asking)

    async def _reads(self, call: Any, asked: Any) -> None:
        while True:
            try:
                await call(asked, timeout=20)
                self.told["answered"] += 1
            except grpc.aio.AioRpcError as e:
                self.told[e.code().name] += 1
                if retry_delay(e) > 0:
                    self.told["told when"] += 1
                await asyncio.sleep(0.01)

    async def streams(self) -> None:
        """Ten thousand streams, on as few connections as carry them, kept open as long as they may be."""
        async with contextlib.AsyncExitStack() as stack:
            stubs = []
            for _ in range(OPENED // ON_ONE):
                channel, stub = self.stub()
                await stack.enter_async_context(channel)
                stubs.append(stub)
            await asyncio.gather(*(self._hold(stubs[n // ON_ONE]) for n in range(OPENED)))

    async def _stream_of_requests(self) -> None:
        channel, stub = self.stub()
        async with channel:
            call = stub.Exchange()
            writing = asyncio.create_task(self._write(call))
            try:
                async for reply in call:
                    for outcome in reply.outcomes:
                        self.told[_end(outcome)] += 1
            except grpc.aio.AioRpcError as e:
                self.told[e.code().name] += 1
            finally:
                writing.cancel()

    async def _write(self, call: grpc.aio.StreamStreamCall[pb.ExchangeRequest, pb.ExchangeReply]) -> None:
        while True:
            await call.write(pb.ExchangeRequest(requests=[request() for _ in range(256)]))
            self.told["written"] += 256

    async def _calls(self, stub: exchange_pb2_grpc.ExchangeServiceAsyncStub) -> None:
        while True:
            try:
                await stub.Request(request(), timeout=20)
                self.told["disclosure"] += 1
            except grpc.aio.AioRpcError as e:
                self.told[e.code().name] += 1

    async def _hold(self, stub: exchange_pb2_grpc.ExchangeServiceAsyncStub) -> None:
        try:
            await stub.Exchange().read()  # nothing comes on those that are open
        except grpc.aio.AioRpcError as e:
            self.told[e.code().name] += 1


def _heavy(channel: grpc.aio.Channel) -> list[tuple[Any, Any]]:
    """Each of them five times, as a partner's system calls it."""
    actor = pb.Actor(id="x", role="auditor", assurance=pb.ASSURANCE_PERSONAL_LOGIN)
    reason = pb.ReasonCode(code="audit")
    person = pb.SubjectRef(scheme="uprn", value="100062990001")
    keeping = keeping_pb2_grpc.KeepingServiceStub(channel)
    report = report_pb2_grpc.ReportServiceStub(channel)
    calls: list[tuple[Any, Any]] = [
        (keeping.ErasePerson, keeping_pb2.ErasePersonRequest(person=person, actor=actor, reason=reason)),
        (keeping.ListHolds, keeping_pb2.ListHoldsRequest(actor=actor, reason=reason)),
        (report.ListComplaints, report_pb2.ListComplaintsRequest(actor=actor, reason=reason)),
        (report.ListBreaches, report_pb2.ListBreachesRequest(actor=actor, reason=reason)),
        (report.ListAccesses, report_pb2.ListAccessesRequest(actor=actor, reason=reason)),
        (
            override_pb2_grpc.OverrideServiceStub(channel).ListOverrides,
            override_pb2.ListOverridesRequest(actor=actor, reason=reason),
        ),
        (
            referral_pb2_grpc.ReferralServiceStub(channel).ListReferrals,
            referral_pb2.ListReferralsRequest(actor=actor, reason=reason),
        ),
    ]
    return calls * 5


def _end(outcome: pb.Outcome) -> str:
    if outcome.HasField("error"):
        code = next(c for c in grpc.StatusCode if c.value[0] == outcome.error.code)
        return code.name
    return outcome.WhichOneof("result") or ""


async def main() -> None:
    """Do as it is told, until standard input ends."""
    state, target, name, what = sys.argv[1:]
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    flood = Flood(Path(state), target, name)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    flooding: asyncio.Task[None] | None = None
    while line := await lines.readline():
        if line == b"start\n" and flooding is None:
            flood.told.clear()
            flooding = asyncio.create_task(getattr(flood, what)())
        elif line == b"stop\n" and flooding is not None:
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
            flooding = None
        print(json.dumps(flood.told), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
