"""What the end-to-end tests say to a deployment: agreements, requests, directives, and who says them."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from adapters.nhs.demo import allergy
from adapters.nhs.demographics import NHS_NUMBER
from adapters.sdk.copies import LOOK_EVERY
from broker.cli.up import signing
from broker.cli.up.provision import enrol_signing_keys
from broker.client import Actor, Assurance, Broker, Disclosure
from broker.core import agreement as agreements
from broker.pki.tls import TlsFiles
from broker.rpc.signed import signature_message
from broker.v1 import (
    agreement_pb2,
    agreement_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    directive_pb2,
    directive_pb2_grpc,
    directory_pb2_grpc,
    exchange_pb2,
    exchange_pb2_grpc,
)
from tests.support.stack import Deployment
from tests.support.values import AT_THE_DESK

PATIENT = "records.nhs.v1.PatientSummary"
PREMISES = "records.fire.v1.PremisesRisk"
HOME = "100062990001"
TIMEOUT = 10.0

PARAMEDIC = Actor("nwas-51180", "ambulance-crew", callsign="AC412", assurance=Assurance.ROSTER)
CREW = Actor("cfrs-2207", "fire-crew", callsign="K30P1", assurance=Assurance.ROSTER)
SOCIAL_WORKER = exchange_pb2.Actor(
    id="cumberland-0938", role="social-worker", assurance=exchange_pb2.ASSURANCE_PERSONAL_LOGIN
)
AUDITOR = exchange_pb2.Actor(id="auditor-7", role="auditor", assurance=exchange_pb2.ASSURANCE_PERSONAL_LOGIN)


def agreement(
    id_: str, *, provider: str, record_type: str, scheme: str, permitted: tuple[str, ...], purpose: str
) -> bytes:
    """An agreement's file: the ambulance service (`nwas`) may have these fields; objections are respected."""
    today = datetime.now(UTC).date()
    fields = ", ".join(f'"{path}"' for path in permitted)
    return f"""
id = "{id_}"
version = 1
title = "Made by a test"
purpose = "{purpose}"
valid_from = {today - timedelta(days=30)}
valid_until = {today + timedelta(days=30)}
review_on = {today + timedelta(days=20)}
[legal]
basis = "art6-1-e"
condition = "art9-2-h"
confidentiality = "consent-implied"
[directives]
weight = "respected"
[actors]
minimum_assurance = "roster"
[[parties]]
agency = "nwas"
regime = "uk-gdpr"
[[parties]]
agency = "{provider}"
regime = "uk-gdpr"
caldicott_guardian = "Caldicott Guardian"
[[flows]]
provider = "{provider}"
requester = "nwas"
record_type = "{record_type}"
permitted = [{fields}]
roles = ["ambulance-crew"]
subject_schemes = ["{scheme}"]
""".encode()


DIRECT_CARE = agreement(
    "ncic-nwas-direct-care",
    provider="ncic",
    record_type=PATIENT,
    scheme="nhs-number",
    permitted=(
        "nhs_number",
        "name.family",
        "allergies.state",
        "allergies.as_at",
        "allergies.items.substance.display",
    ),
    purpose="direct-care",
)


async def apply(stack: Deployment, file: bytes) -> str:
    """Sign an agreement for each party, and put it in force, as the operator; its id."""
    identifier = agreements.read(file).id
    signatures = await asyncio.to_thread(signing.signed, stack.state, f"{identifier}.toml", file)
    async with stack.operator() as channel:
        directory = directory_pb2_grpc.DirectoryServiceStub(channel)
        await enrol_signing_keys(directory, stack.state, [each.agency for each in signatures])
        stub = agreement_pb2_grpc.AgreementServiceStub(channel)
        messages = [signature_message(each) for each in signatures]
        request = agreement_pb2.ApplyAgreementRequest(actor=AT_THE_DESK, file=file, signatures=messages)
        applied = await stub.ApplyAgreement(request, timeout=TIMEOUT)
    # Adapters look at their own copies once a second at most.
    await asyncio.sleep(1.1 * LOOK_EVERY)
    return applied.agreement.id


@dataclass
class Person:
    """A patient of the trust that one test made. `old` is an NHS number that was once theirs."""

    number: str
    old: str
    family: str
    resources: list[dict[str, Any]] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The logical id at the FHIR server."""
        return f"e2e-{self.number}"

    @property
    def subject(self) -> tuple[str, str]:
        return ("nhs-number", self.number)

    def as_patient(self) -> dict[str, Any]:
        """The FHIR resource."""
        return {
            "resourceType": "Patient",
            "id": self.id,
            "active": True,
            "identifier": [
                {"system": NHS_NUMBER, "value": self.number},
                {"system": NHS_NUMBER, "value": self.old, "use": "old"},
            ],
            "name": [{"use": "official", "family": self.family, "given": ["Test"]}],
            "gender": "female",
            "birthDate": "1960-02-03",
        }

    def allergy(self, display: str, **more: Any) -> dict[str, Any]:
        """The person's one AllergyIntolerance, saying `display`."""
        return allergy(f"{self.id}-allergy", self.id, "300916003", display, **more)


