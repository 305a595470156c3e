"""What comes of an agency's end: which systems, agreements and routes it touches, and who has what to do.

Owns the plan of a succession or a leaving, and of taking one back before its day; whether it may be is
`eligible`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace as changed

from broker.core.directory import Agency, Successor, System, agency_key, system_key
from broker.core.flow import flow_keys
from broker.core.reference import Reference
from broker.core.routing import route_key
from broker.core.succession import heirs, takers

EXPORT = "take its entries along before that day (`broker audit export`, by its own system); they stay here"


class Waits(Struct, frozen=True):
    """What waits for an agency's humans, by district (empty: none is known), and how much elsewhere that it
    asked for itself."""

    referrals: Mapping[str, int] = {}
    asked: int = 0
    overrides: Mapping[str, int] = {}


class Ending(Struct, frozen=True):
    """What comes of an agency's end, in lines for people. `systems` are `agency/system`."""

    agency: Agency
    systems: tuple[System, ...]
    agreements: tuple[str, ...]
    routes: tuple[str, ...]
    acting: tuple[str, ...]
    to_do: tuple[str, ...]
    keys: frozenset[str]
    waiting: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def ending(
    reference: Reference, name: str, into: tuple[Successor, ...], at: datetime, waits: Waits | None = None
) -> Ending:
    """What comes of an agency's end at `at`, with these in its place. Pure."""
    before = reference.agencies[name]
    agency = replace(before, valid_until=at, successors=into, own_end=before.valid_until)
    systems = tuple(
        replace(s, valid_until=at, ends_with_agency=True, own_end=s.valid_until)
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
        tuple(_waiting({**reference.agencies, name: agency}, agency, waits or Waits())),
        tuple(_warnings(reference, name, into, at)),
    )


def undone(reference: Reference, name: str) -> Reference:
    """The directory as if nobody were to take an agency's place."""
    agency = reference.agencies[name]
    restored = replace(agency, valid_until=agency.own_end, successors=(), own_end=None)
    systems = {
        s.name: replace(s, valid_until=s.own_end, ends_with_agency=False, own_end=None)
        for s in reference.systems.values()
        if s.agency == name and s.ends_with_agency
    }
    return replace(
        reference,
        agencies={**reference.agencies, name: restored},
        systems={**reference.systems, **systems},
    )


def corrected(before: Reference, name: str, after: Ending) -> Ending:
    """The plan `after`, made on `undone(before, name)`, in the place of what is planned in `before`."""
    back = taken_back(before, name)
    ends = {each.name for each in after.systems}
    systems = (*after.systems, *(each for each in back.systems if each.name not in ends))
    return changed(after, systems=systems, keys=after.keys | back.keys)


def taken_back(reference: Reference, name: str) -> Ending:
    """What comes of taking back what is planned for an agency: everything stays with it."""
    planned, restored = reference.agencies[name], undone(reference, name)
    was = ending(restored, name, planned.successors, planned.valid_until or planned.valid_from)
    systems = tuple(
        restored.systems[each.name]
        for each in sorted(reference.systems.values(), key=lambda s: s.name)
        if each.agency == name and each.ends_with_agency
    )
    return Ending(
        restored.agencies[name],
        systems,
        tuple(f"{line.partition(':')[0]}: stays with {name}" for line in was.agreements),
        tuple(f"{line.partition(':')[0]}: stays with {name}" for line in was.routes),
        (),
        tuple(f"{each.agency}: take what was set up for {name} back" for each in planned.successors),
        was.keys | {system_key(each.name) for each in systems},
    )


def _waiting(agencies: Mapping[str, Agency], agency: Agency, waits: Waits) -> Iterator[str]:
    """What waits for humans of the agency, and who decides it from its end on."""
    for what, counts in (("referrals that wait", waits.referrals), ("overrides to review", waits.overrides)):
        if not counts:
            continue
        if agency.successors:
            yield f"{what}: {'; '.join(_parts(agencies, agency, counts))}"
        else:
            yield f"{what}: {sum(counts.values())}, which nobody decides from then on; decide them before"
    if waits.referrals and agency.successors:
        yield f"of these referrals, what named {agency.id} itself cannot be granted: who asked asks anew"
    if waits.asked:
        yield f"referrals that it asked for, waiting elsewhere: {waits.asked}, which lapse, unfetched"


def _parts(agencies: Mapping[str, Agency], agency: Agency, counts: Mapping[str, int]) -> Iterator[str]:
    by: dict[tuple[str, ...], int] = {}
    for district, number in sorted(counts.items()):
        whose = takers(agencies, agency.id, district, agency.valid_until or agency.valid_from)
        by[whose] = by.get(whose, 0) + number
    for whose, number in by.items():
        if len(whose) == 1:
            yield f"{number} for {whose[0]}"
        else:
            yield f"{number} for any of {', '.join(whose)}, the first to decide (not in a district of theirs)"


def _warnings(reference: Reference, name: str, into: tuple[Successor, ...], at: datetime) -> Iterator[str]:
    """Districts that may have been mistyped: nothing leads from them to the agency."""
    known: set[str] = set()
    for route in reference.routes.to(name):
        if route.ends is None or route.ends > at:
            known |= route.districts
    for each in into:
        if strange := sorted(each.districts - known):
            yield f"{', '.join(strange)} of {each.agency}: no route to {name} mentions it; is the code right?"


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
