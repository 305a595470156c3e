"""Erasing one person, once two people have said so: what a controller holds about them here ends, and every
proof stays good. Who may have it done, and when it must not be, is `erasing`'s.

Who may erase what: an entry has a requester and a provider, and each is the controller of its own part. A
controller gives up its part, with the words that its people wrote and the rows of its own queues; the sealed
views go as a whole once no party keeps them, since the other's evidence (a police log under DPA 2018 s.62, say)
is not for this one to destroy. An agency so erases what it asked and what it was asked, by the identifiers by
which it may find them: a requester by those it gave, a provider by all that it matched.

Left out, and counted: what is under legal hold; what a human has yet to decide or to review; directives in
force, which are withdrawn first. The entry that says so names ids, and never whom they were about; and of which
entries only one side's `parts` went, so that what another party keeps is missed if it is gone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

from broker.administration import Administration, Made, Plan, named
from broker.core.canonical import Json
from broker.core.granting import ruling_key
from broker.core.model import Actor, Caller, Function, Reason, SubjectRef
from broker.erasable import Finder
from broker.errors import InvalidRequest
from broker.evenly import answered_evenly
from broker.givenup import Erasable, Found, What, together
from broker.holds import Holds
from broker.ids import entry_id
from broker.keeping import ENDINGS, ERASURES, HOLDS_OF_ALL, erasure_key, holds_key
from broker.ports import Asked, Change, FactsSource, Reads
from broker.registry import require

EVENT = "erasure"
MOST = 500  # entries that one entry says to be erased; more take more of them


class Under(Struct, frozen=True):
    """The plan that an erasure carries out: its id, all that may go by it, what the entry tells of it, and what
    was read for it; `about` adds what was read of what goes now. `check` refuses what must not go now."""

    plan: str
    entries: frozenset[str]
    directives: frozenset[str]
    told: dict[str, Json]
    reads: frozenset[str]
    about: Callable[[Found], frozenset[str]]
    check: Callable[[Found], Awaitable[None]]

    def narrowed(self, found: Found) -> Found:
        """What was found and planned: what has come since stays."""
        return found.only(self.entries, self.directives)

    def done(self, found: Found) -> bool:
        """Whether nothing that was planned is kept: what is held now may be confirmed again later."""
        return found.kept.isdisjoint(self.entries | self.directives)


class Erasures:
    """Erases one person at a time."""

    def __init__(
        self,
        administration: Administration,
        finder: Finder,
        holds: Holds,
        facts: FactsSource,
    ) -> None:
        self._administration = administration
        self._finder = finder
        self._holds = holds
        self._facts = facts

    async def planned(
        self, caller: Caller, what: What, actor: Actor, reason: Reason, *, words_only: bool = False
    ) -> tuple[Erasable, Made]:
        """What `erase` would do."""
        check(caller, what, reason, words_only)
        async with answered_evenly(caller):
            made = await self.look(caller, what, actor, reason)
            found = await self._finder.find(caller, what, words_only)
            return found.erasable, made

    async def look(self, caller: Caller, what: What | None, actor: Actor, reason: Reason) -> Made:
        """The entry of a look at what could be erased, before anything is answered, refusals too: it names
        entries by their ids, and nobody. `what` is None where a plan says it. Raises QuotaExceeded."""
        asked = None if what is None or isinstance(what, SubjectRef) else [*what]
        detail: dict[str, Json] = {"asked": asked}  # type: ignore[dict-item]
        return await self._administration.note_look(caller, "erasure-viewed", detail, actor, reason)

    async def erase(
        self,
        caller: Caller,
        what: What,
        actor: Actor,
        reason: Reason,
        *,
        words_only: bool = False,
        under: Under | None = None,
    ) -> tuple[Erasable, tuple[Made, ...]]:
        """Erase what is about a person, or entries by id, or of those only the words that the caller's own
        people wrote; at most MOST entries for each entry that says so, of which at least one is made. What was
        taken is told, by all of them, and what was left at the last.

        Nobody outside is served without `under`, which ends with the last of them if nothing of it is kept.

        Raises InvalidRequest, NotAllowed, IndexBehind, AuditUnavailable.
        """
        check(caller, what, reason, words_only)
        named(actor)
        done, told = list[Made](), list[Erasable]()
        while True:
            taken: list[tuple[Found, bool]] = []

            async def plan(taken: list[tuple[Found, bool]] = taken) -> Plan:
                await self._holds.in_turn()
                policy = (await self._facts.read(Asked((), caller.name, ()))).policy
                found = await self._finder.find(caller, what, words_only)
                if under is not None:
                    found = under.narrowed(found)
                    await under.check(found)
                now, last = _some(found)
                taken[:] = [(now, last)]
                return await self._plan(caller, what, now, reason, policy, under, last=last)

            done.append(await self._administration.make(caller, plan, actor))
            ((now, last),) = taken
            told.append(now.erasable)
            if last:
                return together(told), tuple(done)

    async def _plan(
        self,
        caller: Caller,
        what: What,
        found: Found,
        reason: Reason,
        policy: int,
        under: Under | None,
        *,
        last: bool,
    ) -> Plan:
        own, new = sorted(await self._holds.own(caller)), entry_id()
        stored: dict[str, Json] = {
            "id": new,
            "agencies": [*own],
            "entries": [*found.entries],
            "words": [*found.words],
            "directives": [*found.directives],
        }
        rulings = frozenset(ruling_key(system, request) for system, request in found.rulings)
        writes = rulings | {ERASURES, *map(erasure_key, own)}
        reads = rulings | {ENDINGS, HOLDS_OF_ALL, *map(holds_key, found.parties.union(own))}
        if under is not None:
            reads |= under.reads | under.about(found)
            writes |= {plan_key(under.plan)}
            stored["plan_done"] = under.plan if last and under.done(found) else None
        subject = what if isinstance(what, SubjectRef) else None
        change = Change(EVENT, stored, writes, reference=False, subject=subject)
        detail: dict[str, Json] = {
            "agencies": [*own],
            "entries": [*found.entries],
            "parts": {side: [*entries] for side, entries in found.one_sided.items()},
            "words": [*found.words],
            "directives": [*found.directives],
            "reason": reason.code,
            "holds": await self._holds.standing(),
            **(under.told if under is not None else {}),
        }
        return Plan(EVENT, detail, change, Reads(policy, reads), reason.words, id=new)


def plan_key(plan: str) -> str:
    """Key of a plan that waits for its second person."""
    return f"erasure-plan:{plan}"


def _some(found: Found) -> tuple[Found, bool]:
    """As many as one entry may name, and whether these are all."""
    entries, directives = found.touched[:MOST], found.directives[:MOST]
    some = found.only(set(entries), set(directives))
    return some, (len(entries), len(directives)) == (len(found.touched), len(found.directives))


def check(caller: Caller, what: What, reason: Reason, words_only: bool) -> None:
    """Who may have what erased, and why. Raises NotAllowed, InvalidRequest."""
    require(caller, Function.PARTNER, Function.AUDITOR)
    if not isinstance(what, SubjectRef) and not 0 < len(set(what)) == len(what) <= MOST:
        raise InvalidRequest("event_ids", f"name entries, each once and at most {MOST}")
    if isinstance(what, SubjectRef) and words_only:
        raise InvalidRequest("words_only", "is for entries that are named by id")
    if not reason.code:
        raise InvalidRequest("reason.code", "say why this is erased")
