"""Use cases of a request for access (UK GDPR Art. 15, DPA 2018 s.45): begun, cleared, answered.

Owns who may do what, and what is told: an entry only where every agency that is party to it has cleared it for
this very request. Each controller sees its own entries, by the search that it could make itself. Whoever began
it learns from the answer what was cleared and nothing else; it comes at a multiple of a second, so that how
long it took does not tell either.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime

from broker.accesswanted import Wanted, accesses_keys, check, may, need
from broker.administration import Administration, Made, Plan, named, subject_detail
from broker.answers import Answers, Stands, cleared_key, lock
from broker.audience import Seen
from broker.cases import AccessStore, StoredAccess
from broker.clearing import Effort, Holdings, Ruling, TooMany, check_ruling
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Reason
from broker.core.reports import subject
from broker.core.reports.document import Document
from broker.core.reports.times import month_after
from broker.errors import InvalidRequest, QuotaExceeded
from broker.heritage import Heritage, as_left
from broker.ids import entry_id
from broker.law import exemptions
from broker.ports import Asked, Change, Clock, FactsSource, LogView, Reads, ReferenceSource
from broker.searches import Searches
from broker.seats import Seats

OPEN = 500  # that are listed
MOST_OPEN = 500  # of one controller
# Entries, and requests looked up, that are read to count what is left in one list; and for one of those in it.
COUNTED, COUNTED_OF_ONE = 2000, 200
COUNTING = 4.0  # seconds in which that is done: past them a list comes without it
MOST_CLEARED = 500  # entries in one clearing
BUCKET = 1.0  # seconds
_AGAIN = 3600.0  # seconds


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
        most_open: int = MOST_OPEN,
    ) -> None:
        self._most_open = most_open
        self._administration = administration
        self._store = store
        self._searches = searches
        self._holdings = Holdings(searches, reference)
        self._facts = facts
        self._clock = clock
        self._heritage = Heritage(reference, clock)
        self._answers = Answers(administration, store, searches, self._holdings, log, facts, clock, bucket)
        self._seats = Seats(1, "looks at requests for access")

    async def start(
        self, caller: Caller, wanted: Wanted, actor: Actor, reason: Reason
    ) -> tuple[str, datetime, Made]:
        """Begin one: its id, and when it is to be answered.

        Raises InvalidRequest, NotAllowed, QuotaExceeded.
        """
        may(caller)
        check(wanted, reason)
        self._administration.count(caller)
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
        change = Change(
            "access-start",
            stored,
            lock(access) | accesses_keys(wanted.subjects),
            reference=False,
            sealed=asked,
            subjects=wanted.subjects,
        )
        detail: dict[str, Json] = {
            **stored,
            **asked,
            "reason": reason.code,
        }

        async def plan() -> Plan:
            if await self._store.waiting(caller.agency) >= self._most_open:
                raise QuotaExceeded(
                    f"{caller.agency} has {self._most_open} requests for access open, as many as it may: give "
                    "answers first (broker audit report drafts lists them, answer ID --yes gives one)",
                    _AGAIN,
                    quota="open",
                )
            return Plan("access-started", detail, change, words=reason.words, id=access)

        return access, due, await self._administration.make(caller, plan, actor)

    async def listed(
        self, caller: Caller, actor: Actor, reason: Reason
    ) -> tuple[list[tuple[StoredAccess, int | None]], Made, bool]:
        """Those that are open, of every controller, each with how many entries the caller's agency has yet to
        decide, and those whose place it has taken; None where they are too many to count in a list, or those
        of the same controller's others were. Nothing says whom they are about, or who else has entries. Whether
        more are open comes last."""
        may(caller)
        found = await self._store.open(OPEN + 1)
        more, found = len(found) > OPEN, found[:OPEN]
        detail: dict[str, Json] = {"accesses": [row.id for row in found]}
        made = await self._administration.note_look(caller, "access-listed", detail, actor, reason)
        with self._seats.one(caller.name):
            shares = await self._heritage.left_to(caller)
            every = [caller, *(as_left(caller, each) for each in shares)]
            left = await self._counted(every, found)
        return [(row, left[row.id]) for row in found], made, more

    async def _counted(self, every: Sequence[Caller], found: Sequence[StoredAccess]) -> dict[str, int | None]:
        """How many are left of each. Next comes the controller whose requests have cost least so far, so that
        whoever begins many about somebody of whom there is much uses up nobody else's."""
        waiting, left = dict[str, deque[StoredAccess]](), dict[str, int | None]()
        for row in found:
            waiting.setdefault(row.agency, deque()).append(row)
        cost, budget = dict.fromkeys(waiting, 0), COUNTED
        until = self._clock.loop_time() + COUNTING
        while waiting:
            agency = min(waiting, key=cost.__getitem__)
            row = waiting[agency].popleft()
            if not waiting[agency]:
                del waiting[agency]
            most = min(budget, COUNTED_OF_ONE) if self._clock.loop_time() < until else 0
            effort = Effort(most)
            left[row.id] = await self._undecided(every, row, effort)
            cost[agency] += most - effort.left
            budget -= most - effort.left
        return left

    async def _undecided(self, every: Sequence[Caller], row: StoredAccess, effort: Effort) -> int | None:
        if not row.asked:  # erased
            return 0
        left = 0
        for eyes in every:
            try:
                own = await self._holdings.of(eyes, row, effort)
            except TooMany:
                return None
            left += len(own.keys() - {each.entry for each in await self._store.cleared(row.id, eyes.agency)})
        return left

    async def draft(
        self, caller: Caller, access: str, actor: Actor, reason: Reason, in_place_of: str = ""
    ) -> tuple[Document, Made]:
        """The caller's own entries, or those of whose place it has taken, each as it would be told, and how it
        stands. The look is an entry."""
        may(caller)
        need(reason)
        row = await self._answers.row(access)
        eyes = await self._heritage.eyes(caller, in_place_of)
        detail: dict[str, Json] = {"access": access, "in_place_of": in_place_of or None}
        made = await self._administration.note_look(caller, "access-viewed", detail, actor, reason)
        with self._seats.one(caller.name):
            scope, own = await self._answers.scope(row), await self._holdings.of(eyes, row)
        cleared = {each.entry: each.code for each in await self._store.cleared(access, eyes.agency)}
        reasons = exemptions.load()

        def status(entry: str) -> str:
            code = cleared.get(entry)
            if code is None:
                return "not cleared"
            return f"left out: {code}, {reasons[code].source}" if code else "to be told"

        rows = [(self._holdings.told(seen), status(seen.hit.id)) for seen in own.values()]
        return subject.draft(scope, rows, self._holdings.agencies()), made

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

        How many. May be decided again until the answer is given. Raises InvalidRequest, NotAllowed,
        QuotaExceeded.
        """
        named(actor)
        may(caller)
        check_ruling(ruling)
        if len(entries) > MOST_CLEARED:
            raise InvalidRequest("entries", f"more than {MOST_CLEARED} at once")
        self._administration.count(caller)
        counted: list[int] = []

        async def plan() -> Plan:
            policy = (await self._facts.read(Asked((), caller.name, ()))).policy
            row = await self._answers.row(access)
            if row.issued_at is not None:
                raise InvalidRequest("access_id", "was answered already; begin another")
            eyes = await self._heritage.eyes(caller, in_place_of)
            own = await self._holdings.of(eyes, row)
            chosen = list(dict.fromkeys(entries)) or await self._left(eyes, access, own)
            counted[:] = [len(chosen)]
            await self._holdings.check(eyes, chosen, own, ruling.code)
            await self._check_shared(caller, eyes, access, chosen)
            now = self._clock.now()
            stored: dict[str, Json] = {
                "id": access,
                "access": access,
                "agency": eyes.agency,
                "entries": [*chosen],
                "code": ruling.code,
                "cleared_by": caller.agency,
                "at": now.isoformat(),
            }
            own_key = cleared_key(access, eyes.agency)
            writes = frozenset({cleared_key(access), own_key})
            change = Change("access-clearing", stored, writes, reference=False)
            detail: dict[str, Json] = {**stored, "by": {"id": actor.id, "role": actor.role, "name": actor.name}}
            detail["in_place_of"] = in_place_of or None
            words = "\n".join(part for part in (ruling.words, ruling.opinion) if part)
            return Plan("access-cleared", detail, change, Reads(policy, lock(access) | {own_key}), words)

        made = await self._administration.make(caller, plan, actor)
        return counted[0], made

    async def preview(self, caller: Caller, access: str, actor: Actor, reason: Reason) -> tuple[Stands, Made]:
        """As `Answers.preview`."""
        return await self._answers.preview(caller, access, actor, reason)

    async def issue(self, caller: Caller, access: str, actor: Actor, reason: Reason) -> tuple[Document, Made]:
        """As `Answers.issue`."""
        return await self._answers.issue(caller, access, actor, reason)

    async def _check_shared(self, caller: Caller, eyes: Caller, access: str, chosen: Sequence[str]) -> None:
        """What several have in the place of one that ended, whoever of them decides first decides, and it alone
        changes that, or who takes its place. Raises InvalidRequest."""
        own = {eyes.agency, caller.agency, *(each.of for each in await self._heritage.left_to(caller))}
        decided = {each.entry: each.by for each in await self._store.cleared(access, eyes.agency)}
        for n, entry in enumerate(chosen):
            if (by := decided.get(entry, caller.agency)) not in own:
                raise InvalidRequest(
                    f"entries.{n}",
                    f"{by}, which took the place of {eyes.agency} as well, has decided it already",
                )

    async def _left(self, caller: Caller, access: str, own: dict[str, Seen]) -> list[str]:
        done = {each.entry for each in await self._store.cleared(access, caller.agency)}
        left = [entry for entry in own if entry not in done][:MOST_CLEARED]
        if not left:
            raise InvalidRequest("entries", "nothing of yours is left to decide")
        return left
