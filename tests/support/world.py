"""A small world to ask in: agencies, systems, record types, agreements, and the use cases over memory."""

from __future__ import annotations

import hashlib
import tomllib
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from broker.acknowledge import Acknowledgements
from broker.administration import Administration, Made
from broker.agreements import Agreements, Listed
from broker.audits import Audits
from broker.catalogue import standard_record_types
from broker.core.directive import Directive
from broker.core.directory import Agency, System
from broker.core.forms import agency_detail, directive_detail, signing_key_detail, system_detail
from broker.core.model import Actor, Assurance, Caller, Function, Reason, Request, SubjectRef
from broker.core.record import Record
from broker.core.recordtype import RecordType
from broker.directives import Directives
from broker.exchange import Exchange
from broker.exports import Exports
from broker.heritage import Heritage
from broker.late import LateRecords
from broker.links import Links
from broker.overrides import Overrides
from broker.ports import Change, Found, Witnesses
from broker.referrals import Referrals
from broker.referring import Referring
from broker.registry import Registry
from broker.release import CatalogueReleases
from broker.routes import RouteBook
from broker.searches import Searches
from broker.signing import SigningKeys
from broker.standing import Standing
from broker.suspensions import Suspensions
from broker.tracing import OFF, Tracing
from broker.v1 import labels_pb2
from records.fire.v1 import premises_risk_pb2
from records.shared.v1 import fact_pb2
from tests.support.exported import MemoryRows
from tests.support.memory import FakeClock, MemorySearch, MemoryStore, ScriptedProviders
from tests.support.past import MemoryPast, Why
from tests.support.signing import Signatory
from tests.support.values import replace

RISK = "records.fire.v1.PremisesRisk"
WATCHED = "records.fire.v1.Watched"
HOME = SubjectRef("uprn", "10000000001")
OTHER_HOME = SubjectRef("uprn", "10000000002")
KINDS = {"nwas": "ambulance", "cfrs": "fire", "cumberland": "council", "ncic": "nhs", "operator": "operator"}
PERMITTED = ("uprn", "oxygen.state", "oxygen.as_at", "oxygen.kind", "hazards.state", "hazards.items.code")
ACTOR = Actor("a.hill", "ambulance-crew", name="Ada Hill", assurance=Assurance.PERSONAL_LOGIN)
SECRET = "crew notes nobody may read"


def terms(**changes: Any) -> dict[str, Any]:
    """An agreement as TOML would hold it; `changes` replace top-level keys (None removes one)."""
    made: dict[str, Any] = {
        "id": "nwas-cfrs-premises",
        "version": 1,
        "title": "Premises risk for ambulance crews",
        "purpose": "emergency-response",
        "valid_from": date(2026, 1, 1),
        "valid_until": date(2028, 12, 31),
        "review_on": date(2027, 12, 31),
        "legal": {"basis": "art6-1-e", "condition": "art9-2-g-sch1-para18", "gateway": "frsa-2004-s7"},
        "directives": {"weight": "respected"},
        "actors": {"minimum_assurance": "roster"},
        "parties": [{"agency": "nwas", "regime": "uk-gdpr"}, {"agency": "cfrs", "regime": "uk-gdpr"}],
        "flows": [flow()],
        "governance": {"policy_document": "APD-7", "dpia": "DPIA-12", "dpia_status": "approved"},
        "obligations": [{"code": "no-onward-sharing"}, {"code": "retain-until", "days": 30}],
    }
    made.update(changes)
    return {key: value for key, value in made.items() if value is not None}


def flow(**changes: Any) -> dict[str, Any]:
    """The flow of `terms`."""
    return {
        "provider": "cfrs",
        "requester": "nwas",
        "record_type": RISK,
        "permitted": list(PERMITTED),
        "roles": ["ambulance-crew"],
        "subject_schemes": ["uprn"],
        **changes,
    }


