"""Use cases of complaints (DPA 2018 s.164A): recorded, acknowledged, closed; each step an entry.

A controller's own: its systems record them, its named people act, and nobody else sees them but auditors.
"""

from __future__ import annotations

from datetime import datetime

from broker.administration import Administration, Made, Plan
from broker.cases import ComplaintStore, StoredComplaint
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Function
from broker.core.reports.complaints import OUTCOMES
from broker.core.reports.times import COMPLAINT
from broker.errors import InvalidRequest, NotAllowed
from broker.ids import entry_id
from broker.ports import Asked, Change, Clock, FactsSource, Reads
from broker.registry import require

LISTED = 500
_NONE = "there is no such complaint to your agency"


class Complaints:
    """Complaints to controllers."""

    def __init__(
        self, administration: Administration, store: ComplaintStore, facts: FactsSource, clock: Clock
    ) -> None:
        self._administration = administration
        self._store = store
        self._facts = facts
        self._clock = clock

    async def add(
        self, caller: Caller, reference: str, received_at: datetime | None, words: str, actor: Actor
    ) -> tuple[str, datetime, Made]:
        """Record one: its id, and by when it is to be acknowledged."""
        require(caller, Function.PARTNER)
        now = self._clock.now()
        received = received_at or now
        if received > now:
            raise InvalidRequest("received_at", "is still to come")
        complaint, due = entry_id(), received + COMPLAINT
        stored: dict[str, Json] = {
            "id": complaint,
            "agency": caller.agency,
            "received": received.isoformat(),
            "due": due.isoformat(),
        }
        sealed: dict[str, Json] = {"reference": reference}
        change = Change("complaint", stored, lock_of(complaint), reference=False, sealed=sealed)

        async def plan() -> Plan:
            return Plan("complaint-received", {**stored, **sealed}, change, words=words, id=complaint)

        return complaint, due, await self._administration.make(caller, plan, actor)

    async def acknowledge(self, caller: Caller, complaint: str, actor: Actor) -> Made:
        """Say that it was acknowledged, once."""

        async def plan() -> Plan:
            policy = await self._policy(caller)
            row = await self._own(caller, complaint)
            if row.acknowledged_at is not None:
                raise InvalidRequest("complaint_id", "was acknowledged already")
            return self._step(row, "complaint-acknowledged", {}, "", policy)

        return await self._administration.make(caller, plan, actor)

    async def close(self, caller: Caller, complaint: str, outcome: str, words: str, actor: Actor) -> Made:
        """Say what came of it, once it has been acknowledged."""
        if outcome not in OUTCOMES:
            raise InvalidRequest("outcome", f"one of {', '.join(OUTCOMES)}")
        if not words:
            raise InvalidRequest("words", "say what was done, and what the person was told")

        async def plan() -> Plan:
            policy = await self._policy(caller)
            row = await self._own(caller, complaint)
            if row.closed_at is not None:
                raise InvalidRequest("complaint_id", f"was closed already: {row.outcome}")
            if row.acknowledged_at is None:
                raise InvalidRequest("complaint_id", "acknowledge it first")
            return self._step(row, "complaint-closed", {"outcome": outcome}, words, policy)

        return await self._administration.make(caller, plan, actor)

    async def listed(self, caller: Caller, actor: Actor) -> tuple[list[StoredComplaint], Made]:
        """The caller's agency's, newest first. The look is an entry."""
        require(caller, Function.PARTNER)
        found = [*await self._store.of(caller.agency, None, None, LISTED)]
        made = await self._administration.note(
            caller, "complaints-viewed", {"complaints": [row.id for row in found]}, actor
        )
        return found, made

    def _step(self, row: StoredComplaint, event: str, more: dict[str, Json], words: str, policy: int) -> Plan:
        now = self._clock.now().isoformat()
        stored: dict[str, Json] = {"id": row.id, "complaint": row.id, "at": now, **more}
        change = Change(event, stored, lock_of(row.id), reference=False)
        return Plan(event, stored, change, Reads(policy, lock_of(row.id)), words)

    async def _policy(self, caller: Caller) -> int:
        """Read before the row is, so that whatever moves after it is seen."""
        return (await self._facts.read(Asked((), caller.name, ()))).policy

    async def _own(self, caller: Caller, complaint: str) -> StoredComplaint:
        require(caller, Function.PARTNER)
        row = await self._store.by_id(complaint)
        if row is None or row.agency != caller.agency:
            raise NotAllowed(_NONE)
        return row


def lock_of(complaint: str) -> frozenset[str | bytes]:
    """What each step of a complaint reads and writes."""
    return frozenset({f"complaint:{complaint}"})
