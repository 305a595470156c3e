"""An adapter is not believed: what does not answer the question is the provider's failure, and is logged.

The adapter is another agency's, enrolled, attached over the real service, with a signed agreement in force.
"""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from google.rpc import error_details_pb2

from broker.pki.tls import TlsFiles
from broker.v1 import adapter_pb2, adapter_pb2_grpc, exchange_pb2
from records.fire.v1 import premises_risk_pb2 as fire
from tests.e2e import words
from tests.e2e.neighbour import UPRN, Change, a_request, changed, fails, honest, honest_again, logged
from tests.support.liar import Liar
from tests.support.stack import Deployment


async def test_an_honest_answer_is_redacted(stack: Deployment, liar: Liar):
    """Of a whole record only what the agreement names goes on; the adapter is told the names."""
    await honest_again(stack, liar)
    async with stack.channel("nwas-cad") as channel:
        told = await words.ask(channel, a_request())
    assert b"9999Z" not in told.record.value
    assert b"not for others" not in told.record.value
    ask = liar.asked[-1]
    assert list(ask.permitted_paths) == ["access.as_at", "access.directions", "access.state", "uprn"]
    assert (ask.requester, ask.agreement, ask.agreement_version) == ("nwas", "lancs-nwas-premises", 1)


def _an_unknown_field(answer: adapter_pb2.Answer) -> None:
    answer.found.record.value += b"\xfa\x3f\x06secret"  # field 1023, which no descriptor has


def _an_unknown_field_deep_down(answer: adapter_pb2.Answer) -> None:
    access = b"\xfa\x3f\x06secret"
    answer.found.record.value += b"\x2a" + bytes([len(access)]) + access  # field 5, access


def _identifiers(*refs: tuple[str, str]) -> Change:
    def change(answer: adapter_pb2.Answer) -> None:
        del answer.found.identifiers[:]
        answer.found.identifiers.extend(exchange_pb2.SubjectRef(scheme=s, value=v) for s, v in refs)

    return change


