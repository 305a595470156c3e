"""What was said about one subject is not changed all the time by one agency, in either direction."""

from __future__ import annotations

import grpc
import pytest

from broker.limits import CHANGES_AT_ONCE
from broker.v1 import directive_pb2 as pb
from broker.v1 import directive_pb2_grpc, exchange_pb2
from tests.rpc.conftest import SOON, Edge

ACTOR = exchange_pb2.Actor(id="a.hill", role="dispatcher")
HOUSE = exchange_pb2.SubjectRef(scheme="uprn", value="100062990001")
ELSEWHERE = exchange_pb2.SubjectRef(scheme="uprn", value="100062990002")


@pytest.mark.parametrize("how", ["add", "withdraw"])
async def test_one_agency_one_subject_so_often(edge: Edge, how: str) -> None:
    """The one past the burst is refused with a delay; another subject is not touched."""
    stub = directive_pb2_grpc.DirectiveServiceStub(edge.channel())

    async def change(subject: exchange_pb2.SubjectRef) -> None:
        if how == "withdraw":
            await stub.WithdrawDirective(
                pb.WithdrawDirectiveRequest(subject=subject, actor=ACTOR), timeout=SOON
            )
        else:
            said = pb.Directive(kind="objection", subject=subject)
            await stub.AddDirective(pb.AddDirectiveRequest(directive=said, actor=ACTOR), timeout=SOON)

    async def keep_changing() -> None:
        for _ in range(int(CHANGES_AT_ONCE) + 10):  # a token or two come back meanwhile
            await change(HOUSE)

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await keep_changing()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    entries = len(edge.world.store.events)
    assert CHANGES_AT_ONCE <= entries < CHANGES_AT_ONCE + 10
    await change(ELSEWHERE)
    assert len(edge.world.store.events) == entries + 1
