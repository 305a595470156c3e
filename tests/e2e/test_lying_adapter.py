"""An adapter is not believed: what does not answer the question is the provider's failure, and is logged.

The adapter is another agency's, enrolled, attached over the real service, with a signed agreement in force.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from cryptography import x509
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from broker.pki.identity import key_digest
from broker.pki.tls import TlsFiles
from broker.v1 import adapter_pb2, adapter_pb2_grpc, directory_pb2, directory_pb2_grpc, exchange_pb2
from records.fire.v1 import premises_risk_pb2 as fire
from records.shared.v1 import fact_pb2 as shared
from tests.e2e import words
from tests.support.liar import Liar, attached
from tests.support.stack import Deployment

AGENCY = "lancs-fire"
UPRN = "100062990099"
TYPE_URL = f"type.googleapis.com/{words.PREMISES}"
Change = Callable[[adapter_pb2.Answer], Any]


@pytest.fixture(scope="module")
async def neighbour(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> tuple[TlsFiles, str]:
    """Another fire service with an adapter's certificate and an agreement; and the record type's digest."""
    folder = tmp_path_factory.mktemp("neighbour")
    files = words.files_of(stack.issued(folder / "ca").issue_client(AGENCY, "risk", datetime.now(UTC)))
    async with stack.operator() as channel:
        directory = directory_pb2_grpc.DirectoryServiceStub(channel)
        agency = directory_pb2.Agency(id=AGENCY, name="A neighbour's fire service", kind="fire")
        await directory.AddAgency(directory_pb2.AddAgencyRequest(agency=agency), timeout=words.TIMEOUT)
        await directory.EnrolSystem(
            directory_pb2.EnrolSystemRequest(
                agency=AGENCY,
                system="risk",
                function=directory_pb2.SYSTEM_FUNCTION_PARTNER,
                key_digest=key_digest(x509.load_pem_x509_certificate(files.cert.read_bytes())),
            ),
            timeout=words.TIMEOUT,
        )
        listed = await directory.ListRecordTypes(
            directory_pb2.ListRecordTypesRequest(full_name=words.PREMISES), timeout=words.TIMEOUT
        )
    await words.apply(
        stack,
        words.agreement(
            "lancs-nwas-premises",
            provider=AGENCY,
            record_type=words.PREMISES,
            scheme="uprn",
            permitted=("uprn", "access.state", "access.as_at", "access.directions"),
            purpose="emergency-response",
        ),
    )
    return files, listed.record_types[-1].digest


@pytest.fixture
async def liar(stack: Deployment, neighbour: tuple[TlsFiles, str]) -> AsyncIterator[Liar]:
    """The neighbour's adapter, attached."""
    files, digest = neighbour
    provided = adapter_pb2.Provided(record_type=words.PREMISES, digest=digest, subject_schemes=["uprn"])
    hello = adapter_pb2.Hello(software="liar/1", provides=[provided], at_once=64)
    async with stack.channel(files) as channel, attached(channel, hello) as one:
        yield one


def honest(ask: adapter_pb2.Ask) -> adapter_pb2.Answer:
    """A good answer, with more in the record than the agreement names."""
    record = fire.PremisesRisk(uprn=ask.subject.value, crew_notes="not for others")
    record.access.state = shared.FACT_STATE_VALUE
    record.access.directions = "Second gate"
    record.access.key_safe_code = "9999Z"
    found = adapter_pb2.Found(
        record=any_pb2.Any(type_url=TYPE_URL, value=record.SerializeToString()),
        digest=ask.digest,
        identifiers=[ask.subject],
    )
    return adapter_pb2.Answer(ask_id=ask.ask_id, found=found)


def changed(change: Change) -> Callable[[adapter_pb2.Ask], list[adapter_pb2.Answer]]:
    """A good answer with one thing changed."""

    def say(ask: adapter_pb2.Ask) -> list[adapter_pb2.Answer]:
        answer = honest(ask)
        change(answer)
        return [answer]

    return say


