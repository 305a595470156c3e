"""AdapterService over real streams: who may attach with what, and what comes of answers that do not hold."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2, timestamp_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from broker.catalogue import standard_record_types
from broker.core.model import Function
from broker.ports import Found, ManyMatch
from broker.rpc import adapter as under_test
from broker.rpc import answers
from broker.v1 import adapter_pb2 as pb
from broker.v1 import adapter_pb2_grpc, exchange_pb2
from broker.workers import Worker
from tests.rpc.conftest import SOON, Edge, eventually
from tests.support.world import HOME, OTHER_HOME, RISK, WATCHED, flow, record_of, said

Wanted = Callable[..., exchange_pb2.RecordRequest]


def digest(edge: Edge, name: str = RISK) -> str:
    """Of the version approved last."""
    return edge.world.store.reference.catalogue.newest(name).digest


def hello(edge: Edge, *types: str, at_once: int = 10, **changes: Any) -> pb.Hello:
    """An adapter's first words."""
    provides = [pb.Provided(record_type=t, digest=digest(edge, t)) for t in types or (RISK,)]
    return pb.Hello(**{"software": "test", "provides": provides, "at_once": at_once, **changes})


def attach(edge: Edge, name: str | None = "cfrs-cad", channel: grpc.aio.Channel | None = None) -> Any:
    """A stream of one system, on a connection of its own unless it is given one."""
    return adapter_pb2_grpc.AdapterServiceStub(channel or edge.channel(name)).Attach()


async def read(call: Any) -> pb.AttachReply:
    """The next message that says something."""
    async with asyncio.timeout(SOON):
        while True:
            reply = await call.read()
            assert isinstance(reply, pb.AttachReply), (await call.code(), await call.details())
            if not reply.HasField("heartbeat"):
                return reply


async def ended(call: Any) -> grpc.StatusCode:
    """The status of a stream that the broker ends."""
    async with asyncio.timeout(SOON):
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                pass
        return await call.code()  # type: ignore[no-any-return]


async def turned_away(edge: Edge, name: str = "cfrs-cad") -> grpc.StatusCode:
    """How the call of an adapter ends that is not let in."""
    call = attach(edge, name)
    await call.write(pb.AttachRequest(hello=hello(edge)))
    return await ended(call)


@asynccontextmanager
async def adapter(
    edge: Edge, *types: str, at_once: int = 10, channel: grpc.aio.Channel | None = None
) -> AsyncIterator[Any]:
    """An attached adapter, which may be asked."""
    others = set(edge.links.of("cfrs"))
    call = attach(edge, channel=channel)
    await call.write(pb.AttachRequest(hello=hello(edge, *types, at_once=at_once)))
    assert (await read(call)).welcome.broker.startswith("spiffe://")
    # From its welcome on, and not some time after: it may leave another worker upon it.
    assert set(edge.links.of("cfrs")) - others
    try:
        yield call
    finally:
        call.cancel()


def found(edge: Edge, ask: pb.Ask, **changes: Any) -> pb.Answer:
    """A good answer; `changes` spoil it."""
    record = record_of(ask.record_type)
    made: dict[str, Any] = {
        "record": any_pb2.Any(type_url=record.type_url, value=record.value),
        "digest": ask.digest,
        "identifiers": [exchange_pb2.SubjectRef(scheme=HOME.scheme, value=HOME.value)],
    }
    return pb.Answer(ask_id=ask.ask_id, found=pb.Found(**{**made, **changes}))


async def one(edge: Edge, wanted: exchange_pb2.RecordRequest) -> grpc.StatusCode:
    """How a request ends."""
    try:
        await edge.exchange().Request(wanted, timeout=SOON)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


