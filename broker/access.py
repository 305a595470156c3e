"""Use cases of a request for access (UK GDPR Art. 15, DPA 2018 s.45): begun, cleared, answered.

Owns who may do what, and what is told: an entry only where every agency that is party to it has cleared it for
this very request. Each controller sees its own entries, by the search that it could make itself. Whoever began
it learns from the answer what was cleared and nothing else; it comes at a multiple of a second, so that how
long it took does not tell either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from broker import law
from broker.accesswanted import Wanted, check, may, need
from broker.administration import Administration, Made, Plan, named, subject_detail
from broker.cases import AccessStore, StoredAccess
from broker.clearing import Holdings, Ruling, check_ruling, when
from broker.core import canonical
from broker.core.canonical import Json
from broker.core.checkpoint import Checkpoint
from broker.core.entry import parse_entry
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.reports import subject
from broker.core.reports.document import Document
from broker.core.reports.subject import Scope, Told
from broker.core.reports.times import month_after
from broker.errors import AuditUnavailable, InvalidRequest, NotAllowed
from broker.heritage import Heritage, as_left
from broker.ids import entry_id
from broker.law import exemptions
from broker.ports import Asked, Change, Clock, FactsSource, LogView, Reads, ReferenceSource
from broker.searches import Searches, Seen
from broker.seats import Seats

OPEN = 100  # that are listed
MOST_CLEARED = 500  # entries in one clearing
BUCKET = 1.0  # seconds
# Under this key stand the requests that are open: whoever erases something read them.
ACCESSES = "accesses"
_NONE = "there is no such request for access that your agency may see"


class Accesses:
    """Requests for access."""

    def __init__(
        self,
        administration: Administration,
        store: AccessStore,
        searches: Searches,
        log: LogView,
        facts: FactsSource,
        reference: ReferenceSource,
        clock: Clock,
        bucket: float = BUCKET,
    ) -> None:
        self._administration = administration
        self._store = store
        self._searches = searches
        self._holdings = Holdings(searches, reference)
        self._log = log
        self._facts = facts
        self._clock = clock
        self._heritage = Heritage(reference, clock)
        self._bucket = bucket
        self._seats = Seats(1, "looks at requests for access")

    async def start(
        self, caller: Caller, wanted: Wanted, actor: Actor, reason: Reason
    ) -> tuple[str, datetime, Made]:
        """Begin one: its id, and when it is to be answered. Raises InvalidRequest, NotAllowed."""
        may(caller)
        check(wanted, reason)
        now = self._clock.now()
        received = wanted.received_at or now
        if received > now:
            raise InvalidRequest("received_at", "is still to come")
        access, due = entry_id(), month_after(received)
        asked: dict[str, Json] = {
            "subjects": [subject_detail(each) for each in wanted.subjects],
            "since": wanted.since.isoformat() if wanted.since else None,
            "until": wanted.until.isoformat() if wanted.until else None,
            "deceased": wanted.deceased,
        }
        stored: dict[str, Json] = {
            "id": access,
            "agency": caller.agency,
            "at": now.isoformat(),
            "due": due.isoformat(),
        }
        change = Change("access-start", stored, _lock(access) | {ACCESSES}, reference=False, sealed=asked)
        detail: dict[str, Json] = {
            **stored,
            **asked,
            "reason": reason.code,
        }

        async def plan() -> Plan:
            return Plan("access-started", detail, change, words=reason.words, id=access)

        return access, due, await self._administration.make(caller, plan, actor)

    async def listed(self, caller: Caller, actor: Actor) -> tuple[list[tuple[StoredAccess, int]], Made]:
        """Those that are open, of every controller, each with how many entries the caller's agency has yet to
        decide, and those whose place it has taken. Nothing says whom they are about, or who else has entries.
        """
        may(caller)
        found = await self._store.open(OPEN)
        made = await self._administration.note(
            caller, "access-listed", {"accesses": [row.id for row in found]}, actor
        )
        with self._seats.one(caller.name):
            shares = await self._heritage.left_to(caller)
            every = [caller, *(as_left(caller, each) for each in shares)]
            return [(row, sum([await self._undecided(eyes, row) for eyes in every])) for row in found], made

    async def _undecided(self, caller: Caller, row: StoredAccess) -> int:
        if not row.asked:  # erased
            return 0
        own = await self._holdings.of(caller, row)
        return len(own.keys() - {each.entry for each in await self._store.cleared(row.id, caller.agency)})

    async def draft(
        self, caller: Caller, access: str, actor: Actor, reason: Reason, in_place_of: str = ""
    ) -> tuple[Document, Made]:
        """The caller's own entries, or those of whose place it has taken, each as it would be told, and how it
        stands. The look is an entry."""
        may(caller)
        row = await self._row(access)
        need(reason)
        eyes = await self._heritage.eyes(caller, in_place_of)
        detail: dict[str, Json] = {"access": access, "reason": reason.code, "in_place_of": in_place_of or None}
        made = await self._administration.note(caller, "access-viewed", detail, actor, words=reason.words)
        with self._seats.one(caller.name):
            scope, own = await self._scope(row), await self._holdings.of(eyes, row)
        cleared = {each.entry: each.code for each in await self._store.cleared(access, eyes.agency)}
        reasons = exemptions.load()

        def status(entry: str) -> str:
            code = cleared.get(entry)
            if code is None:
                return "not cleared"
            return f"left out: {code}, {reasons[code].source}" if code else "to be told"

        rows = [(self._holdings.told(seen), status(seen.hit.id)) for seen in own.values()]
        return subject.draft(scope, rows), made

    async def clear(
        self,
        caller: Caller,
        access: str,
        entries: Sequence[str],
        ruling: Ruling,
        actor: Actor,
        in_place_of: str = "",
    ) -> tuple[int, Made]:
        """Decide that these of the caller's entries are told, or left out; without any, all not decided yet.
        `in_place_of` is an agency whose place it has taken.

        How many. May be decided again until the answer is given. Raises InvalidRequest, NotAllowed.
        """
        named(actor)
        may(caller)
        check_ruling(ruling)
        if len(entries) > MOST_CLEARED:
            raise InvalidRequest("entries", f"more than {MOST_CLEARED} at once")
        counted: list[int] = []

        async def plan() -> Plan:
            policy = (await self._facts.read(Asked((), caller.name, ()))).policy
            row = await self._row(access)
            if row.issued_at is not None:
                raise InvalidRequest("access_id", "was answered already; begin another")
            eyes = await self._heritage.eyes(caller, in_place_of)
            own = await self._holdings.of(eyes, row)
            chosen = list(dict.fromkeys(entries)) or await self._left(eyes, access, own)
            counted[:] = [len(chosen)]
            await self._holdings.check(eyes, chosen, own, ruling.code)
            now = self._clock.now()
            stored: dict[str, Json] = {
                "id": access,
                "access": access,
                "agency": eyes.agency,
                "entries": [*chosen],
                "code": ruling.code,
                "at": now.isoformat(),
            }
            change = Change("access-clearing", stored, _lock(access), reference=False)
            detail: dict[str, Json] = {**stored, "by": {"id": actor.id, "role": actor.role, "name": actor.name}}
            detail["in_place_of"] = in_place_of or None
            words = "\n".join(part for part in (ruling.words, ruling.opinion) if part)
            return Plan("access-cleared", detail, change, Reads(policy, _lock(access)), words)

        made = await self._administration.make(caller, plan, actor)
        return counted[0], made

    async def issue(self, caller: Caller, access: str, actor: Actor, reason: Reason) -> tuple[Document, Made]:
        """The answer: what every controller concerned has cleared. From the first time on nothing more is.

        Only whoever began it, and auditors. Raises InvalidRequest, NotAllowed, AuditUnavailable.
        """
        begun = self._clock.loop_time()
        may(caller)
        need(reason)
        row = await self._row(access)
        if caller.function is not Function.AUDITOR and row.agency != caller.agency:
            raise NotAllowed(_NONE)
        scope = await self._scope(row)
        made = await self._close(caller, access, actor, reason)
        whose: dict[str, set[str]] = {}
        for entry, agency in await self._store.told(access):
            whose.setdefault(entry, set()).add(agency)
        told = [each for entry in whose if (each := await self._cleared(entry, whose[entry])) is not None]
        document = subject.answer(scope, told)
        buckets = max(1, math.ceil((self._clock.loop_time() - begun) / self._bucket))
        await self._clock.until(begun + buckets * self._bucket)
        return document, made

    async def _close(self, caller: Caller, access: str, actor: Actor, reason: Reason) -> Made:
        async def plan() -> Plan:
            policy = (await self._facts.read(Asked((), caller.name, ()))).policy
            row = await self._row(access)
            detail: dict[str, Json] = {"access": access, "reason": reason.code}
            if row.issued_at is not None:
                return Plan("access-answer-viewed", detail, None, words=reason.words)
            stored = {**detail, "id": access, "at": self._clock.now().isoformat()}
            change = Change("access-issue", stored, _lock(access), reference=False)
            return Plan("access-answered", detail, change, Reads(policy, _lock(access)), reason.words)

        return await self._administration.make(caller, plan, actor)

    async def _row(self, access: str) -> StoredAccess:
        row = await self._store.by_id(access)
        if row is None or not row.asked:
            raise NotAllowed(_NONE)
        return row

    async def _scope(self, row: StoredAccess) -> Scope:
        done, size = await self._searches.reach(), row.index + 1
        if done < size:
            raise AuditUnavailable(f"the search index reaches {done} of {size} entries; try again in a moment")
        if await self._id_at(row.index) != row.id:
            raise InvalidRequest("access_id", "was begun in a log that has been closed since; begin another")
        _, note = await self._log.consistency(size, size)
        checkpoint = Checkpoint.parse(note.partition(b"\n\n")[0].decode() + "\n")
        asked: Any = row.asked
        return Scope(
            checkpoint.origin,
            checkpoint.size,
            checkpoint.root.hex(),
            when(asked["since"]),
            when(asked["until"]),
            asked["deceased"],
        )

    async def _id_at(self, index: int) -> str:
        try:
            return await self._log.id_at(index)
        except KeyError:
            return ""

    async def _left(self, caller: Caller, access: str, own: dict[str, Seen]) -> list[str]:
        done = {each.entry for each in await self._store.cleared(access, caller.agency)}
        left = [entry for entry in own if entry not in done][:MOST_CLEARED]
        if not left:
            raise InvalidRequest("entries", "nothing of yours is left to decide")
        return left

    async def _cleared(self, entry: str, by: set[str]) -> Told | None:
        """What is told of an entry; None where an agency that is party to it has not cleared it."""
        try:
            concerned = {agency for agency in await self._log.parties(entry) if agency}
            if not concerned or not concerned <= by:
                return None
            receipt, full = await self._log.receipt(entry, "requester")
        except KeyError:
            return None
        if not full:
            return None  # erased since
        view = canonical.decode_object(receipt.opening.view) if receipt.opening else None
        at = parse_entry(receipt.entry).at
        return subject.told(entry, receipt.index, at, view, full, self._holdings.names(), law.load())


def _lock(access: str) -> frozenset[str | bytes]:
    return frozenset({f"access:{access}"})
