"""Erasures over the wire: looking for what would go reads much, and so has turns like every list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from broker.errors import NotAllowed
from broker.pki.tls import TlsFiles, server_credentials
from broker.rpc.identity import HEAVY
from broker.rpc.keeping import KeepingServicer
from broker.v1 import exchange_pb2, keeping_pb2, keeping_pb2_grpc
from tests.rpc.conftest import Edge, eventually

WHO: dict[str, Any] = {
    "actor": exchange_pb2.Actor(id="p.moss", role="records"),
    "reason": exchange_pb2.ReasonCode(code="art-17"),
}
PERSON = exchange_pb2.SubjectRef(scheme="uprn", value="100062990001")
CALLS = {
    "PlanErasure": keeping_pb2.PlanErasureRequest(person=PERSON, ground="unlawful", **WHO),
    "ConfirmErasure": keeping_pb2.ConfirmErasureRequest(
        plan_id="4fd35ae4-7bb5-4a1c-9cc5-7f9e7d1f5ee5", person=PERSON, **WHO
    ),
}


class _Long:
    """Erasures that take until they may end."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()

    async def plan(self, *_: Any, **__: Any) -> Any:
        """One that is planned, and refused in the end."""
        return await self._one()

    async def confirm(self, *_: Any) -> Any:
        """One that is confirmed."""
        return await self._one()

    async def _one(self) -> Any:
        self.begun += 1
        await self.may_end.wait()
        raise NotAllowed("there is no such plan")


@pytest.fixture
async def long(edge: Edge) -> AsyncIterator[_Long]:
    """A port of its own for them, with the edge's identity."""
    erasures: Any = _Long()
    none: Any = None
    identity, telemetry = edge.servicer.identity, edge.telemetry
    server = grpc.aio.server()
    servicer = KeepingServicer(none, none, erasures, none, none, identity, telemetry)
    keeping_pb2_grpc.add_KeepingServiceServicer_to_server(servicer, server)
    edge.port = server.add_secure_port(
        "127.0.0.1:0", server_credentials(TlsFiles.within(edge.certs.path, "broker"))
    )
    await server.start()
    yield erasures
    await server.stop(0.2)


@pytest.mark.parametrize("method", sorted(CALLS))
async def test_they_have_turns_and_one_system_so_many_at_a_time(edge: Edge, long: _Long, method: str) -> None:
    """One is worked on, some wait, and whoever asks for more is told when to ask again."""
    call = getattr(keeping_pb2_grpc.KeepingServiceStub(edge.channel()), method)
    asking = [asyncio.ensure_future(call(CALLS[method])) for _ in range(HEAVY + 3)]
    await eventually(lambda: sum(each.done() for each in asking) == 3 and long.begun == 1)
    long.may_end.set()
    ended = await asyncio.gather(*asking, return_exceptions=True)
    codes = [each.code() for each in ended if isinstance(each, grpc.aio.AioRpcError)]
    assert sorted(codes, key=str) == [
        *[grpc.StatusCode.PERMISSION_DENIED] * HEAVY,
        *[grpc.StatusCode.RESOURCE_EXHAUSTED] * 3,
    ]
