"""The exchange stream over real gRPC: batches, cuts, repeats, cancellation, time and bounds."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker.client import flights
from broker.client.flights import Flights
from broker.coalesce import MAX_BYTES, MAX_ITEMS
from broker.core.model import Reason
from broker.errors import CannotConnect, InvalidRequest, ProviderTimeout, Saturated
from broker.v1 import exchange_pb2 as wire
from tests.client.conftest import ASK, RECORD, FakeBroker, LogOfOne, Setup, eventually, serving

WAYS = pytest.mark.parametrize("unary", [False, True], ids=["stream", "unary"])


@WAYS
async def test_a_record_arrives_with_all_that_belongs_to_it(setup: Setup, unary: bool) -> None:
    """An honest answer is handed over parsed, with withheld paths, decision and receipt."""
    async with setup.client(unary=unary) as client:
        got = await client.request(**ASK)
    assert got.record == RECORD
    assert got.record_any.value == RECORD.SerializeToString()
    assert [tuple(each) for each in got.withheld] == [("occupier.name", "agreement")]
    assert (got.decision.outcome, got.decision.agreement, got.decision.agreement_version) == (
        "permit",
        "fire-1",
        2,
    )
    assert got.receipt.entry == setup.broker.log.tree.entries[got.receipt.index]
    assert got.receipt.checkpoint == setup.broker.log.note()


async def test_what_is_ready_together_travels_together_on_one_stream(setup: Setup) -> None:
    """Three hundred requests at once take a few messages of at most 256 items, on one stream."""
    async with setup.client() as client:
        await asyncio.gather(*(client.request(**ASK) for _ in range(300)))
    assert setup.broker.streams == 1
    assert len(setup.broker.requests) == 300
    assert max(len(message.requests) for message in setup.broker.messages) <= MAX_ITEMS
    assert sum(1 for message in setup.broker.messages if message.requests) <= 10


async def test_messages_stay_under_a_mebibyte(setup: Setup) -> None:
    """Large requests are spread over messages rather than refused by the transport."""
    words = Reason("other", "w" * 500)
    actor = ASK["actor"].__class__("a" * 20_000, "fire-crew")
    async with setup.client() as client:
        await asyncio.gather(*(client.request(**ASK | {"actor": actor}, reason=words) for _ in range(120)))
    sizes = [message.ByteSize() for message in setup.broker.messages]
    assert sum(sizes) > 2 * MAX_BYTES
    assert max(sizes) <= MAX_BYTES


async def test_disclosures_that_verified_are_acknowledged(setup: Setup) -> None:
    """Each verified disclosure's id is sent in `received`, the last before hanging up; refusals are not."""
    async with setup.client() as client:
        got = [await client.request(**ASK) for _ in range(3)]
        setup.broker.answer = setup.broker.refuse
        await asyncio.gather(client.request(**ASK), return_exceptions=True)
    assert sorted(setup.broker.received) == sorted(each.request_id for each in got)


async def test_the_last_acknowledgements_are_sent_before_hanging_up(setup: Setup) -> None:
    """A client that asks and leaves at once still says of every record that it arrived."""
    async with setup.client() as client:
        got = await asyncio.gather(*(client.request(**ASK) for _ in range(600)))
    assert sorted(setup.broker.received) == sorted(each.request_id for each in got)


async def test_a_renewed_certificate_is_shown_on_the_next_connection(setup: Setup, tmp_path: Path) -> None:
    """Files replaced on disk are used when the stream is opened again, without a restart."""
    files = {name: tmp_path / f"{name}.pem" for name in ("cert", "key")}

    def put(identity: str) -> None:
        for path in files.values():
            path.touch(mode=0o600)
            path.write_bytes((setup.certs / identity / path.name).read_bytes())

    async def cut(message: wire.ExchangeRequest, context: Any) -> None:
        setup.broker.before_reply = None
        await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    put("cfrs-mdt")
    async with setup.client(**files) as client:
        await client.request(**ASK)
        put("cfrs-relief")
        setup.broker.before_reply = cut
        await client.request(**ASK)
    systems = [peer.rpartition(b"/")[2] for peer in setup.broker.peers]
    assert systems == [b"mdt", b"relief"]


