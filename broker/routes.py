"""Use cases of routes: applying a file of them, and saying who would be asked.

A file is checked whole, against the directory, the catalogue and every other file, and nothing is stored unless
all of it holds. Refused: two routes that could both apply, and a holder that does not hold such records.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from msgspec import Struct

from broker.administration import Administration, Made, Plan
from broker.core.canonical import Json
from broker.core.directory import Agency, agency_key
from broker.core.model import Actor, Caller, Function, Place, Request
from broker.core.reference import Reference
from broker.core.routing import Route, Routing, applied, changed_keys, kind_of, parse, refuse_meeting
from broker.core.steps.sides import HOLDER, holder, needs_district
from broker.core.walk import Walk
from broker.errors import BrokerError, InvalidRequest
from broker.ports import Change, Clock, Reads, ReferenceSource
from broker.registry import require

# Kinds whose record types any agency may hold.
_JOINT = frozenset({"incident", "marac"})


class RoutePlan(Struct, frozen=True):
    """What a file would change, by ids of its routes, and what to look at before relying on it."""

    routing: Routing
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    warnings: tuple[str, ...]


class Told(Struct, frozen=True):
    """Who would be asked: `provider` is None where nobody, or more than one, is known."""

    provider: Agency | None
    why: str
    until: datetime | None
    answered_by: tuple[str, ...]


class RouteBook:
    """The files of routes by id and version."""

    def __init__(self, administration: Administration, reference: ReferenceSource, clock: Clock) -> None:
        self._administration = administration
        self._reference = reference
        self._clock = clock

    async def plan(self, caller: Caller, data: bytes) -> RoutePlan:
        """What applying this file would change. Raises InvalidRequest naming the key that is wrong."""
        require(caller, Function.OPERATOR)
        return self._plan(data, await self._reference.refresh())

    async def apply(self, caller: Caller, data: bytes, actor: Actor | None = None) -> tuple[RoutePlan, Made]:
        """Put a file in the place of the one with its id, whole."""
        require(caller, Function.OPERATOR)
        plans: list[RoutePlan] = []

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            planned = self._plan(data, reference)
            plans[:] = [planned]
            file = planned.routing.file
            writes = changed_keys(planned.routing, reference.routings.get(file.id))
            stored: dict[str, Json] = {
                "id": file.id,
                "version": file.version,
                "digest": planned.routing.digest,
                "added": [*planned.added],
                "removed": [*planned.removed],
                "changed": [*planned.changed],
            }
            reads = writes | {agency_key(route.holder) for route in file.routes} | {f"routing:{file.id}"}
            change = Change("routing", stored, writes | {f"routing:{file.id}"}, reference=True, blob=data)
            return Plan("routes-applied", stored, change, Reads(reference.policy, reads))

        made = await self._administration.make(caller, plan, actor)
        with suppress(BrokerError):  # made whether or not this succeeds
            await self._reference.refresh()
        return plans[0], made

    async def listed(self) -> list[Routing]:
        """Every file that is applied, by id."""
        routings = (await self._reference.refresh()).routings
        return [routings[name] for name in sorted(routings)]

    async def ask(self, record_type: str, place: Place, purpose: str, at: datetime | None) -> Told:
        """Who would be asked for such a record there, at that time; nobody is.

        Raises InvalidRequest for a record type or purpose that nobody knows, or a place without a district.
        """
        reference = await self._reference.refresh()
        if record_type not in reference.record_types:
            raise InvalidRequest(
                "record_type", "is not an approved record type; `broker records list` shows what is"
            )
        if purpose and purpose not in reference.law.purposes:
            raise InvalidRequest("purpose", f"unknown; one of {', '.join(sorted(reference.law.purposes))}")
        nobody = Actor("", "")
        request = Request("", "", "", "", record_type, "", None, None, purpose, nobody, place=place)
        if needs_district(request, reference.law):
            raise InvalidRequest("place.district", "give the district's ONS code, such as E06000063")
        walk = Walk(request, reference, (), (), at or self._clock.now())
        ends = holder(walk)
        found = reference.agencies.get(walk.request.provider)
        why = f"{ends.refused.message} {ends.owner}" if ends else walk.details.get(HOLDER, "")
        if found is not None:
            walk.ends(found.valid_from, found.valid_until)
        return Told(found, why, walk.valid_until, walk.answered_by)

    def _plan(self, data: bytes, reference: Reference) -> RoutePlan:
        routing = parse(data, reference.law)
        file, before = routing.file, reference.routings.get(routing.file.id)
        if before is not None and file.version <= before.file.version:
            raise InvalidRequest(
                "version", f"version {before.file.version} is applied; the next needs a higher one"
            )
        for n, route in enumerate(routing.routes):
            _check(n, route, reference)
        refuse_meeting(routing.routes, applied(reference.routings, file.id))
        new = {route.name: _said(route) for route in routing.routes}
        old = {route.name: _said(route) for route in before.routes} if before else {}
        return RoutePlan(
            routing,
            tuple(sorted(new.keys() - old.keys())),
            tuple(sorted(old.keys() - new.keys())),
            tuple(sorted(name for name in new.keys() & old.keys() if new[name] != old[name])),
            tuple(_warnings(routing, reference, self._clock.now())),
        )


def _said(route: Route) -> tuple[object, ...]:
    """What a route says, whichever version of its file says it."""
    return (route.wanted, route.districts, route.hours, route.holder, route.begins, route.ends)


def _check(n: int, route: Route, reference: Reference) -> None:
    held = route.wanted
    if "." in held:
        if held not in reference.record_types:
            raise InvalidRequest(
                f"routes.{n}.record_type", "is not an approved record type; `broker records list` shows what is"
            )
        held = kind_of(held)
    elif held not in reference.law.kinds and held not in _JOINT:
        raise InvalidRequest(f"routes.{n}.kind", f"one of {', '.join(sorted(reference.law.kinds))}")
    agency = reference.agencies.get(route.holder)
    if agency is None:
        raise InvalidRequest(f"routes.{n}.holder", f"{route.holder} is not in the directory")
    if agency.kind != held and held not in _JOINT:
        raise InvalidRequest(f"routes.{n}.holder", f"{route.holder} is a {agency.kind} agency, and holds none")


def _warnings(routing: Routing, reference: Reference, now: datetime) -> list[str]:
    found = []
    nations = {t.bank_holidays for t in routing.file.timetables.values() if t.bank_holidays}
    for nation in sorted(nations):
        last = max(reference.law.holidays(nation)).year
        if last < (now + timedelta(days=365)).year:
            found.append(f"bank holidays of {nation} are known up to {last}; later ones count as working days")
    for route in routing.routes:
        agency = reference.agencies[route.holder]
        if agency.valid_until is not None and agency.valid_until <= now and not agency.successors:
            found.append(f"{route.name}: {route.holder} has ended, and nobody took its place")
    return found