async def allergies(broker: Broker, person: Person, timeout: float = TIMEOUT) -> Disclosure:
    """What an ambulance crew is told about the person's allergies."""
    return await broker.request(
        record_type=PATIENT,
        provider="ncic",
        subject=person.subject,
        purpose="direct-care",
        actor=PARAMEDIC,
        timeout=timeout,
    )


async def before_visit(broker: Broker, person: Person) -> Disclosure:
    """What a fire crew is told before a home visit, to which the person must have consented."""
    return await broker.request(
        record_type=PATIENT,
        provider="ncic",
        subject=person.subject,
        purpose="home-fire-safety",
        actor=CREW,
        timeout=TIMEOUT,
    )


async def premises(
    broker: Broker, uprn: str = HOME, purpose: str = "emergency-response", **more: Any
) -> Disclosure:
    """What an ambulance crew is told about a house."""
    return await broker.request(
        record_type=PREMISES,
        provider="cfrs",
        subject=("uprn", uprn),
        purpose=purpose,
        actor=PARAMEDIC,
        timeout=TIMEOUT,
        **more,
    )


def a_request(**fields: Any) -> exchange_pb2.RecordRequest:
    """A good request of an ambulance crew about a house, but for what `fields` replace (None: left out)."""
    good = {
        "request_id": str(uuid.uuid4()),
        "record_type": PREMISES,
        "provider": "cfrs",
        "subject": {"scheme": "uprn", "value": HOME},
        "purpose": "emergency-response",
        "actor": {"id": "nwas-51180", "role": "ambulance-crew", "assurance": "ASSURANCE_ROSTER"},
        **fields,
    }
    return exchange_pb2.RecordRequest(**{name: value for name, value in good.items() if value is not None})


async def ask(channel: grpc.aio.Channel, request: exchange_pb2.RecordRequest) -> exchange_pb2.Disclosure:
    """One unary call, bare."""
    stub = exchange_pb2_grpc.ExchangeServiceStub(channel)
    return await stub.Request(request, timeout=TIMEOUT)


async def failure(call: Any) -> status_pb2.Status:
    """The status with which a call ends that must fail, details included where there are any."""
    try:
        await call
    except grpc.aio.AioRpcError as e:
        rich = rpc_status.from_call(e)
        return rich or status_pb2.Status(code=e.code().value[0], message=e.details() or "")
    raise AssertionError("the call succeeded")


def detail(status: status_pb2.Status, kind: type[Message]) -> Any:
    """The first detail of that kind. Fails where there is none."""
    for each in status.details:
        found = kind()
        if each.Unpack(found):
            return found
    raise AssertionError(f"no {kind.DESCRIPTOR.name} among the details of {status}")


def code(status: status_pb2.Status) -> str:
    """The status' name."""
    return next(each.name for each in grpc.StatusCode if each.value[0] == status.code)


def wrong_field(status: status_pb2.Status) -> str:
    """The one field that a BadRequest names."""
    violations = detail(status, error_details_pb2.BadRequest).field_violations
    assert len(violations) == 1
    assert violations[0].description
    return violations[0].field


async def add_directive(
    stack: Deployment, kind: str, number: str, purpose: str, by: str = "cumberland-mash"
) -> str:
    """Record what somebody said; the directive's id."""
    directive = directive_pb2.Directive(
        kind=kind,
        subject=exchange_pb2.SubjectRef(scheme="nhs-number", value=number),
        purposes=[purpose],
        standing="self",
        manner="verbal",
    )
    async with stack.channel(by) as channel:
        made = await directive_pb2_grpc.DirectiveServiceStub(channel).AddDirective(
            directive_pb2.AddDirectiveRequest(directive=directive, actor=SOCIAL_WORKER), timeout=TIMEOUT
        )
    return made.directive_id


async def withdraw(stack: Deployment, directive_id: str, by: str = "cumberland-mash", target: str = "") -> None:
    """Withdraw what was recorded."""
    async with stack.channel(by, target) as channel:
        await directive_pb2_grpc.DirectiveServiceStub(channel).WithdrawDirective(
            directive_pb2.WithdrawDirectiveRequest(directive_id=directive_id, actor=SOCIAL_WORKER),
            timeout=TIMEOUT,
        )


async def opened(stack: Deployment, event_id: str) -> audit_pb2.GetReceiptResponse:
    """An entry as the auditor sees it, opened."""
    async with stack.channel("auditor-console") as channel:
        return await audit_pb2_grpc.AuditServiceStub(channel).GetReceipt(
            audit_pb2.GetReceiptRequest(
                event_id=event_id,
                actor=AUDITOR,
                reason=exchange_pb2.ReasonCode(code="test"),
                open=True,
            ),
            timeout=TIMEOUT,
        )


def files_of(folder: Any) -> TlsFiles:
    """The TLS files of an issued identity, beside its authority."""
    return TlsFiles(folder.parent / "ca.pem", folder / "cert.pem", folder / "key.pem")
