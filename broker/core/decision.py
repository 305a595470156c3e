"""`decide`: may this request have this record, which fields of it, under what law, and what then.

A total pure function. It walks the steps of `steps.py` in order and stops at the first refusal; every step that
was walked is listed in the decision, for the owner and the auditor.

Nothing is permitted that no step names: the permitted fields start empty and only an agreement fills them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache

from broker.core.directive import Directive
from broker.core.model import Decision, Obligation, Outcome, Refused, Request, RuleApplied
from broker.core.reference import (
    FlowKey,
    Reference,
    agency_key,
    record_type_key,
    system_key,
)
from broker.core.steps import STEPS, Walk

_SUBJECT = "subject:"


def subject_key(scheme: str, value: str) -> str:
    """Key of what has been said about one identifier."""
    return f"{_SUBJECT}{scheme}|{value}"


def is_subject_key(key: str) -> bool:
    """Whether this is the key of an identifier, and so must not be kept."""
    return key.startswith(_SUBJECT)


def decide(
    request: Request,
    reference: Reference,
    directives: Iterable[Directive],
    now: datetime,
    linked: Iterable[Directive] = (),
) -> Decision:
    """The decision on `request` at `now` (UTC).

    `directives` are all that are stored about the identifier asked with; `linked` all about other identifiers
    that the provider knows the same subject by.
    """
    walk = Walk(request, reference, tuple(directives), tuple(linked), now)
    for n, (rule, step) in enumerate(STEPS):
        if refused := step(walk):
            return _conclude(walk, refused, (*_PASSED[:n], RuleApplied(rule, "refuse")))
    return _conclude(walk, None, _PASSED)


def _conclude(walk: Walk, refused: Refused | None, rules: tuple[RuleApplied, ...]) -> Decision:
    request, flow = walk.request, walk.flow
    if flow is None:
        return Decision(
            Outcome.REFUSE,
            rules,
            _reads(walk),
            walk.now,
            walk.valid_until,
            refused,
            controller=request.provider,
            about_person=walk.about_person,
            heeds_person=walk.heeds_person,
        )
    agreement, legal = flow.agreement, flow.agreement.legal
    return Decision(
        outcome=Outcome.REFUSE if refused else Outcome.PERMIT,
        rules=rules,
        reads=_reads(walk),
        decided_at=walk.now,
        valid_until=walk.valid_until,
        refused=refused,
        agreement=agreement.id,
        agreement_version=agreement.version,
        controller=request.provider,
        regime=flow.regime,
        basis=legal.basis,
        condition=legal.condition,
        gateway=legal.gateway,
        permitted=() if refused else flow.permitted,
        obligations=() if refused else _obligations(walk),
        ncnd=agreement.ncnd,
        about_person=walk.about_person,
        heeds_person=walk.heeds_person,
    )


def _reads(walk: Walk) -> frozenset[str]:
    """Every stored input, by key: also those whose absence decided."""
    request = walk.request
    standing = _standing_keys(
        request.requester, request.provider, request.caller, request.record_type, request.purpose
    )
    if request.subject is None or not walk.heeds_person:
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


_PASSED = tuple(RuleApplied(rule, "pass") for rule, _ in STEPS)


def _obligations(walk: Walk) -> tuple[Obligation, ...]:
    return tuple(
        Obligation(o.code, o.detail, walk.now + timedelta(days=o.days) if o.days else None)
        for o in walk.chosen.agreement.obligations
    )
