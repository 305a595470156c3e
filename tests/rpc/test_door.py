"""The door before the exchange, over real streams: quotas item by item, the emergency lane, bounded streams."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from broker.errors import Saturated
from broker.rpc import session as session_module
from broker.rpc import underway
from broker.rpc.unread import Unread
from broker.v1 import agreement_pb2, agreement_pb2_grpc
from broker.v1 import exchange_pb2 as pb
from tests.rpc.conftest import SOON, Edge, eventually
from tests.rpc.test_exchange import hold, outcomes
from tests.support.world import ask

Wanted = Callable[..., pb.RecordRequest]
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def agree(edge: Edge, **limits: int) -> None:
    """Put the agreement in force with these limits."""
    today = datetime.now(UTC).date()
    edge.world.agree(
        version=2, valid_from=today - timedelta(9), valid_until=today + timedelta(9), limits=limits
    )


def over_quota(status: status_pb2.Status) -> tuple[str, float]:
    """Which quota a refusal names, and the delay it tells in seconds."""
    assert status.code == EXHAUSTED.value[0]
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for each in status.details:
        each.Unpack(info if each.Is(info.DESCRIPTOR) else retry)
    assert info.reason == "QuotaExceeded"
    return info.metadata["quota"], retry.retry_delay.ToTimedelta().total_seconds()


def refused(found: list[pb.Outcome]) -> list[status_pb2.Status]:
    """The errors among outcomes."""
    return [one.error for one in found if one.HasField("error")]


async def test_over_an_agencys_quota_items_are_refused_and_the_stream_goes_on(
    narrow: Edge, wanted: Wanted
) -> None:
    """A second's worth is answered, the rest says how long to wait; whoever waits is answered on the stream."""
    call = narrow.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[wanted() for _ in range(30)]))
    found, _ = await outcomes(call, 30)
    errors = refused(found)
    # Ten at once, and one more for each tenth of a second that this took.
    assert 15 <= len(errors) <= 20
    quota, delay = over_quota(errors[-1])
    assert quota == "agency"
    assert 0 < delay <= 0.1
    assert narrow.counted("over_quota", edge="grpc", agency="nwas", limit="agency") == len(errors)
    await asyncio.sleep(delay)
    await call.write(pb.ExchangeRequest(requests=[wanted()]))
    (answered,), _ = await outcomes(call, 1)
    assert answered.HasField("disclosure")
    other = narrow.exchange("cfrs-cad").Exchange()
    await other.write(pb.ExchangeRequest(requests=[wanted()]))
    (theirs,), _ = await outcomes(other, 1)
    assert not refused([theirs])


async def test_what_is_over_an_agencys_quota_is_not_even_read(narrow: Edge, wanted: Wanted) -> None:
    """Malformed requests count as well, and past the quota they are refused for their number alone."""
    call = narrow.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[wanted(subject=None) for _ in range(40)]))
    found, _ = await outcomes(call, 40)
    codes = [status.code for status in refused(found)]
    assert codes[:10] == [grpc.StatusCode.INVALID_ARGUMENT.value[0]] * 10
    assert codes.count(EXHAUSTED.value[0]) >= 25


async def test_a_unary_call_over_quota_says_so(narrow: Edge, wanted: Wanted) -> None:
    """The same status, with the same details."""
    stub = narrow.exchange()
    calls = [stub.Request(wanted(), timeout=SOON) for _ in range(30)]
    ends = await asyncio.gather(*calls, return_exceptions=True)
    errors = [end for end in ends if isinstance(end, grpc.aio.AioRpcError)]
    assert errors
    for error in errors:
        status: Any = rpc_status.from_call(error)  # type: ignore[arg-type]
        assert over_quota(status)[0] == "agency"


async def test_over_an_agreements_quota_nobody_is_asked_and_nothing_is_read(edge: Edge, wanted: Wanted) -> None:
    """Refused with the delay of its bucket before the database or a provider hears of it, and no entry."""
    agree(edge, per_minute=3)
    await edge.world.store.reference.refresh()
    call = edge.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[wanted() for _ in range(8)]))
    found, _ = await outcomes(call, 8)
    errors = refused(found)
    assert len(errors) == 5
    quota, delay = over_quota(errors[0])
    assert quota == "agreement"
    assert 15 < delay <= 20
    assert len(edge.world.providers.asked) == 3
    assert edge.world.store.calls.count("read") == 3
    assert edge.world.store.events == ["disclosure"] * 3
    assert edge.counted("over_quota", edge="grpc", agency="nwas", limit="agreement") == 5