def _request(**fields: Any) -> exchange_pb2.RecordRequest:
    return words.a_request(provider=AGENCY, subject={"scheme": "uprn", "value": UPRN}, **fields)


async def _honest_again(stack: Deployment, liar: Liar) -> None:
    """The same link, telling the truth, is answered through: nothing broke."""
    liar.say = lambda ask: [honest(ask)]
    async with stack.channel("nwas-cad") as channel:
        told = await words.ask(channel, _request())
    record = fire.PremisesRisk.FromString(told.record.value)
    assert record.access.directions == "Second gate"


async def _fails(stack: Deployment, **fields: Any) -> status_pb2.Status:
    async with stack.channel("nwas-cad") as channel:
        return await words.failure(words.ask(channel, _request(**fields)))


async def _logged(stack: Deployment, status: status_pb2.Status) -> None:
    """The failure came with its receipt, and the auditor sees a provider's failure of that agency."""
    receipt = words.detail(status, exchange_pb2.Receipt)
    shown = await words.opened(stack, json.loads(receipt.entry)["id"])
    full = json.loads(shown.receipt.opening[32:])
    assert (full["event"], full["provider"]) == ("provider-failure", AGENCY)
    assert "Second gate" not in json.dumps(full)


async def test_an_honest_answer_is_redacted(stack: Deployment, liar: Liar):
    """Of a whole record only what the agreement names goes on; the adapter is told the names."""
    await _honest_again(stack, liar)
    async with stack.channel("nwas-cad") as channel:
        told = await words.ask(channel, _request())
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
    status = await _fails(stack)
    assert words.code(status) == "UNAVAILABLE", status
    assert words.detail(status, error_details_pb2.ErrorInfo).reason == "ProviderUnavailable"
    assert b"secret" not in status.SerializeToString()
    await _logged(stack, status)
    await _honest_again(stack, liar)


async def test_the_first_answer_counts_and_strangers_answers_do_not(stack: Deployment, liar: Liar):
    """A second answer, and one to a question that was never asked, change nothing."""

    def say(ask: adapter_pb2.Ask) -> list[adapter_pb2.Answer]:
        second, stranger = honest(ask), honest(ask)
        second.found.record.value = b""
        stranger.ask_id = ask.ask_id + 1000
        return [stranger, honest(ask), second]

    liar.say = say
    async with stack.channel("nwas-cad") as channel:
        told = await words.ask(channel, _request())
    assert fire.PremisesRisk.FromString(told.record.value).access.directions == "Second gate"
    await _honest_again(stack, liar)


async def test_silence_costs_no_more_than_the_callers_time(stack: Deployment, liar: Liar):
    """DEADLINE_EXCEEDED inside the caller's time, with a receipt; the adapter is told to stop."""
    liar.say = lambda ask: []
    started = time.monotonic()
    status = await _fails(stack, timeout={"seconds": 1})
    assert time.monotonic() - started < 1.5
    assert words.code(status) == "DEADLINE_EXCEEDED"
    await _logged(stack, status)
    await _honest_again(stack, liar)
    assert liar.asked[0].ask_id in liar.cancelled


async def test_an_adapter_that_hangs_up_is_noticed_at_once(stack: Deployment, liar: Liar):
    """A link that breaks under a question is a failure long before the caller's time is up."""
    liar.hang_up = True
    started = time.monotonic()
    status = await _fails(stack, timeout={"seconds": 8})
    assert time.monotonic() - started < 2
    assert words.code(status) == "UNAVAILABLE"
    await _logged(stack, status)


async def test_without_an_adapter_the_provider_is_unavailable(stack: Deployment, neighbour: object):
    """Nobody attached: said at once, with a receipt."""
    await asyncio.sleep(0.1)  # the link of the test before may just be going
    status = await _fails(stack)
    assert words.code(status) == "UNAVAILABLE"
    await _logged(stack, status)


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
