"""A county's fire service becomes two: a request by place finds the successor's adapter.

It answers under what the county signed because its agency told it so; the other's was not told, and refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from adapters.sdk import AdapterSettings, Found, Provides, Question
from adapters.sdk.attach import Attach
from broker.cli.up import signing
from broker.core.model import Place
from broker.errors import Denied, ProviderUnavailable
from broker.pki.identity import key_digest
from broker.pki.tls import TlsFiles
from broker.v1 import (
    directory_pb2,
    directory_pb2_grpc,
    routing_pb2,
    routing_pb2_grpc,
    standing_pb2,
    standing_pb2_grpc,
)
from records.fire.v1 import premises_risk_pb2 as fire
from records.shared.v1 import fact_pb2
from tests.e2e import words
from tests.support.signing import Signatory
from tests.support.stack import Deployment
from tests.support.values import AT_THE_DESK

WEST, EAST, UPRN = "E07000028", "E07000030", "100062990123"
OLD, NEW = "county-fire", ("west-fire", "east-fire")
BROKER = "spiffe://blue-light.test/server/broker"


async def _answer(question: Question) -> Found:
    """Where the second gate is; and who answered."""
    assert question.subject is not None
    record = fire.PremisesRisk(uprn=question.subject.value, crew_notes="not for others")
    record.access.state = fact_pb2.FACT_STATE_VALUE
    record.access.directions = f"by {question.provider}"
    return Found(record, (question.subject,), datetime.now(UTC))


@asynccontextmanager
async def adapter(
    stack: Deployment, folder: Path, agency: str, files: TlsFiles, **settings: Any
) -> AsyncIterator[None]:
    """An adapter of an agency that has signed nothing itself, with the provider's own check on, attached for as
    long as the block lasts."""
    own = Signatory(agency).pin(folder / f"{agency}.pub")
    (folder / agency).mkdir()
    made = AdapterSettings(
        target=stack.target,
        ca=files.ca,
        cert=files.cert,
        key=files.key,
        expected_broker=BROKER,
        agreements=folder / agency,
        agreement_keys=own,
        **settings,
    )
    attach = Attach(made, [Provides(words.PREMISES, ("uprn",))], _answer, software="test/1")
    stop = asyncio.Event()
    running = asyncio.create_task(attach.run(stop))
    try:
        async with asyncio.timeout(20):
            await attach.attached.wait()
        yield
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await running


@pytest.fixture(scope="module")
async def parted(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TlsFiles]:
    """The county's agreement, its routes, two successors with systems; and the county is no more."""
    ca = stack.issued(tmp_path_factory.mktemp("parted") / "ca")
    files = {name: words.files_of(ca.issue_client(name, "risk", datetime.now(UTC))) for name in (OLD, *NEW)}
    async with stack.operator() as channel:
        directory = directory_pb2_grpc.DirectoryServiceStub(channel)
        for name, held in files.items():
            agency = directory_pb2.Agency(id=name, name=f"Fire service {name}", kind="fire")
            agency.valid_from.FromDatetime(datetime(2020, 1, 1, tzinfo=UTC))
            await directory.AddAgency(
                directory_pb2.AddAgencyRequest(actor=AT_THE_DESK, agency=agency), timeout=words.TIMEOUT
            )
            enrol = directory_pb2.EnrolSystemRequest(
                actor=AT_THE_DESK,
                agency=name,
                system="risk",
                function=directory_pb2.SYSTEM_FUNCTION_PARTNER,
                key_digest=key_digest(x509.load_pem_x509_certificate(held.cert.read_bytes())),
            )
            await directory.EnrolSystem(enrol, timeout=words.TIMEOUT)
    await words.apply(
        stack,
        words.agreement(
            "county-nwas-premises",
            provider=OLD,
            record_type=words.PREMISES,
            scheme="uprn",
            permitted=("uprn", "access.state", "access.as_at", "access.directions"),
            purpose="emergency-response",
        ),
    )
    routes = f"""
id = "county-fire"
version = 1
title = "The county's fire service"
[[routes]]
id = "premises"
record_type = "{words.PREMISES}"
districts = ["{WEST}", "{EAST}"]
holder = "{OLD}"
"""
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    into = [
        standing_pb2.Successor(agency=name, districts=[district])
        for name, district in zip(NEW, (WEST, EAST), strict=True)
    ]
    async with stack.operator() as channel:
        routing = routing_pb2_grpc.RoutingServiceStub(channel)
        await routing.ApplyRoutes(
            routing_pb2.ApplyRoutesRequest(actor=AT_THE_DESK, file=routes.encode()), timeout=words.TIMEOUT
        )
        standing = standing_pb2_grpc.StandingServiceStub(channel)
        succeed = standing_pb2.SucceedRequest(actor=AT_THE_DESK, agency=OLD, into=into, on=yesterday)
        await standing.Succeed(succeed, timeout=words.TIMEOUT)
    return files


async def _ask(stack: Deployment, district: str) -> Any:
    """What an ambulance crew is told about a house there; nobody is named."""
    async with stack.client("nwas-cad") as broker:
        return await broker.request(
            record_type=words.PREMISES,
            provider="",
            subject=("uprn", UPRN),
            purpose="emergency-response",
            actor=words.PARAMEDIC,
            place=Place(district=district),
            timeout=words.TIMEOUT,
        )


async def test_a_request_by_place_finds_the_successors_adapter(
    stack: Deployment, parted: dict[str, TlsFiles], tmp_path: Path
) -> None:
    """In the west it answers as the county's successor. In the east nobody told the adapter of the county: it
    refuses what the broker permits. The old service's certificate opens nothing."""
    county = {
        "agreements": str(signing.copies(stack.state, OLD)),
        "keys": str(signing.public_file(stack.state, OLD)),
    }
    told = {"predecessors": {OLD: county}}
    async with (
        adapter(stack, tmp_path, "west-fire", parted["west-fire"], **told),
        adapter(stack, tmp_path, "east-fire", parted["east-fire"]),
    ):
        west = await _ask(stack, WEST)
        record = fire.PremisesRisk()
        record.ParseFromString(west.record.SerializeToString())
        assert record.access.directions == "by west-fire"
        assert (record.crew_notes, west.decision.controller) == ("", "west-fire")
        with pytest.raises(ProviderUnavailable, match="own copy of its agreements"):
            await _ask(stack, EAST)
    with pytest.raises(Denied) as caught:
        await _ask(stack, "E08000003")
    assert caught.value.code == "party"
    async with stack.channel(parted[OLD]) as channel:
        stub = routing_pb2_grpc.RoutingServiceStub(channel)
        status = await words.failure(stub.ListRoutes(routing_pb2.ListRoutesRequest(), timeout=words.TIMEOUT))
    assert words.code(status) == "UNAUTHENTICATED"
