"""What comes of an agency's end: which systems, agreements and routes it touches, and who has what to do.

Owns the plan of a succession or a leaving, and refuses one that cannot be: a successor of another kind, a place
left without a holder, an agency that has ended already.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from msgspec import Struct

from broker.core.directory import Agency, Successor, System, agency_key, system_key, valid
from broker.core.flow import flow_keys
from broker.core.model import Caller
from broker.core.reference import Reference
from broker.core.routing import route_key
from broker.core.succession import heirs, replaced
from broker.errors import InvalidRequest, NotAllowed

EXPORT = "export its entries and take them along (`broker audit export`); they stay in the log until then"


class Ending(Struct, frozen=True):
    """What comes of an agency's end, in lines for people. `systems` are `agency/system`."""

    agency: Agency
    systems: tuple[System, ...]
    agreements: tuple[str, ...]
    routes: tuple[str, ...]
    acting: tuple[str, ...]
    to_do: tuple[str, ...]
    keys: frozenset[str]


def ending(reference: Reference, name: str, into: tuple[Successor, ...], at: datetime) -> Ending:
    """What comes of an agency's end at `at`, with these in its place. Pure."""
    agency = replace(reference.agencies[name], valid_until=at, successors=into)
    systems = tuple(
        replace(s, valid_until=at)
        for s in sorted(reference.systems.values(), key=lambda s: s.name)
        if s.agency == name and (s.valid_until is None or s.valid_until > at)
    )
    places = heirs({**reference.agencies, name: agency})
    keys = {agency_key(name), *(system_key(s.name) for s in systems)}
    agreements = []
    for each in sorted(reference.agreements.values(), key=lambda a: a.id):
        if all(p.agency != name for p in each.parties) or each.ends <= at:
            continue
        keys |= flow_keys(each, places)
        new = ", ".join(s.agency for s in into)
        agreements.append(
            f"{each.label}: {f'its flows hold for {new}' if new else f'no longer serves {name}'} ({each.title})"
        )
    routes = []
    for route in reference.routes.to(name):
        if route.ends is not None and route.ends <= at:
            continue
        keys.add(route_key(route.wanted))
        routes.append(f"{route.name} of {route.file}: {_goes(route.districts, into)}")
    acting = tuple(
        f"{a.processor} for {a.controller} ({a.contract})"
        for some in reference.acting.values()
        for a in some
        if name in (a.processor, a.controller) and (a.valid_until is None or a.valid_until > at)
    )
    return Ending(
        agency,
        systems,
        tuple(agreements),
        tuple(sorted(routes)),
        acting,
        tuple(_to_do(reference, name, into, bool(acting))),
        frozenset(keys),
    )


def _goes(districts: Iterable[str], into: tuple[Successor, ...]) -> str:
    """Where the districts of a route go."""
    if not into:
        return "leads nowhere from then on"
    parts = []
    left = set(districts)
    for each in into:
        there = sorted(left & each.districts) if each.districts else sorted(left)
        left -= set(there)
        if there:
            parts.append(f"{each.agency} in {', '.join(there)}")
    if left:
        parts.append(f"nobody in {', '.join(sorted(left))}")
    return "; ".join(parts)


def _to_do(reference: Reference, name: str, into: tuple[Successor, ...], acting: bool) -> Iterable[str]:
    if not into:
        yield f"{name}: {EXPORT}"
    for each in into:
        if not any(s.agency == each.agency for s in reference.systems.values()):
            yield f"{each.agency}: enrol its systems (`broker system enrol`); those of {name} speak no longer"
        if each.agency not in reference.signing_keys:
            yield f"{each.agency}: enrol a signing key (`broker agency key enrol`) for agreements of its own"
        yield f"{each.agency}: attach its adapters, with BROKER_ADAPTER_PREDECESSORS naming {name}"
    if into:
        yield f"{name}'s partners: name its successors in BROKER_ADAPTER_SUCCESSORS of their adapters"
    if acting:
        yield "enter anew whoever acts for whom (`broker agency act`): a contract is not taken over by itself"


def check_ends(caller: Caller, name: str, at: datetime, reference: Reference) -> Agency:
    """The agency, if it may end then. Raises InvalidRequest, NotAllowed."""
    agency = reference.agencies.get(name)
    if agency is None:
        raise InvalidRequest("agency", "is not in the directory; `broker agency list` shows what is")
    if caller.agency == name:
        raise NotAllowed("an operator's own agency cannot be ended by itself; another operator must do it")
    if at <= agency.valid_from:
        raise InvalidRequest("on", f"{name} takes part only from {agency.valid_from.isoformat()}")
    if agency.successors:
        names = ", ".join(s.agency for s in agency.successors)
        raise InvalidRequest("agency", f"was replaced by {names} already")
    return agency


def check_successors(
    caller: Caller, name: str, into: tuple[Successor, ...], at: datetime, reference: Reference
) -> None:
    """These may take its place then. Raises InvalidRequest, NotAllowed."""
    agency = check_ends(caller, name, at, reference)
    if not into:
        raise InvalidRequest(
            "into", "name at least one agency; `broker agency leave` ends one without successor"
        )
    taken: dict[str, str] = {}
    for n, each in enumerate(into):
        there, field = reference.agencies.get(each.agency), f"into.{n}"
        if there is None:
            raise InvalidRequest(field, f"{each.agency} is not in the directory; add it first")
        if each.agency == name or each.agency in taken.values() or each.agency in [e.agency for e in into[:n]]:
            raise InvalidRequest(field, f"{each.agency} is named twice, or is the old agency")
        if not valid(there, at) or replaced(there, at):
            raise InvalidRequest(field, f"{each.agency} does not take part {_when(there, at)}")
        if there.kind != agency.kind:
            raise InvalidRequest(
                field,
                f"{each.agency} is a {there.kind} agency, and cannot hold the records of a {agency.kind} one",
            )
        if len(into) > 1 and not each.districts:
            raise InvalidRequest(field, "more than one takes its place: say which districts each has")
        for district in sorted(each.districts):
            if district in taken:
                raise InvalidRequest(field, f"{district} goes to {taken[district]} already")
            taken[district] = each.agency
    if any(heir.new == name for each in into for heir in reference.heirs.get(each.agency, ())):
        raise InvalidRequest("into", "would make an agency take its own place")
    _check_covered(reference, name, into, at, frozenset(taken))


def _when(agency: Agency, at: datetime) -> str:
    """From when and until when it does, beside the first moment that was asked about: hours matter here, since
    a day in summer begins at 23:00 UTC."""
    until = f" until {agency.valid_until.isoformat()}" if agency.valid_until else ""
    since = agency.valid_from.isoformat()
    return f"on that day: it does from {since}{until}, and the day begins {at.isoformat()}"


def _check_covered(
    reference: Reference, name: str, into: tuple[Successor, ...], at: datetime, taken: frozenset[str]
) -> None:
    """No place that has a holder may be left without one."""
    if any(not each.districts for each in into):
        return
    for route in reference.routes.to(name):
        left = sorted(route.districts - taken)
        if left and (route.ends is None or route.ends > at):
            raise InvalidRequest(
                "into",
                f"route {route.name} of {route.file} has {', '.join(left[:3])}, which nobody would take over",
            )