async def test_a_request_in_flight_when_the_stream_dies_is_answered_on_the_next(setup: Setup) -> None:
    """A cut before the commit: the same request id is asked again, and its record comes."""
    cuts = 2

    async def cut(message: wire.ExchangeRequest, context: Any) -> None:
        nonlocal cuts
        if message.requests and cuts:
            cuts -= 1
            setup.broker.requests += message.requests
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    async with setup.client(max_in_flight=1) as client:
        await client.request(**ASK)
        setup.broker.before_reply = cut
        got = await client.request(**ASK)
    asked = [request.request_id for request in setup.broker.requests[1:]]
    assert asked == [got.request_id] * 3
    timeouts = [request.timeout.ToNanoseconds() for request in setup.broker.requests[1:]]
    assert timeouts == sorted(timeouts, reverse=True)
    assert len(set(timeouts)) == 3, "each time only what remains is given"


async def test_a_cut_after_the_commit_ends_in_a_fresh_record(setup: Setup) -> None:
    """The repeat is answered `replayed` without record, so it is asked again under a new id with `retry_of`."""
    committed: list[str] = []

    async def cut(message: wire.ExchangeRequest, context: Any) -> None:
        if message.requests and not committed:
            committed.append(message.requests[0].request_id)
            setup.broker.disclose(message.requests[0])
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    async with setup.client() as client:
        setup.broker.before_reply = cut
        setup.broker.answer = None
        # The first message of a client's life that fails so is explained, not retried: speak once before.
        committed.append("")
        await client.request(**ASK)
        committed.clear()
        got = await client.request(**ASK)
    last = setup.broker.requests[-1]
    assert got.record == RECORD
    assert last.request_id == got.request_id != committed[0]
    assert last.retry_of == committed[0]


@WAYS
async def test_a_replay_is_asked_again_and_no_more_than_thrice(setup: Setup, unary: bool) -> None:
    """A broker that only ever replays is given up with a named error, not asked for ever."""
    known = str(uuid.uuid4())

    def replay(request: wire.RecordRequest) -> wire.Outcome:
        setup.broker.commit(request, response="0" * 64)
        return setup.broker.disclose(request)

    async with setup.client(unary=unary) as client:
        await client.request(**ASK, request_id=known)
        got = await client.request(**ASK, request_id=known)
        assert got.request_id != known
        if not unary:
            await eventually(lambda: setup.broker.received == [known, got.request_id])
        setup.broker.answer = replay
        count = len(setup.broker.requests)
        with pytest.raises(Exception, match="keeps answering with replays"):
            await client.request(**ASK)
    assert len(setup.broker.requests) == count + 3
    chain = setup.broker.requests[count:]
    assert [each.retry_of for each in chain] == ["", chain[0].request_id, chain[1].request_id]


async def test_cancelling_the_caller_cancels_at_the_broker(setup: Setup) -> None:
    """A cancelled task's id is sent in `cancel`, and its late outcome disturbs nobody."""
    held: list[wire.RecordRequest] = []

    def hold(request: wire.RecordRequest) -> wire.Outcome | None:
        held.append(request)
        return None

    setup.broker.answer = hold
    async with setup.client() as client:
        task = asyncio.create_task(client.request(**ASK))
        await eventually(lambda: bool(held))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: setup.broker.cancelled == [held[0].request_id])
        late = setup.broker.disclose(held[0])
        setup.broker.finish(late)
        setup.broker.answer = None
        setup.broker.bend_reply = lambda reply: reply.outcomes.append(late)
        assert (await client.request(**ASK)).record == RECORD
        assert held[0].request_id not in setup.broker.received
        with pytest.raises(Exception, match="not in flight"):
            await client.request(**ASK)  # the same outcome once more


@WAYS
async def test_time_runs_out_at_the_caller_too(setup: Setup, unary: bool) -> None:
    """A broker that never answers costs the timeout given, no more, and is told that nobody waits."""
    setup.broker.answer = lambda request: None
    async with setup.client(unary=unary) as client:
        started = asyncio.get_running_loop().time()
        with pytest.raises(ProviderTimeout):
            await client.request(**ASK, timeout=0.3)
        assert 0.25 < asyncio.get_running_loop().time() - started < 1
        sent = setup.broker.requests[0]
        assert 0 < sent.timeout.ToNanoseconds() <= 300_000_000
        if not unary:
            await eventually(lambda: setup.broker.cancelled == [sent.request_id])