WRONG: list[tuple[str, Callable[[Edge], pb.AttachRequest], grpc.StatusCode, str]] = [
    ("no hello", lambda e: pb.AttachRequest(draining=True), grpc.StatusCode.INVALID_ARGUMENT, "hello"),
    (
        "takes nothing",
        lambda e: pb.AttachRequest(hello=hello(e, at_once=0)),
        grpc.StatusCode.INVALID_ARGUMENT,
        "hello.at_once",
    ),
    (
        "takes too much",
        lambda e: pb.AttachRequest(hello=hello(e, at_once=4097)),
        grpc.StatusCode.INVALID_ARGUMENT,
        "hello.at_once",
    ),
    (
        "provides nothing",
        lambda e: pb.AttachRequest(hello=hello(e, provides=[])),
        grpc.StatusCode.INVALID_ARGUMENT,
        "hello.provides",
    ),
    (
        "an unknown record type",
        lambda e: pb.AttachRequest(hello=hello(e, provides=[pb.Provided(record_type="a.B", digest="0" * 64)])),
        grpc.StatusCode.INVALID_ARGUMENT,
        "hello.provides.0.record_type",
    ),
    (
        "a record type without a name",
        lambda e: pb.AttachRequest(hello=hello(e, provides=[pb.Provided(digest=digest(e))])),
        grpc.StatusCode.INVALID_ARGUMENT,
        "hello.provides.0.record_type",
    ),
    (
        "a digest that is not approved",
        lambda e: pb.AttachRequest(hello=hello(e, provides=[pb.Provided(record_type=RISK, digest="0" * 64)])),
        grpc.StatusCode.INVALID_ARGUMENT,
        "hello.provides.0.digest",
    ),
    (
        "another type's digest",
        lambda e: pb.AttachRequest(
            hello=hello(e, provides=[pb.Provided(record_type=RISK, digest=digest(e, WATCHED))])
        ),
        grpc.StatusCode.INVALID_ARGUMENT,
        "hello.provides.0.digest",
    ),
]


@pytest.mark.parametrize(("first", "code", "field"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
async def test_a_hello_that_does_not_hold_is_refused_by_field(
    attached: Edge, first: Callable[[Edge], pb.AttachRequest], code: grpc.StatusCode, field: str
) -> None:
    """Before anything is sent down the stream."""
    call = attach(attached)
    await call.write(first(attached))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read(call)
    assert caught.value.code() is code
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None
    violations = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(violations)
    assert violations.field_violations[0].field == field
    assert attached.links.attached() == {}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nwas-cad", grpc.StatusCode.PERMISSION_DENIED),  # an ambulance service holds no fire records
        ("operator-cli", grpc.StatusCode.PERMISSION_DENIED),
        ("cumberland-audit", grpc.StatusCode.PERMISSION_DENIED),
        ("nwas-new", grpc.StatusCode.UNAUTHENTICATED),
    ],
)
async def test_only_the_holder_attaches(attached: Edge, name: str, code: grpc.StatusCode) -> None:
    """Another agency's system, and one that is no partner, cannot answer for the fire service."""
    assert await turned_away(attached, name) is code


async def test_a_systems_first_link_says_once_that_it_is_an_adapters(attached: Edge) -> None:
    """In an entry of its own, before it is welcomed; from then on its certificate is known for a program's."""
    await attached.enrol("cfrs-cad", Function.PARTNER)
    for _ in range(2):
        async with adapter(attached):
            assert attached.world.store.events == ["system-attached"]
    assert attached.world.store.reference.current.systems["cfrs/cad"].adapter


async def test_an_agency_attaches_for_joint_work_of_any_holder(attached: Edge) -> None:
    """A fire service may answer for an incident's record, which belongs to no kind of agency."""
    joint = "records.incident.v1.MajorIncident"
    attached.world.approve(joint, dict(standard_record_types())[joint])
    await attached.world.store.reference.refresh()
    async with adapter(attached, joint):
        assert attached.links.of("cfrs")


