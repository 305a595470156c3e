"""Every call that is a look, on a running broker: without a person and a reason it shows nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from getpass import getuser
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from broker.limits import LOOKS_AT_ONCE
from broker.v1 import (
    agreement_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    directive_pb2_grpc,
    exchange_pb2,
    exchange_pb2_grpc,
    keeping_pb2_grpc,
    override_pb2_grpc,
    referral_pb2_grpc,
    report_pb2_grpc,
)
from tests.cli.conftest import ACTOR, Parties, Run
from tests.support.running import RunningBroker
from tests.usecases.test_entry_kinds import _FILES, ON_THE_WAY, table

STUBS: dict[str, Any] = {
    "AgreementService": agreement_pb2_grpc.AgreementServiceStub,
    "AuditService": audit_pb2_grpc.AuditServiceStub,
    "DirectiveService": directive_pb2_grpc.DirectiveServiceStub,
    "ExchangeService": exchange_pb2_grpc.ExchangeServiceStub,
    "KeepingService": keeping_pb2_grpc.KeepingServiceStub,
    "OverrideService": override_pb2_grpc.OverrideServiceStub,
    "ReferralService": referral_pb2_grpc.ReferralServiceStub,
    "ReportService": report_pb2_grpc.ReportServiceStub,
}
# Somebody of this file's own: while a request for access is open, nothing about them is erased.
PERSON = exchange_pb2.SubjectRef(scheme="nhs-number", value="9000000017")
WHO = exchange_pb2.Actor(
    id="q.looker", role="auditor", assurance=exchange_pb2.Assurance.ASSURANCE_PERSONAL_LOGIN
)
WHY = exchange_pb2.ReasonCode(code="to-check")
# What each needs besides; whatever is not here needs nothing.
MORE: dict[str, dict[str, Any]] = {
    "AuditService.GetReceipt": {"index": 1, "open": True},
    "AuditService.ExplainEntry": {"index": 1},
    "DirectiveService.ListDirectives": {"subject": PERSON},
    "KeepingService.ErasePerson": {"person": PERSON},
    "KeepingService.PlanErasure": {"person": PERSON, "ground": "art-17"},
    "ReportService.MakeReport": {"report": "agency"},
    "ReportService.StartAccess": {"subjects": [PERSON]},
}
AS_AUDITOR = {
    *("AuditService.GetReceipt", "AuditService.ExplainEntry", "AuditService.ReplayDecisions"),
    "AgreementService.PlanAgreement",
}
# They look at one thing that has to be there first: who and why are asked for before it is looked for.
OF_ONE = {
    "KeepingService.ConfirmErasure": {"plan_id": str(uuid.uuid4())},
    "ExchangeService.Explain": {"request_id": str(uuid.uuid4())},
    "ReferralService.ShowReferral": {"referral_id": str(uuid.uuid4())},
    "ReportService.DraftAccess": {"access_id": str(uuid.uuid4())},
    "ReportService.IssueAccess": {"access_id": str(uuid.uuid4())},
    "ReportService.PreviewAccess": {"access_id": str(uuid.uuid4())},
}
# They are more than a look, and their own entry comes after that of the look.
AND_MORE = {"KeepingService.PlanErasure"}


def calls() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every call that is a look, by the page, with the kinds of its entry."""
    kinds = {kind for kind, (told, *_) in table("### Kinds of entry").items() if told == "consultation"}
    for call, (told, *_) in table("### Calls and their entries").items():
        if made := sorted((kinds - ON_THE_WAY) & {each.strip("`") for each in told.split(", ")}):
            yield call, tuple(made)


LOOKS = dict(calls())


def ask(running: RunningBroker, parties: Parties, auditor: str, call: str, **more: Any) -> list[Any]:
    """Make the call and read all of its answer."""
    service, _, name = call.partition(".")
    method = next(
        method
        for file in _FILES
        for each in file.DESCRIPTOR.services_by_name.values()
        for method in each.methods
        if (each.name, method.name) == (service, name)
    )
    request = method.input_type._concrete_class(**{**MORE.get(call, {}), **OF_ONE.get(call, {}), **more})
    if call == "AgreementService.PlanAgreement":
        request.files.append(parties.file.read_bytes().replace(b"version = 1", b"version = 7"))
    with running.channel(auditor if call in AS_AUDITOR else parties.requester) as channel:
        answer = getattr(STUBS[service](channel), name)(request, timeout=30)
        return list(answer) if method.server_streaming else [answer]


