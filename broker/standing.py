"""Use cases of how agencies stand to each other: acting for another, taking its place, leaving.

Operators only. A succession or a leaving is planned first; the plan is made again when it is carried out, so
that what is done is what stands then. Nothing that was decided or signed is touched: the old agency's entries
and agreements name it for ever.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace as changed

from broker.administration import Administration, Made, Plan
from broker.core.acting import Acting, acting_key
from broker.core.canonical import Json
from broker.core.directory import Agency, Successor, System, agency_key, system_key, valid
from broker.core.flow import flow_keys
from broker.core.forms import acting_detail, agency_detail, system_detail
from broker.core.model import Caller, Function
from broker.core.reference import Reference
from broker.core.routing import route_key
from broker.core.succession import heirs, replaced
from broker.errors import InvalidRequest, NotAllowed
from broker.ports import Change, Clock, Reads, ReferenceSource
from broker.registry import require

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


class Standing:
    """Relations between agencies, and their ends."""

    def __init__(self, administration: Administration, reference: ReferenceSource, clock: Clock) -> None:
        self._administration = administration
        self._reference = reference
        self._clock = clock

    async def act(self, caller: Caller, wanted: Acting) -> tuple[Acting, Made]:
        """Enter that one agency acts for another. The id given is not heeded."""
        require(caller, Function.OPERATOR)
        acting = changed(wanted, id=str(uuid.uuid4()))

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            _check_acting(acting, reference)
            return self._acting_plan("acting-entered", reference, acting, {})

        return acting, await self._made(caller, plan)

    async def end_acting(self, caller: Caller, identifier: str, reason: str) -> tuple[Acting, Made]:
        """End such a relation now."""
        require(caller, Function.OPERATOR)
        ended: list[Acting] = []

        async def plan() -> Plan:
            reference, now = await self._reference.refresh(), self._clock.now()
            known = next((a for some in reference.acting.values() for a in some if a.id == identifier), None)
            if known is None:
                raise InvalidRequest("id", "is none that is known; `broker agency act-list` shows them")
            if known.valid_until is not None and known.valid_until <= now:
                raise InvalidRequest("id", "has ended already")
            ended[:] = [changed(known, valid_until=now)]
            return self._acting_plan("acting-ended", reference, ended[0], {"reason": reason})

        made = await self._made(caller, plan)
        return ended[0], made

    async def acting(self, caller: Caller, *, ended: bool) -> list[Acting]:
        """Relations: of the caller's own agency for a partner, all for others."""
        reference, now = await self._reference.refresh(), self._clock.now()
        every = [a for some in reference.acting.values() for a in some]
        return sorted(
            (
                a
                for a in every
                if (ended or a.valid_until is None or now < a.valid_until)
                and (caller.function is not Function.PARTNER or caller.agency in (a.processor, a.controller))
            ),
            key=lambda a: (a.controller, a.processor, a.valid_from),
        )

    async def succession(
        self, caller: Caller, agency: str, into: tuple[Successor, ...], at: datetime
    ) -> Ending:
        """What would come of `into` taking the agency's place from `at` on."""
        require(caller, Function.OPERATOR)
        reference = await self._reference.refresh()
        _check_successors(caller, agency, into, at, reference)
        return ending(reference, agency, into, at)

    async def succeed(
        self, caller: Caller, agency: str, into: tuple[Successor, ...], at: datetime
    ) -> tuple[Ending, Made]:
        """Put `into` in the agency's place from `at` on."""
        require(caller, Function.OPERATOR)
        planned: list[Ending] = []

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            _check_successors(caller, agency, into, at, reference)
            planned[:] = [ending(reference, agency, into, at)]
            return self._ending_plan("agency-succeeded", reference, planned[0], {})

        made = await self._made(caller, plan)
        return planned[0], made

    async def leaving(self, caller: Caller, agency: str, at: datetime) -> Ending:
        """What would come of the agency's leaving."""
        require(caller, Function.OPERATOR)
        reference = await self._reference.refresh()
        _check_ends(caller, agency, at, reference)
        return ending(reference, agency, (), at)

    async def leave(self, caller: Caller, agency: str, at: datetime, reason: str) -> tuple[Ending, Made]:
        """End the agency's part and its systems from `at` on."""
        require(caller, Function.OPERATOR)
        planned: list[Ending] = []

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            _check_ends(caller, agency, at, reference)
            planned[:] = [ending(reference, agency, (), at)]
            return self._ending_plan("agency-left", reference, planned[0], {"reason": reason})

        made = await self._made(caller, plan)
        return planned[0], made

    async def _made(self, caller: Caller, plan: object) -> Made:
        made = await self._administration.make(caller, plan)  # type: ignore[arg-type]
        await self._reference.refresh()
        return made

    def _acting_plan(self, event: str, reference: Reference, acting: Acting, more: dict[str, Json]) -> Plan:
        stored: dict[str, Json] = {"detail": acting_detail(acting)}
        keys: frozenset[str] = frozenset({acting_key(acting.controller)})
        reads = keys | {agency_key(acting.controller), agency_key(acting.processor)}
        change = Change("acting", stored, keys, reference=True)
        return Plan(event, {**stored, **more}, change, Reads(reference.policy, reads))

    def _ending_plan(self, event: str, reference: Reference, end: Ending, more: dict[str, Json]) -> Plan:
        stored: dict[str, Json] = {
            "detail": agency_detail(end.agency),
            "systems": [{"name": s.name, "detail": system_detail(s)} for s in end.systems],
        }
        said: dict[str, Json] = {"agreements": [*end.agreements], "routes": [*end.routes], **more}
        change = Change("agency-ended", stored, end.keys, reference=True)
        reads = end.keys | {agency_key(s.agency) for s in end.agency.successors}
        return Plan(event, {**stored, **said}, change, Reads(reference.policy, reads))


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
    for route in reference.routes.of(name):
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


def _check_ends(caller: Caller, name: str, at: datetime, reference: Reference) -> Agency:
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


def _check_successors(
    caller: Caller, name: str, into: tuple[Successor, ...], at: datetime, reference: Reference
) -> None:
    agency = _check_ends(caller, name, at, reference)
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
            raise InvalidRequest(field, f"{each.agency} does not take part on that day")
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


def _check_covered(
    reference: Reference, name: str, into: tuple[Successor, ...], at: datetime, taken: frozenset[str]
) -> None:
    """No place that has a holder may be left without one."""
    if any(not each.districts for each in into):
        return
    for route in reference.routes.of(name):
        left = sorted(route.districts - taken)
        if left and (route.ends is None or route.ends > at):
            raise InvalidRequest(
                "into",
                f"route {route.name} of {route.file} has {', '.join(left[:3])}, which nobody would take over",
            )


def _check_acting(acting: Acting, reference: Reference) -> None:
    if acting.processor == acting.controller:
        raise InvalidRequest("acting.controller", "is the processor itself")
    for field in ("processor", "controller"):
        if getattr(acting, field) not in reference.agencies:
            raise InvalidRequest(
                f"acting.{field}", "is not in the directory; `broker agency list` shows what is"
            )
    if acting.valid_until is not None and acting.valid_until <= acting.valid_from:
        raise InvalidRequest("acting.valid_until", "ends before it begins")
    for field, named, known in (
        ("record_types", acting.record_types, reference.record_types),
        ("purposes", acting.purposes, reference.law.purposes),
    ):
        if unknown := sorted(named - known.keys()):
            raise InvalidRequest(f"acting.{field}", f"{unknown[0][:200]!r} is unknown")
