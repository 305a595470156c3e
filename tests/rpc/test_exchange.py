"""The exchange over real streams: one outcome for each request, nothing lost, nobody harmed by another."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from broker.core.model import Function
from broker.core.record import Record
from broker.errors import ProviderUnavailable
from broker.ports import Answer, NotFound, ProviderFailed, Question
from broker.rpc import session as under_test
from broker.rpc import underway
from broker.rpc.door import STEP
from broker.v1 import exchange_pb2 as pb
from records.fire.v1 import premises_risk_pb2
from tests.rpc.conftest import SOON, Edge, eventually
from tests.support.world import RISK

Wanted = Callable[..., pb.RecordRequest]


async def outcomes(call: Any, count: int) -> tuple[list[pb.Outcome], list[pb.ExchangeReply]]:
    """So many outcomes, and the replies they came in."""
    found: list[pb.Outcome] = []
    replies = []
    async with asyncio.timeout(SOON):
        while len(found) < count:
            reply = await call.read()
            assert isinstance(reply, pb.ExchangeReply), (await call.code(), await call.details())
            replies.append(reply)
            found += reply.outcomes
    assert len(found) == count
    return found, replies


def hold(edge: Edge) -> asyncio.Event:
    """The provider answers only once this is set."""
    go_on = asyncio.Event()

    async def script(_: Question) -> Answer:
        await go_on.wait()
        return edge.world.found()

    edge.world.providers.script = script
    return go_on


def details(error: grpc.aio.AioRpcError, kind: type[Any]) -> Any:
    """The detail of this kind in a status."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    return _detail(status, kind)


def _detail(status: status_pb2.Status, kind: type[Any]) -> Any:
    for each in status.details:
        if each.Is(kind.DESCRIPTOR):
            made = kind()
            each.Unpack(made)
            return made
    raise AssertionError(f"no {kind.__name__} among the details")


async def test_one_record(edge: Edge, wanted: Wanted) -> None:
    """The unary call gives the record's permitted fields and a whole receipt."""
    disclosure = await edge.exchange().Request(wanted(), timeout=SOON)
    record = premises_risk_pb2.PremisesRisk()
    assert disclosure.record.Unpack(record)
    assert record.crew_notes == ""
    assert disclosure.receipt.checkpoint
    assert len(disclosure.receipt.opening) > 32


async def test_a_refusal_is_permission_denied_with_its_refusal(edge: Edge, wanted: Wanted) -> None:
    """Code, remedy and receipt stand among the details."""
    request = wanted(actor=pb.Actor(id="x", role="visitor"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await edge.exchange().Request(request, timeout=SOON)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    refusal = details(caught.value, pb.Refusal)
    assert refusal.code == "role"
    assert refusal.receipt.entry


async def test_a_stream_gives_one_outcome_for_each_request(edge: Edge, wanted: Wanted) -> None:
    """Permitted, refused and malformed together; a bad one harms only itself."""
    good = [wanted() for _ in range(20)]
    bad = [
        wanted(subject=pb.SubjectRef(scheme="uprn", value="010")),
        wanted(request_id="not-a-uuid"),
        wanted(override=pb.EmergencyOverride(code="x")),
        wanted(reason=pb.ReasonCode(words="x" * 70_000)),
    ]
    call = edge.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[*good[:10], *bad, *good[10:]]))
    found, replies = await outcomes(call, len(good) + len(bad))
    by_id = {one.request_id: one for one in found}
    assert {one.request_id for one in good} <= by_id.keys()
    assert all(by_id[one.request_id].HasField("disclosure") for one in good)
    assert all(by_id[one.request_id].HasField("error") for one in bad)
    assert edge.counted("malformed", edge="grpc") == 4
    # A receipt without its own checkpoint is served by its reply's.
    for reply in replies:
        for one in reply.outcomes:
            if one.HasField("disclosure") and not one.disclosure.receipt.checkpoint:
                assert reply.checkpoint
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_what_is_ready_together_travels_together(edge: Edge, wanted: Wanted) -> None:
    """Outcomes that wait are one message with one checkpoint."""
    go_on = hold(edge)
    call = edge.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[wanted() for _ in range(50)]))
    await eventually(lambda: len(edge.world.providers.asked) == 50)
    go_on.set()
    _, replies = await outcomes(call, 50)
    assert len(replies) <= 10
    assert all(reply.checkpoint for reply in replies)


