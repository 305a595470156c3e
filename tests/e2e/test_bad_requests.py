"""Bad input is refused with the field's name, alone and on a stream, and harms nothing beside it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from broker.v1 import exchange_pb2, exchange_pb2_grpc
from tests.e2e import words
from tests.support.stack import Deployment

Fields = dict[str, Any]


def _uprn(value: str) -> Fields:
    return {"subject": {"scheme": "uprn", "value": value}}


def _nhs(value: str) -> Fields:
    return {"subject": {"scheme": "nhs-number", "value": value}}


def _actor(**fields: Any) -> Fields:
    return {"actor": {"id": "a1", "role": "ambulance-crew", "assurance": "ASSURANCE_ROSTER", **fields}}


# What is wrong, and the field that must be named.
BAD: dict[str, tuple[Fields, str]] = {
    "unknown record type": ({"record_type": "records.fire.v1.Nothing"}, "record_type"),
    "no record type": ({"record_type": ""}, "record_type"),
    "a record type that is no name": ({"record_type": "'; drop table entry"}, "record_type"),
    "unknown provider": ({"provider": "atlantis-fire"}, "provider"),
    "no provider, and no place to find one for": ({"provider": ""}, "place.district"),
    "unknown purpose": ({"purpose": "curiosity"}, "purpose"),
    "no purpose": ({"purpose": ""}, "purpose"),
    "unknown scheme": ({"subject": {"scheme": "shoe-size", "value": "44"}}, "subject.scheme"),
    "no subject": ({"subject": None}, "subject"),
    "subject and query": (
        {"query": {"family_name": "Exampleton", "birth_date": "1941-03-09"}},
        "subject",
    ),
    "a query with one trait": ({"subject": None, "query": {"family_name": "Exampleton"}}, "query"),
    "an NHS number whose check digit fails": (_nhs("9000001006"), "subject.value"),
    "an NHS number with spaces": (_nhs("900 000 1005"), "subject.value"),
    "an NHS number in other digits": (_nhs("९०००००१००५"), "subject.value"),
    "an NHS number with a newline": (_nhs("9000001005\n"), "subject.value"),
    "a UPRN with leading zeros": (_uprn("0100062990001"), "subject.value"),
    "a UPRN with a space": (_uprn(" 100062990001"), "subject.value"),
    "an empty identifier": (_uprn(""), "subject.value"),
    "no actor": ({"actor": None}, "actor.id"),
    "an actor without id": (_actor(id=""), "actor.id"),
    "an actor without role": (_actor(role=""), "actor.role"),
    "an actor with control characters": (_actor(name="a\x1b[31mb"), "actor.name"),
    "an assurance nobody knows": (_actor(assurance=99), "actor.assurance"),
    "a request id that is none": ({"request_id": "1"}, "request_id"),
    "a request id in capitals": ({"request_id": str(uuid.uuid4()).upper()}, "request_id"),
    "no request id": ({"request_id": ""}, "request_id"),
    "a retry of nothing": ({"retry_of": str(uuid.uuid4())}, "retry_of"),
    "words without end": ({"reason": {"code": "test", "words": "x" * 501}}, "reason.words"),
    "more time than there is": ({"timeout": duration_pb2.Duration(seconds=31)}, "timeout"),
    "no time": ({"timeout": duration_pb2.Duration(seconds=0)}, "timeout"),
    "time that runs backwards": ({"timeout": duration_pb2.Duration(seconds=-1)}, "timeout"),
    "a place the wrong way round": ({"place": {"latitude": -3.1, "longitude": 54.2}}, "place.latitude"),
    "an incident that is no number": ({"incident": "the one by the pub"}, "incident"),
    "more than 64 KiB": ({"traceparent": "0" * (64 * 1024)}, "request"),
}


async def _answered(channel: grpc.aio.Channel) -> None:
    """A good request is."""
    assert (await words.ask(channel, words.a_request())).HasField("record")


@pytest.mark.parametrize("what", BAD)
async def test_bad_input_is_refused_with_the_fields_name(stack: Deployment, what: str):
    """INVALID_ARGUMENT, one BadRequest with that field; and the very next request is answered."""
    fields, named = BAD[what]
    async with stack.channel("nwas-cad") as channel:
        status = await words.failure(words.ask(channel, words.a_request(**fields)))
        assert words.code(status) == "INVALID_ARGUMENT", status
        assert words.wrong_field(status) == named
        assert words.detail(status, error_details_pb2.ErrorInfo).reason == "InvalidRequest"
        await _answered(channel)


async def test_bad_input_on_a_stream_harms_only_itself(stack: Deployment):
    """In one message with a good one after each: every bad one fails, every good one is answered."""
    bad: dict[str, str] = {}
    good: set[str] = set()
    message = exchange_pb2.ExchangeRequest()
    for fields, named in BAD.values():
        one = words.a_request(**fields)
        if len(one.request_id) != 36 or one.request_id != one.request_id.lower():
            continue  # an answer could not be told apart by its id
        bad[one.request_id] = named
        message.requests.append(one)
        fine = words.a_request()
        good.add(fine.request_id)
        message.requests.append(fine)
    outcomes: dict[str, exchange_pb2.Outcome] = {}
    async with stack.channel("nwas-cad") as channel:
        stream = exchange_pb2_grpc.ExchangeServiceStub(channel).Exchange()
        await stream.write(message)
        await stream.done_writing()
        async for reply in stream:
            outcomes.update({each.request_id: each for each in reply.outcomes})
    assert outcomes.keys() == bad.keys() | good
    assert all(outcomes[each].HasField("disclosure") for each in good)
    for each, named in bad.items():
        error = outcomes[each].error
        assert (words.code(error), words.wrong_field(error)) == ("INVALID_ARGUMENT", named)


async def test_the_value_of_a_wrong_identifier_is_never_repeated(stack: Deployment):
    """What was wrong with a person's number is said without the number."""
    async with stack.channel("nwas-cad") as channel:
        status = await words.failure(words.ask(channel, words.a_request(**_nhs("9000001006"))))
    assert b"9000001006" not in status.SerializeToString()


