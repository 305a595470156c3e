"""What must not be erased now, whoever wants it: evidence in an open matter, above all the eraser's own.

Refuses an erasure of an override under review or found at fault, of a restriction in force, of a breach; while
a complaint or a request for access by the person is open; and by whoever made one of the entries. An agency is
told of its own matters by their names; of others' only where it holds what they need, and not what they are.
What was made since a request for access began is not asked for by it, so that nobody finds one by asking about
somebody and planning to have that erased.
"""

from __future__ import annotations

from collections import Counter

from broker.core.actorid import alike
from broker.core.model import Actor
from broker.desk import hidden
from broker.erasureplans import Disputed, ErasurePlanStore
from broker.errors import InvalidRequest
from broker.givenup import Found
from broker.ports import Clock, ReferenceSource
from broker.queues import OverrideStore

_CHUNK = 500  # entries looked at in one statement
# What is about a person, and of no entry.
_OF_A_PERSON = ("complaint", "access")
_WHY = {
    "review": "{n} of these entries are of overrides that wait for their review: that comes first",
    "finding": "{n} of these entries are of overrides of your agency that were found at fault: only retention "
    "ends them",
    "restriction": "{n} of these entries led to a restriction that is in force: they are what it rests on",
    "breach": "{n} of these entries began a breach, of which a record must be kept (UK GDPR Art. 33(5))",
    "complaint": "{n} complaints to your agency are open that are about this person, or name nobody: close "
    "them first",
    "access": "{n} requests for access by this person, begun by your agency, are open: answer them first, "
    "since to erase what they ask for may be an offence (DPA 2018 s.173)",
    "elsewhere": "something that is open elsewhere needs what you hold here: it stays until that is closed; "
    "whoever audits the log can say more",
}


class Disputes:
    """Says what stands in an erasure's way."""

    def __init__(
        self,
        plans: ErasurePlanStore,
        overrides: OverrideStore,
        reference: ReferenceSource,
        clock: Clock,
    ) -> None:
        self._plans = plans
        self._overrides = overrides
        self._reference = reference
        self._clock = clock

    async def check(self, found: Found, own: frozenset[str], actor: Actor) -> None:
        """InvalidRequest where these agencies' part of what was found must stay, or not this actor ends it."""
        if any(alike(actor.id, each) for each in found.makers):
            raise InvalidRequest(
                "actor",
                "you made some of these entries yourself (asked, looked, recorded or decided): others of your "
                "agency must have them erased",
            )
        against = await self._against(found, own)
        for kind, sentence in _WHY.items():
            if against[kind]:
                raise InvalidRequest("plan", sentence.format(n=against[kind]))

    async def _against(self, found: Found, own: frozenset[str]) -> Counter[str]:
        entries, against, known = found.touched, Counter[str](), found.known
        for start in range(0, max(len(entries), 1), _CHUNK):
            some = {each: known.get(each, frozenset()) for each in entries[start : start + _CHUNK]}
            for each in await self._plans.disputed(some, found.about, own, self._clock.now()):
                if each.kind in _OF_A_PERSON:
                    name = _known_as(each, own)
                    against[name] = max(against[name], each.n)
                else:
                    against[each.kind] += not await self._hidden(each, own)
        return against

    async def _hidden(self, each: Disputed, own: frozenset[str]) -> bool:
        """Whether these agencies may not learn of it: what they asked under neither confirm nor deny. The
        owner's part of that evidence stays, whatever they erase."""
        if each.provider in own:
            return False
        used = await self._overrides.by_id(each.entry)
        return used is None or hidden(used, await self._reference.refresh())


def _known_as(each: Disputed, own: frozenset[str]) -> str:
    """By which name these agencies may know of it: what others were asked is not said."""
    return "elsewhere" if each.kind == "access" and each.provider not in own else each.kind
