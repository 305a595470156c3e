"""Who asks, what for, and under which agreement."""

from __future__ import annotations

from broker.core.directory import Agency, valid
from broker.core.oneoff import one_off_flow
from broker.core.walk import Ends, Walk, contact, flow_key, refuse

_OVERRIDE = frozenset({"override"})


def identity(walk: Walk) -> Ends | None:
    """The system that asks is enrolled with this key, and neither suspended nor out of its dates."""
    request = walk.request
    system = walk.reference.systems.get(request.caller)
    if system is not None:
        walk.ends(system.valid_from, system.valid_until)
        may_speak = request.key_digest in system.key_digests and not system.suspended
        if may_speak and valid(system, walk.now):
            return None
    return refuse(
        "party",
        "The system that asks is not enrolled, is suspended, or is out of its dates.",
        "Ask the operator of this broker.",
    )


def party(walk: Walk) -> Ends | None:
    """Both agencies exist on the day (DPA 2018 s.62: the controller of that day is named)."""
    request = walk.request
    for name in (request.requester, request.provider, *filter(None, (request.processor,))):
        agency = walk.agency(name)
        if agency is not None:
            walk.ends(agency.valid_from, agency.valid_until)
        if agency is None or not valid(agency, walk.now):
            return refuse(
                "party",
                f"{name} is not an agency taking part today.",
                _instead(agency),
            )
    return None


def _instead(agency: Agency | None) -> str:
    if agency is None or not agency.successors:
        return "Check the provider's id with `broker agency list`; one that was replaced has successors."
    names = ", ".join(each.agency for each in agency.successors)
    return f"It was replaced by {names}: name the one that has the place, or leave the provider empty."


def purpose(walk: Walk) -> Ends | None:
    """The purpose is one that agencies have agreed words for."""
    purposes = walk.reference.law.purposes
    if walk.request.purpose in purposes:
        return None
    return refuse(
        "purpose",
        "The purpose is not one of the agreed codes.",
        f"Use one of: {', '.join(sorted(purposes))}.",
    )


def agreement(walk: Walk) -> Ends | None:
    """A signed agreement names this requester, provider, record type and purpose, and is in force.

    A human of the provider may have let this very request through on a law of its own: that stands instead.
    """
    request = walk.request
    if walk.grant is not None and walk.grant.one_off is not None:
        walk.flow = one_off_flow(request, walk.grant, walk.grant.one_off, walk.reference)
        walk.waived["agreement.in-force"] = "grant"
        return None
    for flow in walk.reference.flows(flow_key(request)):
        walk.ends(flow.begins, flow.ends)
        if flow.begins <= walk.now < flow.ends:
            walk.flow = flow
            if flow.lineage:
                walk.details["agreement.in-force"] = "; ".join(map(str, flow.lineage))
            return None
    if request.provider == request.requester:
        return refuse(
            "agreement",
            f"{request.provider} is the asking agency itself: no agreement is with oneself.",
            "Look in your agency's own systems, or name the agency that holds the record: `broker agreement "
            "list` shows whom yours may ask.",
        )
    return refuse(
        "agreement",
        f"No agreement in force lets {request.requester} have {request.record_type} "
        f"from {request.provider} for {request.purpose}.",
        "Ask your information governance lead to agree one with "
        f"{contact(walk.agency(request.provider))}; in an emergency, telephone them. A named person there may "
        "also judge this one request: put it before them as a referral.",
    )


def suspended(walk: Walk) -> Ends | None:
    """None of its parties has suspended the agreement."""
    name = walk.chosen.agreement.id
    if name not in walk.reference.suspended:
        return None
    return refuse(
        "agreement",
        f"The agreement {name} is suspended.",
        f"Ask your information governance lead why; in an emergency, telephone "
        f"{contact(walk.agency(walk.request.provider))}.",
    )


def role(walk: Walk) -> Ends | None:
    """The actor's role is one the agreement lets ask."""
    roles = walk.chosen.roles
    if walk.request.actor.role in roles:
        return None
    return refuse(
        "role",
        f"The agreement {walk.chosen.agreement.id} does not let this role ask.",
        f"Ask through somebody in one of these roles: {', '.join(sorted(roles))}.",
        yields_to=_OVERRIDE,
    )


def assurance(walk: Walk) -> Ends | None:
    """The requester's system is sure enough of who is at the keyboard."""
    if walk.request.actor.assurance >= walk.chosen.minimum:
        return None
    least = walk.chosen.agreement.actors.minimum_assurance
    return refuse(
        "assurance",
        f"The agreement {walk.chosen.agreement.id} needs the actor known by at least {least}.",
        f"Sign in more strongly, or ask through somebody who has; a system that knows its user by "
        f"{least} says so (--assurance {least}).",
    )


def subject(walk: Walk) -> Ends | None:
    """The way the subject is named is one the agreement allows."""
    terms, asked = walk.chosen.terms, walk.request.subject
    if (asked is None and terms.queries) or (asked is not None and asked.scheme in terms.subject_schemes):
        return None
    return refuse(
        "context",
        "The agreement does not let the subject be named this way.",
        f"Name the subject by one of: {', '.join(sorted(terms.subject_schemes))}.",
    )
