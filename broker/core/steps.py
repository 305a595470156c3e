"""The steps of a decision: small pure functions that give None to go on, or the refusal that ends the walk.

Owns the order, which is the order in which a human would ask: who are you, what for, who agreed to it, on what
law, what did the person say, which fields. `decision.decide` walks them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from broker.core.agreement import Agreement
from broker.core.directive import AGAINST, Directive, next_change
from broker.core.model import Refused, Request
from broker.core.reference import (
    Agency,
    Flow,
    FlowKey,
    Reference,
    valid,
)


@dataclass(slots=True)
class Walk:
    """The state of one decision in the making."""

    request: Request
    reference: Reference
    directives: Sequence[Directive]
    linked: Sequence[Directive]
    now: datetime
    flow: Flow | None = None
    about_person: bool = False
    heeds_person: bool = False
    boundaries: list[datetime] = field(default_factory=list)

    @property
    def chosen(self) -> Flow:
        """The flow that `_agreement` found; every later step may rely on it."""
        if self.flow is None:  # a step placed before `_agreement` asked for one: a defect, not a refusal
            raise LookupError("no agreement chosen yet")
        return self.flow

    def agency(self, name: str) -> Agency | None:
        """An agency of the directory."""
        return self.reference.agencies.get(name)

    @property
    def valid_until(self) -> datetime | None:
        """The first moment at which time alone could change the outcome."""
        return min(self.boundaries, default=None)

    def ends(self, *moments: datetime | None) -> None:
        """Remember when time alone could change the outcome."""
        for moment in moments:
            if moment is not None and moment > self.now:
                self.boundaries.append(moment)


Step = Callable[[Walk], Refused | None]


def flow_key(request: Request) -> FlowKey:
    """What agreements are looked up by for a request."""
    return FlowKey(request.requester, request.provider, request.record_type, request.purpose)


def _contact(agency: Agency | None) -> str:
    """How to reach the people who can mend a refusal."""
    if agency is None:
        return "the operator of this broker"
    reach = ", ".join(part for part in (agency.contact, agency.phone) if part)
    return f"{agency.name} ({reach})" if reach else agency.name


# The steps, in order. Each gives None to go on, or the refusal that ends the walk.


def _identity(walk: Walk) -> Refused | None:
    """The system that asks is enrolled with this key, and neither suspended nor out of its dates."""
    request = walk.request
    system = walk.reference.systems.get(request.caller)
    if system is not None:
        walk.ends(system.valid_from, system.valid_until)
        may_speak = request.key_digest in system.key_digests and not system.suspended
        if may_speak and valid(system, walk.now):
            return None
    return Refused(
        "party",
        "The system that asks is not enrolled, is suspended, or is out of its dates.",
        "Ask the operator of this broker.",
    )


def _party(walk: Walk) -> Refused | None:
    """Both agencies exist on the day (DPA 2018 s.62: the controller of that day is named)."""
    for name in (walk.request.requester, walk.request.provider):
        agency = walk.agency(name)
        if agency is not None:
            walk.ends(agency.valid_from, agency.valid_until)
        if agency is None or not valid(agency, walk.now):
            return Refused(
                "party",
                f"{name} is not an agency taking part today.",
                "Check the provider's id with `broker agency list`; one that was replaced has successors.",
            )
    return None


def _purpose(walk: Walk) -> Refused | None:
    """The purpose is one that agencies have agreed words for (UK GDPR Art. 5(1)(b))."""
    if walk.request.purpose in walk.reference.law.purposes:
        return None
    return Refused(
        "purpose",
        "The purpose is not one of the agreed codes.",
        f"Use one of: {', '.join(sorted(walk.reference.law.purposes))}.",
    )


def _agreement(walk: Walk) -> Refused | None:
    """A signed agreement names this requester, provider, record type and purpose, and is in force."""
    for flow in walk.reference.flows(flow_key(walk.request)):
        walk.ends(flow.begins, flow.ends)
        if flow.begins <= walk.now < flow.ends:
            walk.flow = flow
            return None
    return Refused(
        "agreement",
        f"No agreement in force lets {walk.request.requester} have {walk.request.record_type} "
        f"from {walk.request.provider} for {walk.request.purpose}.",
        "Ask your information governance lead to agree one with "
        f"{_contact(walk.agency(walk.request.provider))}; in an emergency, telephone them.",
    )


def _role(walk: Walk) -> Refused | None:
    """The actor's role is one the agreement lets ask."""
    roles = walk.chosen.roles
    if walk.request.actor.role in roles:
        return None
    return Refused(
        "role",
        f"The agreement {walk.chosen.agreement.id} does not let this role ask.",
        f"Ask through somebody in one of these roles: {', '.join(sorted(roles))}.",
    )