def refused(error: grpc.RpcError) -> list[str]:
    """Which fields of a request were not accepted."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0], status.message
    fields = list[str]()
    for detail in status.details:
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            fields += [each.field for each in bad.field_violations]
    return fields


@pytest.mark.parametrize("call", sorted(LOOKS))
def test_nobody_looks_without_a_name_and_a_reason(
    running_broker: RunningBroker, parties: Parties, auditor: str, call: str
) -> None:
    """Either is asked for by its field, before anything is shown."""
    for given, field in (({"reason": WHY}, "actor.id"), ({"actor": WHO}, "reason.code")):
        with pytest.raises(grpc.RpcError) as caught:
            ask(running_broker, parties, auditor, call, **given)
        assert refused(caught.value) == [field], call


@pytest.mark.parametrize("call", sorted(LOOKS.keys() - OF_ONE.keys() - AND_MORE))
def test_the_entry_of_a_look_says_who_and_why(
    running_broker: RunningBroker, broker: Run, parties: Parties, auditor: str, call: str
) -> None:
    """In the full view, which an auditor reads: the person, their role, and the code of the reason."""
    someone = exchange_pb2.Actor(id=f"q.{uuid.uuid4().hex[:8]}", role="auditor")
    more = {"before": 2} if call == "AuditService.Export" else {}
    if call == "AuditService.ReplayDecisions":
        more = {"until": 1}
    ask(running_broker, parties, auditor, call, actor=someone, reason=WHY, **more)
    who = ("--actor-id", "ann", "--role", "auditor", "--reason", "complaint", "--as", auditor)
    found = broker("audit", "search", "--where", f"actor={someone.id}", *who, "--json")
    views = [json.loads(line)["view"] for line in found.out.splitlines() if "view" in line]
    assert {view["event"] for view in views} <= set(LOOKS[call]), views
    # An export says at its end how it ended, in another entry.
    assert len(views) == (2 if call == "AuditService.Export" else 1)
    assert all(view["actor"] == {"id": someone.id, "role": "auditor"} for view in views)
    assert views[-1]["detail"]["reason"] == "to-check"


@pytest.mark.long
def test_nobody_fills_the_log_by_looking(running_broker: RunningBroker, parties: Parties) -> None:
    """Past so many at once an agency is told to come later, and when; others look on."""
    greedy = running_broker.join("clilooks", "cad", "ambulance")
    request = audit_pb2.SearchRequest(limit=1, actor=WHO, reason=WHY)
    with running_broker.channel(greedy) as channel:
        stub = audit_pb2_grpc.AuditServiceStub(channel)
        errors, made = list[grpc.RpcError](), 0
        while not errors and made < 10 * LOOKS_AT_ONCE:
            for search in [stub.Search(request, timeout=60) for _ in range(4)]:
                try:
                    made += len(list(search)) > 0
                except grpc.RpcError as error:
                    errors.append(error)
        assert made >= LOOKS_AT_ONCE, errors[0].details()
        assert {error.code() for error in errors} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert "looks or records too often" in errors[0].details()
        status = rpc_status.from_call(errors[0])
        delay = error_details_pb2.RetryInfo()
        assert any(detail.Unpack(delay) for detail in status.details)
        assert delay.retry_delay.ToMilliseconds() > 0
    with running_broker.channel(parties.requester) as channel:
        assert list(audit_pb2_grpc.AuditServiceStub(channel).Search(request, timeout=30))


def test_an_auditor_looks_in_the_roles_of_its_enrolment(running_broker: RunningBroker, broker: Run) -> None:
    """By default those of auditors; what an operator enrols it with instead; the entries say which."""
    name = running_broker.join("cliaudits", "desk", "auditor", "auditor")
    search = ("audit", "search", "--reason", "complaint", "--actor-id", "zoe", "--as", name, "--json", "--role")
    assert broker(*search, "data-protection-officer").code == 0
    refused = broker(*search, "cleaner")
    assert refused.code == 1
    assert "auditor, data-protection-officer, information-governance-lead" in refused.err
    certificate = running_broker.certs / name / "cert.pem"
    enrol = ("system", "enrol", "cliaudits", "desk", "--function", "auditor", "--certificate", certificate)
    assert broker(*enrol, "--may-act-as", "fraud-investigator").code == 0
    assert broker(*search, "auditor").code == 1
    assert broker(*search, "fraud-investigator").code == 0
    assert broker(*enrol).code == 0, "a key alone changes no roles"
    (listed,) = broker("system", "list", "--agency", "cliaudits", "--json").rows
    assert listed["roles"] == ["fraud-investigator"]
    partner = ("system", "enrol", "cliaudits", "cad", "--function", "partner", "--key-digest", "7" * 64)
    assert "roles: are an auditor's" in broker(*partner, "--may-act-as", "auditor").err


def test_whoever_operates_is_named(running_broker: RunningBroker, broker: Run, auditor: str) -> None:
    """By --actor-id, or else by the login on their machine."""
    running_broker.join("cliacts", "cad", "fire")
    change = ("system", "suspend", "cliacts", "cad", "--reason", "lost", "--json")
    made = [broker(*change, "--actor-id", "o.ops").json["entry"], broker(*change, "--lift").json["entry"]]
    who = ("--reason", "complaint", "--actor-id", "ann", "--role", "auditor", "--as", auditor, "--json")
    seen = [broker("audit", "show", entry, *who).json["view"]["actor"] for entry in made]
    assert seen == [{"id": "o.ops", "role": "operator"}, {"id": getuser(), "role": "operator"}]


def test_a_request_is_shown_by_its_id(broker: Run, parties: Parties) -> None:
    """Receipts are named by it; an id of nothing stays one of nothing."""
    asked = broker(
        *("referral", "ask", "--provider", "clinhs", "--record-type", "records.nhs.v1.PatientSummary"),
        *("--subject", "-", "--purpose", "audit", "--words", "why not", *ACTOR, "--as", parties.requester),
        "--json",
        stdin="nhs-number:9000000017",
    ).json
    who = ("--reason", "complaint", *ACTOR, "--as", parties.requester, "--json")
    shown = broker("audit", "show", asked["request_id"], *who)
    assert (shown.code, shown.json["view"]["request_id"]) == (0, asked["request_id"]), shown.err
    assert broker("audit", "show", str(uuid.uuid4()), *who).code == 1


def test_nobody_is_a_named_human_unasked(
    broker: Run, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --assurance the command line claims nothing, so what needs one is refused."""
    monkeypatch.delenv("BROKER_ACTOR_ASSURANCE")
    hold = ("audit", "hold", "add", "--incident", "clifire/2026-11-21/0043", "--reference", "C-9")
    hold += ("--reason", "litigation", *ACTOR, "--as", parties.requester)
    refused = broker(*hold)
    assert (refused.code, "actor.assurance" in refused.err) == (1, True), refused.err
    assert broker(*hold, "--assurance", "personal-login").code == 0
