"""An adapter that fails: late, too large, in no words at all, or gone; each over the real service.

The requester hears of it inside its own time, with evidence, and nobody else is worse off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from broker.pki.tls import TlsFiles
from broker.v1 import adapter_pb2
from records.fire.v1 import premises_risk_pb2 as fire
from tests.e2e import words
from tests.e2e.neighbour import a_request, changed, fails, honest, honest_again, logged
from tests.support.liar import Liar, attached
from tests.support.stack import Deployment

MIB = 1 << 20
ATTACH = "/broker.v1.AdapterService/Attach"
Neighbour = tuple[TlsFiles, str]


def _hello(neighbour: Neighbour) -> adapter_pb2.Hello:
    provided = adapter_pb2.Provided(record_type=words.PREMISES, digest=neighbour[1], subject_schemes=["uprn"])
    return adapter_pb2.Hello(software="failing/1", provides=[provided], at_once=64)


def _saying(ask: adapter_pb2.Ask, directions: str) -> adapter_pb2.Answer:
    """A good answer with these directions."""
    answer = honest(ask)
    record = fire.PremisesRisk.FromString(answer.found.record.value)
    record.access.directions = directions
    answer.found.record.value = record.SerializeToString()
    return answer


async def _asked(liar: Liar, count: int = 1) -> None:
    async with asyncio.timeout(10):
        while len(liar.asked) < count:  # noqa: ASYNC110 - the liar reads in a task of its own
            await asyncio.sleep(0.005)


async def test_an_answer_that_comes_too_late_answers_nothing(stack: Deployment, liar: Liar) -> None:
    """Its question has ended as a timeout; it is not taken for the answer to the next question either."""
    status = await fails(stack, timeout={"seconds": 1})
    assert words.code(status) == "DEADLINE_EXCEEDED"
    await logged(stack, status)

    def say(ask: adapter_pb2.Ask) -> list[adapter_pb2.Answer]:
        return [_saying(liar.asked[0], "Late gate"), _saying(ask, "Right gate")]

    liar.say = say
    async with stack.channel("nwas-cad") as channel:
        told = await words.ask(channel, a_request())
    assert fire.PremisesRisk.FromString(told.record.value).access.directions == "Right gate"
    await honest_again(stack, liar)


async def test_a_record_over_the_limit_is_the_providers_failure(stack: Deployment, liar: Liar) -> None:
    """A megabyte and a little more: UNAVAILABLE with a receipt, and the link goes on."""
    liar.say = lambda ask: [_saying(ask, "x" * (MIB + 1))]
    status = await fails(stack)
    assert words.code(status) == "UNAVAILABLE"
    await logged(stack, status)
    await honest_again(stack, liar)


async def test_a_record_over_every_limit_ends_its_link_and_no_other(
    stack: Deployment, liar: Liar, neighbour: Neighbour
) -> None:
    """More than a message can hold: said at once, and an adapter that attaches afterwards is asked."""
    liar.say = lambda ask: [_saying(ask, "x" * (8 * MIB))]
    started = time.monotonic()
    status = await fails(stack, timeout={"seconds": 8})
    assert time.monotonic() - started < 4
    assert words.code(status) == "UNAVAILABLE"
    await logged(stack, status)
    async with stack.channel(neighbour[0]) as channel, attached(channel, _hello(neighbour)) as another:
        await honest_again(stack, another)


@asynccontextmanager
async def _bare(stack: Deployment, neighbour: Neighbour) -> AsyncIterator[Any]:
    """An attached link on which bytes are written as they are."""
    async with stack.channel(neighbour[0]) as channel:
        link = channel.stream_stream(
            ATTACH,
            request_serializer=lambda data: data,
            response_deserializer=adapter_pb2.AttachReply.FromString,
        )()
        await link.write(adapter_pb2.AttachRequest(hello=_hello(neighbour)).SerializeToString())
        assert (await link.read()).HasField("welcome")
        yield link
        link.cancel()


@pytest.mark.parametrize(
    "garbage",
    [b"\xff" * 64, b"\x08", b"GET / HTTP/1.1\r\n\r\n", b"\x12\xff\xff\xff\xff\x0f"],
    ids=["no tag", "half a field", "another protocol", "a length beyond the end"],
)
async def test_bytes_that_are_no_message_end_the_link_at_once(
    stack: Deployment, neighbour: Neighbour, garbage: bytes
) -> None:
    """The requester hears that the provider is unavailable long before its time is up; others are served."""
    async with _bare(stack, neighbour) as link:
        failing = asyncio.create_task(fails(stack, timeout={"seconds": 8}))
        while not (await asyncio.wait_for(link.read(), 10)).asks:
            pass
        started = time.monotonic()
        await link.write(garbage)
        status = await failing
        assert time.monotonic() - started < 4
        assert words.code(status) == "UNAVAILABLE"
        await logged(stack, status)
    async with stack.client("nwas-cad") as broker:
        assert (await words.premises(broker)).record.uprn == words.HOME


async def test_another_adapter_takes_over_inside_the_same_time(
    stack: Deployment, liar: Liar, neighbour: Neighbour
) -> None:
    """The one that was asked goes without a word; its fellow answers, and the requester need not notice."""
    async with stack.channel("nwas-cad") as asking:
        answer = asyncio.create_task(words.ask(asking, a_request(timeout={"seconds": 8})))
        await _asked(liar)
        async with stack.channel(neighbour[0]) as channel, attached(channel, _hello(neighbour)) as fellow:
            fellow.say = lambda ask: [honest(ask)]
            assert liar.link is not None
            liar.link.cancel()
            told = await answer
            assert fire.PremisesRisk.FromString(told.record.value).access.directions == "Second gate"
            assert [each.subject for each in fellow.asked] == [each.subject for each in liar.asked]


def _none(answer: adapter_pb2.Answer) -> None:
    answer.ClearField("found")


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: setattr(answer.found.record, "value", b"x" * (MIB + 1)),
        lambda answer: setattr(answer.found.record, "type_url", "type.googleapis.com/broker.v1.Receipt"),
        lambda answer: setattr(answer.found.identifiers[0], "value", "100062990098"),
        _none,
    ],
    ids=["over the limit", "of another record type", "about somebody else", "in no words"],
)
async def test_another_adapter_takes_over_from_one_that_answers_nonsense(
    stack: Deployment, liar: Liar, neighbour: Neighbour, change: Callable[[adapter_pb2.Answer], None]
) -> None:
    """Its link stays; the requester has the fellow's record, and the nonsense is counted."""
    liar.say = changed(change)
    async with (
        stack.channel(neighbour[0]) as channel,
        attached(channel, _hello(neighbour)) as fellow,
        stack.channel("nwas-cad") as asking,
    ):
        fellow.say = lambda ask: [honest(ask)]
        requests = 0
        while not liar.asked:  # whoever has less to do is asked
            many = [words.ask(asking, a_request()) for _ in range(4)]
            for told in await asyncio.gather(*many):
                assert fire.PremisesRisk.FromString(told.record.value).access.directions == "Second gate"
            requests += len(many)
        assert len(fellow.asked) == requests < 200
    await honest_again(stack, liar)


@pytest.mark.parametrize("other", [False, True], ids=["nothing", "for another question"])
async def test_an_adapter_that_never_answers_is_not_waited_for_alone(
    stack: Deployment, liar: Liar, neighbour: Neighbour, other: bool
) -> None:
    """Its link stays open and its question unanswered: its fellow answers inside the same time."""
    liar.say = lambda ask: [adapter_pb2.Answer(ask_id=ask.ask_id + 1000, found=honest(ask).found)] * other
    async with stack.channel("nwas-cad") as asking:
        answer = asyncio.create_task(words.ask(asking, a_request(timeout={"seconds": 4})))
        await _asked(liar)
        async with stack.channel(neighbour[0]) as channel, attached(channel, _hello(neighbour)) as fellow:
            fellow.say = lambda ask: [honest(ask)]
            told = await answer
            assert fire.PremisesRisk.FromString(told.record.value).access.directions == "Second gate"
            assert len(liar.asked) == len(fellow.asked) == 1
            liar.say = lambda ask: [honest(ask)]
            # Who was silent is asked last, for a while.
            for _ in range(4):
                await words.ask(asking, a_request())
            assert len(liar.asked) == 1
