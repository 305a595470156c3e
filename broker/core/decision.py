"""`decide`: may this request have this record, which fields of it, under what law, and what then.

A total pure function. It walks `steps.STEPS` in order and stops at the first that ends the walk; every step
that was walked is listed in the decision, for the owner and the auditor.

Nothing is permitted that no step names: the permitted fields start empty and only an agreement fills them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from broker.core.directive import Directive
from broker.core.directory import agency_key, record_type_key, system_key
from broker.core.flow import FlowKey
from broker.core.granting import override_keys, ruling_key
from broker.core.model import Decision, Grant, Obligation, Outcome, Refused, Request, RuleApplied
from broker.core.reference import Reference
from broker.core.steps import STEPS
from broker.core.steps.person import decided_against
from broker.core.walk import Ends, Walk

__all__ = ["LEFT_OUT", "as_decided", "decide", "is_about_person", "is_subject_key", "subject_key"]

# The verdict of a step that was not walked, since nothing was asked about anybody.
LEFT_OUT = "left out"

_SUBJECT = "subject:"
_UNRESTRICTED: Mapping[str, datetime | None] = {}


def subject_key(scheme: str, value: str) -> str:
    """Key of what has been said about one identifier."""
    return f"{_SUBJECT}{scheme}|{value}"


def is_subject_key(key: str) -> bool:
    """Whether this is the key of an identifier, and so must not be kept."""
    return key.startswith(_SUBJECT)


def is_about_person(rule: str) -> bool:
    """Whether a step reads what is known of the person."""
    return rule.startswith("person.")


def decide(
    request: Request,
    reference: Reference,
    directives: Iterable[Directive],
    now: datetime,
    linked: Iterable[Directive] = (),
    grant: Grant | None = None,
    restricted: Mapping[str, datetime | None] = _UNRESTRICTED,
    *,
    nobody: bool = False,
) -> Decision:
    """The decision on `request` at `now` (UTC).

    `directives` are all that are stored about the identifier asked with; `linked` all about other identifiers
    that the provider knows the same subject by. `grant` is what a human of the provider decided on the
    request that this one repeats; one that has run out is none. `restricted` are the keys under which the
    provider has restricted overrides, each with its end. With `nobody`, a hypothetical, the steps about the
    person are left out, and stand in the rules as such.
    """
    walk = Walk(
        request,
        reference,
        tuple(directives),
        tuple(linked),
        now,
        ruling=grant,
        restricted=restricted,
        nobody=nobody,
    )
    if grant is not None and grant.granted and now < grant.until:
        walk.grant = grant
        walk.ends(grant.until)
    for n, step in enumerate(STEPS):
        if nobody and is_about_person(step.rule):
            continue
        if ends := step.judge(walk):
            if past := walk.goes_past(ends):
                walk.waived[step.rule] = past
            else:
                return _ended(walk, ends, n)
    return _concluded(walk, Outcome.PERMIT, _rules(walk, len(STEPS)), None)


def _ended(walk: Walk, ends: Ends, n: int) -> Decision:
    if walk.ruling is not None and not walk.ruling.granted and (ends.refer or walk.flow is None):
        ends = decided_against(walk)
    rule, owner = STEPS[n].rule, ends.owner
    if walk.request.override is not None and "override" in ends.yields_to:
        owner = f"{owner} An override was asked for and does not count: {walk.override_lacks}."
    refused = _with_override(walk, ends.refused)
    verdict = "refer" if ends.refer else "refuse"
    rules = (*_rules(walk, n), RuleApplied(rule, verdict, owner))
    flow = walk.flow
    if flow is None:
        return Decision(
            Outcome.REFUSE,
            rules,
            _reads(walk),
            walk.now,
            walk.valid_until,
            refused,
            controller=walk.request.provider,
            **_sides(walk),
        )
    return _concluded(walk, Outcome.REFER if ends.refer else Outcome.REFUSE, rules, refused)


def _with_override(walk: Walk, refused: Refused) -> Refused:
    """Whoever breaks glass is told at once that it did not count, and why: a slip in a code must not read as
    the person's wish. By agreement and request alone, whatever it was refused for, or it would tell which."""
    if walk.request.override is None or walk.flow is None or not walk.override_lacks:
        return refused
    return replace(refused, remedy=f"{refused.remedy} The override does not count: {walk.override_lacks}.")


