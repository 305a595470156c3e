"""What is known of the person's wishes, and of who may see a record about them.

Every refusal here reads the same to the requester, whatever lies behind it. Where the agreement leaves each
request to a human of the provider, what was said does not refuse: it is noted, and the human is told of it.
"""

from __future__ import annotations

from broker.core.agreement import Agreement
from broker.core.directive import AGAINST, FOR_ANOTHER, OPT_OUT, Directive, why_not
from broker.core.model import Refused
from broker.core.walk import Ends, Walk, contact

_BOTH = frozenset({"override", "grant"})
_GRANT = frozenset({"grant"})


def against(walk: Walk, rule: str, owner: str, yields_to: frozenset[str]) -> Ends | None:
    """The one refusal there is about a person; noted instead where a human decides each request."""
    if walk.chosen.terms.judgement and walk.grant is None and "grant" in yields_to:
        walk.noted[rule] = yields_to
        return None
    return Ends(
        Refused(
            "person",
            "What is known of the person's wishes, or of who may see this record, does not allow it.",
            f"Speak to {contact(walk.agency(walk.request.provider))}. If life is at risk, telephone them now.",
        ),
        owner,
        yields_to=yields_to,
    )


def staff_conflict(walk: Walk) -> Ends | None:
    """The actor is none of those who are known to have a conflict of interest with the person."""
    walk.about_person = True
    actor = walk.request.actor
    # Ids of people are the same however their capitals are written.
    asks = {actor.id.casefold(), actor.on_behalf_of.casefold()}
    for directive in walk.said:
        if directive.kind == "staff-conflict" and not asks.isdisjoint(map(str.casefold, directive.actors)):
            owner = f"{directive.recorder} recorded that this actor has a conflict of interest."
            return against(walk, "person.staff-conflict", owner, frozenset())
    return None


def protected_identity(walk: Walk) -> Ends | None:
    """No protected identity is behind the identifier; its owner may decide otherwise, an override never."""
    for directive in walk.said:
        if directive.kind == "protected-identity":
            owner = f"{directive.recorder} protects an identity behind this identifier."
            return against(walk, "person.protected-identity", owner, _GRANT)
    return None


def holders_agree(walk: Walk) -> Ends | None:
    """Those who may speak for somebody do not contradict each other; where they do, a human decides."""
    if walk.chosen.agreement.directives.weight == "recorded":
        return None
    holders = [d for d in walk.said if d.standing in FOR_ANOTHER]
    against = {(d.recorder, d.speaker) for d in holders if d.kind in AGAINST}
    own = any(d.kind in AGAINST and d.standing not in FOR_ANOTHER for d in walk.said)
    if not against or own:
        return None
    agreeing = {(d.recorder, d.speaker) for d in holders if d.kind == "consent" and _counts(walk, d)}
    if not agreeing - against:
        return None
    owner = "Those who may speak for the person disagree: one has consented and another stands against it."
    return _referred(walk, "person.holders-agree", owner)


def _referred(walk: Walk, rule: str, owner: str) -> Ends | None:
    ends = against(walk, rule, owner, _BOTH)
    return ends and Ends(referral(walk), owner, refer=True, yields_to=_BOTH)


def referral(walk: Walk) -> Refused:
    """What a requester is told where a named human of the provider decides."""
    terms, provider = walk.chosen.agreement.referral, walk.agency(walk.request.provider)
    who = terms.role or "a named person"
    phone = f" Telephone {terms.phone} where it cannot wait." if terms.phone else ""
    return Refused(
        "referred",
        f"This is for {who} at {contact(provider)} to decide.",
        f"They have it in their queue, to be decided within {terms.hours} hours; ask again then under a new "
        f"request id, with this one as retry_of.{phone}",
    )


def decided_against(walk: Walk) -> Ends:
    """A named human of the provider has been asked this very question, and has said no."""
    return Ends(
        Refused(
            "person",
            "A named person of the provider has decided against this request.",
            f"Speak to {contact(walk.agency(walk.request.provider))}; what is asked anew, under a new "
            "request id without retry_of, is decided anew.",
        ),
        f"Refused by the human who decided the referral {walk.ruling.referral if walk.ruling else ''}.",
    )


def not_against(walk: Walk) -> Ends | None:
    """Nobody has refused, objected or restricted the use, where the agreement heeds that.

    It outweighs any consent: only its recorder lifts it.
    """
    if walk.chosen.agreement.directives.weight == "recorded":
        return None
    for directive in walk.said:
        if directive.kind in AGAINST:
            owner = f"{directive.recorder} recorded a {directive.kind} ({directive.standing})."
            return against(walk, "person.not-against", owner, _BOTH)
    return None


def shielded(walk: Walk) -> bool:
    """Whether how to reach the person must not be told: but a crew on its way must arrive."""
    if walk.reference.law.purposes[walk.request.purpose].vital:
        return False
    return any(d.kind == "safe-contact" for d in walk.said)


def opt_out(walk: Walk) -> Ends | None:
    """The person has not opted out, where the national data opt-out bears on this use."""
    if not walk.chosen.opt_out:
        return None
    for directive in walk.said:
        if directive.kind == OPT_OUT:
            owner = "The national data opt-out applies: the purpose is beyond the person's own care."
            return against(walk, "person.opt-out", owner, _GRANT)
    return None


def consent(walk: Walk) -> Ends | None:
    """Somebody whose record of it counts has recorded that the person consented, where that is required.

    The requester's own record never counts alone, and a link from another identifier carries no consent.
    """
    if walk.chosen.agreement.directives.weight != "required":
        return None
    lacking = ""
    for directive in walk.said:
        if directive.kind == "consent" and _recorded_well(walk, directive):
            lacks = why_not(directive, walk.now)
            if lacks is None:
                return None
            lacking = f" One recorded by {directive.recorder} {lacks}."
    owner = f"No consent that counts has been recorded for this use.{lacking}"
    return against(walk, "person.consent", owner, _BOTH)


def _counts(walk: Walk, directive: Directive) -> bool:
    """Whether a consent would be enough by itself."""
    return _recorded_well(walk, directive) and why_not(directive, walk.now) is None


def _recorded_well(walk: Walk, directive: Directive) -> bool:
    """As `_recorder_counts`, with those whose place a recorder or the requester has taken; a processor's own
    record counts no more than its controller's."""
    if directive.recorder in walk.before(walk.request.requester) | {walk.request.processor}:
        return False
    return not walk.before(directive.recorder).isdisjoint(walk.chosen.agreement.directives.recorders)


def _recorder_counts(directive: Directive, agreement: Agreement, requester: str) -> bool:
    return directive.recorder in agreement.directives.recorders and directive.recorder != requester


def counts(directive: Directive, agreement: Agreement) -> bool:
    """Whether a consent can make a difference to some flow of an agreement, whatever the time.

    It can only where the agreement requires one, names its recorder, and has a flow inside its scope.
    """
    return (
        agreement.directives.weight == "required"
        and directive.kind == "consent"
        and directive.matter == "sharing"
        and any(
            _recorder_counts(directive, agreement, flow.requester)
            and directive.speaks_to(
                purpose=agreement.purpose,
                record_type=flow.record_type,
                requester=flow.requester,
                provider=flow.provider,
            )
            for flow in agreement.flows
        )
    )
