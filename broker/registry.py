"""Use cases of the directory: agencies, their systems and keys, and approved record types. Operators only.

A system is enrolled by two people where there are two (`secondperson`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from broker.administration import Administration, Made, Plan
from broker.core.canonical import Json
from broker.core.directory import OPERATORS_KEY, Agency, System, agency_key, record_type_key, system_key
from broker.core.forms import agency_detail, system_detail
from broker.core.model import Actor, Caller, Function
from broker.core.recordtype import RecordType
from broker.core.reference import Reference
from broker.enrolling import Enrolment, agreed, enrolled, founded, wanted_key
from broker.errors import BrokerError, InvalidRequest, NotAllowed
from broker.ports import Change, Clock, Reads, ReferenceSource


def require(caller: Caller, *functions: Function) -> None:
    """NotAllowed unless the caller is enrolled to do one of these."""
    if caller.function not in functions:
        raise NotAllowed(f"only a system enrolled as {' or '.join(functions)} may do this")


class Registry:
    """Who takes part, and with what."""

    def __init__(self, administration: Administration, reference: ReferenceSource, clock: Clock) -> None:
        self._administration = administration
        self._reference = reference
        self._clock = clock

    async def add_agency(self, caller: Caller, agency: Agency, actor: Actor | None = None) -> Made:
        """Enter an agency, or a new state of it."""
        require(caller, Function.OPERATOR)

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            known = reference.agencies.get(agency.id)
            event = "agency-added" if known is None else "agency-changed"
            # Who took its place is not undone by the way.
            kept = (
                replace(
                    agency,
                    successors=known.successors,
                    valid_until=known.valid_until,
                    own_end=known.own_end,
                )
                if known is not None and known.successors
                else agency
            )
            return self._plan(
                event, reference, "agency", {"detail": agency_detail(kept)}, agency_key(agency.id)
            )

        return await self._make(caller, plan, actor)

    async def enrol(
        self,
        caller: Caller,
        agency: str,
        system: str,
        function: Function,
        key_digest: str,
        valid_from: datetime | None,
        valid_until: datetime | None,
        actor: Actor | None = None,
        roles: frozenset[str] = frozenset(),
        *,
        at_start: bool = False,
    ) -> tuple[Made, bool]:
        """Enrol a system with a key, or add a key to one that is enrolled; and whether that waits for a second
        person.

        `roles` are those in which an auditor's may act. Dates and roles that are not given are those of the
        system so far: a new key must not prolong anything. A new system begins now and has no end. `at_start`
        says that whoever runs this broker named it as one of its founders.
        """
        require(caller, Function.OPERATOR)
        if roles and function is not Function.AUDITOR:
            raise InvalidRequest(
                "roles", "are an auditor's; in which roles partners ask is for agreements to say"
            )

        asked = Enrolment(agency, system, function, key_digest, valid_from, valid_until, roles)
        waits = [False]

        async def plan() -> Plan:
            reference, now = await self._reference.refresh(), self._clock.now()
            new = enrolled(reference, asked, now)
            # Two enrolments of one key at once, for two systems, must not both stand.
            also = f"key:{key_digest}"
            said: dict[str, Json] | None = {"how": "named at start"}
            if at_start:
                new = founded(new, key_digest)
            else:
                new, said = agreed(reference, asked, new, caller, actor, now)
            waits[0] = said is None
            event = "system-proposed" if said is None else "system-enrolled"
            made = self._system_plan(event, reference, new, also, OPERATORS_KEY)
            return replace(made, detail={**made.detail, **(said or {"asked": asked.as_json})})

        return await self._make(caller, plan, actor), waits[0]

    async def attached(self, caller: Caller) -> None:
        """Note, once, that a system's certificate is an adapter's: a program holds it, so nobody confirms by
        it.

        Raises AuditUnavailable, Unsettled.
        """
        require(caller, Function.PARTNER)
        name = caller.name

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            known = reference.systems[name]
            if known.adapter:
                raise _Noted
            return self._system_plan("system-attached", reference, replace(known, adapter=True))

        if not self._reference.current.systems[name].adapter:
            with suppress(_Noted):
                await self._make(caller, plan, None)

    async def suspend(
        self,
        caller: Caller,
        agency: str,
        system: str,
        reason: str,
        lift: bool,
        actor: Actor | None = None,
    ) -> Made:
        """Suspend a system at once, or lift its suspension.

        Never the caller's own: whoever suspends stays, so that somebody is left who can lift it.
        """
        require(caller, Function.OPERATOR)
        if caller.name == f"{agency}/{system}":
            raise InvalidRequest("system", "is your own; another operator must suspend it, and can lift it")

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            known = reference.systems.get(f"{agency}/{system}")
            if reference.systems[caller.name].suspended:
                raise NotAllowed("your own system has been suspended meanwhile")
            if known is None:
                raise InvalidRequest("system", "is not enrolled")
            if known.suspended is not lift:
                raise InvalidRequest(
                    "lift", "the system is suspended already" if not lift else "it is not suspended"
                )
            event = "suspension-lifted" if lift else "system-suspended"
            made = self._system_plan(event, reference, replace(known, suspended=not lift))
            # Two operators who suspend each other at the same moment must not both succeed.
            standing = frozenset({system_key(known.name), system_key(caller.name)})
            detail = {**made.detail, "reason": reason}
            return replace(made, detail=detail, reads=Reads(reference.policy, standing))

        return await self._make(caller, plan, actor)

    async def revoke(
        self,
        caller: Caller,
        agency: str,
        system: str,
        key_digest: str,
        reason: str,
        actor: Actor | None = None,
    ) -> Made:
        """Take a key from a system at once, or drop the proposal of one; its other keys stay good.

        Never the key that the call itself is made with, or the last operator could lock everybody out.
        """
        require(caller, Function.OPERATOR)
        if key_digest == caller.key_digest:
            raise InvalidRequest("key_digest", "is the key of this very call; enrol another and use that")

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            known = reference.systems.get(f"{agency}/{system}")
            if known is None:
                raise InvalidRequest("system", "is not enrolled")
            proposed = wanted_key(known)
            if key_digest in known.revoked:
                raise InvalidRequest("key_digest", "was revoked already, and never comes back")
            if key_digest not in known.key_digests | {proposed}:
                raise InvalidRequest(
                    "key_digest", "is not one of this system's; `broker system list --json` shows them"
                )
            left = replace(known, awaited=None) if key_digest == proposed else known
            if key_digest in known.key_digests:
                left = replace(
                    left, key_digests=left.key_digests - {key_digest}, revoked=left.revoked | {key_digest}
                )
            made = self._system_plan("key-revoked", reference, left)
            return replace(made, detail={**made.detail, "key_digest": key_digest, "reason": reason})

        return await self._administration.make(caller, plan, actor)

    async def approve(
        self, caller: Caller, full_name: str, descriptor_set: bytes, actor: Actor | None = None
    ) -> tuple[RecordType, Made | None]:
        """Approve a record type, or a compatible new version of one. None where it is approved already."""
        require(caller, Function.OPERATOR)
        approved: list[RecordType] = []

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            record_type = self._reference.catalogue.examine(descriptor_set, full_name)
            approved[:] = [record_type]
            stored: dict[str, Json] = {
                "full_name": full_name,
                "digest": record_type.digest,
                "approved_at": self._clock.now().isoformat(),
            }
            return self._plan(
                "record-type-approved",
                reference,
                "record-type",
                stored,
                record_type_key(full_name),
                blob=descriptor_set,
            )

        await self._reference.refresh()
        known = self._reference.catalogue.examine(descriptor_set, full_name)
        if known.digest in self._reference.catalogue:
            return known, None
        made = await self._make(caller, plan, actor)
        return approved[0], made

    async def _make(self, caller: Caller, plan: Callable[[], Awaitable[Plan]], actor: Actor | None) -> Made:
        made = await self._administration.make(caller, plan, actor)
        # Whoever is told that a system is suspended must not see it served here again. The change is made
        # whether or not this succeeds: where it does not, the next look a second later shows it.
        with suppress(BrokerError):
            await self._reference.refresh()
        return made

    def _system_plan(self, event: str, reference: Reference, system: System, *also: str) -> Plan:
        stored: dict[str, Json] = {"name": system.name, "detail": system_detail(system)}
        return self._plan(event, reference, "system", stored, system_key(system.name), *also)

    def _plan(
        self,
        event: str,
        reference: Reference,
        kind: str,
        stored: dict[str, Json],
        *keys: str,
        blob: bytes = b"",
    ) -> Plan:
        change = Change(kind, stored, frozenset(keys), reference=True, blob=blob)
        return Plan(event, stored, change, Reads(reference.policy, frozenset(keys)))


class _Noted(Exception):  # noqa: N818
    """Another worker has noted it meanwhile."""
