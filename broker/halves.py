"""The full view of a request's end: what its two parties see and what only auditors do, the decision itself, so
that it can be replayed.

Pure. Owns which part of it many entries say alike, made once for all of them, and which is an entry's own.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import to_builtins

from broker.case import Case, Said, decided
from broker.core.canonical import Json
from broker.core.granting import law_detail
from broker.core.model import Actor, Assurance, Decision, Grant, Place, Request, RuleApplied, SubjectRef, Traits
from broker.core.views import VERSION
from broker.ports import Answer, Found, Halves, ProviderFailed


def halves_of(case: Case, said: Said, answer: Answer | None) -> Halves:
    """The full view, with all that both parties' views say, whether they are told or not."""
    common, own = _common(case, said, answer), _own(case, said, answer)
    return Halves(common, own, {**common, **own})


# What many entries say alike, by all of it; rules and fields by which objects they are, since both are made
# once for many. These two are kept beside what was made: as long as they are, no other has their address.
_Made = tuple[tuple[RuleApplied, ...], tuple[str, ...], dict[str, Json]]
_known: dict[tuple[object, ...], _Made] = {}
_MOST = 1024


def _common(case: Case, said: Said, answer: Answer | None) -> dict[str, Json]:
    """The part of the full view that is the same for many entries: who asked whom for what, and how it was
    decided. What few entries have is null here."""
    request, decision = case.request, case.decision
    consulted, answered_by = answer is not None, getattr(answer, "by", "")
    key = (
        (said.event, said.outcome, consulted, answered_by, case.law, case.asked_of),
        (request.requester, request.processor, request.system, request.key_digest, request.provider),
        (request.record_type, request.purpose, request.urgent),
        (decision.outcome, decision.agreement, decision.agreement_version, decision.controller),
        (decision.regime, decision.provider_regime, decision.basis, decision.condition, decision.gateway),
        (decision.override, tuple([o.code for o in decision.obligations])),
        (id(decision.rules), id(decision.permitted)),
    )
    known = _known.get(key)
    if known is not None:
        return known[2]
    made = _alike(case, said, consulted, answered_by)
    if len(_known) >= _MOST:
        _known.clear()
    _known[key] = (decision.rules, decision.permitted, made)
    return made


def _alike(case: Case, said: Said, consulted: bool, answered_by: str) -> dict[str, Json]:
    request, decision = case.request, case.decision
    return {
        "v": VERSION,
        "event": said.event,
        "outcome": said.outcome or None,
        "code": None,
        "record_type": request.record_type,
        "provider": request.provider or None,
        "agreement": case.agreement or None,
        "regime": decision.regime or None,
        "controller": decision.controller or None,
        "override": decision.override or None,
        "requester": request.requester,
        "purpose": request.purpose,
        "law": case.law or None,
        "processor": request.processor or None,
        "system": request.system,
        "key": request.key_digest,
        "asked_of": case.asked_of or None,
        "incident": None,
        "reason": None,
        "retry_of": None,
        "lane": "emergency" if request.urgent else None,
        "learnt": [],
        "directives": [],
        "place": None,
        "decided": decided(decision),
        "basis": decision.basis or None,
        "condition": decision.condition or None,
        "gateway": decision.gateway or None,
        "provider_regime": decision.provider_regime or None,
        "overridden": None,
        "grant": None,
        "granted": None,
        "refer_by": None,
        "rules": [f"{r.rule} {r.verdict}{r.detail and f': {r.detail}'}" for r in decision.rules],
        "permitted": [*decision.permitted],
        "obligations": [o.code for o in decision.obligations],
        "valid_until": None,
        "refused": None,
        "consulted": consulted,
        "answered_by": answered_by or None,
        "failure": None,
        "as_at": None,
        "traits_agreed": [],
    }


