"""From our types to the wire's. The other way is `parse.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from google.protobuf import duration_pb2, timestamp_pb2

from broker.core import agreement as agreements
from broker.core import model
from broker.core.directive import Directive
from broker.core.directory import Agency, System, acts_in
from broker.core.model import SubjectRef
from broker.core.receipt import Receipt
from broker.core.recordtype import RecordType
from broker.enrolling import wanted_key
from broker.errors import Denied
from broker.ports import RecordedDirective
from broker.v1 import adapter_pb2, agreement_pb2, directive_pb2, directory_pb2, exchange_pb2, standing_pb2

_FUNCTIONS = {
    model.Function.PARTNER: directory_pb2.SYSTEM_FUNCTION_PARTNER,
    model.Function.AUDITOR: directory_pb2.SYSTEM_FUNCTION_AUDITOR,
    model.Function.OPERATOR: directory_pb2.SYSTEM_FUNCTION_OPERATOR,
}


def timestamp(at: datetime | None) -> timestamp_pb2.Timestamp | None:
    """A time, or none."""
    if at is None:
        return None
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(at)
    return stamp


def duration(seconds: float) -> duration_pb2.Duration:
    """A length of time; never negative."""
    length = duration_pb2.Duration()
    length.FromMicroseconds(max(0, int(seconds * 1_000_000)))
    return length


def subject(ref: SubjectRef) -> exchange_pb2.SubjectRef:
    """An identifier."""
    return exchange_pb2.SubjectRef(scheme=ref.scheme, value=ref.value)


def receipt(of: Receipt) -> exchange_pb2.Receipt:
    """A receipt, whole."""
    return exchange_pb2.Receipt(
        entry=of.entry,
        index=of.index,
        proof=of.proof,
        checkpoint=of.checkpoint,
        opening=b"" if of.opening is None else of.opening.to_bytes(),
    )


def refusal(denied: Denied, *, whole: bool = True) -> exchange_pb2.Refusal:
    """A refusal, with its evidence if `whole`."""
    refused = denied.refusal
    return exchange_pb2.Refusal(
        code=refused.code,
        rule=refused.rule,
        message=refused.message,
        remedy=refused.remedy,
        receipt=receipt(denied.receipt) if whole and denied.receipt else None,
        replayed=denied.replayed,
    )


def decision(made: model.Decision) -> exchange_pb2.Decision:
    """The requester's view of a decision."""
    message = exchange_pb2.Decision(
        outcome=made.outcome.value,
        agreement=made.agreement,
        agreement_version=made.agreement_version,
        controller=made.controller,
        regime=made.regime,
        basis=made.basis,
        condition=made.condition,
        gateway=made.gateway,
    )
    for each in made.obligations:
        obligation = message.obligations.add(code=each.code, detail=each.detail)
        if each.due is not None:
            obligation.due.FromDatetime(each.due)
    message.decided_at.FromDatetime(made.decided_at)
    return message


def actor(of: model.Actor) -> exchange_pb2.Actor:
    """The person at the keyboard."""
    return exchange_pb2.Actor(
        id=of.id,
        role=of.role,
        name=of.name,
        on_behalf_of=of.on_behalf_of,
        callsign=of.callsign,
        device=of.device,
        employer=of.employer,
        assurance=exchange_pb2.Assurance.ValueType(of.assurance.value),
    )


def grant(of: model.Signed) -> adapter_pb2.Grant:
    """The provider's own word on a referral."""
    return adapter_pb2.Grant(statement=of.statement, key_id=of.key_id, signature=of.signature)


def query(traits: model.Traits) -> exchange_pb2.SubjectQuery:
    """What is known of somebody without a number."""
    return exchange_pb2.SubjectQuery(
        family_name=traits.family_name,
        given_name=traits.given_name,
        birth_date=traits.birth_date,
        approximate_age=traits.approximate_age,
        sex=traits.sex,
        address_line=traits.address_line,
        postcode=traits.postcode,
        phone=traits.phone,
    )


def place(of: model.Place) -> exchange_pb2.Place:
    """Where."""
    return exchange_pb2.Place(
        uprn=of.uprn,
        latitude=of.latitude,
        longitude=of.longitude,
        district=of.district,
        responsible_authority=of.responsible_authority,
    )