def _assurance(walk: Walk) -> Refused | None:
    """The requester's system is sure enough of who is at the keyboard."""
    if walk.request.actor.assurance >= walk.chosen.minimum:
        return None
    actors = walk.chosen.agreement.actors
    return Refused(
        "assurance",
        f"The agreement {walk.chosen.agreement.id} needs the actor known by at least "
        f"{actors.minimum_assurance}.",
        f"Sign in more strongly, or ask through somebody who has; a system that knows its user by "
        f"{actors.minimum_assurance} says so (--assurance {actors.minimum_assurance}).",
    )


def _context(walk: Walk) -> Refused | None:
    """The way the subject is named is one the agreement allows."""
    terms = walk.chosen.terms
    subject = walk.request.subject
    if subject is None and terms.queries:
        return None
    if subject is not None and subject.scheme in terms.subject_schemes:
        return None
    return Refused(
        "context",
        "The agreement does not let the subject be named this way.",
        f"Name the subject by one of: {', '.join(sorted(terms.subject_schemes))}.",
    )


def _person(walk: Walk) -> Refused | None:
    """What the person has said, with the weight the agreement gives it: consent is not the only basis.

    An objection always outweighs a consent: only its recorder lifts it. The requester's own record of a
    consent never satisfies `required` alone, and links between identifiers carry restrictions, never consent.
    """
    walk.about_person = True
    request, agreement = walk.request, walk.chosen.agreement
    weight = agreement.directives.weight
    if weight == "recorded":  # noted by whoever decides by hand; no input of this decision
        return None
    walk.heeds_person = True
    relevant = [
        d
        for d in (*walk.directives, *(d for d in walk.linked if d.kind in AGAINST))
        if d.speaks_to(
            purpose=request.purpose,
            record_type=request.record_type,
            requester=request.requester,
            provider=request.provider,
        )
    ]
    walk.ends(next_change(relevant, walk.now))
    in_force = [d for d in relevant if d.in_force(walk.now)]
    objected = any(d.kind in AGAINST for d in in_force)
    consented = any(_consent_counts(d, agreement, request.requester) for d in in_force)
    if not objected and (consented or weight == "respected"):
        return None
    return Refused(
        "person",
        "What is known of the person's wishes, or of who may see this record, does not allow it.",
        f"Speak to {_contact(walk.agency(request.provider))}. If life is at risk, telephone them now.",
    )


def _consent_counts(directive: Directive, agreement: Agreement, requester: str) -> bool:
    """Whether this is a consent, from a recorder whose record of one counts against this requester."""
    recorder = directive.recorder
    return directive.kind == "consent" and recorder in agreement.directives.recorders and recorder != requester


def counts(directive: Directive, agreement: Agreement) -> bool:
    """Whether a consent can make a difference to some flow of an agreement, whatever the time.

    It can only where the agreement requires one, names its recorder, and has a flow inside its scope.
    """
    return agreement.directives.weight == "required" and any(
        _consent_counts(directive, agreement, flow.requester)
        and directive.speaks_to(
            purpose=agreement.purpose,
            record_type=flow.record_type,
            requester=flow.requester,
            provider=flow.provider,
        )
        for flow in agreement.flows
    )


def _fields(walk: Walk) -> Refused | None:
    """The agreement names at least one field; the empty set permits nothing."""
    if walk.chosen.terms.permitted:
        return None
    return Refused("agreement", "The agreement names no field.", "Ask its parties to name the fields.")


STEPS: tuple[tuple[str, Step], ...] = (
    ("identity.enrolled", _identity),
    ("party.valid-today", _party),
    ("purpose.known", _purpose),
    ("agreement.in-force", _agreement),
    ("role.named", _role),
    ("assurance.enough", _assurance),
    ("context.subject-named", _context),
    ("person.word", _person),
    ("fields.named", _fields),
)