async def test_a_stream_that_went_silent_is_replaced(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is heard after a timeout, the stream is taken for dead; the next request gets through."""
    monkeypatch.setattr("broker.client.stream.SILENCE", 0.05)
    async with setup.client() as client:
        setup.broker.answer = lambda request: None
        with pytest.raises(ProviderTimeout):
            await client.request(**ASK, timeout=0.1)
        setup.broker.answer = None
        await asyncio.sleep(0.2)
        await client.request(**ASK)
    assert setup.broker.streams == 2


async def test_a_flood_is_refused_beyond_the_bounds(setup: Setup) -> None:
    """Only so many are in flight and only so many wait; the rest are told at once, with Saturated."""
    gate = asyncio.Event()

    async def wait(message: wire.ExchangeRequest, context: Any) -> None:
        await gate.wait()

    setup.broker.before_reply = wait
    async with setup.client(max_in_flight=8, max_waiting=16) as client:
        tasks = [asyncio.create_task(client.request(**ASK)) for _ in range(100)]
        await eventually(lambda: bool(setup.broker.messages))
        await eventually(lambda: sum(task.done() for task in tasks) >= 84)
        assert sum(len(message.requests) for message in setup.broker.messages) <= 8
        gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Saturated)]
    assert len(refused) == 84
    assert all(not isinstance(answer, Exception) for answer in answers if answer not in refused)


@WAYS
async def test_a_broker_that_comes_back_is_found_again(setup: Setup, unary: bool) -> None:
    """After a restart on the same address, requests made meanwhile are answered inside their time."""
    broker = FakeBroker(LogOfOne(setup.signer))
    async with serving(broker, setup.certs) as port:
        setup.port = port
        client = await setup.client(unary=unary).__aenter__()
        await client.request(**ASK)
    waiting = asyncio.create_task(client.request(**ASK, timeout=8))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    async with serving(broker, setup.certs, port):
        assert (await waiting).record == RECORD
        await client.__aexit__(None, None, None)


async def test_a_broker_that_stays_away_is_named_when_time_runs_out(setup: Setup) -> None:
    """A connection that was lost and does not come back ends in CannotConnect at the request's own deadline."""
    broker = FakeBroker(LogOfOne(setup.signer))
    async with serving(broker, setup.certs) as port:
        setup.port = port
        client = await setup.client().__aenter__()
        await client.request(**ASK)
    with pytest.raises(CannotConnect, match=f"localhost:{port} broke"):
        await client.request(**ASK, timeout=0.5)
    await client.__aexit__(None, None, None)


@WAYS
async def test_closing_ends_what_is_in_flight_with_a_named_error(setup: Setup, unary: bool) -> None:
    """Leaving the block fails requests still waiting, and a closed client takes no more."""
    setup.broker.answer = lambda request: None
    async with setup.client(unary=unary) as client:
        task = asyncio.create_task(client.request(**ASK))
        await eventually(lambda: bool(setup.broker.requests))
    with pytest.raises(CannotConnect, match="closed"):
        await asyncio.wait_for(task, 10)
    with pytest.raises(CannotConnect, match="not open"):
        await client.request(**ASK)


async def test_one_id_is_in_flight_once(setup: Setup) -> None:
    """A second request under an id that is in flight is refused before it is sent."""
    setup.broker.answer = lambda request: None
    known = str(uuid.uuid4())
    async with setup.client() as client:
        task = asyncio.create_task(client.request(**ASK, request_id=known))
        await eventually(lambda: bool(setup.broker.requests))
        with pytest.raises(InvalidRequest, match="in flight already"):
            await client.request(**ASK, request_id=known)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_given_up_ids_are_remembered_in_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests are abandoned on one stream, what is kept of them has a bound."""
    monkeypatch.setattr(flights, "_MAX_REMEMBERED", 10)
    some = Flights()
    for _ in range(50):
        request_id = str(uuid.uuid4())
        request = wire.RecordRequest(request_id=request_id)
        future = asyncio.get_running_loop().create_future()
        flight = flights.Flight(request, flights.Asked(request_id, "", ""), 1.0, future)
        some.add(flight)
        some.take(0.0)
        some.give_up(flight)
    assert len(some._given_up) == 10
    assert some.expects(request_id)


async def test_an_answer_that_crosses_with_a_close_is_no_lie(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    """What was given up on closing may still be answered: the broker is told so, and not accused."""
    closing = asyncio.Event()

    async def wait(message: wire.ExchangeRequest, _: object) -> None:
        if message.requests:
            await closing.wait()
            await asyncio.sleep(0.1)

    setup.broker.before_reply = wait
    async with setup.client() as client:
        task = asyncio.create_task(client.request(**ASK))
        await eventually(lambda: bool(setup.broker.messages))
        asked = setup.broker.messages[0].requests[0].request_id
        closing.set()
    with pytest.raises(CannotConnect):
        await task
    assert setup.broker.cancelled == [asked]
    assert not caplog.records
