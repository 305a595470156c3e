"""What a request's end hands to a named human of the provider: a referral to decide, an override to look at.

Pure. Owns what of the request goes into the queue, and the way back from it, so that a decision can be tried on
the very request before it is taken. All of it is about somebody, and is sealed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from broker.case import Case
from broker.core.canonical import Json
from broker.core.model import (
    Actor,
    Assurance,
    Decision,
    Outcome,
    Override,
    Place,
    Reason,
    Refused,
    Request,
    SubjectRef,
    Traits,
)
from broker.ports import Answer, ProviderFailed, Queued

NO_AGREEMENT = "agreement.in-force"


def handed(case: Case, answer: Answer | None) -> Queued | None:
    """The row for the provider's humans; None where there is nothing for them, or they have it already."""
    decision = case.decision
    if decision.outcome is Outcome.REFER:
        return None if case.referral else referred(case)
    if decision.override and answer is not None and not isinstance(answer, ProviderFailed):
        return _overridden(case)
    return None


def told_it_waits(decision: Decision, referral: str, provider: str) -> Decision:
    """The decision on a request that repeats one which waits for a human of the provider (`referral`, empty
    where none does): refused as before, in words that say so. Only for want of an agreement, where nothing is
    said of anybody."""
    refused = decision.refused
    if not referral or refused is None or decision.rules[-1].rule != NO_AGREEMENT:
        return decision
    waits = Refused(
        refused.code,
        f"{refused.message} A named human of {provider} is to judge this request, and has not yet.",
        "Ask again when they have, under a new request id with the first one as retry_of; in an emergency, "
        f"telephone {provider}.",
    )
    return replace(decision, refused=waits)


def referred(case: Case) -> Queued:
    """A request that waits for a human."""
    request, decision = case.request, case.decision
    due = decision.refer_by or case.now
    why = [f"{r.rule} {r.verdict}{r.detail and f': {r.detail}'}" for r in decision.rules if r.verdict != "pass"]
    sealed: dict[str, Json] = {
        "request": request_detail(request),
        "learnt": _learnt(case),
        "agreement": case.agreement,
        "asked_of": case.asked_of or None,
        "why": [*why],
    }
    return _queued("referral", case, due, sealed, request.reason.words)


def _overridden(case: Case) -> Queued:
    request, decision = case.request, case.decision
    override = request.override or Override("", "")
    sealed: dict[str, Json] = {
        "request": request_detail(request),
        "learnt": _learnt(case),
        "agreement": case.agreement,
        "waived": [*decision.waived],
        "given": [*decision.permitted],
        "until": override.until.isoformat() if override.until else None,
    }
    return _queued("override", case, decision.override_due or case.now, sealed, override.words, override.code)


def _learnt(case: Case) -> list[Json]:
    """Under which identifiers the provider knows whom it is about, beside the one asked by."""
    return [{"scheme": each.scheme, "value": each.value} for each in case.learnt]


class About(Struct, frozen=True):
    """What such a row is about: the identifier asked by, the incident and the agreement as a full view has
    them, and all (scheme, value) that the provider may find it by. Empty where it has been erased."""

    asked: dict[str, Json] = {}
    known: tuple[tuple[str, str], ...] = ()


def about(sealed: dict[str, Json]) -> About:
    """Whom and what a row was about, for the entry of what a human decided on it."""
    if not sealed:
        return About()
    detail: Any = sealed
    request = detail["request"]
    subject = [request["subject"]] if request["subject"] else []
    known = {SubjectRef(**each) for each in (*detail["learnt"], *subject)}
    asked: dict[str, Json] = {
        "asked_by": request["subject"],
        "incident": request["incident"] or None,
        "agreement": detail["agreement"] or None,
    }
    return About(asked, tuple((each.scheme, each.value) for each in sorted(known)))


def _queued(
    kind: str, case: Case, due: datetime, sealed: dict[str, Json], words: str, code: str = ""
) -> Queued:
    request = case.request
    whose = (request.provider, request.requester, request.caller, request.request_id)
    district = request.place.district if request.place else ""
    return Queued(kind, *whose, case.now, due, sealed, words, code, district)


_TEXTS = (
    *("request_id", "requester", "processor", "system", "key_digest", "record_type", "provider", "purpose"),
    "incident",
)


def request_detail(request: Request) -> dict[str, Json]:
    """A request as asked, but for words, time allowed and trace."""
    actor, subject = request.actor, request.subject
    people: dict[str, Json] = {name: getattr(actor, name) for name in Actor.__struct_fields__}
    return {
        **{name: getattr(request, name) for name in _TEXTS},
        "subject": {"scheme": subject.scheme, "value": subject.value} if subject else None,
        "query": _fields(request.query),
        "place": _fields(request.place),
        "reason": request.reason.code,
        "actor": {**people, "assurance": int(actor.assurance)},
    }


def request_from(detail: dict[str, Any], words: str = "") -> Request:
    """The way back from `request_detail`."""
    place = detail["place"]
    if place is not None:
        place = {**place, **{n: _degrees(place[n]) for n in ("latitude", "longitude")}}
    query = detail["query"]
    if query is not None:
        query = {**query, "approximate_age": int(query["approximate_age"])}
    actor = detail["actor"]
    return Request(
        **{name: detail[name] for name in _TEXTS},
        subject=SubjectRef(**detail["subject"]) if detail["subject"] else None,
        query=Traits(**query) if query else None,
        place=Place(**place) if place else None,
        reason=Reason(detail["reason"], words),
        actor=Actor(**{**actor, "assurance": Assurance(actor["assurance"])}),
    )


def _fields(value: Place | Traits | None) -> Json:
    """As texts: what is canonical JSON has no fractions."""
    if value is None:
        return None
    return {
        name: "" if (each := getattr(value, name)) is None else str(each) for name in value.__struct_fields__
    }


def _degrees(text: str) -> float | None:
    return float(text) if text else None
