"""Use cases of how agencies stand to each other: acting for another, taking its place, leaving.

Operators only. A succession or a leaving is planned first; the plan is made again when it is carried out, so
that what is done is what stands then. Who takes an agency's place reads its evidence, so where there are two
people (`secondperson`) it takes both; ending or taking back gives nobody anything, and takes one. Nothing that
was decided or signed is touched: the old agency's entries and agreements name it for ever.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace as replaced
from datetime import datetime

from msgspec.structs import replace as changed

from broker.administration import Administration, Made, Plan
from broker.core.acting import Acting, acting_key
from broker.core.canonical import Json
from broker.core.directory import OPERATORS_KEY, Awaited, Successor, agency_key
from broker.core.eligible import check_ends, check_pending, check_successors
from broker.core.ending import Ending, Waits, corrected, ending, taken_back, undone
from broker.core.forms import acting_detail, agency_detail, system_detail
from broker.core.model import Actor, Caller, Function
from broker.core.reference import Reference
from broker.core.succession import shares
from broker.errors import BrokerError, InvalidRequest
from broker.ports import Change, Clock, Reads, ReferenceSource
from broker.queues import OverrideStore, ReferralStore
from broker.registry import require
from broker.secondperson import ask


class Standing:
    """Relations between agencies, and their ends."""

    def __init__(
        self,
        administration: Administration,
        reference: ReferenceSource,
        clock: Clock,
        referrals: ReferralStore,
        overrides: OverrideStore,
    ) -> None:
        self._administration = administration
        self._reference = reference
        self._clock = clock
        self._referrals = referrals
        self._overrides = overrides

    async def act(self, caller: Caller, wanted: Acting, actor: Actor | None = None) -> tuple[Acting, Made]:
        """Enter that one agency acts for another. The id given is not heeded."""
        require(caller, Function.OPERATOR)
        acting = changed(wanted, id=str(uuid.uuid4()))

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            _check_acting(acting, reference)
            return self._acting_plan("acting-entered", reference, acting, {})

        return acting, await self._made(caller, plan, actor)

    async def end_acting(
        self, caller: Caller, identifier: str, reason: str, actor: Actor | None = None
    ) -> tuple[Acting, Made]:
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

        made = await self._made(caller, plan, actor)
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
        self, caller: Caller, agency: str, into: tuple[Successor, ...], at: datetime, *, correct: bool = False
    ) -> Ending:
        """What would come of `into` taking the agency's place from `at` on; with `correct`, instead of what is
        planned."""
        require(caller, Function.OPERATOR)
        return await self._succession(caller, await self._reference.refresh(), agency, into, at, correct)

    async def succeed(
        self,
        caller: Caller,
        agency: str,
        into: tuple[Successor, ...],
        at: datetime,
        *,
        correct: bool = False,
        actor: Actor | None = None,
    ) -> tuple[Ending, Made, bool]:
        """Put `into` in the agency's place from `at` on; with `correct`, instead of what is planned, until the
        day of that. Whether it waits for a second person, with nothing done yet."""
        require(caller, Function.OPERATOR)
        planned: list[tuple[Ending, bool]] = []
        asked: dict[str, Json] = {
            "agency": agency,
            "into": [{"agency": s.agency, "districts": [*sorted(s.districts)]} for s in into],
            "at": at.isoformat(),
            "correct": correct,
        }

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            end = await self._succession(caller, reference, agency, into, at, correct)
            before = reference.agencies[agency].awaited
            said = ask(reference, before, asked, caller, actor, self._clock.now())
            planned[:] = [(end, isinstance(said, Awaited))]
            if isinstance(said, Awaited):
                return self._proposal_plan(reference, agency, said, asked)
            if not correct:
                return self._ending_plan("agency-succeeded", reference, end, said)
            return self._pending_plan("agency-succession-corrected", reference, agency, end, said)

        made = await self._made(caller, plan, actor)
        return planned[0][0], made, planned[0][1]

    async def taking_back(self, caller: Caller, agency: str) -> Ending:
        """What would come of taking back what is planned."""
        require(caller, Function.OPERATOR)
        reference = await self._reference.refresh()
        check_pending(caller, agency, reference, self._clock.now())
        return taken_back(reference, agency)

    async def take_back(self, caller: Caller, agency: str, actor: Actor | None = None) -> tuple[Ending, Made]:
        """Let nobody take the agency's place, until the day on which somebody would."""
        require(caller, Function.OPERATOR)
        planned: list[Ending] = []

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            check_pending(caller, agency, reference, self._clock.now())
            planned[:] = [taken_back(reference, agency)]
            return self._pending_plan("agency-succession-taken-back", reference, agency, planned[0], {})

        made = await self._made(caller, plan, actor)
        return planned[0], made

    async def _succession(
        self,
        caller: Caller,
        reference: Reference,
        agency: str,
        into: tuple[Successor, ...],
        at: datetime,
        correct: bool,
    ) -> Ending:
        known = reference
        if correct:
            check_pending(caller, agency, reference, self._clock.now())
            known = undone(reference, agency)
        check_successors(caller, agency, into, at, known)
        after = ending(known, agency, into, at, await self._waits(agency, reference))
        return corrected(reference, agency, after) if correct else after

    async def _waits(self, agency: str, reference: Reference) -> Waits:
        """What waits now for its humans, and elsewhere for itself."""
        mine = shares(reference.agencies, agency, self._clock.now())
        referrals, asked = await self._referrals.open(mine), await self._referrals.asked(agency)
        return Waits(referrals, asked, await self._overrides.open(mine))

    async def leaving(self, caller: Caller, agency: str, at: datetime) -> Ending:
        """What would come of the agency's leaving."""
        require(caller, Function.OPERATOR)
        reference = await self._reference.refresh()
        check_ends(caller, agency, at, reference)
        return ending(reference, agency, (), at, await self._waits(agency, reference))

    async def leave(
        self, caller: Caller, agency: str, at: datetime, reason: str, actor: Actor | None = None
    ) -> tuple[Ending, Made]:
        """End the agency's part and its systems from `at` on."""
        require(caller, Function.OPERATOR)
        planned: list[Ending] = []

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            check_ends(caller, agency, at, reference)
            planned[:] = [ending(reference, agency, (), at, await self._waits(agency, reference))]
            return self._ending_plan("agency-left", reference, planned[0], {"reason": reason})

        made = await self._made(caller, plan, actor)
        return planned[0], made

    async def _made(self, caller: Caller, plan: Callable[[], Awaitable[Plan]], actor: Actor | None) -> Made:
        made = await self._administration.make(caller, plan, actor)
        # Made whether or not this succeeds: where it does not, the next look a second later shows it.
        with suppress(BrokerError):
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
            "detail": agency_detail(replaced(end.agency, awaited=None)),
            "systems": [{"name": s.name, "detail": system_detail(s)} for s in end.systems],
        }
        said: dict[str, Json] = {
            "agreements": [*end.agreements],
            "routes": [*end.routes],
            "waiting": [*end.waiting],
            **more,
        }
        change = Change("agency-ended", stored, end.keys, reference=True)
        return Plan(event, {**stored, **said}, change, Reads(reference.policy, _read(end)))

    def _pending_plan(
        self, event: str, reference: Reference, name: str, end: Ending, more: dict[str, Json]
    ) -> Plan:
        """A change of what is planned: good only until the day of that."""
        before = reference.agencies[name]
        plan = self._ending_plan(event, reference, end, {"before": agency_detail(before), **more})
        return replaced(plan, reads=Reads(reference.policy, _read(end), before.valid_until))

    def _proposal_plan(self, reference: Reference, name: str, awaited: Awaited, asked: dict[str, Json]) -> Plan:
        """What waits for a second person; nothing else of the agency changes."""
        stored: dict[str, Json] = {"detail": agency_detail(replaced(reference.agencies[name], awaited=awaited))}
        keys: frozenset[str | bytes] = frozenset({agency_key(name)})
        change = Change("agency", stored, keys, reference=True)
        reads = Reads(reference.policy, keys | {OPERATORS_KEY})
        return Plan("agency-succession-proposed", {**stored, "asked": asked}, change, reads)


def _read(end: Ending) -> frozenset[str | bytes]:
    return frozenset({*end.keys, *(agency_key(s.agency) for s in end.agency.successors), OPERATORS_KEY})


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
