"""What is written down of one request: the three views of its entry.

Pure. Owns which words go into which view: the requester's never holds identifiers that were matched, finer
rules than the refusal's code, or anyone's words; under ncnd it is the same whatever happened.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from broker.core.canonical import Json
from broker.core.granting import law_detail
from broker.core.memo import ByIdentity
from broker.core.model import (
    Actor,
    Assurance,
    Decision,
    Grant,
    Outcome,
    Place,
    Refused,
    Request,
    RuleApplied,
    SubjectRef,
    Traits,
)
from broker.core.views import ProviderView, RequesterView
from broker.ports import Answer, Claim, Draft, Found, ManyMatch, ProviderFailed, Reads, Release

NO_ANSWER = Refused(
    "no-answer",
    "There is no answer to this request.",
    "That says nothing about whether a record exists. If life is at risk, telephone the provider.",
)


class Case(Struct, frozen=True):
    """One request as decided: what it was decided on, when, and what it read.

    `request` names the agencies that it was decided for; `asked_of` is the provider as asked, empty for whoever
    holds the record.
    """

    request: Request
    decision: Decision
    policy: int
    now: datetime
    reads: Reads
    learnt: tuple[SubjectRef, ...] = ()
    # For whoever decides it again: the count of the snapshot, its law files' digest, the ids of what was said,
    # a human's decision that was heard, and under what overrides were restricted.
    reference: int = 0
    law: str = ""
    said: tuple[str, ...] = ()
    grant: Grant | None = None
    asked_of: str = ""
    restricted: dict[str, datetime | None] = {}
    # Where this repeats a request that waits for a human already.
    referral: str = ""

    @property
    def agreement(self) -> str:
        """`id/version` of the agreement decided under; empty where none was found."""
        decision = self.decision
        return f"{decision.agreement}/{decision.agreement_version}" if decision.agreement else ""


class Said(Struct, frozen=True):
    """What the requester is told: exactly one of a release, a refusal, and neither (a failure or not found).

    `outcome` is empty for an intent, which comes before any.
    """

    event: str
    outcome: str
    release: Release | None = None
    refused: Refused | None = None


def ambiguous(answer: ManyMatch) -> Refused:
    """What to ask next; candidates are never listed."""
    ask_for = ", ".join(answer.ask_for) or "an identifier"
    return Refused(
        "ambiguous",
        "What was given fits more than one person.",
        f"Ask again with what tells them apart: {ask_for}.",
    )


def draft(entry_id: str, case: Case, said: Said, answer: Answer | None, claim: Claim | None) -> Draft:
    """The entry of a request's end. `answer` is the provider's, None where it was not asked."""
    request, decision = case.request, case.decision
    requester = _requester_view(case, said)
    # Of what is referred to them too: it is theirs to decide.
    provider_told = answer is not None or said.release is not None or decision.outcome is Outcome.REFER
    provider = ProviderView(
        requester,
        actor=_actor(request.actor, request.processor),
        identifiers=tuple((s.scheme, s.value) for s in _identifiers(case)),
        override=decision.override or None,
        requester=request.requester,
        purpose=request.purpose,
    )
    full = {**provider.as_json(), **_whole(case, said, answer)}
    return Draft(
        id=entry_id,
        at=case.now,
        requester=requester,
        provider=provider if provider_told else None,
        full=full,
        requester_agency=request.requester,
        provider_agency=request.provider if provider_told else "",
        words="\n".join(w for w in (request.reason.words, _override_words(request)) if w),
        # A refusal stands whatever has changed since; everything else is given back if an input has moved.
        # Under ncnd that goes for every way to say nothing: being decided again would take longer, and show.
        reads=None if decision.outcome is Outcome.REFUSE or said.refused is NO_ANSWER else case.reads,
        claim=claim,
        urgent=request.urgent,
        retention=decision.retention,
    )


def _override_words(request: Request) -> str:
    return request.override.words if request.override else ""


def intent(entry_id: str, case: Case, claim: Claim) -> Draft:
    """The entry before a viewing that has effects at the provider.

    Under ncnd there is one whatever was decided, and it is the same and stands whatever moves.
    """
    made = draft(entry_id, case, Said("intent", ""), None, claim)
    return replace(made, reads=None) if case.decision.ncnd else made


def decided(decision: Decision) -> str:
    """The decision's outcome as it stands in views."""
    return decision.outcome.value