def _concluded(
    walk: Walk, outcome: Outcome, rules: tuple[RuleApplied, ...], refused: Refused | None
) -> Decision:
    """A decision under the chosen agreement."""
    flow, by, override, grant = walk.chosen, walk.waived.values(), walk.request.override, walk.grant
    return Decision(
        outcome,
        rules,
        _reads(walk),
        walk.now,
        walk.valid_until,
        refused,
        agreement=flow.agreement.id,
        agreement_version=flow.agreement.version,
        controller=walk.request.provider,
        regime=flow.regime,
        provider_regime=flow.provider_regime,
        basis=flow.basis,
        condition=flow.condition,
        gateway=walk.gateway,
        permitted=() if refused else walk.permitted,
        named=() if refused else walk.named,
        obligations=() if refused else _obligations(walk),
        ncnd=flow.agreement.ncnd,
        witnessed=flow.agreement.evidence.witnessed,
        about_person=walk.about_person,
        override=override.code if override and "override" in by else "",
        grant=grant.referral if grant and "grant" in by else "",
        waived=tuple(walk.waived),
        refer_by=_due(walk) if outcome is Outcome.REFER else None,
        **_sides(walk),
        one_off=grant.one_off if grant and "grant" in by else None,
        signed=grant.signed if grant and "grant" in by else None,
        override_due=_review_due(walk) if override and "override" in by else None,
        retention=flow.agreement.evidence.retention,
    )


def _sides(walk: Walk) -> dict[str, Any]:
    """The agencies that the decision is made for."""
    request = walk.request
    return {
        "requester": request.requester,
        "processor": request.processor,
        "provider": request.provider,
        "answered_by": walk.answered_by,
    }


def as_decided(request: Request, decision: Decision) -> Request:
    """The request with the agencies that it was decided for: what entries, adapters and views name."""
    sides = (decision.requester, decision.processor, decision.provider)
    if sides == (request.requester, request.processor, request.provider):
        return request
    return replace(request, requester=sides[0], processor=sides[1], provider=sides[2])


def _due(walk: Walk) -> datetime:
    """When the provider's human is to have decided."""
    return walk.now + timedelta(hours=walk.chosen.agreement.referral.hours)


def _review_due(walk: Walk) -> datetime | None:
    """When the provider is to have looked at an override."""
    terms = walk.chosen.agreement.override
    return walk.now + timedelta(hours=terms.review_hours) if terms is not None else None


def _reads(walk: Walk) -> frozenset[str]:
    """Every stored input, by key: also those whose absence decided."""
    request = walk.request
    standing = _standing_keys(
        request.requester, request.provider, request.caller, request.record_type, request.purpose
    )
    if walk.reads:
        standing = standing.union(walk.reads)
    if request.retry_of:
        standing |= {ruling_key(request.caller, request.retry_of)}
        if walk.ruling is not None:
            standing |= {ruling_key(request.caller, walk.ruling.request)}
    if request.override is not None:
        standing |= set(override_keys(request))
    if request.subject is None or not walk.about_person:
        return standing
    return standing.union((subject_key(request.subject.scheme, request.subject.value),))


@lru_cache(maxsize=4096)
def _standing_keys(
    requester: str, provider: str, caller: str, record_type: str, purpose: str
) -> frozenset[str]:
    """Keys of what is not about a person: the same for every request of a kind."""
    return frozenset(
        {
            agency_key(requester),
            agency_key(provider),
            system_key(caller),
            record_type_key(record_type),
            str(FlowKey(requester, provider, record_type, purpose)),
        }
    )


_PASSED = tuple(RuleApplied(step.rule, "pass") for step in STEPS)
_PASSED_ALL = {n: _PASSED[:n] for n in range(len(STEPS) + 1)}


def _rules(walk: Walk, n: int) -> tuple[RuleApplied, ...]:
    """The first `n` steps as walked: passed, gone past, or noted for a human."""
    if not walk.waived and not walk.noted and not walk.nobody and not walk.details:
        return _PASSED_ALL[n]
    verdicts = {rule: f"waived by {by}" for rule, by in walk.waived.items()}
    verdicts |= dict.fromkeys(walk.noted, "noted")
    if walk.nobody:
        verdicts |= dict.fromkeys((s.rule for s in STEPS if is_about_person(s.rule)), LEFT_OUT)
    return tuple(
        RuleApplied(p.rule, verdicts.get(p.rule, p.verdict), walk.details.get(p.rule, ""))
        if p.rule in verdicts or p.rule in walk.details
        else p
        for p in _PASSED_ALL[n]
    )


def _obligations(walk: Walk) -> tuple[Obligation, ...]:
    agreement = walk.chosen.agreement
    owed = tuple(
        Obligation(o.code, o.detail, walk.now + timedelta(days=o.days) if o.days else None)
        for o in agreement.obligations
    )
    if "override" in walk.waived.values():
        owed += (Obligation("override-review", "Say why; the provider reviews it.", _review_due(walk)),)
    return owed