def agency(of: Agency) -> directory_pb2.Agency:
    """An agency of the directory."""
    return directory_pb2.Agency(
        id=of.id,
        name=of.name,
        kind=of.kind,
        jurisdiction=of.jurisdiction,
        code=of.code,
        valid_from=timestamp(of.valid_from),
        valid_until=timestamp(of.valid_until),
        contact=of.contact,
        phone=of.phone,
        successors=[each.agency for each in of.successors],
        succeeded_by=[
            standing_pb2.Successor(agency=each.agency, districts=sorted(each.districts))
            for each in of.successors
        ],
        succession_proposed_by=of.awaited.proposal.system if of.awaited else "",
    )


def system(of: System, people: Sequence[str]) -> directory_pb2.System:
    """A system of the directory; `people` are as whom an operator's keys count."""
    return directory_pb2.System(
        agency=of.agency,
        system=of.system,
        function=_FUNCTIONS[of.function],
        key_digests=sorted(of.key_digests),
        valid_from=timestamp(of.valid_from),
        valid_until=timestamp(of.valid_until),
        suspended=of.suspended,
        revoked_key_digests=sorted(of.revoked),
        roles=sorted(acts_in(of)),
        proposed_key_digest=wanted_key(of),
        proposed_by=of.awaited.proposal.system if of.awaited else "",
        people=people,
    )


def function(of: model.Function) -> directory_pb2.SystemFunction.ValueType:
    """What a system is enrolled to do."""
    return _FUNCTIONS[of]


def record_type(of: RecordType, approved_at: datetime | None) -> directory_pb2.RecordType:
    """A record type with its leaves and their labels."""
    return directory_pb2.RecordType(
        full_name=of.full_name,
        holder=of.holder,
        digest=of.digest,
        subject_schemes=of.subject_schemes,
        fields=[
            directory_pb2.RecordField(
                path=leaf.path,
                labels=leaf.labels,
                type=leaf.type,
            )
            for leaf in of.leaves
        ],
        approved_at=timestamp(approved_at),
        viewing_has_effects=of.viewing_has_effects,
    )


def agreement(of: agreements.Agreement, digest: str, status: str) -> agreement_pb2.Agreement:
    """An agreement as a partner lists it."""
    return agreement_pb2.Agreement(
        id=of.id,
        version=of.version,
        title=of.title,
        status=status,
        parties=[p.agency for p in of.parties],
        purpose=of.purpose,
        flows=[
            agreement_pb2.Flow(
                provider=f.provider,
                requester=f.requester,
                record_type=f.record_type,
                permitted_paths=f.permitted,
                roles=f.roles,
            )
            for f in of.flows
        ],
        valid_from=timestamp(of.begins),
        valid_until=timestamp(of.ends),
        digest=digest,
        supersedes=of.supersedes or "",
        review_on=of.review_on.isoformat(),
    )


def directive(recorded: RecordedDirective, about: SubjectRef) -> directive_pb2.Directive:
    """What somebody said, as it is on record."""
    message = unrecorded(recorded.directive, about)
    message.id = recorded.directive.id
    message.recorder = recorded.directive.recorder
    message.recorded_at.FromDatetime(recorded.recorded_at)
    return message


def unrecorded(of: Directive, about: SubjectRef) -> directive_pb2.Directive:
    """What somebody said, to be recorded: without what the broker says of it."""
    return directive_pb2.Directive(
        kind=of.kind,
        subject=subject(about),
        purposes=sorted(of.purposes),
        record_types=sorted(of.record_types),
        requesters=sorted(of.requesters),
        providers=sorted(of.providers),
        standing=of.standing,
        manner=of.manner,
        said_at=timestamp(of.said_at),
        valid_until=timestamp(of.valid_until),
        speaker=of.speaker,
        authority=of.authority,
        capacity=of.capacity,
        assessor=of.assessor,
        assessed_on=of.assessed_on.isoformat() if of.assessed_on else "",
        assessed=of.assessed,
        taken_by=of.taken_by,
        explained=of.explained,
        company=of.company,
        reconsider_at=timestamp(of.reconsider_at),
        matter=of.matter,
        actors=sorted(of.actors),
    )