async def test_the_emergency_lane_has_room_in_a_full_stream_and_agency(
    edge: Edge, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where as many as may are in flight, one more is started in the emergency lane, and no ordinary one."""
    monkeypatch.setattr(session_module, "MAX_IN_FLIGHT", 8)
    monkeypatch.setattr(underway, "MAX_OF_AGENCY", 8)
    go_on = hold(edge)
    call = edge.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[wanted() for _ in range(8)]))
    await eventually(lambda: len(edge.world.providers.asked) == 8)
    agree(edge, emergency_per_minute=1)
    await edge.world.store.reference.refresh()
    await call.write(pb.ExchangeRequest(requests=[wanted() for _ in range(2)]))
    (ordinary,), _ = await outcomes(call, 1)
    assert ordinary.error.code == EXHAUSTED.value[0]
    await eventually(lambda: len(edge.world.providers.asked) == 9)
    assert [question.request.urgent for question, _ in edge.world.providers.asked] == [False] * 8 + [True]
    go_on.set()
    await outcomes(call, 9)


async def test_a_reply_to_a_call_counts_until_it_has_been_read(
    edge: Edge, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls hold their agency's bytes as streams do: beyond the bound the record is given up, and said so."""
    counted: list[int] = []
    add = edge.servicer.unread.add
    monkeypatch.setattr(edge.servicer.unread, "add", lambda who, size: (counted.append(size), add(who, size)))
    reply = await edge.exchange().Request(wanted())
    assert counted == [reply.ByteSize()]
    await eventually(lambda: edge.servicer.unread.total == 0)
    monkeypatch.setattr(edge.servicer, "unread", Unread(1))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await edge.exchange().Request(wanted())
    assert caught.value.code() is EXHAUSTED
    await eventually(lambda: edge.world.store.events == ["disclosure", "disclosure", "undelivered"])


async def test_a_reply_to_a_call_that_is_not_read_counts_all_the_while(edge: Edge, wanted: Wanted) -> None:
    """It waits in gRPC for a client whose window is full; once read, it counts no more."""
    small = (("grpc.http2.lookahead_bytes", 16), ("grpc.http2.bdp_probe", 0))
    call = edge.channel("nwas-cad", *small, ("grpc.use_local_subchannel_pool", 1)).stream_stream(
        "/broker.v1.ExchangeService/Request", pb.RecordRequest.SerializeToString, pb.Disclosure.FromString
    )(timeout=SOON)
    await call.write(wanted())
    await call.done_writing()
    await eventually(lambda: edge.servicer.unread.total > 0)
    await asyncio.sleep(0.5)
    waiting = edge.servicer.unread.total
    assert (await call.read()).ByteSize() == waiting
    await eventually(lambda: edge.servicer.unread.total == 0)


def test_all_agencies_together_leave_so_much_unread_and_each_as_much_as_is_left() -> None:
    """One alone half, and whoever comes still has room."""
    unread, room = Unread(100, of_all=120), {}
    for agency in ("a", "b", "c"):
        asked, room[agency] = ask(requester=agency), 0
        with contextlib.suppress(Saturated):
            while True:
                unread.check(asked, 1)
                unread.add(agency, 1)
                room[agency] += 1
    assert room == {"a": 60, "b": 30, "c": 15}


async def test_answers_that_nobody_reads_are_bounded_in_bytes_and_let_go_when_their_stream_ends(
    edge: Edge, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound the record is given up, with an entry that says so; no record outlives its stream."""
    monkeypatch.setattr(edge.servicer, "unread", Unread(1))
    ended: list[session_module.Session] = []
    leave = session_module.Session._leave
    monkeypatch.setattr(session_module.Session, "_leave", lambda one: (ended.append(one), leave(one)))
    call = edge.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[wanted()]))
    (one,), _ = await outcomes(call, 1)
    assert one.error.code == EXHAUSTED.value[0]
    assert any(each.Is(pb.Receipt.DESCRIPTOR) for each in one.error.details)
    await eventually(lambda: edge.world.store.events == ["disclosure", "undelivered"])
    # Not read, and too much is waiting already: not even started.
    edge.servicer.unread.add("nwas", 2)
    await call.write(pb.ExchangeRequest(requests=[wanted()]))
    (one,), _ = await outcomes(call, 1)
    assert one.error.code == EXHAUSTED.value[0]
    assert len(edge.world.providers.asked) == 1
    edge.servicer.unread.release("nwas", 2)
    # Read by us a moment before whoever wrote it knows.
    await eventually(lambda: not edge.servicer.unread.bytes)
    go_on = hold(edge)
    await call.write(pb.ExchangeRequest(requests=[wanted() for _ in range(3)]))
    await eventually(lambda: len(edge.world.providers.asked) == 4)
    call.cancel()
    await eventually(lambda: ended)
    go_on.set()
    assert (len(ended[0]._waiting), ended[0]._writing, ended[0]._running) == (0, [], {})
    assert not edge.servicer.unread.bytes


async def test_ids_that_a_client_makes_up_count_as_refusals_do(edge: Edge, wanted: Wanted) -> None:
    """A flood of acknowledgements is read more slowly; those of somebody who works are not."""
    rests: list[int] = []
    pause = edge.servicer.door.pause

    async def counted(agency: str, refused: int) -> None:
        rests.append(refused)
        await pause(agency, refused)

    edge.servicer.door.pause = counted  # type: ignore[method-assign]
    call = edge.exchange().Exchange()
    ids = [str(uuid.uuid4()) for _ in range(4096)]
    await call.write(pb.ExchangeRequest(received=ids, cancel=ids))
    await call.write(pb.ExchangeRequest(received=ids[:16], requests=[wanted()]))
    await outcomes(call, 1)
    await eventually(lambda: len(rests) == 2)
    assert rests == [256, 0]


async def test_a_system_has_so_many_streams_open_and_no_more(narrow: Edge, wanted: Wanted) -> None:
    """One more is RESOURCE_EXHAUSTED; what ends makes room; another system has its own."""
    stub = narrow.exchange()
    first, second = stub.Exchange(), stub.Exchange()
    for call in (first, second):
        await call.write(pb.ExchangeRequest(requests=[wanted()]))
        await outcomes(call, 1)
    third = stub.Exchange()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(SOON):
            await third.read()
    assert caught.value.code() is EXHAUSTED
    theirs = narrow.exchange("cfrs-cad").Exchange()
    await theirs.write(pb.ExchangeRequest(requests=[wanted()]))
    await outcomes(theirs, 1)
    await second.done_writing()
    assert await second.read() is grpc.aio.EOF
    fourth = stub.Exchange()
    await fourth.write(pb.ExchangeRequest(requests=[wanted()]))
    await outcomes(fourth, 1)


async def test_a_call_that_has_ended_is_gone(edge: Edge, wanted: Wanted) -> None:
    """Answered or refused: gRPC counts it as open until nothing holds it, and its bound on a connection must
    not wait for the collector of garbage."""
    stub, agreements = edge.exchange(), agreement_pb2_grpc.AgreementServiceStub(edge.channel("nwas-cad"))

    def open_calls() -> int:
        return sum(type(each).__name__ == "_ServicerContext" for each in gc.get_objects())

    async def refused_call(call: Any) -> None:
        with pytest.raises(grpc.aio.AioRpcError):
            await call

    await stub.Request(wanted(), timeout=SOON)
    gc.collect()
    gc.disable()
    try:
        before = open_calls()
        for _ in range(20):
            await stub.Request(wanted(), timeout=SOON)
            await refused_call(stub.Request(wanted(subject=None), timeout=SOON))
            await refused_call(agreements.ApplyAgreement(agreement_pb2.ApplyAgreementRequest(), timeout=SOON))
        await eventually(lambda: open_calls() <= before + 1)
    finally:
        gc.enable()
