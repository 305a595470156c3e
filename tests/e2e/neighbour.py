"""A neighbour's fire service: enrolled, with an agreement in force, and an adapter that says what a test wants.

It is attached over the real service, on the wire alone.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from google.protobuf import any_pb2
from google.rpc import status_pb2

from broker.pki.identity import key_digest
from broker.pki.tls import TlsFiles
from broker.v1 import adapter_pb2, directory_pb2, directory_pb2_grpc, exchange_pb2
from records.fire.v1 import premises_risk_pb2 as fire
from records.shared.v1 import fact_pb2 as shared
from tests.e2e import words
from tests.support.liar import Liar, attached
from tests.support.stack import Deployment
from tests.support.values import AT_THE_DESK

AGENCY = "lancs-fire"
UPRN = "100062990099"
TYPE_URL = f"type.googleapis.com/{words.PREMISES}"
Change = Callable[[adapter_pb2.Answer], Any]


@pytest.fixture(scope="session")
async def neighbour(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> tuple[TlsFiles, str]:
    """Another fire service with an adapter's certificate and an agreement; and the record type's digest."""
    folder = tmp_path_factory.mktemp("neighbour")
    files = words.files_of(stack.issued(folder / "ca").issue_client(AGENCY, "risk", datetime.now(UTC)))
    async with stack.operator() as channel:
        directory = directory_pb2_grpc.DirectoryServiceStub(channel)
        agency = directory_pb2.Agency(id=AGENCY, name="A neighbour's fire service", kind="fire")
        await directory.AddAgency(
            directory_pb2.AddAgencyRequest(actor=AT_THE_DESK, agency=agency), timeout=words.TIMEOUT
        )
        await directory.EnrolSystem(
            directory_pb2.EnrolSystemRequest(
                actor=AT_THE_DESK,
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


def a_request(**fields: Any) -> exchange_pb2.RecordRequest:
    """An ambulance crew asks the neighbour about a house."""
    return words.a_request(provider=AGENCY, subject={"scheme": "uprn", "value": UPRN}, **fields)


async def honest_again(stack: Deployment, liar: Liar) -> None:
    """The same link, telling the truth, is answered through: nothing broke."""
    liar.say = lambda ask: [honest(ask)]
    async with stack.channel("nwas-cad") as channel:
        told = await words.ask(channel, a_request())
    record = fire.PremisesRisk.FromString(told.record.value)
    assert record.access.directions == "Second gate"


async def fails(stack: Deployment, **fields: Any) -> status_pb2.Status:
    """The status that such a request, which must fail, ends with."""
    async with stack.channel("nwas-cad") as channel:
        return await words.failure(words.ask(channel, a_request(**fields)))


async def logged(stack: Deployment, status: status_pb2.Status) -> None:
    """The failure came with its receipt, and the auditor sees a provider's failure of that agency."""
    receipt = words.detail(status, exchange_pb2.Receipt)
    shown = await words.opened(stack, json.loads(receipt.entry)["id"])
    full = json.loads(shown.receipt.opening[32:])
    assert (full["event"], full["provider"]) == ("provider-failure", AGENCY)
    assert "Second gate" not in json.dumps(full)
