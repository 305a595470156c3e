"""Use cases of the directory: agencies, their systems and keys, and approved record types. Operators only."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from broker.administration import Administration, Made, Plan
from broker.core.canonical import Json
from broker.core.forms import agency_detail, system_detail
from broker.core.model import Caller, Function
from broker.core.recordtype import RecordType
from broker.core.reference import Agency, Reference, System, agency_key, record_type_key, system_key
from broker.errors import InvalidRequest, NotAllowed
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

    async def add_agency(self, caller: Caller, agency: Agency) -> Made:
        """Enter an agency, or a new state of it."""
        require(caller, Function.OPERATOR)

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            event = "agency-changed" if agency.id in reference.agencies else "agency-added"
            return self._plan(
                event, reference, "agency", {"detail": agency_detail(agency)}, agency_key(agency.id)
            )

        return await self._administration.make(caller, plan)

    async def enrol(
        self,
        caller: Caller,
        agency: str,
        system: str,
        function: Function,
        key_digest: str,
        valid_from: datetime,
        valid_until: datetime | None,
    ) -> Made:
        """Enrol a system with a key, or add a key to one that is enrolled."""
        require(caller, Function.OPERATOR)

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            if agency not in reference.agencies:
                raise InvalidRequest("agency", "is not in the directory; add it first with `broker agency add`")
            _refuse_taken(reference, f"{agency}/{system}", key_digest)
            known = reference.systems.get(f"{agency}/{system}")
            if known is not None and known.function is not function:
                raise InvalidRequest("function", f"the system is enrolled as {known.function.value}")
            keys = (known.key_digests if known else frozenset()) | {key_digest}
            enrolled = System(
                agency, system, function, keys, valid_from, valid_until, bool(known and known.suspended)
            )
            return self._system_plan("system-enrolled", reference, enrolled)

        return await self._administration.make(caller, plan)

    async def suspend(self, caller: Caller, agency: str, system: str, reason: str, lift: bool) -> Made:
        """Suspend a system at once, or lift its suspension."""
        require(caller, Function.OPERATOR)

        async def plan() -> Plan:
            reference = await self._reference.refresh()
            known = reference.systems.get(f"{agency}/{system}")
            if known is None:
                raise InvalidRequest("system", "is not enrolled")
            if known.suspended is not lift:
                raise InvalidRequest(
                    "lift", "the system is suspended already" if not lift else "it is not suspended"
                )
            event = "suspension-lifted" if lift else "system-suspended"
            made = self._system_plan(event, reference, replace(known, suspended=not lift))
            return replace(made, detail={**made.detail, "reason": reason})

        return await self._administration.make(caller, plan)

    async def revoke(self, caller: Caller, agency: str, system: str, key_digest: str, reason: str) -> Made:
        """Take a key from a system at once; its other keys stay good.

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
            if key_digest not in known.key_digests:
                raise InvalidRequest(
                    "key_digest", "is not one of this system's; `broker system list` shows them"
                )
            left = replace(known, key_digests=known.key_digests - {key_digest})
            made = self._system_plan("key-revoked", reference, left)
            return replace(made, detail={**made.detail, "key_digest": key_digest, "reason": reason})

        return await self._administration.make(caller, plan)

    async def approve(
        self, caller: Caller, full_name: str, descriptor_set: bytes
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
                descriptor_set,
            )

        await self._reference.refresh()
        known = self._reference.catalogue.examine(descriptor_set, full_name)
        if known.digest in self._reference.catalogue:
            return known, None
        made = await self._administration.make(caller, plan)
        return approved[0], made

    def _system_plan(self, event: str, reference: Reference, system: System) -> Plan:
        stored: dict[str, Json] = {"name": system.name, "detail": system_detail(system)}
        return self._plan(event, reference, "system", stored, system_key(system.name))

    def _plan(
        self, event: str, reference: Reference, kind: str, stored: dict[str, Json], key: str, blob: bytes = b""
    ) -> Plan:
        change = Change(kind, stored, frozenset({key}), reference=True, blob=blob)
        return Plan(event, stored, change, Reads(reference.policy, frozenset({key})))


def _refuse_taken(reference: Reference, name: str, key_digest: str) -> None:
    for other in reference.systems.values():
        if other.name != name and key_digest in other.key_digests:
            raise InvalidRequest("key_digest", "this key is enrolled for another system; make a new one")