async def test_half_closing_lets_what_is_outstanding_finish(edge: Edge, wanted: Wanted) -> None:
    """A client that has said all it will say still gets every answer."""
    go_on = hold(edge)
    call = edge.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[wanted() for _ in range(3)]))
    await call.done_writing()
    await eventually(lambda: len(edge.world.providers.asked) == 3)
    go_on.set()
    await outcomes(call, 3)
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_cancelled_request_is_told_so_and_the_others_go_on(edge: Edge, wanted: Wanted) -> None:
    """Exactly one outcome, CANCELLED, and no entry."""
    go_on = hold(edge)
    one, two = wanted(), wanted()
    call = edge.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[one, two]))
    await eventually(lambda: len(edge.world.providers.asked) == 2)
    await call.write(pb.ExchangeRequest(cancel=[one.request_id, str(uuid.uuid4()), "nonsense"]))
    (cancelled,), _ = await outcomes(call, 1)
    assert cancelled.request_id == one.request_id
    assert cancelled.error.code == grpc.StatusCode.CANCELLED.value[0]
    go_on.set()
    (answered,), _ = await outcomes(call, 1)
    assert answered.request_id == two.request_id
    assert answered.HasField("disclosure")
    assert edge.world.store.events == ["disclosure"]


async def test_an_id_in_flight_is_not_started_twice(edge: Edge, wanted: Wanted) -> None:
    """The second is told which field is wrong; the first goes on."""
    go_on = hold(edge)
    request = wanted()
    call = edge.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[request, request]))
    (second,), _ = await outcomes(call, 1)
    assert _detail(second.error, error_details_pb2.BadRequest).field_violations[0].field == "request_id"
    go_on.set()
    (first,), _ = await outcomes(call, 1)
    assert first.HasField("disclosure")
    assert len(edge.world.providers.asked) == 1


async def test_a_deadline_shorter_than_the_timeout_counts(edge: Edge, wanted: Wanted) -> None:
    """The provider is not given time that its asker does not have."""
    hold(edge).set()
    await edge.exchange().Request(wanted(timeout=duration_pb2.Duration(seconds=30)), timeout=3)
    _, until = edge.world.providers.asked[0]
    assert until < asyncio.get_running_loop().time() + 3


async def test_a_unary_call_given_up_while_asking_leaves_no_entry(edge: Edge, wanted: Wanted) -> None:
    """Nothing was committed, nothing was released."""
    hold(edge)
    call = edge.exchange().Request(wanted())
    await eventually(lambda: edge.world.providers.asked)
    call.cancel()
    await asyncio.sleep(0.2)
    assert edge.world.store.events == []


async def test_a_unary_call_given_up_while_committing_is_undelivered(edge: Edge, wanted: Wanted) -> None:
    """The commit is seen through, and the log says that nobody got it."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def gate() -> None:
        reached.set()
        await go_on.wait()

    edge.world.store.log.gate = gate
    call = edge.exchange().Request(wanted())
    async with asyncio.timeout(SOON):
        await reached.wait()
    call.cancel()
    await asyncio.sleep(0.1)
    go_on.set()
    await eventually(lambda: edge.world.store.events == ["disclosure", "undelivered"])


async def test_a_stream_that_breaks_while_committing_is_undelivered(edge: Edge, wanted: Wanted) -> None:
    """Cancelled by the client first and by the end of its stream again: still seen through, still noted."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def gate() -> None:
        reached.set()
        await go_on.wait()

    edge.world.store.log.gate = gate
    request = wanted()
    call = edge.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[request]))
    async with asyncio.timeout(SOON):
        await reached.wait()
    await call.write(pb.ExchangeRequest(cancel=[request.request_id]))
    await asyncio.sleep(0.1)
    call.cancel()
    await asyncio.sleep(0.1)
    go_on.set()
    await eventually(lambda: edge.world.store.events == ["disclosure", "undelivered"])