LIES: dict[str, Change] = {
    "another record type": lambda a: setattr(
        a.found.record, "type_url", "type.googleapis.com/records.nhs.v1.PatientSummary"
    ),
    "another host in the type": lambda a: setattr(a.found.record, "type_url", f"example.com/{words.PREMISES}"),
    "no type": lambda a: setattr(a.found.record, "type_url", ""),
    "another digest": lambda a: setattr(a.found, "digest", "ab" * 32),
    "no digest": lambda a: setattr(a.found, "digest", ""),
    "an unknown field": _an_unknown_field,
    "an unknown field deep down": _an_unknown_field_deep_down,
    "bytes that are no record": lambda a: setattr(a.found.record, "value", b"\xff\xff\xff"),
    "half a record": lambda a: setattr(a.found.record, "value", a.found.record.value[:-3]),
    "an identifier with leading zeros": _identifiers(("uprn", f"0{UPRN}")),
    "an NHS number with spaces": _identifiers(("uprn", UPRN), ("nhs-number", "900 000 1005")),
    "a scheme nobody knows": _identifiers(("shoe-size", "44")),
    "nothing at all": lambda a: a.ClearField("found"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_answer_to_another_question_is_the_providers_failure(stack: Deployment, liar: Liar, lie: str):
    """UNAVAILABLE with a receipt, nothing of the answer released, and the next one is fine."""
    liar.say = changed(LIES[lie])
    status = await fails(stack)
    assert words.code(status) == "UNAVAILABLE", status
    assert words.detail(status, error_details_pb2.ErrorInfo).reason == "ProviderUnavailable"
    assert b"secret" not in status.SerializeToString()
    await logged(stack, status)
    await honest_again(stack, liar)


async def test_the_first_answer_counts_and_strangers_answers_do_not(stack: Deployment, liar: Liar):
    """A second answer, and one to a question that was never asked, change nothing."""

    def say(ask: adapter_pb2.Ask) -> list[adapter_pb2.Answer]:
        second, stranger = honest(ask), honest(ask)
        second.found.record.value = b""
        stranger.ask_id = ask.ask_id + 1000
        return [stranger, honest(ask), second]

    liar.say = say
    async with stack.channel("nwas-cad") as channel:
        told = await words.ask(channel, a_request())
    assert fire.PremisesRisk.FromString(told.record.value).access.directions == "Second gate"
    await honest_again(stack, liar)


async def test_silence_costs_no_more_than_the_callers_time(stack: Deployment, liar: Liar):
    """DEADLINE_EXCEEDED inside the caller's time, with a receipt; the adapter is told to stop."""
    liar.say = lambda ask: []
    started = time.monotonic()
    status = await fails(stack, timeout={"seconds": 1})
    assert time.monotonic() - started < 4
    assert words.code(status) == "DEADLINE_EXCEEDED"
    await logged(stack, status)
    await honest_again(stack, liar)
    assert liar.asked[0].ask_id in liar.cancelled


async def test_an_adapter_that_hangs_up_is_noticed_at_once(stack: Deployment, liar: Liar):
    """A link that breaks under a question is a failure long before the caller's time is up."""
    liar.hang_up = True
    started = time.monotonic()
    status = await fails(stack, timeout={"seconds": 8})
    assert time.monotonic() - started < 5
    assert words.code(status) == "UNAVAILABLE"
    await logged(stack, status)


async def test_without_an_adapter_the_provider_is_unavailable(stack: Deployment, neighbour: object):
    """Nobody attached: said at once, with a receipt."""
    await asyncio.sleep(0.1)  # the link of the test before may just be going
    status = await fails(stack)
    assert words.code(status) == "UNAVAILABLE"
    await logged(stack, status)


@pytest.mark.parametrize(
    ("record_type", "digest", "at_once", "code", "field"),
    [
        (words.PATIENT, None, 1, "PERMISSION_DENIED", ""),
        (words.PREMISES, "ab" * 32, 1, "INVALID_ARGUMENT", "hello.provides.0.digest"),
        ("records.fire.v1.Nothing", None, 1, "INVALID_ARGUMENT", "hello.provides.0.record_type"),
        (words.PREMISES, None, 0, "INVALID_ARGUMENT", "hello.at_once"),
        (words.PREMISES, None, 100_000, "INVALID_ARGUMENT", "hello.at_once"),
        ("", None, 1, "INVALID_ARGUMENT", "hello.provides"),
    ],
)
async def test_an_adapter_may_offer_only_what_its_agency_holds(
    stack: Deployment,
    neighbour: tuple[TlsFiles, str],
    record_type: str,
    digest: str | None,
    at_once: int,
    code: str,
    field: str,
):
    """Another kind of record, an unapproved version, impossible bounds: the stream ends and says why."""
    files, approved = neighbour
    provided = adapter_pb2.Provided(record_type=record_type, digest=digest or approved)
    hello = adapter_pb2.Hello(software="liar/1", provides=[provided] if record_type else [], at_once=at_once)
    async with stack.channel(files) as channel:
        link = adapter_pb2_grpc.AdapterServiceStub(channel).Attach()
        status = await words.failure(_said_and_drained(link, hello))
    assert words.code(status) == code
    if field:
        assert words.wrong_field(status) == field


async def test_an_operator_provides_nothing(stack: Deployment, neighbour: tuple[TlsFiles, str]):
    """The operator's certificate opens no link: it holds no records."""
    provided = adapter_pb2.Provided(record_type=words.PREMISES, digest=neighbour[1])
    async with stack.operator() as channel:
        link = adapter_pb2_grpc.AdapterServiceStub(channel).Attach()
        hello = adapter_pb2.Hello(provides=[provided], at_once=1)
        status = await words.failure(_said_and_drained(link, hello))
    assert words.code(status) == "PERMISSION_DENIED"


async def _said_and_drained(link: grpc.aio.StreamStreamCall, hello: adapter_pb2.Hello) -> None:
    """Say hello and read to the end: who is refused at the door may hear of it at either."""
    await link.write(adapter_pb2.AttachRequest(hello=hello))
    while await link.read() is not grpc.aio.EOF:
        pass
