"""The same request asked twice at a time: one asking of the provider, one entry, one answer for both."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from broker.v1 import exchange_pb2 as pb
from tests.rpc.conftest import SOON, Edge, eventually
from tests.rpc.test_exchange import Wanted, _detail, hold, outcomes


async def asked_twice(edge: Edge, wanted: Wanted, **again: Any) -> tuple[Any, Any, pb.RecordRequest]:
    """Two streams with the same request on each, once the provider has been asked for the first."""
    first, second = edge.exchange().Exchange(), edge.exchange().Exchange()
    request = wanted()
    await first.write(pb.ExchangeRequest(requests=[request]))
    await eventually(lambda: edge.world.providers.asked)
    repeated = pb.RecordRequest()
    repeated.CopyFrom(request)
    repeated.MergeFrom(pb.RecordRequest(**again))
    await second.write(pb.ExchangeRequest(requests=[repeated]))
    return first, second, request


async def joined(edge: Edge, request: pb.RecordRequest) -> None:
    """Wait until two wait for it."""
    running = edge.servicer.under_way._running
    await eventually(lambda: running[("nwas/cad", request.request_id)].shared)


async def test_two_streams_get_one_answer(edge: Edge, wanted: Wanted) -> None:
    """Both get the record under the same entry; the provider was asked once. A later repeat is a replay."""
    go_on = hold(edge)
    first, second, request = await asked_twice(edge, wanted, timeout={"seconds": 4})
    await joined(edge, request)
    go_on.set()
    (one,), _ = await outcomes(first, 1)
    (two,), _ = await outcomes(second, 1)
    assert one.disclosure.record == two.disclosure.record
    assert one.disclosure.record.value
    assert one.disclosure.receipt.entry == two.disclosure.receipt.entry
    assert len(edge.world.providers.asked) == 1
    assert edge.world.store.events == ["disclosure"]
    again = await edge.exchange().Request(request, timeout=SOON)
    assert again.replayed
    assert edge.servicer.under_way._running == {}


async def test_a_unary_call_joins_too(edge: Edge, wanted: Wanted) -> None:
    """Whichever way it is asked."""
    go_on = hold(edge)
    request = wanted()
    calls = [asyncio.ensure_future(edge.exchange().Request(request, timeout=SOON)) for _ in range(3)]
    await eventually(lambda: edge.world.providers.asked)
    await asyncio.sleep(0.1)
    go_on.set()
    told = await asyncio.gather(*calls)
    assert len({one.receipt.entry for one in told}) == 1
    assert all(one.record.value for one in told)
    assert len(edge.world.providers.asked) == 1


async def test_other_words_under_an_id_in_flight_are_refused(edge: Edge, wanted: Wanted) -> None:
    """And the first is not disturbed."""
    go_on = hold(edge)
    first, second, _ = await asked_twice(edge, wanted, incident="nwas/2026-11-21/17")
    (refused,), _ = await outcomes(second, 1)
    assert refused.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    wrong = _detail(refused.error, error_details_pb2.BadRequest)
    assert wrong.field_violations[0].field == "request_id"
    go_on.set()
    (found,), _ = await outcomes(first, 1)
    assert found.HasField("disclosure")


@pytest.mark.parametrize("how", ["cancel", "hang up"])
async def test_who_leaves_does_not_take_it_from_the_other(edge: Edge, wanted: Wanted, how: str) -> None:
    """The first gives up or breaks off: the second is answered, and nothing is undelivered."""
    go_on = hold(edge)
    first, second, request = await asked_twice(edge, wanted)
    await joined(edge, request)
    answering = edge.servicer.under_way._running["nwas/cad", request.request_id]
    if how == "hang up":
        first.cancel()
    else:
        await first.write(pb.ExchangeRequest(cancel=[request.request_id]))
        (given_up,), _ = await outcomes(first, 1)
        assert given_up.error.code == grpc.StatusCode.CANCELLED.value[0]
    await eventually(lambda: not answering.shared)
    go_on.set()
    (found,), _ = await outcomes(second, 1)
    assert found.disclosure.record.value
    assert edge.world.store.events == ["disclosure"]


async def test_who_gives_more_time_is_not_told_the_others_timeout(edge: Edge, wanted: Wanted) -> None:
    """It is asked again with its own time; what comes of both is one entry."""
    go_on = hold(edge)
    first, second, _ = await asked_twice(
        edge, lambda: wanted(timeout={"nanos": 800_000_000}), timeout={"seconds": 9}
    )
    await eventually(lambda: len(edge.world.providers.asked) == 2)
    (late,), _ = await outcomes(first, 1)
    assert late.HasField("error")
    go_on.set()
    (found,), _ = await outcomes(second, 1)
    assert found.disclosure.record.value
    assert edge.world.store.events == ["disclosure"]


async def test_what_all_left_while_it_was_committed_is_undelivered_once(edge: Edge, wanted: Wanted) -> None:
    """One release that nobody got is one note."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def gate() -> None:
        reached.set()
        await go_on.wait()

    edge.world.store.log.gate = gate
    first, second, request = await asked_twice(edge, wanted)
    await joined(edge, request)
    async with asyncio.timeout(SOON):
        await reached.wait()
    first.cancel()
    second.cancel()
    await eventually(lambda: not edge.servicer.sessions)
    go_on.set()
    await eventually(lambda: edge.world.store.events == ["disclosure", "undelivered"])