async def test_a_request_past_what_grpc_takes_is_refused(stack: Deployment):
    """A message of several MiB is refused before it is read, and the connection goes on."""
    async with stack.channel("nwas-cad") as channel:
        huge = words.a_request(traceparent="0" * (3 * 1024 * 1024))
        status = await words.failure(words.ask(channel, huge))
        assert words.code(status) == "RESOURCE_EXHAUSTED"
        await _answered(channel)


async def test_a_request_id_belongs_to_one_question(stack: Deployment):
    """The same id with other content is refused; with the same content it is the same entry."""
    first = words.a_request()
    changes: list[Callable[[exchange_pb2.RecordRequest], None]] = [
        lambda r: setattr(r.subject, "value", "100062990002"),
        lambda r: setattr(r.actor, "id", "nwas-2"),
        lambda r: setattr(r, "incident", "nwas/2026-11-21/1"),
        lambda r: setattr(r.reason, "words", "another"),
    ]
    async with stack.channel("nwas-cad") as channel:
        told = await words.ask(channel, first)
        for change in changes:
            other = exchange_pb2.RecordRequest()
            other.CopyFrom(first)
            change(other)
            status = await words.failure(words.ask(channel, other))
            assert words.code(status) == "INVALID_ARGUMENT"
            assert words.wrong_field(status) == "request_id"
        again = exchange_pb2.RecordRequest()
        again.CopyFrom(first)
        again.timeout.seconds = 9  # the time allowed is no part of what was asked
        replayed = await words.ask(channel, again)
        await _answered(channel)
    assert replayed.replayed
    assert not replayed.HasField("record")
    assert (replayed.receipt.entry, replayed.receipt.index) == (told.receipt.entry, told.receipt.index)


async def test_another_systems_request_id_is_no_ones_business(stack: Deployment):
    """Request ids belong to the system that chose them: another's with the same id is a question of its own."""
    asked = words.a_request()
    async with stack.channel("nwas-cad") as ours, stack.channel("wf-mash") as theirs:
        assert (await words.ask(ours, asked)).HasField("record")
        status = await words.failure(words.ask(theirs, asked))
    assert words.code(status) == "PERMISSION_DENIED"
    assert words.detail(status, exchange_pb2.Refusal).code == "agreement"


async def test_duplicates_in_flight_are_one_entry(stack: Deployment):
    """The same request sent ten times at once, over ten connections, is one entry in the log."""
    asked = words.a_request()
    channels = [stack.channel("nwas-cad") for _ in range(10)]
    try:
        told = await asyncio.gather(*(words.ask(channel, asked) for channel in channels))
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))
    assert {each.receipt.index for each in told} == {told[0].receipt.index}
    assert sum(each.HasField("record") for each in told) >= 1
    assert all(each.replayed is not each.HasField("record") for each in told)


async def test_unknown_fields_of_a_request_change_nothing(stack: Deployment):
    """What a newer client adds is not understood, not obeyed and not an error."""
    newer = words.a_request().SerializeToString() + b"\xfa\x3f\x03abc"  # field 1023, length 3
    async with stack.channel("nwas-cad") as channel:
        call = channel.unary_unary(
            "/broker.v1.ExchangeService/Request",
            request_serializer=lambda data: data,
            response_deserializer=exchange_pb2.Disclosure.FromString,
        )
        assert (await call(newer, timeout=words.TIMEOUT)).HasField("record")


async def test_bytes_that_are_no_message_harm_nobody(stack: Deployment):
    """Garbage where a request should be ends that call and no other."""
    async with stack.channel("nwas-cad") as channel:
        for method in ("ExchangeService/Request", "DirectiveService/AddDirective"):
            call = channel.unary_unary(
                f"/broker.v1.{method}",
                request_serializer=lambda data: data,
                response_deserializer=status_pb2.Status.FromString,
            )
            garbage = b"\x0a\x05secret\xff\xff"
            status = await words.failure(call(garbage, timeout=words.TIMEOUT))
            assert words.code(status) == "INVALID_ARGUMENT"
            assert "secret" not in status.message
            await _answered(channel)