def _own(case: Case, said: Said, answer: Answer | None) -> dict[str, Json]:
    """What goes over it: of this entry alone, and of it only what is there."""
    request, decision = case.request, case.decision
    own: dict[str, Json] = {
        "request_id": request.request_id,
        "response": said.release.record.digest() if said.release else None,
        "trace": request.trace,
        "actor": _actor(request.actor, request.processor),
        "identifiers": [{"scheme": s.scheme, "value": s.value} for s in _identifiers(case)],
        "policy": case.policy,
        "reference": case.reference,
        "now": iso(case.now),
        "asked_by": _asked_by(request),
    }
    if case.said:
        own["directives"] = list(case.said)
    if decision.valid_until:
        own["valid_until"] = iso(decision.valid_until)
    if isinstance(answer, Found):
        if answer.as_at:
            own["as_at"] = iso(answer.as_at)
        if answer.traits_agreed:
            own["traits_agreed"] = list(answer.traits_agreed)
    elif isinstance(answer, ProviderFailed):
        own["failure"] = answer.why
    if said.refused:
        own["code"] = said.refused.code
    if refused := decision.refused or said.refused:
        own["refused"] = {"code": refused.code, "message": refused.message, "remedy": refused.remedy}
    if case.learnt:
        own["learnt"] = [{"scheme": s.scheme, "value": s.value} for s in case.learnt]
    if request.incident or request.place or request.reason.code or request.retry_of:
        own |= {
            "incident": request.incident or None,
            "reason": request.reason.code or None,
            "retry_of": request.retry_of or None,
            "place": _texts(request.place),
        }
    if request.override or case.grant or decision.refer_by:
        own |= {
            "grant": decision.grant or None,
            "overridden": _overridden(request, decision, case.restricted),
            "granted": _granted(case.grant),
            "refer_by": decision.refer_by.isoformat() if decision.refer_by else None,
        }
    return own


def iso(at: datetime) -> str:
    """A time, whole minutes from UTC, as its own `isoformat` has it; for a third of what that takes."""
    text: str = to_builtins(at)
    return f"{text[:-1]}+00:00" if text.endswith("Z") else text


def _identifiers(case: Case) -> list[SubjectRef]:
    asked = [case.request.subject] if case.request.subject else []
    return sorted({*asked, *case.learnt}) if case.learnt else asked


def _actor(actor: Actor, processor: str) -> Json:
    said: dict[str, Json] = {"id": actor.id, "role": actor.role, "assurance": _ASSURANCES[actor.assurance]}
    for name in _ACTOR_TEXTS:
        if value := getattr(actor, name):
            said[name] = value
    if processor:
        said["processor"] = processor
    return said


_ASSURANCES = {level: level.name.lower().replace("_", "-") for level in Assurance}
_ACTOR_TEXTS = ("name", "on_behalf_of", "callsign", "device", "employer")


def _overridden(request: Request, decision: Decision, restricted: dict[str, datetime | None]) -> Json:
    """What became of an override that was asked for."""
    asked = request.override
    if asked is None:
        return None
    until = asked.until.isoformat() if asked.until else None
    return {
        "code": asked.code,
        "said_why": bool(asked.words),
        "until": until,
        "used": bool(decision.override),
        "waived": list(decision.waived),
        "restricted": {key: at.isoformat() if at else None for key, at in restricted.items()},
    }


def _granted(grant: Grant | None) -> Json:
    """What a human of the provider had decided, whether or not it was needed."""
    if grant is None:
        return None
    return {
        "referral": grant.referral,
        "request": grant.request or None,
        "granted": grant.granted,
        "permitted": [*grant.permitted],
        "until": grant.until.isoformat(),
        "law": law_detail(grant.one_off) if grant.one_off else None,
        "provider": grant.provider or None,
    }


def _asked_by(request: Request) -> dict[str, Json]:
    if request.subject is not None:
        return {"scheme": request.subject.scheme, "value": request.subject.value}
    return {"traits": _texts(request.query)}


def _texts(value: Place | Traits | None) -> Json:
    if value is None:
        return None
    return {
        name: str(each)
        for name in value.__struct_fields__
        # Zero is no age, but it is a longitude: Greenwich's.
        if (each := getattr(value, name)) not in (None, "") and (each or isinstance(each, float))
    }