async def test_a_client_that_does_not_read_is_ended_and_its_releases_noted(
    edge: Edge, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unread replies do not pile up: the stream ends, and each release that was not written is undelivered."""
    monkeypatch.setattr(under_test, "STALLED", 0.5)
    large = premises_risk_pb2.PremisesRisk(uprn="1")
    for _ in range(20):
        large.hazards.items.add(code="LPG-" + "X" * 45_000)
    record = Record(f"type.googleapis.com/{RISK}", large.SerializeToString())
    edge.world.providers.answers(edge.world.found(record=record))
    count, deciding = 24, iter(range(24))
    all_decided = asyncio.Event()

    async def gate() -> None:
        # However busy the machine: none is still being decided, and so could be given up, when the stream ends.
        if next(deciding, count) == count - 1:
            all_decided.set()
        await all_decided.wait()

    edge.world.store.log.gate = gate
    call = edge.exchange().Exchange()
    patient = duration_pb2.Duration(seconds=SOON)
    await call.write(pb.ExchangeRequest(requests=[wanted(timeout=patient) for _ in range(count)]))
    await eventually(lambda: edge.world.store.events.count("undelivered") > 0)
    written = 0
    async with asyncio.timeout(SOON):
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for reply in call:
                written += len(reply.outcomes)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await edge.world.acknowledgements.drain()
    noted = edge.world.store.events.count("undelivered")
    assert edge.world.store.events.count("disclosure") == count
    assert noted > count / 2
    assert count - 2 <= written + noted <= count + 2  # the one being written may have got through
    await eventually(lambda: not edge.servicer.unread.bytes)
    assert edge.servicer.unread.total == 0


async def test_replies_stay_under_a_mebibyte(edge: Edge, wanted: Wanted) -> None:
    """Answers that are ready together travel in as many replies as that takes; none is lost."""
    large = premises_risk_pb2.PremisesRisk(uprn="1")
    for _ in range(8):
        large.hazards.items.add(code="LPG-" + "X" * 45_000)
    record = Record(f"type.googleapis.com/{RISK}", large.SerializeToString())
    edge.world.providers.answers(edge.world.found(record=record))
    go_on = asyncio.Event()
    edge.world.store.log.gate = go_on.wait  # all are committed in the same moment
    call = edge.exchange().Exchange()
    patient = duration_pb2.Duration(seconds=SOON)
    await call.write(pb.ExchangeRequest(requests=[wanted(timeout=patient) for _ in range(8)]))
    await eventually(lambda: len(edge.world.providers.asked) == 8)
    go_on.set()
    found, replies = await outcomes(call, 8)
    assert all(one.HasField("disclosure") for one in found)
    assert max(reply.ByteSize() for reply in replies) <= under_test.MAX_BYTES
    assert len(replies) < 8


async def test_between_a_few_requests_of_a_message_others_go_on(edge: Edge, wanted: Wanted) -> None:
    """It rests for as many as it has refused: an emergency that comes now must not wait for a whole message."""
    rests: list[int] = []
    breathe = edge.servicer.door.breathe

    async def counted(refused: int) -> None:
        rests.append(refused)
        await breathe(refused)

    edge.servicer.door.breathe = counted  # type: ignore[method-assign]
    call = edge.exchange().Exchange()
    requests = [wanted() if n < STEP + 3 else pb.RecordRequest() for n in range(2 * STEP + 1)]
    await call.write(pb.ExchangeRequest(requests=requests))
    await outcomes(call, len(requests))
    assert rests == [0, STEP - 3, 1]


async def test_a_client_that_does_not_read_is_not_read(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much it sends: what waits to be written to it is as much as may be in flight, and one message."""
    most, each, sent = 16, 8, 0
    monkeypatch.setattr(under_test, "MAX_IN_FLIGHT", most)
    go_on, write = asyncio.Event(), under_test.Session._write

    async def stuck(session: under_test.Session) -> None:
        await go_on.wait()
        await write(session)

    async def nothing(agency: str, refused: int) -> None:
        pass

    monkeypatch.setattr(under_test.Session, "_write", stuck)
    monkeypatch.setattr(edge.servicer.door, "pause", nothing)
    call = edge.exchange().Exchange()
    message = pb.ExchangeRequest(requests=[pb.RecordRequest()] * each)  # each of which is refused
    for _ in range(most):
        await call.write(message)
        sent += each
    await eventually(lambda: edge.servicer.sessions)
    (session,) = edge.servicer.sessions
    await eventually(lambda: len(session._waiting) >= most)
    await asyncio.sleep(0.2)
    assert len(session._waiting) < most + each
    go_on.set()
    await outcomes(call, sent)


async def test_a_message_of_too_many_requests_ends_the_stream_at_once(edge: Edge) -> None:
    """Two bytes each, they would otherwise cost the broker a thousand times what they cost to send."""
    call = edge.exchange().Exchange()
    with contextlib.suppress(grpc.aio.AioRpcError):  # the stream may end while it is still being written
        await call.write(pb.ExchangeRequest(requests=[pb.RecordRequest()] * 200_000))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(SOON):
            await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_more_in_flight_than_allowed_is_told_item_by_item(
    edge: Edge, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the bound each gets RESOURCE_EXHAUSTED with a delay, and what is in flight goes on."""
    monkeypatch.setattr(under_test, "MAX_IN_FLIGHT", 5)
    go_on = hold(edge)
    call = edge.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[wanted() for _ in range(9)]))
    refused, _ = await outcomes(call, 4)
    for one in refused:
        assert one.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
        assert _detail(one.error, error_details_pb2.RetryInfo).retry_delay.seconds == 1
    go_on.set()
    found, _ = await outcomes(call, 5)
    assert all(one.HasField("disclosure") for one in found)


async def test_an_agency_has_a_bound_over_all_its_streams(
    edge: Edge, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More streams are not more room; and what ends makes room again."""
    monkeypatch.setattr(underway, "MAX_OF_AGENCY", 3)
    go_on = hold(edge)
    first, second = edge.exchange().Exchange(), edge.exchange().Exchange()
    await first.write(pb.ExchangeRequest(requests=[wanted() for _ in range(3)]))
    await eventually(lambda: len(edge.world.providers.asked) == 3)
    await second.write(pb.ExchangeRequest(requests=[wanted()]))
    (refused,), _ = await outcomes(second, 1)
    assert refused.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    go_on.set()
    await outcomes(first, 3)
    await second.write(pb.ExchangeRequest(requests=[wanted()]))
    (found,), _ = await outcomes(second, 1)
    assert found.HasField("disclosure")


async def test_a_suspension_ends_an_open_stream_with_its_next_message(edge: Edge, wanted: Wanted) -> None:
    """UNAUTHENTICATED, also for what is in flight: nothing more is started or written."""
    hold(edge)
    call = edge.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[wanted()]))
    await eventually(lambda: edge.world.providers.asked)
    await edge.enrol("nwas-cad", Function.PARTNER, suspended=True)
    await call.write(pb.ExchangeRequest(requests=[wanted()]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(SOON):
            await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert edge.world.store.events == []
    assert edge.counted("unauthenticated", edge="grpc") == 1


async def test_a_suspension_ends_a_call_that_waits(edge: Edge, wanted: Wanted) -> None:
    """UNAUTHENTICATED at once, its provider is not waited for; another system's call goes on."""
    go_on = hold(edge)
    await edge.enrol("nwas-new", Function.PARTNER)
    ours, theirs = edge.exchange().Request(wanted()), edge.exchange("nwas-new").Request(wanted())
    await eventually(lambda: len(edge.world.providers.asked) == 2)
    await edge.enrol("nwas-cad", Function.PARTNER, suspended=True)
    edge.servicer.identity.review()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(10):
            await ours
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert [caller for caller, _ in edge.servicer.under_way._running] == ["nwas/new"]
    assert edge.world.store.events == []
    go_on.set()
    assert (await theirs).HasField("record")
    assert edge.servicer.under_way._running == {}


async def test_a_stream_whose_worker_goes_says_what_to_do(edge: Edge, wanted: Wanted) -> None:
    """UNAVAILABLE, Draining: what had no outcome is sent again elsewhere, at once; nothing is in the log."""
    hold(edge)
    call = edge.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[wanted()]))
    await eventually(lambda: edge.world.providers.asked)
    (session,) = edge.servicer.sessions
    session.end()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(SOON):
            await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert details(caught.value, error_details_pb2.ErrorInfo).reason == "Draining"
    assert edge.servicer.under_way._running == {}
    assert edge.world.store.events == []


