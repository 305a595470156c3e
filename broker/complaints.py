"""Use cases of complaints (DPA 2018 s.164A): recorded, acknowledged, closed; each step an entry.

A controller's own: its systems record them, its named people act, and nobody else sees them but auditors, and
who has taken its place.
"""

from __future__ import annotations

from datetime import datetime

from broker.administration import Administration, Made, Plan, subject_detail
from broker.cases import ComplaintStore, StoredComplaint
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Function, Reason, SubjectRef
from broker.core.reports.complaints import OUTCOMES
from broker.core.reports.times import COMPLAINT, days_after
from broker.errors import InvalidRequest, NotAllowed, QuotaExceeded
from broker.heritage import Heritage
from broker.ids import entry_id
from broker.ports import Asked, Change, Clock, FactsSource, Reads
from broker.registry import require

LISTED = 500
MOST_OPEN = 1000  # to one controller
_AGAIN = 3600.0  # seconds
_NONE = "there is no such complaint to your agency"


class Complaints:
    """Complaints to controllers."""

    def __init__(
        self,
        administration: Administration,
        store: ComplaintStore,
        facts: FactsSource,
        clock: Clock,
        heritage: Heritage,
        most_open: int = MOST_OPEN,
    ) -> None:
        self._most_open = most_open
        self._heritage = heritage
        self._administration = administration
        self._store = store
        self._facts = facts
        self._clock = clock

    async def add(
        self,
        caller: Caller,
        reference: str,
        received_at: datetime | None,
        words: str,
        actor: Actor,
        person: SubjectRef | None = None,
    ) -> tuple[str, datetime, Made]:
        """Record one: its id, and by when it is to be acknowledged. While it is open, the agency erases nothing
        about this person; where nobody is named, about nobody. Raises InvalidRequest, NotAllowed,
        QuotaExceeded."""
        require(caller, Function.PARTNER)
        now = self._clock.now()
        received = received_at or now
        if received > now:
            raise InvalidRequest("received_at", "is still to come")
        self._administration.count(caller)
        complaint, due = entry_id(), days_after(received, COMPLAINT)
        stored: dict[str, Json] = {
            "id": complaint,
            "agency": caller.agency,
            "received": received.isoformat(),
            "due": due.isoformat(),
        }
        sealed: dict[str, Json] = {"reference": reference}
        writes = lock_of(complaint) | {complaints_key(caller.agency)}
        change = Change("complaint", stored, writes, reference=False, sealed=sealed, subject=person)
        about = {"subject": subject_detail(person)} if person is not None else {}

        async def plan() -> Plan:
            if await self._store.waiting(caller.agency) >= self._most_open:
                raise QuotaExceeded(
                    f"{caller.agency} has {self._most_open} complaints open, as many as it may: close some "
                    "first (broker audit complaint list, broker audit complaint close)",
                    _AGAIN,
                    quota="open",
                )
            return Plan("complaint-received", {**stored, **sealed, **about}, change, words=words, id=complaint)

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

    async def listed(self, caller: Caller, actor: Actor, reason: Reason) -> tuple[list[StoredComplaint], Made]:
        """The caller's agency's and theirs whose place it has taken, newest first. The look is an entry."""
        require(caller, Function.PARTNER)
        whose = sorted(await self._whose(caller))
        every = [row for agency in whose for row in await self._store.of(agency, None, None, LISTED)]
        found = sorted(every, key=lambda row: row.received_at, reverse=True)[:LISTED]
        detail: dict[str, Json] = {"complaints": [row.id for row in found]}
        made = await self._administration.note_look(caller, "complaints-viewed", detail, actor, reason)
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
        if row is None or row.agency not in await self._whose(caller):
            raise NotAllowed(_NONE)
        return row

    async def _whose(self, caller: Caller) -> frozenset[str]:
        """Whoever takes a controller's place answers its complaints: of several any, and the first counts."""
        return frozenset({caller.agency, *(each.of for each in await self._heritage.left_to(caller))})


def complaints_key(agency: str) -> str:
    """Key of the complaints to an agency."""
    return f"complaints:{agency}"


def lock_of(complaint: str) -> frozenset[str | bytes]:
    """What each step of a complaint reads and writes."""
    return frozenset({f"complaint:{complaint}"})
