"""For whom the system asks, and who holds the record: settled before anything is asked about either.

From here on the walk's request names the controllers on both sides. What was asked stays with whoever asked.
"""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from broker.core.acting import acting_key, answers_for, asks_for
from broker.core.directory import agency_key, valid
from broker.core.granting import ruling_key
from broker.core.model import Place, Request
from broker.core.reference import Reference
from broker.core.routing import Route, kind_of
from broker.core.succession import holding
from broker.core.walk import Ends, Walk, contact, refuse
from broker.law import Law

ACTS_FOR, HOLDER = "party.acts-for", "party.holder"
_NOWHERE = Place()


def controller_named(request: Request, reference: Reference) -> str:
    """The agency that a system of another says it asks for; empty where it asks for its own."""
    named = request.actor.on_behalf_of
    return named if named != request.requester and named in reference.agencies else ""


def acts_for(walk: Walk) -> Ends | None:
    """Where the system's agency asks for another, it acts for that one in this and today."""
    request = walk.request
    controller = controller_named(request, walk.reference)
    if not controller:
        return None
    walk.reads |= {acting_key(controller), agency_key(request.requester)}
    relations = asks_for(
        walk.reference.acting.get(controller, ()),
        request.requester,
        request.actor.callsign,
        request.record_type,
        request.purpose,
    )
    for each in relations:
        walk.ends(each.valid_from, each.valid_until)
    for each in relations:
        if each.in_force(walk.now):
            walk.request = replace(request, requester=controller, processor=request.requester)
            walk.details[ACTS_FOR] = f"{each.processor} acts for {each.controller} under {each.contract}."
            return None
    return refuse(
        "party",
        f"{request.requester} does not act for {controller} in this, or not today.",
        f"Ask for your own agency, or have the operator enter the contract with "
        f"{contact(walk.agency(controller))} (`broker agency act`).",
    )


def holder(walk: Walk) -> Ends | None:
    """One agency holds the record for this place at this time; and who else may answer for it."""
    if not walk.request.provider and (ends := _route(walk)):
        return ends
    provider = walk.request.provider
    _heed(walk, provider)
    relations = walk.reference.acting.get(provider)
    if relations:
        walk.reads.add(acting_key(provider))
        covering = answers_for(relations, walk.request.record_type, walk.request.purpose)
        for each in covering:
            walk.ends(each.valid_from, each.valid_until)
        walk.answered_by = tuple(
            dict.fromkeys(
                r.processor for r in covering if r.in_force(walk.now) and _takes_part(walk, r.processor)
            )
        )
    return None


def _heed(walk: Walk, provider: str) -> None:
    """A human's decision is on the records of the agency that was asked, or of who has taken its place: where
    another holds the record by now, that one's humans have not decided."""
    ruling = walk.ruling
    if ruling is not None and ruling.provider and ruling.provider not in walk.before(provider):
        walk.reads.add(ruling_key(walk.request.caller, ruling.request))
        walk.grant = walk.ruling = None


def _takes_part(walk: Walk, name: str) -> bool:
    agency = walk.agency(name)
    walk.reads.add(agency_key(name))
    if agency is not None:
        walk.ends(agency.valid_from, agency.valid_until)
    return agency is not None and valid(agency, walk.now)


def resolved(request: Request, reference: Reference, now: datetime) -> Request:
    """The request with the agencies it would be decided for, as far as can be told: for quotas and lanes."""
    if request.provider and not request.actor.on_behalf_of:
        return request
    walk = Walk(request, reference, (), (), now)
    acts_for(walk)
    if not walk.request.provider:
        _route(walk)
    return walk.request


def needs_district(request: Request, law: Law) -> bool:
    """Whether nobody can be found to hold the record for want of a district."""
    place = request.place or _NOWHERE
    return not request.provider and not place.district and not _for_authority(request, law)


def _for_authority(request: Request, law: Law) -> bool:
    """Whether the responsible authority is asked: for what councils hold, but where life may depend on it,
    the place decides, if it is known."""
    place, purpose = request.place or _NOWHERE, law.purposes.get(request.purpose)
    vital = purpose is not None and purpose.vital
    return (
        bool(place.responsible_authority)
        and kind_of(request.record_type) == "council"
        and not (vital and place.district)
    )


def _route(walk: Walk) -> Ends | None:
    request, reference = walk.request, walk.reference
    place = request.place or _NOWHERE
    if _for_authority(request, reference.law):
        found, why = place.responsible_authority, "the responsible authority"
    else:
        routed = reference.routes.find(request.record_type, place.district, walk.now)
        walk.reads |= routed.reads
        walk.ends(routed.until)
        if len(routed.routes) != 1:
            return _not_one(walk, routed.routes, place.district)
        (route,) = routed.routes
        found, why = route.holder, f"route {route.name} of {route.file}"
        if place.responsible_authority:
            why += f"; the place decides, not the responsible authority {place.responsible_authority}"
    held = holding(reference.agencies, found, place.district, walk.now)
    walk.reads |= {agency_key(name) for name in held.passed}
    if not held.holder:
        return _not_passed_on(walk, held.passed[-1], place.district)
    if held.holder == request.requester:
        return refuse("party", "Your own agency holds this record.", "Look it up in your own system.")
    if len(held.passed) > 1:
        why += f"; {' -> '.join(held.passed)}"
    walk.request = replace(request, provider=held.holder)
    walk.details[HOLDER] = f"{held.holder}, by {why}."
    return None


def _not_one(walk: Walk, routes: tuple[Route, ...], district: str) -> Ends:
    request = walk.request
    named = ", ".join(f"{route.name} of {route.file}" for route in routes)
    return refuse(
        "party",
        f"{'More than one agency is' if routes else 'No agency is'} known to hold {request.record_type} "
        f"for {district or 'a place without a district'} at this time.",
        "Name the provider, and tell the operator of this broker: `broker route ask` shows what is known.",
        f"Routes that apply: {named}." if named else "No route applies.",
    )


def _not_passed_on(walk: Walk, old: str, district: str) -> Ends:
    agency = walk.agency(old)
    names = ", ".join(s.agency for s in agency.successors) if agency else ""
    return refuse(
        "party",
        f"{old} was replaced by {names}, and it is not known which of them has "
        f"{district or 'this: no district was given'}.",
        "Give place.district, an ONS code, or name the provider.",
    )