@pytest.mark.parametrize("unary", [True, False], ids=["call", "stream"])
async def test_each_end_is_counted_with_its_time(edge: Edge, wanted: Wanted, unary: bool) -> None:
    """By agency, record type and outcome, whichever way it was asked."""
    stub = edge.exchange()
    stream = stub.Exchange()
    first = wanted()
    ends: list[tuple[str, pb.RecordRequest, Answer | None]] = [
        ("permit", first, None),
        ("replayed", first, None),
        ("refuse", wanted(purpose="direct-care"), None),
        ("not-found", wanted(), NotFound()),
        ("failed", wanted(), ProviderFailed(ProviderUnavailable("away"), "away")),
    ]
    for _, request, answer in ends:
        edge.world.providers.answers(answer or edge.world.found())
        if unary:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.Request(request, timeout=SOON)
        else:
            await stream.write(pb.ExchangeRequest(requests=[request]))
            await outcomes(stream, 1)
    counted = edge.telemetry.registry.get_sample_value
    for ended, *_ in ends:
        of = {"agency": "nwas", "record_type": RISK, "outcome": ended}
        assert counted("broker_requests_total", of) == 1, ended
        assert counted("broker_request_seconds_count", of) == 1


async def test_an_acknowledgement_becomes_an_entry_of_own_ids_only(edge: Edge, wanted: Wanted) -> None:
    """Garbage among them is dropped and harms none of the others."""
    edge.world.providers.answers(edge.world.found())
    request = wanted()
    call = edge.exchange().Exchange()
    await call.write(pb.ExchangeRequest(requests=[request]))
    await outcomes(call, 1)
    theirs = [str(uuid.uuid4()), "garbage", "", request.request_id.upper()]
    await call.write(pb.ExchangeRequest(received=[*theirs, request.request_id]))
    await eventually(lambda: "received" in edge.world.store.events)
    assert edge.world.store.entries[-1].draft.full["detail"] == {"request_ids": [request.request_id]}
    assert edge.world.acknowledgements.failed == 0


async def test_an_error_behind_an_entry_carries_its_receipt(edge: Edge, wanted: Wanted) -> None:
    """Not found is evidence too, and its status says where it stands."""
    edge.world.providers.answers(NotFound())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await edge.exchange().Request(wanted(), timeout=SOON)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert details(caught.value, pb.Receipt).entry == edge.world.store.entries[0].sealed.entry


@pytest.mark.parametrize("unary", [True, False], ids=["unary", "stream"])
async def test_a_defect_of_ours_says_an_id_and_nothing_else(edge: Edge, wanted: Wanted, unary: bool) -> None:
    """An exception's text may quote what nobody may read."""

    async def defect(_: Question) -> Answer:
        raise ValueError("Joss Tyson lives at 1 Lake Road")

    edge.world.providers.script = defect
    if unary:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await edge.exchange().Request(wanted(), timeout=SOON)
        status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
        assert status is not None
    else:
        call = edge.exchange().Exchange()
        await call.write(pb.ExchangeRequest(requests=[wanted()]))
        status = (await outcomes(call, 1))[0][0].error
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "Tyson" not in str(status)
    error_id = _detail(status, error_details_pb2.ErrorInfo).metadata["error_id"]
    assert error_id in status.message