def toml(value: dict[str, Any]) -> bytes:
    """The TOML of a dictionary of scalars, lists, tables and lists of tables."""
    lines: list[str] = []
    later: list[tuple[str, Any]] = []
    for key, each in value.items():
        nested = isinstance(each, dict) or (isinstance(each, list) and each and isinstance(each[0], dict))
        if nested:
            later.append((key, each))
        else:
            lines.append(f"{key} = {_scalar(each)}")
    for key, each in later:
        for table in each if isinstance(each, list) else [each]:
            lines.append(f"[[{key}]]" if isinstance(each, list) else f"[{key}]")
            lines += [f"{name} = {_scalar(inner)}" for name, inner in table.items()]
    return "\n".join(lines).encode()


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_scalar(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    return str(value)


@cache
def risk_set() -> bytes:
    """The descriptor set of PremisesRisk."""
    return dict(standard_record_types())[RISK]


@cache
def watched_set() -> bytes:
    """The same fields as a type of its own, whose viewing has effects at the provider."""
    made = FileDescriptorSet.FromString(risk_set())
    file = made.file[-1]
    file.name = "records/fire/v1/watched.proto"
    for message in file.message_type:
        if message.name == "PremisesRisk":
            message.name = "Watched"
            message.options.Extensions[labels_pb2.record_type].viewing_has_effects = True
    return made.SerializeToString()


def record_of(full_name: str = RISK) -> Record:
    """A record with permitted fields, and others."""
    risk = premises_risk_pb2.PremisesRisk(uprn=HOME.value, crew_notes=SECRET)
    risk.oxygen.state = fact_pb2.FACT_STATE_VALUE
    risk.oxygen.kind = premises_risk_pb2.OXYGEN_KIND_CYLINDER
    risk.hazards.state = fact_pb2.FACT_STATE_VALUE
    risk.hazards.items.add(code="LPG", description=SECRET)
    return Record(f"type.googleapis.com/{full_name}", risk.SerializeToString())


def key_of(name: str) -> str:
    """A key digest for `agency/system`."""
    return hashlib.sha256(name.encode()).hexdigest()


def said(kind: str, recorder: str = "cumberland", **changes: Any) -> Directive:
    """Something somebody said."""
    at = changes.pop("said_at", datetime(2026, 6, 1, tzinfo=UTC))
    return Directive(str(uuid.uuid4()), kind, recorder, at, **changes)


@dataclass
class World:
    """Everything over one memory store. Agencies and systems are enrolled; agreements are for tests to add."""

    clock: Any = field(default_factory=FakeClock)
    since: datetime = datetime(2020, 1, 1, tzinfo=UTC)
    # Where given, the exchange asks these instead of the scripted ones.
    links: Links | None = None
    tracing: Tracing = OFF
    witnesses: Witnesses | None = None

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock)
        self.signatories: dict[str, Signatory] = {}
        self.providers = ScriptedProviders(self.clock, self.store.calls)
        reference = self.store.reference
        self.exchange = Exchange(
            self.store.log,
            self.store.facts,
            reference,
            self.links or self.providers,
            CatalogueReleases(lambda: reference.catalogue, reference.pins),
            self.clock,
            self.store.content,
            self.tracing,
            self.witnesses,
        )
        self.administration = Administration(self.store.log, self.clock)
        self.registry = Registry(self.administration, reference, self.clock)
        self.signing = SigningKeys(self.administration, reference, self.clock)
        self.agreements = Agreements(self.administration, reference, self.store, self.clock)
        self.suspensions = Suspensions(self.administration, reference, self.clock)
        self.directives = Directives(self.administration, self.store.facts, self.store, reference, self.clock)
        self.route_book = RouteBook(self.administration, reference, self.clock)
        self.standing = Standing(
            self.administration,
            reference,
            self.clock,
            self.store.queues.referrals,
            self.store.queues.overrides,
        )
        queues = self.store.queues
        self.referrals = Referrals(
            self.administration, queues.referrals, self.store.facts, reference, self.clock
        )
        self.referring = Referring(self.store.log, self.store.facts, reference, self.clock, self.store.content)
        self.overrides = Overrides(
            self.administration, queues.overrides, self.store.facts, reference, self.clock
        )
        self.heritage = Heritage(reference, self.clock)
        self.audits = Audits(self.administration, self.store.log, self.heritage, self.clock, self.witnesses)
        self.searches = Searches(self.administration, MemorySearch(self.store), self.heritage)
        self.rows = MemoryRows(self.store)
        self.exports = Exports(
            self.administration, self.store.log, self.rows, self.searches, self.heritage, self.clock
        )
        self.late = LateRecords(self.store.log, self.store.facts, reference, self.clock, self.store.said)
        self.past = MemoryPast(self.store)
        self.why = Why.of(
            self.administration,
            self.agreements,
            self.store.log,
            self.store.facts,
            reference,
            self.past,
            self.clock,
        )
        self.acknowledgements = Acknowledgements(self.administration, self.store.facts)
        for agency, kind in KINDS.items():
            self.put_agency(Agency(agency, agency.upper(), kind, "england", self.since, phone="01228 000000"))
            self.put_system(agency, "cad")
            self.put_signatory(agency)
        self.put_system("operator", "cli", Function.OPERATOR)
        self.put_system("cumberland", "audit", Function.AUDITOR)
        self.approve(RISK, risk_set())
        self.approve(WATCHED, watched_set())

    def _put(self, change: Change) -> None:
        self.store.log._apply(change)

    def put_agency(self, agency: Agency) -> None:
        """Enter an agency, or a new state of it, without an entry."""
        keys = frozenset({f"agency:{agency.id}"})
        self._put(Change("agency", {"detail": agency_detail(agency)}, keys, reference=True))

    def put_signatory(self, agency: str) -> None:
        """Give an agency a signing key, without an entry."""
        signatory = self.signatories[agency] = Signatory(agency)
        detail: Any = {"detail": signing_key_detail(signatory.enrolled(self.since.date()))}
        self._put(Change("agency-key", detail, frozenset({f"signers:{agency}"}), reference=True))

    async def apply(self, caller: Caller, file: bytes) -> tuple[Listed, Made]:
        """Apply an agreement, signed by those of its parties that can."""
        parties = {party["agency"] for party in tomllib.loads(file.decode()).get("parties", ())}
        on = self.clock.now().date()
        signatures = [each.sign(file, on) for name, each in self.signatories.items() if name in parties]
        return await self.agreements.apply(caller, file, signatures)

    def put_system(self, agency: str, name: str, function: Function = Function.PARTNER, **changes: Any) -> None:
        """Enrol a system, or a new state of it, without an entry."""
        full = f"{agency}/{name}"
        digest = changes.pop("key_digest", key_of(full))
        system = System(agency, name, function, frozenset({digest}), self.since)
        detail = {"name": full, "detail": system_detail(replace(system, **changes))}
        self._put(Change("system", detail, frozenset({f"system:{full}"}), reference=True))

    def approve(self, full_name: str, descriptor_set: bytes) -> RecordType:
        """Approve a record type without an entry."""
        record_type = RecordType.submitted(descriptor_set, full_name)
        detail: Any = {
            "full_name": full_name,
            "digest": record_type.digest,
            "approved_at": self.clock.now().isoformat(),
        }
        keys = frozenset({f"type:{full_name}"})
        self._put(Change("record-type", detail, keys, reference=True, blob=descriptor_set))
        return record_type

    def agree(self, **changes: Any) -> None:
        """Put an agreement in force without an entry."""
        made = terms(**changes)
        keys = frozenset(
            f"flow:{f['requester']}|{f['provider']}|{f['record_type']}|{made['purpose']}" for f in made["flows"]
        )
        detail: Any = {"id": made["id"], "version": made["version"]}
        self._put(Change("agreement", detail, keys, reference=True, blob=toml(made)))

    def say(self, subject: SubjectRef, directive: Directive) -> Directive:
        """Record a directive without an entry."""
        detail: Any = {
            "id": directive.id,
            "recorder": directive.recorder,
            "detail": directive_detail(directive),
        }
        keys = frozenset({f"subject:{subject.scheme}|{subject.value}"})
        self._put(Change("directive", detail, keys, reference=False, subject=subject))
        return directive

    def found(self, full_name: str = RISK, *others: SubjectRef, record: Record | None = None) -> Found:
        """The provider's answer: a record about HOME, known by `others` too."""
        digest = self.store.reference.catalogue.newest(full_name).digest
        return Found(record or record_of(full_name), digest, (HOME, *others), as_at=self.clock.now())

    async def ready(self) -> World:
        """With the snapshot read once, so that `found` knows digests."""
        await self.store.reference.refresh()
        return self


def caller(agency: str = "nwas", system: str = "cad", function: Function = Function.PARTNER) -> Caller:
    """An enrolled system."""
    return Caller(agency, system, function, key_of(f"{agency}/{system}"))


OPERATOR = caller("operator", "cli", Function.OPERATOR)
AUDITOR = caller("cumberland", "audit", Function.AUDITOR)
LOOKING = Reason("to-check")


def ask(**changes: Any) -> Request:
    """A request that the agreement of `terms` permits."""
    made = Request(
        request_id=str(uuid.uuid4()),
        requester="nwas",
        system="cad",
        key_digest=key_of("nwas/cad"),
        record_type=RISK,
        provider="cfrs",
        subject=HOME,
        query=None,
        purpose="emergency-response",
        actor=ACTOR,
    )
    return replace(made, **changes)


def later(days: float) -> timedelta:
    """So many days."""
    return timedelta(days=days)
