"""Use cases of overrides: seeing which were used, reviewing them, and restricting who may use further ones.

Only a system of the provider agency, or of whoever has taken its place, sees them, and every look is an entry.
A named human of the provider reviews each. One that was not justified, or that nobody has reviewed in time,
may cost the actor, the role or the system (a site is known by its own) further overrides; never where life may
depend on the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from broker.administration import Administration, Made, Parties, Plan, named
from broker.core.canonical import Json
from broker.core.granting import RESTRICTABLE, override_key
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.reference import Reference
from broker.core.succession import shares, takers
from broker.core.views import ProviderView, RequesterView
from broker.core.vocabulary import VERDICTS
from broker.desk import escalation, hidden, lock_of, may_decide, said_in_place, standing_key
from broker.errors import InvalidRequest, NotAllowed
from broker.handed import about, request_from
from broker.ids import entry_id
from broker.ports import Asked, Change, Clock, FactsSource, Reads, ReferenceSource
from broker.queues import OverrideStore, StoredOverride, StoredRestriction
from broker.registry import require

# Restrictions of one provider that are not lifted: as many as its list holds.
MAX_RESTRICTIONS = 500
_NONE = "there is no such override that your agency may review"


@dataclass(frozen=True, slots=True)
class Used:
    """An override as its owner sees it, and who hears of it when its review is late."""

    row: StoredOverride
    agency: str
    overdue: bool
    escalate_to: str


class Overrides:
    """Overrides after the fact."""

    def __init__(
        self,
        administration: Administration,
        store: OverrideStore,
        facts: FactsSource,
        reference: ReferenceSource,
        clock: Clock,
    ) -> None:
        self._administration = administration
        self._store = store
        self._facts = facts
        self._reference = reference
        self._clock = clock

    async def listed(
        self, caller: Caller, actor: Actor, reason: Reason
    ) -> tuple[list[Used], list[StoredRestriction], Made]:
        """Overrides of what the caller's agency holds, what is due first, and the restrictions that stand."""
        require(caller, Function.PARTNER)
        reference = await self._reference.refresh()
        mine = shares(reference.agencies, caller.agency, self._clock.now())
        found = [
            Used(row, caller.agency, self._overdue(row), escalation(caller.agency, row.used, reference))
            for row in await self._store.of(mine)
        ]
        standing = self._standing(await self._made(caller, reference))
        detail: dict[str, Json] = {
            "found": len(found),
            "overdue": sum(each.overdue for each in found),
            # Each is shown whole, person and actor: whose was looked at must be found again.
            "overrides": [each.row.id for each in found],
            "restrictions": [each.id for each in standing],
        }
        if len(mine) > 1:
            detail["in_place_of"] = [*sorted({share.of for share in mine[1:]})]
        made = await self._administration.note_look(caller, "overrides-viewed", detail, actor, reason)
        return found, standing, made

    async def review(self, caller: Caller, override: str, verdict: str, reasoning: str, actor: Actor) -> Made:
        """Say whether it was justified, once. Raises InvalidRequest."""
        named(actor)
        if verdict not in VERDICTS:
            raise InvalidRequest("verdict", f"one of {', '.join(VERDICTS)}")
        _need_words(reasoning)

        async def plan() -> Plan:
            policy = await self._policy(caller)
            reference = await self._reference.refresh()
            row = await self._own(caller, override, reference)
            if row.status != "open":
                raise InvalidRequest("override_id", f"was reviewed already: {row.status}")
            at = self._clock.now().isoformat()
            # That there was something to review says that the provider was asked.
            untold = hidden(row, reference)
            stored: dict[str, Json] = {"id": row.id, "status": verdict, "at": at, "by": caller.agency}
            stored["told"] = not untold
            by: dict[str, Json] = {"id": actor.id, "role": actor.role, "name": actor.name}
            change = Change(
                "override-review", stored, lock_of(row), reference=False, sealed={"reviewed_by": by}
            )
            agency, instead = caller.agency, said_in_place(row, caller.agency)
            used = about(row.used)
            view = RequesterView("override-reviewed", row.request, verdict, provider=agency, controller=agency)
            by_whom = {"id": actor.id, "role": actor.role, **instead}
            provider = ProviderView(view, by_whom, used.known, override=row.code, requester=row.requester)
            detail = {**stored, "reviewed_by": by, "code": row.code, **instead}
            parties = Parties(row.requester, None if untold else view, agency, provider, used.asked)
            reads = Reads(policy, lock_of(row) | standing_key(row, agency))
            return Plan("override-reviewed", detail, change, reads, reasoning, parties)

        return await self._administration.make(caller, plan, actor)

    async def restrict(
        self, caller: Caller, override: str, what: str, until: datetime | None, reasoning: str, actor: Actor
    ) -> tuple[str, Made]:
        """Let whoever used it use no more: their `actor`, `role` or `system`. The restriction's id."""
        named(actor)
        if what not in RESTRICTABLE:
            raise InvalidRequest("what", f"one of {', '.join(RESTRICTABLE)}")
        if until is not None and until <= self._clock.now():
            raise InvalidRequest("until", "is past")
        _need_words(reasoning)
        restriction = entry_id()

        async def plan() -> Plan:
            policy = await self._policy(caller)
            reference = await self._reference.refresh()
            row = await self._own(caller, override, reference)
            if row.status not in ("not-justified", "wrong-person") and not self._overdue(row):
                raise InvalidRequest("override_id", "is neither found unjustified nor overdue; review it first")
            if not row.used:
                raise InvalidRequest("override_id", "who used it has been erased")
            _check_room(await self._made(caller, reference), caller.agency, row, what)
            asked: Any = row.used["request"]
            request = request_from(asked)
            who = {"actor": request.actor.id, "role": request.actor.role, "system": request.system}[what]
            key = override_key(row.system, what, who)
            stored: dict[str, Json] = {
                "id": restriction,
                "override": row.id,
                "provider": caller.agency,
                "district": row.district,
                # Of the system's own agency, also where it acts for another.
                "requester": row.system.partition("/")[0],
                "what": what,
                "at": self._clock.now().isoformat(),
                "until": until.isoformat() if until else None,
            }
            made_by: dict[str, Json] = {"id": actor.id, "role": actor.role}
            by: dict[str, Json] = {"who": who, "made_by": made_by, **said_in_place(row, caller.agency)}
            keys: frozenset[str | bytes] = frozenset({key})
            change = Change("override-restriction", stored, keys, reference=False, blind=key, sealed=by)
            reads = Reads(policy, keys | lock_of(row) | standing_key(row, caller.agency))
            return Plan("override-restricted", {**stored, **by}, change, reads, reasoning, id=restriction)

        return restriction, await self._administration.make(caller, plan, actor)

    async def lift(self, caller: Caller, restriction: str, reasoning: str, actor: Actor) -> Made:
        """End a restriction at once: the agency's own, or one of an agency whose place it has taken, there."""
        named(actor)
        _need_words(reasoning)
        require(caller, Function.PARTNER)

        async def plan() -> Plan:
            policy = await self._policy(caller)
            reference = await self._reference.refresh()
            made = await self._made(caller, reference)
            row = next((each for each in made if each.id == restriction), None)
            if row is None:
                raise NotAllowed("there is no such restriction that your agency has made")
            if row.lifted_at is not None:
                raise InvalidRequest("restriction_id", "is lifted already")
            whose = takers(reference.agencies, row.provider, row.district, self._clock.now())
            if caller.agency not in whose:
                raise NotAllowed(f"{row.provider} made it in {row.district}: {', '.join(whose)} may lift it")
            key = override_key(row.requester, row.what, str(row.detail.get("who", "")))
            keys: frozenset[str | bytes] = frozenset({key})
            stored: dict[str, Json] = {"id": row.id, "at": self._clock.now().isoformat()}
            change = Change("override-restriction-lifted", stored, keys, reference=False)
            reads = Reads(policy, keys)
            old = {"in_place_of": row.provider} if row.provider != caller.agency else {}
            detail: dict[str, Json] = {**stored, "what": row.what, **old}
            return Plan("override-restriction-lifted", detail, change, reads, reasoning)

        return await self._administration.make(caller, plan, actor)

    async def _policy(self, caller: Caller) -> int:
        """Read before the row is, so that whatever moves after it is seen."""
        return (await self._facts.read(Asked((), caller.name, ()))).policy

    async def _made(self, caller: Caller, reference: Reference) -> list[StoredRestriction]:
        """Restrictions that hold for the agency: by itself, and by those whose place it has taken."""
        before = reference.forebears(caller.agency, self._clock.now())
        return await self._store.restrictions(before | {caller.agency})

    async def _own(self, caller: Caller, override: str, reference: Reference) -> StoredOverride:
        require(caller, Function.PARTNER)
        row = await self._store.by_id(override)
        # The same words for none and for somebody else's: ids must not be probed.
        if row is None or not may_decide(row, caller.agency, reference, self._clock.now()):
            raise NotAllowed(_NONE)
        return row

    def _standing(self, made: list[StoredRestriction]) -> list[StoredRestriction]:
        now = self._clock.now()
        return [e for e in made if e.lifted_at is None and (e.until is None or now < e.until)]

    def _overdue(self, row: StoredOverride) -> bool:
        return row.status == "open" and row.due_at <= self._clock.now()


def _check_room(made: list[StoredRestriction], agency: str, row: StoredOverride, what: str) -> None:
    """Requests by whoever is restricted read all that is not lifted: the same twice would only delay them."""
    known = [each for each in made if each.lifted_at is None]
    if any((each.override, each.what) == (row.id, what) for each in known):
        raise InvalidRequest("what", f"this {what} is restricted for this override; lift that first")
    if sum(each.provider == agency for each in known) >= MAX_RESTRICTIONS:
        raise InvalidRequest(
            "override_id", f"{MAX_RESTRICTIONS} restrictions are not lifted; lift what is over"
        )


def _need_words(reasoning: str) -> None:
    if not reasoning:
        raise InvalidRequest("reasoning", "say why in words")