def _requester_view(case: Case, said: Said) -> RequesterView:
    request, decision = case.request, case.decision
    return RequesterView(
        event=said.event,
        request_id=request.request_id,
        outcome=said.outcome or None,
        code=said.refused.code if said.refused else None,
        record_type=request.record_type,
        provider=request.provider or None,
        agreement=case.agreement or None,
        response=said.release.record.digest() if said.release else None,
        regime=decision.regime or None,
        controller=decision.controller or None,
        trace=request.trace,
    )


def _identifiers(case: Case) -> list[SubjectRef]:
    asked = [case.request.subject] if case.request.subject else []
    return sorted({*asked, *case.learnt}) if case.learnt else asked


def _actor(actor: Actor, processor: str) -> dict[str, str]:
    said = {"id": actor.id, "role": actor.role, "assurance": _ASSURANCES[actor.assurance]}
    for name in _ACTOR_TEXTS:
        if value := getattr(actor, name):
            said[name] = value
    if processor:
        said["processor"] = processor
    return said


_ASSURANCES = {level: level.name.lower().replace("_", "-") for level in Assurance}
_ACTOR_TEXTS = ("name", "on_behalf_of", "callsign", "device", "employer")


def _whole(case: Case, said: Said, answer: Answer | None) -> dict[str, Json]:
    """What only auditors see, beyond the provider's view: the decision itself, so that it can be replayed."""
    request, decision = case.request, case.decision
    refused = decision.refused or said.refused
    return {
        "policy": case.policy,
        "reference": case.reference,
        "law": case.law or None,
        "now": case.now.isoformat(),
        "requester": request.requester,
        "processor": request.processor or None,
        "system": request.system,
        "key": request.key_digest,
        "asked_of": case.asked_of or None,
        "purpose": request.purpose,
        "incident": request.incident or None,
        "reason": request.reason.code or None,
        "retry_of": request.retry_of or None,
        "lane": "emergency" if request.urgent else None,
        "asked_by": _asked_by(request),
        "learnt": [{"scheme": s.scheme, "value": s.value} for s in case.learnt],
        "directives": list(case.said),
        "place": _texts(request.place),
        "decided": decided(decision),
        "basis": decision.basis or None,
        "condition": decision.condition or None,
        "gateway": decision.gateway or None,
        "provider_regime": decision.provider_regime or None,
        "overridden": _overridden(request, decision, case.restricted),
        "grant": decision.grant or None,
        "granted": _granted(case.grant),
        "refer_by": decision.refer_by.isoformat() if decision.refer_by else None,
        "rules": _rules(decision.rules),
        "permitted": _list(decision.permitted),
        "obligations": [o.code for o in decision.obligations],
        "valid_until": decision.valid_until.isoformat() if decision.valid_until else None,
        "refused": {"code": refused.code, "message": refused.message, "remedy": refused.remedy}
        if refused
        else None,
        "consulted": answer is not None,
        "answered_by": getattr(answer, "by", "") or None,
        "failure": answer.why if isinstance(answer, ProviderFailed) else None,
        "as_at": answer.as_at.isoformat() if isinstance(answer, Found) and answer.as_at else None,
        "traits_agreed": list(answer.traits_agreed) if isinstance(answer, Found) else [],
    }


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
    }


# The same for every permit, and for every record under one version of an agreement: made once, changed never.
_rules = ByIdentity[tuple[RuleApplied, ...], Json](
    lambda rules: [f"{r.rule} {r.verdict}{r.detail and f': {r.detail}'}" for r in rules]
)
_list = ByIdentity[tuple[str, ...], Json](list)


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
