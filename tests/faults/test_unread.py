"""A client that never reads is closed, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import time

import grpc
import pytest

from broker.pki.tls import channel_credentials
from broker.rpc.session import STALLED
from broker.v1 import exchange_pb2 as pb
from broker.v1 import exchange_pb2_grpc
from tests.faults.conftest import FLOODS, PACE
from tests.faults.flood import request
from tests.support.fleet import Fleet, Risks, ask

WRITTEN = 6 * 256  # more answers than the window holds, and fewer questions than the broker's
# A client's small window: what it does not read is soon not sent either.
NARROW = [
    ("grpc.http2.lookahead_bytes", 65_536),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


@pytest.mark.long
async def test_a_client_that_never_reads_is_closed_and_others_are_unharmed(worker: Fleet, risks: Risks) -> None:
    """Its stream ends ten seconds after its window is full; meanwhile another agency gets every answer."""
    credentials = channel_credentials(worker.files(FLOODS))
    async with (
        grpc.aio.secure_channel(worker.target, credentials, NARROW) as channel,
        worker.client() as others,
    ):
        call = exchange_pb2_grpc.ExchangeServiceStub(channel).Exchange()
        began = time.monotonic()
        writing = asyncio.create_task(_write(call))
        answered = 0
        while time.monotonic() - began < 2 * STALLED:
            await ask(others)
            answered += 1
            await asyncio.sleep(PACE)
        # Its end waits behind what it has not read.
        read = 0
        with contextlib.suppress(grpc.aio.AioRpcError):
            async with asyncio.timeout(20):
                while isinstance(reply := await call.read(), pb.ExchangeReply):
                    read += len(reply.outcomes)
        await asyncio.gather(writing, return_exceptions=True)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "not read" in (await call.details() or "")
        assert read < WRITTEN
        assert answered > 100


async def _write(call: grpc.aio.StreamStreamCall[pb.ExchangeRequest, pb.ExchangeReply]) -> None:
    """Ask for more than a window of answers, and read nothing."""
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for _ in range(WRITTEN // 256):
            await call.write(pb.ExchangeRequest(requests=[request() for _ in range(256)]))