@pytest.mark.parametrize("close", [True, False], ids=["closes", "is silent"])
async def test_an_adapter_that_says_nothing_is_sent_away(
    attached: Edge, monkeypatch: pytest.MonkeyPatch, close: bool
) -> None:
    """The first message is due within seconds."""
    monkeypatch.setattr(under_test, "HELLO_WITHIN", 0.2)
    call = attach(attached)
    if close:
        await call.done_writing()
    assert await ended(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_adapter_is_told_who_lives_and_who_goes(attached: Edge) -> None:
    """The list whenever it changes, and that its worker goes: so it has a link to each before one leaves."""
    async with adapter(attached) as call:
        attached.links.tell((Worker("1", ""), Worker("2", "10.0.0.2:7443")))
        told = await read(call)
        assert [(each.id, each.address) for each in told.workers] == [("1", ""), ("2", "10.0.0.2:7443")]
        assert not told.draining
        attached.links.drain()
        assert (await read(call)).draining


async def test_an_adapter_that_floods_is_read_more_slowly(attached: Edge) -> None:
    """Answers that nobody waits for, and messages that say nothing, cost as refusals on a stream do."""
    rests: list[tuple[str, int]] = []

    async def counted(agency: str, refused: int) -> None:
        rests.append((agency, refused))

    attached.servicer.door.pause = counted  # type: ignore[method-assign]
    async with adapter(attached) as call:
        await call.write(pb.AttachRequest(answers=[pb.Answer(ask_id=9999)] * 256))
        await call.write(pb.AttachRequest(answers=[pb.Answer(ask_id=9999)]))
        await call.write(pb.AttachRequest())
        await eventually(lambda: len(rests) == 3)
    assert rests == [("cfrs", 32), ("cfrs", 1), ("cfrs", 1)]


async def test_an_ask_says_all_the_adapter_needs_and_no_words(attached: Edge, wanted: Wanted) -> None:
    """Who asks, why, under which agreement, which fields, and how long there is; never the free words."""
    async with adapter(attached) as call:
        request = wanted(reason=exchange_pb2.ReasonCode(code="welfare", words="heard shouting"))
        asking = asyncio.create_task(one(attached, request))
        (ask,) = (await read(call)).asks
        assert (ask.requester, ask.requester_system, ask.purpose) == ("nwas", "cad", "emergency-response")
        assert (ask.agreement, ask.agreement_version) == ("nwas-cfrs-premises", 1)
        assert set(ask.permitted_paths) == set(flow()["permitted"])
        assert 0 < ask.timeout.ToTimedelta().total_seconds() < 5
        assert "shouting" not in str(ask)
        await call.write(pb.AttachRequest(answers=[found(attached, ask)]))
        assert await asking is grpc.StatusCode.OK


HUGE = any_pb2.Any(type_url=f"type.googleapis.com/{RISK}", value=b"\x52" + b"\x80\x80\x48" + b"x" * 0x120000)
REF = exchange_pb2.SubjectRef
SPOILT: list[tuple[str, dict[str, Any]]] = [
    ("another type", {"record": any_pb2.Any(type_url=f"type.googleapis.com/{WATCHED}", value=b"")}),
    ("another prefix", {"record": any_pb2.Any(type_url=f"evil.example/{RISK}", value=b"")}),
    ("no type", {"record": any_pb2.Any(value=b"x")}),
    ("another digest", {"digest": "0" * 64}),
    ("no digest", {"digest": ""}),
    ("garbage", {"record": any_pb2.Any(type_url=f"type.googleapis.com/{RISK}", value=b"\xff\xff")}),
    (
        "fields its type lacks",
        {"record": any_pb2.Any(type_url=f"type.googleapis.com/{RISK}", value=b"\xfa\x3e\x01x")},
    ),
    ("over 1 MiB", {"record": HUGE}),
    ("an unknown scheme", {"identifiers": [REF(scheme="passport", value="1")]}),
    ("an identifier that is not canonical", {"identifiers": [REF(scheme="uprn", value="01")]}),
    (
        "more identifiers than anybody has",
        {"identifiers": [REF(scheme="uprn", value=str(n + 1)) for n in range(65)]},
    ),
    ("a time that is none", {"as_at": timestamp_pb2.Timestamp(seconds=2**62)}),
    ("a time with too many nanoseconds", {"as_at": timestamp_pb2.Timestamp(nanos=2**31 - 1)}),
]


@pytest.mark.parametrize("spoilt", [s[1] for s in SPOILT], ids=[s[0] for s in SPOILT])
async def test_an_answer_that_does_not_hold_is_a_failure_with_an_entry(
    attached: Edge, wanted: Wanted, spoilt: dict[str, Any]
) -> None:
    """Nothing of it is released, the log says so, and the link goes on to serve others."""
    async with adapter(attached) as call:
        asking = asyncio.create_task(one(attached, wanted()))
        (ask,) = (await read(call)).asks
        await call.write(pb.AttachRequest(answers=[found(attached, ask, **spoilt)]))
        assert await asking is grpc.StatusCode.UNAVAILABLE
        assert attached.world.store.events == ["provider-failure"]
        asking = asyncio.create_task(one(attached, wanted()))
        (ask,) = (await read(call)).asks
        await call.write(pb.AttachRequest(answers=[found(attached, ask)]))
        assert await asking is grpc.StatusCode.OK


ENDS: list[tuple[str, dict[str, Any], grpc.StatusCode, str]] = [
    ("not found", {"not_found": pb.NotFound()}, grpc.StatusCode.NOT_FOUND, "not-found"),
    ("many", {"many_match": pb.ManyMatch(ask_for=["phone"])}, grpc.StatusCode.UNAVAILABLE, "provider-failure"),
    ("failed", {"failed": pb.Failed(why="x")}, grpc.StatusCode.UNAVAILABLE, "provider-failure"),
    (
        "timed out",
        {"failed": pb.Failed(timed_out=True)},
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "provider-failure",
    ),
    ("not agreed", {"not_agreed": pb.NotAgreed()}, grpc.StatusCode.UNAVAILABLE, "provider-failure"),
    ("nothing", {}, grpc.StatusCode.UNAVAILABLE, "provider-failure"),
]


@pytest.mark.parametrize(("result", "code", "event"), [e[1:] for e in ENDS], ids=[e[0] for e in ENDS])
async def test_every_kind_of_answer_has_its_status_and_entry(
    attached: Edge, wanted: Wanted, result: dict[str, Any], code: grpc.StatusCode, event: str
) -> None:
    """From the adapter's words to the requester's."""
    async with adapter(attached) as call:
        asking = asyncio.create_task(one(attached, wanted()))
        (ask,) = (await read(call)).asks
        await call.write(pb.AttachRequest(answers=[pb.Answer(ask_id=ask.ask_id, **result)]))
        assert await asking is code
        assert attached.world.store.events == [event]


def test_only_traits_may_be_asked_for() -> None:
    """Free text here would be a way to list candidates."""
    answer = pb.Answer(many_match=pb.ManyMatch(ask_for=["phone", "Joss Tyson of 1 Lake Road", "birth_date"]))
    assert answers.read_answer(answer) == ManyMatch(("birth_date", "phone"))


def test_what_an_adapter_says_often_is_said_once() -> None:
    """Two MiB of one word would stand in the entry and in the refusal."""
    many = pb.Answer(many_match=pb.ManyMatch(ask_for=["phone"] * 1000))
    assert answers.read_answer(many) == ManyMatch(("phone",))
    record = {"type_url": f"type.googleapis.com/{RISK}"}
    found = pb.Answer(found=pb.Found(record=record, traits_agreed=["phone"] * 1000))
    answer = answers.read_answer(found)
    assert isinstance(answer, Found)
    assert answer.traits_agreed == ("phone",)


async def test_an_answer_for_another_ask_changes_nothing(attached: Edge, wanted: Wanted) -> None:
    """Unasked, late and second answers are counted and dropped."""
    async with adapter(attached) as call:
        asking = asyncio.create_task(one(attached, wanted()))
        (ask,) = (await read(call)).asks
        stray = found(attached, ask)
        stray.ask_id = ask.ask_id + 1000
        good = found(attached, ask)
        await call.write(
            pb.AttachRequest(answers=[stray, good, pb.Answer(ask_id=ask.ask_id, failed=pb.Failed())])
        )
        assert await asking is grpc.StatusCode.OK
        assert attached.counted("malformed", edge="grpc") == 2
        assert attached.world.store.events == ["disclosure"]


@pytest.mark.parametrize("how", ["call", "stream", "withheld", "given up", "lost"])
async def test_room_for_a_record_is_given_back(attached: Edge, wanted: Wanted, how: str) -> None:
    """However a request ends, nothing is held for it afterwards: else a worker would soon take no more."""
    holding = attached.links._holding
    if how == "withheld":
        attached.world.say(OTHER_HOME, said("objection"))
    async with adapter(attached) as provider:
        stream = attached.exchange().Exchange()
        if how == "stream":
            await stream.write(exchange_pb2.ExchangeRequest(requests=[wanted()]))
        else:
            asking = asyncio.create_task(one(attached, wanted()))
        (ask,) = (await read(provider)).asks
        assert holding.total > 0
        both = [REF(scheme=s.scheme, value=s.value) for s in (HOME, OTHER_HOME)]
        if how == "given up":
            asking.cancel()
        elif how == "lost":
            provider.cancel()
            assert await asking is grpc.StatusCode.UNAVAILABLE
        else:
            await provider.write(pb.AttachRequest(answers=[found(attached, ask, identifiers=both)]))
        if how == "stream":
            assert (await stream.read()).outcomes[0].HasField("disclosure")
        elif how in ("call", "withheld"):
            await asking
        await eventually(lambda: holding.total == 0)


async def test_an_objection_under_a_number_only_the_provider_knows(attached: Edge, wanted: Wanted) -> None:
    """Over the whole path: the record stays in the broker and the requester is refused."""
    attached.world.say(OTHER_HOME, said("objection"))
    async with adapter(attached) as call:
        asking = asyncio.create_task(one(attached, wanted()))
        (ask,) = (await read(call)).asks
        both = [REF(scheme=s.scheme, value=s.value) for s in (HOME, OTHER_HOME)]
        await call.write(pb.AttachRequest(answers=[found(attached, ask, identifiers=both)]))
        assert await asking is grpc.StatusCode.PERMISSION_DENIED


async def test_a_lost_link_fails_over_inside_the_deadline(attached: Edge, wanted: Wanted) -> None:
    """Another adapter of the agency answers in its place."""
    async with adapter(attached) as first:
        asking = asyncio.create_task(one(attached, wanted()))
        await read(first)
        async with adapter(attached) as second:
            first.cancel()
            (ask,) = (await read(second)).asks
            await second.write(pb.AttachRequest(answers=[found(attached, ask)]))
            assert await asking is grpc.StatusCode.OK


async def test_a_timeout_is_passed_on_as_a_cancel(attached: Edge, wanted: Wanted) -> None:
    """The adapter need not go on for nobody."""
    async with adapter(attached) as call:
        request = wanted(timeout=duration_pb2.Duration(nanos=300_000_000))
        asking = asyncio.create_task(one(attached, request))
        (ask,) = (await read(call)).asks
        assert (await read(call)).cancel == [ask.ask_id]
        assert await asking is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_draining_adapter_answers_what_it_has_and_gets_no_more(attached: Edge, wanted: Wanted) -> None:
    """New requests go elsewhere, and nowhere if there is none."""
    async with adapter(attached) as call:
        asking = asyncio.create_task(one(attached, wanted()))
        (ask,) = (await read(call)).asks
        await call.write(pb.AttachRequest(draining=True))
        await eventually(lambda: all(link.draining for link in attached.links.of("cfrs")))
        assert await one(attached, wanted()) is grpc.StatusCode.UNAVAILABLE
        await call.write(pb.AttachRequest(answers=[found(attached, ask)]))
        assert await asking is grpc.StatusCode.OK


async def test_more_than_it_takes_is_told_to_the_requester(attached: Edge, wanted: Wanted) -> None:
    """RESOURCE_EXHAUSTED once its time is over, unless the adapter gives more credit."""
    async with adapter(attached, at_once=1) as call:
        asking = asyncio.create_task(one(attached, wanted()))
        (ask,) = (await read(call)).asks
        short = wanted(timeout=duration_pb2.Duration(nanos=500_000_000))
        assert await one(attached, short) is grpc.StatusCode.RESOURCE_EXHAUSTED
        await call.write(pb.AttachRequest(credit=2))
        await eventually(lambda: all(link.takes(urgent=False) for link in attached.links.of("cfrs")))
        more = asyncio.create_task(one(attached, wanted()))
        (second,) = (await read(call)).asks
        await call.write(pb.AttachRequest(answers=[found(attached, ask), found(attached, second)]))
        assert [await asking, await more] == [grpc.StatusCode.OK] * 2


@pytest.mark.parametrize("credit", [4097, 2**32 - 1])
async def test_credit_beyond_bounds_ends_the_link(attached: Edge, credit: int) -> None:
    """A bound is a bound."""
    async with adapter(attached) as call:
        await call.write(pb.AttachRequest(credit=credit))
        assert await ended(call) is grpc.StatusCode.INVALID_ARGUMENT
        await eventually(lambda: not attached.links.attached())


async def test_a_silent_adapter_is_given_up(
    attached: Edge, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three heartbeats missed: its requests fail at once instead of waiting out their time."""
    monkeypatch.setattr(under_test, "SILENCE", 0.4)
    async with adapter(attached) as call:
        asking = asyncio.create_task(one(attached, wanted(timeout=duration_pb2.Duration(seconds=10))))
        started = asyncio.get_running_loop().time()
        assert await asking is grpc.StatusCode.UNAVAILABLE
        assert asyncio.get_running_loop().time() - started < 5
        assert await ended(call) is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_the_broker_sends_heartbeats(attached: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an adapter knows a dead broker from an idle one."""
    monkeypatch.setattr(under_test, "HEARTBEAT", 0.1)
    async with adapter(attached) as call, asyncio.timeout(SOON):
        assert (await call.read()).HasField("heartbeat")
        assert (await call.read()).HasField("heartbeat")


async def test_a_suspended_adapter_is_ended_with_its_next_message(attached: Edge) -> None:
    """What it would answer counts no more."""
    async with adapter(attached) as call:
        await attached.enrol("cfrs-cad", Function.PARTNER, suspended=True)
        await call.write(pb.AttachRequest(heartbeat=pb.Heartbeat()))
        assert await ended(call) is grpc.StatusCode.UNAUTHENTICATED


async def test_an_adapter_with_effects_is_told_what_became_of_each(attached: Edge, wanted: Wanted) -> None:
    """The effect key of the ask comes back as settled."""
    attached.world.agree(id="nwas-cfrs-watched", flows=[flow(record_type=WATCHED)])
    async with adapter(attached, WATCHED) as call:
        asking = asyncio.create_task(one(attached, wanted(record_type=WATCHED)))
        (ask,) = (await read(call)).asks
        assert uuid.UUID(ask.effect_key)
        await call.write(pb.AttachRequest(answers=[found(attached, ask)]))
        assert await asking is grpc.StatusCode.OK
        (settled,) = (await read(call)).settled
        assert (settled.effect_key, settled.released) == (ask.effect_key, True)


async def test_a_message_of_more_answers_than_a_batch_ends_the_link(attached: Edge) -> None:
    """A flood of answers to nothing would hold up everybody else's requests."""
    async with adapter(attached) as call:
        await call.write(pb.AttachRequest(answers=[pb.Answer(ask_id=n) for n in range(257)]))
        assert await ended(call) is grpc.StatusCode.INVALID_ARGUMENT
    assert attached.links.attached() == {}


async def test_a_system_has_so_many_links_and_no_more(attached: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one past the bound is refused, and takes a place once another has left."""
    # These adapters say nothing once they are attached: on a busy machine the first would be given up for their
    # silence before the last is there. They share a connection, since what counts is the system.
    monkeypatch.setattr(under_test, "SILENCE", 3600.0)
    shared = attached.channel("cfrs-cad")
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(adapter(attached, channel=shared))
        for _ in range(under_test.MAX_LINKS - 1):
            await stack.enter_async_context(adapter(attached, channel=shared))
        await eventually(lambda: attached.links.attached() == {"cfrs": under_test.MAX_LINKS})
        assert await turned_away(attached) is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()
        await eventually(lambda: attached.links.attached() == {"cfrs": under_test.MAX_LINKS - 1})
        for left in reversed(range(50)):
            try:  # the call that held the place may still be on its way out
                await stack.enter_async_context(adapter(attached))
                break
            except grpc.aio.AioRpcError:
                if not left:
                    raise
                await asyncio.sleep(0.1)
