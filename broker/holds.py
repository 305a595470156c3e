"""Use cases of legal holds: what a controller must not lose is lost by no path, until it says so itself.

A partner's hold covers the entries that name its agency as requester or provider, an auditor's all. Only a
system of the agency that placed a hold sees and releases it, or of one that took its place; an operator does
neither: destroying to frustrate a request is an offence, and a processor decides on no hold. Made later than
the hold, an entry is held all the same; one that the search index has not seen yet is held until it has.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from broker.administration import Administration, Made, Plan, named, subject_detail
from broker.core import vocabulary
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Function, Reason, SubjectRef
from broker.core.searchterms import NEWEST, Question, person, term
from broker.core.succession import shares
from broker.errors import BrokerError, InvalidRequest, NotAllowed
from broker.ids import entry_id
from broker.keeping import HOLDS, HOLDS_OF_ALL, LAST_LOOK, Hold, Keeping, holds_key
from broker.ports import Asked, Change, Clock, FactsSource, Reads, ReferenceSource
from broker.registry import require
from broker.searches import Searches

_NONE = "there is no such hold that your agency may release"
# Of one agency at a time: each is looked at wherever something would be destroyed.
MOST = 500
COUNTED = 200  # entries that are told of when one is placed
_PAUSE = 0.1  # seconds
_MAY = (Function.PARTNER, Function.AUDITOR)


class Holds:
    """Places, lists and releases them."""

    def __init__(
        self,
        administration: Administration,
        keeping: Keeping,
        facts: FactsSource,
        reference: ReferenceSource,
        clock: Clock,
        searches: Searches,
    ) -> None:
        self._searches = searches
        self._administration = administration
        self._keeping = keeping
        self._facts = facts
        self._reference = reference
        self._clock = clock

    async def place(
        self, caller: Caller, what: SubjectRef | tuple[str, str], reference: str, actor: Actor, reason: Reason
    ) -> tuple[str, Made]:
        """Hold what is about a person or premises, or `("incident" | "agreement", value)`; its id.

        `reference` is the controller's own word for the case, and names nobody. Raises InvalidRequest,
        QuotaExceeded.
        """
        require(caller, *_MAY)
        named(actor)
        if not reason.code:
            raise InvalidRequest("reason.code", "say why it is held")
        if not reference:
            raise InvalidRequest("reference", "give your own reference of the case; it must name nobody")
        self._administration.count(caller)
        own = sorted(await self.own(caller))
        await self._check(what)
        hold = str(uuid.uuid4())
        kind, value, terms = _named(what)
        common, few = self._keeping.blind(terms)
        parties, _ = self._keeping.blind(frozenset(term("agency", each) for each in own))
        stored: dict[str, Json] = {
            "id": hold,
            "agency": caller.agency,
            "everything": caller.function is Function.AUDITOR,
            "agencies": [*own],
            "parties": [*parties],
            "what": kind,
            "terms": [*common],
            "rare": [*few],
            "agreement": value if kind == "agreement" else "",
            "reference": reference,
            "at": self._clock.now().isoformat(),
        }
        detail: dict[str, Json] = {
            **{
                name: stored[name]
                for name in ("id", "agency", "everything", "agencies", "what", "reference", "at")
            },
            "value": value or None,
            # What it is about, as every other entry says it: so the hold holds its own placing too.
            "incidents": [value] if kind == "incident" else [],
            "agreements": [value] if kind == "agreement" else [],
            "subject": subject_detail(what) if isinstance(what, SubjectRef) else None,
            "reason": reason.code,
        }

        async def plan() -> Plan:
            await self.in_turn()
            policy = (await self._facts.read(Asked((), caller.name, ()))).policy
            if sum(each.agency == caller.agency for each in await self._keeping.holds()) >= MOST:
                raise InvalidRequest("hold", f"your agency has {MOST} that stand; release one first")
            subject = what if isinstance(what, SubjectRef) else None
            keys = _keys(own, everything=caller.function is Function.AUDITOR)
            change = Change("hold", stored, keys | {HOLDS}, reference=False, subject=subject)
            return Plan("hold-placed", detail, change, Reads(policy, keys), reason.words)

        return hold, await self._administration.make(caller, plan, actor)

    async def covers(self, caller: Caller, what: SubjectRef | tuple[str, str], made: Made) -> int | None:
        """How many entries of now a search of the caller's finds by it, COUNTED at most; the hold's own,
        by which it was `made`, is none. What the caller may not find so is held and not counted. None where it
        cannot be looked for now, whatever the reason: the hold stands all the same, and its id must be told."""
        try:
            return await self._counted(caller, what, made.event_id)
        except BrokerError:
            return None

    async def _counted(self, caller: Caller, what: SubjectRef | tuple[str, str], own: str) -> int:
        question = Question((), what) if isinstance(what, SubjectRef) else Question((what,))
        found, at, log = 0, NEWEST, ""
        while True:
            page = await self._searches.on(caller, question, at, COUNTED, newest_first=True, log=log)
            found += sum(each.hit.id != own for each in page.found)
            if found >= COUNTED or (page.beyond is None and not page.older):
                return min(found, COUNTED)
            at, log = (NEWEST, page.older) if page.beyond is None else (page.beyond, page.log)

    async def release(self, caller: Caller, hold: str, actor: Actor, reason: Reason) -> Made:
        """End a hold, as its controller. What it alone kept may be destroyed from now on. Raises
        InvalidRequest, NotAllowed, QuotaExceeded."""
        require(caller, *_MAY)
        named(actor)
        if not reason.code:
            raise InvalidRequest("reason.code", "say why it is released")
        self._administration.count(caller)
        by = entry_id()

        async def plan() -> Plan:
            await self.in_turn()
            policy = (await self._facts.read(Asked((), caller.name, ()))).policy
            own = await self.own(caller)
            found = await self._keeping.holds(hold)
            # The same words for none and for somebody else's: ids must not be probed.
            if not found or not self._sees(caller, own, found[0]):
                raise NotAllowed(_NONE)
            if found[0].released_at is not None:
                raise InvalidRequest("hold_id", "was released already")
            stored: dict[str, Json] = {"id": hold, "at": self._clock.now().isoformat(), "by": by}
            detail: dict[str, Json] = {"id": hold, "reason": reason.code}
            # Its agency's, whoever in its place releases it: once is enough. That there is one hold fewer stops
            # nobody who destroys something.
            keys = _keys([found[0].agency], everything=found[0].everything)
            change = Change("hold-released", stored, keys | {HOLDS}, reference=False)
            return Plan("hold-released", detail, change, Reads(policy, keys), reason.words, id=by)

        return await self._administration.make(caller, plan, actor)

    async def listed(self, caller: Caller, actor: Actor, reason: Reason) -> tuple[list[Hold], Made]:
        """The holds of the caller's own agency that stand. The look is an entry."""
        require(caller, *_MAY)
        own = await self.own(caller)
        found = [each for each in await self._keeping.holds() if self._sees(caller, own, each)]
        ids: list[Json] = [each.id for each in found]
        return found, await self._administration.note_look(
            caller, "holds-viewed", {"holds": ids}, actor, reason
        )

    async def in_turn(self) -> None:
        """Wait while a month is looked at for the last time before it ends, and no longer than that may take:
        what comes in between has it be looked at again."""
        until = self._clock.loop_time() + LAST_LOOK
        while (left := await self._keeping.waiting()) and (now := self._clock.loop_time()) < until:
            await self._clock.until(now + min(left, _PAUSE))

    async def standing(self) -> list[Json]:
        """The ids of all that stand, for the entry of what is destroyed beside them: who compares that with the
        entries of the holds sees whether one was put out of sight meanwhile."""
        return [*sorted(each.id for each in await self._keeping.holds())]

    async def own(self, caller: Caller) -> frozenset[str]:
        """The caller's agency, and those whose place it has taken: what was theirs is its to answer for."""
        reference = await self._reference.refresh()
        return reference.forebears(caller.agency, self._clock.now()) | {caller.agency}

    async def left_to_others(self, caller: Caller) -> dict[str, frozenset[str]]:
        """By agency whose place the caller's has taken: the districts that others of its successors took over.
        The caller's own has none."""
        reference = await self._reference.refresh()
        found = shares(reference.agencies, caller.agency, self._clock.now())
        return {each.of: each.but for each in found}

    async def _check(self, what: SubjectRef | tuple[str, str]) -> None:
        """That there can be such a thing: a slip of the hand would hold nothing, and look as if it held. Raises
        InvalidRequest."""
        if isinstance(what, SubjectRef):
            return
        kind, value = what
        if kind not in ("incident", "agreement") or not value:
            raise InvalidRequest("what", "name a person, an incident or an agreement, one of them")
        vocabulary.check(kind, value, kind)
        if kind == "agreement":
            agreement, slash, version = value.partition("/")
            known = (await self._reference.refresh()).agreements.get(agreement)
            if known is None or (slash and not _is_one_of(known.version, version)):
                raise InvalidRequest(
                    "agreement", "there is and was none of this name: `broker agreement list` has them"
                )

    def _sees(self, caller: Caller, own: frozenset[str], hold: Hold) -> bool:
        """An auditor's hold covers more than its agency's own, so a partner's system is not enough for it."""
        return hold.agency in own and (caller.function is Function.AUDITOR or not hold.everything)


def _keys(agencies: Sequence[str], *, everything: bool) -> frozenset[str | bytes]:
    """The keys of the entries that a hold covers: those of these agencies, or all."""
    return frozenset({HOLDS_OF_ALL} if everything else map(holds_key, agencies))


def _is_one_of(versions: int, text: str) -> bool:
    """Whether this is the number of one of so many versions, as labels have it."""
    return text.isdecimal() and text == str(int(text)) and 1 <= int(text) <= versions


def _named(what: SubjectRef | tuple[str, str]) -> tuple[str, str, frozenset[str]]:
    """Kind, value (empty for a person, who stands apart), and the terms of the entries that it is about."""
    if isinstance(what, SubjectRef):
        return "person", "", frozenset({person(what)})
    kind, value = what
    return kind, value, frozenset({term(kind, value)})
