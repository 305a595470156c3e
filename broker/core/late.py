"""What was shared by telephone while the broker was down: one such sharing, as it is said afterwards.

Owns its form and what its entry says. No such entry is evidence before release, and each says so where its
outcome stands. Refused: a time to come or more than a year past, a field that the record type does not have, an
agency that did not take part, an agreement that is not between the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from broker.core.acted import LATE
from broker.core.agreement import Agreement
from broker.core.canonical import Json
from broker.core.directory import Agency
from broker.core.model import Actor, Caller, SubjectRef
from broker.core.recordtype import RecordType
from broker.core.reference import Reference
from broker.core.views import ProviderView, RequesterView
from broker.errors import InvalidRequest

# Where other entries say whether a record was permitted.
NOT_EVIDENCE = "not-before-release"
CHANNELS = ("telephone", "radio", "in-person", "paper", "email", "other")
OLDEST = timedelta(days=366)
MAX_FIELDS = 64


class Side(Struct, frozen=True):
    """Who spoke for an agency: their role as a code, and their name."""

    agency: str
    role: str
    name: str


class Late(Struct, frozen=True):
    """One sharing. `id` is the recorder's own, so that a repeat finds what stands; `fields` are leaves of the
    record type, or groups of them; `why` are somebody's words, erasable."""

    id: str
    occurred: datetime
    channel: str
    gave: Side
    took: Side
    about: SubjectRef
    record_type: str
    fields: tuple[str, ...]
    purpose: str
    why: str
    agreement: str = ""
    incident: str = ""


def check(
    late: Late, caller: Caller, reference: Reference, types: Mapping[str, RecordType], now: datetime
) -> None:
    """Whether this can have happened as it is said. Raises InvalidRequest for a field of `late`."""
    if late.occurred > now:
        raise InvalidRequest("occurred", "lies in the future; give the time with its offset or Z")
    if late.occurred < now - OLDEST:
        raise InvalidRequest("occurred", f"is more than {OLDEST.days} days ago: look at the year")
    if late.channel not in CHANNELS:
        raise InvalidRequest("channel", f"one of {', '.join(CHANNELS)}")
    _check_sides(late, caller, reference)
    record_type = types.get(late.record_type)
    if record_type is None:
        raise InvalidRequest(
            "record_type", "is not an approved record type; `broker records list` shows what is"
        )
    if not record_type.held_by(reference.agencies[late.gave.agency].kind):
        raise InvalidRequest("gave.agency", f"holds no {late.record_type}")
    if not late.fields:
        raise InvalidRequest("fields", "name what was said; `broker records show` lists a type's fields")
    record_type.check_paths([p for p in late.fields if p not in record_type.groups], "fields", states=False)
    if late.purpose not in reference.law.purposes:
        raise InvalidRequest("purpose", f"unknown; one of {', '.join(sorted(reference.law.purposes))}")
    if not late.why:
        raise InvalidRequest("why", "say in words why it was shared")
    if late.agreement:
        _check_agreement(late, reference)


def outside(late: Late, reference: Reference, types: Mapping[str, RecordType]) -> tuple[str, ...]:
    """What was said although the agreement that is named gives nothing of it: it may have been right all the
    same."""
    agreement, record_type = reference.agreements.get(late.agreement), types.get(late.record_type)
    if agreement is None or record_type is None:
        return ()
    given = {
        path for flow in agreement.flows if flow.record_type == late.record_type for path in flow.permitted
    }
    groups = record_type.groups
    return tuple(p for p in late.fields if (given.isdisjoint(groups[p]) if p in groups else p not in given))


def _check_sides(late: Late, caller: Caller, reference: Reference) -> None:
    for name, side in (("gave", late.gave), ("took", late.took)):
        if not _took_part(reference.agencies.get(side.agency), late.occurred):
            raise InvalidRequest(
                f"{name}.agency", "did not take part on that day; `broker agency list` shows which do"
            )
    if late.gave.agency == late.took.agency:
        raise InvalidRequest("took.agency", "is the one that gave it: nothing left the agency")
    if caller.agency not in (late.gave.agency, late.took.agency):
        raise InvalidRequest("took.agency", "your own agency gave it or took it, or another records it")


def _took_part(agency: Agency | None, at: datetime) -> bool:
    """Whether on that day: people write down hours and minutes."""
    if agency is None or at.date() < agency.valid_from.date():
        return False
    return agency.valid_until is None or at.date() <= agency.valid_until.date()


def _check_agreement(late: Late, reference: Reference) -> None:
    agreement = reference.agreements.get(late.agreement)
    parties = {party.agency for party in agreement.parties} if agreement else set[str]()
    # The same words where there is none: others' agreements must not be probed.
    if not {late.gave.agency, late.took.agency} <= parties:
        raise InvalidRequest(
            "agreement", "is none between the two; `broker agreement list` shows yours; leave it empty for none"
        )


def content(late: Late) -> dict[str, Json]:
    """Everything that was said: a repeat says the same."""
    return {
        "occurred": late.occurred.isoformat(),
        "channel": late.channel,
        "gave": _side(late.gave),
        "took": _side(late.took),
        "about": _subject(late.about),
        "record_type": late.record_type,
        "fields": [*sorted(set(late.fields))],
        "purpose": late.purpose,
        "why": late.why,
        "agreement": late.agreement,
        "incident": late.incident,
    }


def views(
    late: Late, caller: Caller, actor: Actor, reference: Reference, now: datetime
) -> tuple[RequesterView, ProviderView, dict[str, Json]]:
    """What who took it, who gave it and auditors read of it. Both sides know whom they spoke with, and of whom;
    the requester's view still names nobody it is about."""
    told: dict[str, Json] = {
        "evidence": NOT_EVIDENCE,
        "occurred": late.occurred.isoformat(),
        "recorded": now.isoformat(),
        "recorded_by": caller.agency,
        "channel": late.channel,
        "fields": [*sorted(set(late.fields))],
        "gave": _side(late.gave),
        "took": _side(late.took),
        "purpose": late.purpose,
        "incident": late.incident or None,
    }
    requester = RequesterView(
        LATE,
        request_id=late.id,
        outcome=NOT_EVIDENCE,
        record_type=late.record_type,
        provider=late.gave.agency,
        agreement=_label(late, reference.agreements.get(late.agreement)),
        controller=late.gave.agency,
        told=told,
    )
    by = {"id": actor.id, "role": actor.role}
    provider = ProviderView(requester, by, ((late.about.scheme, late.about.value),))
    full: dict[str, Json] = {
        **provider.as_json(),
        "policy": reference.policy,
        "now": now.isoformat(),
        "requester": late.took.agency,
        "system": caller.system if caller.agency == late.took.agency else None,
        "key": caller.key_digest,
        "purpose": late.purpose,
        "incident": late.incident or None,
        "asked_by": _subject(late.about),
        "detail": {"recorded_by": {"agency": caller.agency, "system": caller.system}},
    }
    return requester, provider, full


def _label(late: Late, agreement: Agreement | None) -> str | None:
    """Under which version, where it is the one that we have; its id alone where it began later."""
    if agreement is None:
        return None
    in_time = agreement.valid_from <= late.occurred.date() <= agreement.valid_until
    return f"{agreement.id}/{agreement.version}" if in_time else agreement.id


def _side(side: Side) -> dict[str, Any]:
    return {"agency": side.agency, "role": side.role, "name": side.name or None}


def _subject(subject: SubjectRef) -> dict[str, Any]:
    return {"scheme": subject.scheme, "value": subject.value}
