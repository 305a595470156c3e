"""Use case of having something erased: two named humans of the controller, a ground, and nothing in its way.

One plans it, with a ground in law; within a week another, on another system of the agency, confirms it, ends
it, or refuses it to the person under an exemption. What is erased is what was planned and may still go: what
has come since stays, and so does what is in dispute (`disputes`).
"""

from __future__ import annotations

from datetime import datetime

from broker.accesswanted import accesses_keys
from broker.administration import Administration, Made, Plan, named, why
from broker.complaints import complaints_key
from broker.core.canonical import Json
from broker.core.model import Actor, Caller, Function, Reason, SubjectRef
from broker.disputes import Disputes
from broker.erasable import Finder
from broker.erasureplans import ErasurePlan, ErasurePlanStore, names
from broker.erasures import Erasures, Under, check, plan_key
from broker.errors import InvalidRequest, NotAllowed
from broker.evenly import answered_evenly
from broker.givenup import Erasable, Found, What
from broker.holds import Holds
from broker.ids import entry_id
from broker.law import erasure as law
from broker.ports import Asked, Change, Clock, FactsSource, Reads
from broker.registry import require
from broker.secondperson import LASTS, at_a_desk, first_person, is_second, waits

MOST_PLANS = 100  # of one agency that wait
MOST_PLANNED = 5_000  # entries of one plan; more take another
_NONE = "there is no such plan of your agency that waits; it may have been carried out or ended"
_MAY = (Function.PARTNER, Function.AUDITOR)


class ErasurePlans:
    """Plans, confirms and ends erasures."""

    def __init__(
        self,
        administration: Administration,
        erasures: Erasures,
        finder: Finder,
        holds: Holds,
        plans: ErasurePlanStore,
        disputes: Disputes,
        facts: FactsSource,
        clock: Clock,
    ) -> None:
        self._administration = administration
        self._erasures = erasures
        self._finder = finder
        self._holds = holds
        self._plans = plans
        self._disputes = disputes
        self._facts = facts
        self._clock = clock

    async def plan(
        self, caller: Caller, what: What, ground: str, actor: Actor, reason: Reason, *, words_only: bool = False
    ) -> tuple[ErasurePlan, Erasable, Made]:
        """Ask for an erasure, which another person has to confirm. That somebody looked is an entry before any
        answer. Raises InvalidRequest, NotAllowed, IndexBehind, QuotaExceeded, AuditUnavailable."""
        check(caller, what, reason, words_only)
        named(actor)
        if ground not in law.codes(against=False):
            raise InvalidRequest("ground", f"one of {', '.join(law.codes(against=False))}")
        new, made = entry_id(), list[tuple[ErasurePlan, Erasable]]()

        async def plan() -> Plan:
            policy = (await self._facts.read(Asked((), caller.name, ()))).policy
            own = await self._holds.own(caller)
            now = self._clock.now()
            waiting = [each for each in await self._plans.planned({caller.agency}) if waits(each.proposal, now)]
            if len(waiting) >= MOST_PLANS:
                raise InvalidRequest(
                    "plan", f"your agency has {MOST_PLANS} that wait; end or confirm one first"
                )
            found = await self._finder.find(caller, what, words_only)
            await self._disputes.check(found, own, actor)
            planned = self._planned(new, caller, what, ground, actor, found, words_only=words_only)
            made[:] = [(planned, found.erasable)]
            return self._asked(planned, what, reason, policy)

        async with answered_evenly(caller):
            await self._erasures.look(caller, what, actor, reason)
            done = await self._administration.make(caller, plan, actor)
        return *made[0], done

    async def confirm(
        self, caller: Caller, plan: str, subject: SubjectRef | None, actor: Actor, reason: Reason
    ) -> tuple[Erasable, tuple[Made, ...]]:
        """Carry out what another person of the agency has planned. `subject` names the person again; None for
        entries. Interrupted, it is confirmed again. Raises as `plan` does."""
        named(actor)
        why(reason)
        found = await self._waiting(caller, plan)
        at_a_desk(caller)
        if not is_second(found.proposal, caller, actor):
            raise InvalidRequest(
                "actor",
                "an erasure takes two people: somebody else of your agency must confirm it, on another system "
                f"than {found.proposal.system}",
            )
        _whether_named(found, subject)
        async with answered_evenly(caller):
            await self._erasures.look(caller, found.asked or None, actor, reason)
            what = await self._named_again(caller, found, subject, actor)
            return await self._carry_out(caller, found, what, actor, reason)

    async def _carry_out(
        self, caller: Caller, found: ErasurePlan, what: What, actor: Actor, reason: Reason
    ) -> tuple[Erasable, tuple[Made, ...]]:
        plan, own = found.id, await self._holds.own(caller)

        async def unopposed(now_found: Found) -> None:
            if not await self._plans.planned(own, plan):
                raise NotAllowed(_NONE)
            await self._disputes.check(now_found, own, actor)

        told: dict[str, Json] = {
            "plan": plan,
            "ground": found.ground,
            "planned_by": {"system": found.proposal.system, "actor": found.proposal.actor},
        }
        reads = frozenset({plan_key(plan), *(complaints_key(each) for each in own)})
        under = Under(
            plan,
            frozenset(found.entries),
            frozenset(found.directives),
            told,
            reads,
            lambda going: accesses_keys(going.about),
            check=unopposed,
        )
        return await self._erasures.erase(caller, what, actor, reason, words_only=found.words_only, under=under)

    async def end(self, caller: Caller, plan: str, exemption: str, actor: Actor, reason: Reason) -> Made:
        """Withdraw a plan; with an exemption, refuse the person what they asked for. Anybody of the agency."""
        named(actor)
        if not reason.code:
            raise InvalidRequest("reason.code", "say why it is ended")
        if exemption and exemption not in law.codes(against=True):
            raise InvalidRequest("exemption", f"one of {', '.join(law.codes(against=True))}")

        async def make() -> Plan:
            policy = (await self._facts.read(Asked((), caller.name, ()))).policy
            found = await self._waiting(caller, plan, lapsed=True)
            detail: dict[str, Json] = {
                "plan": plan,
                "ground": found.ground,
                "exemption": exemption or None,
                "reason": reason.code,
            }
            keys: frozenset[str | bytes] = frozenset({plan_key(plan)})
            change = Change("erasure-plan-ended", {"id": plan}, keys, reference=False)
            event = "erasure-refused" if exemption else "erasure-withdrawn"
            return Plan(event, detail, change, Reads(policy, keys), reason.words)

        return await self._administration.make(caller, make, actor)

    async def listed(self, caller: Caller, actor: Actor, reason: Reason) -> tuple[list[ErasurePlan], Made]:
        """The plans of the caller's agency that wait. The look is an entry."""
        require(caller, *_MAY)
        now = self._clock.now()
        own = await self._holds.own(caller)
        found = [each for each in await self._plans.planned(own) if waits(each.proposal, now)]
        ids: list[Json] = [each.id for each in found]
        return found, await self._administration.note_look(
            caller, "erasures-viewed", {"plans": ids}, actor, reason
        )

    @staticmethod
    def until(plan: ErasurePlan) -> datetime:
        """When it lapses."""
        return plan.proposal.at + LASTS

    def _planned(
        self,
        new: str,
        caller: Caller,
        what: What,
        ground: str,
        actor: Actor,
        found: Found,
        *,
        words_only: bool,
    ) -> ErasurePlan:
        return ErasurePlan(
            new,
            caller.agency,
            first_person(caller, actor, self._clock.now()),
            ground,
            self._plans.subject(what) if isinstance(what, SubjectRef) else b"",
            () if isinstance(what, SubjectRef) else what,
            words_only,
            found.touched[:MOST_PLANNED],
            found.directives,
        )

    def _asked(self, plan: ErasurePlan, what: What, reason: Reason, policy: int) -> Plan:
        by, until = plan.proposal, self.until(plan)
        stored: dict[str, Json] = {
            "id": plan.id,
            "agency": plan.agency,
            "system": by.system,
            "actor": by.actor,
            "key_digest": by.key_digest,
            "at": by.at.isoformat(),
            "lapsed": (by.at - LASTS).isoformat(),
            "ground": plan.ground,
            "asked": [*plan.asked],
            "words_only": plan.words_only,
            "entries": [*plan.entries],
            "directives": [*plan.directives],
        }
        detail: dict[str, Json] = {
            "plan": plan.id,
            "ground": plan.ground,
            "entries": len(plan.entries),
            "directives": len(plan.directives),
            "names_sha256": names(plan.entries, plan.directives),
            "words_only": plan.words_only,
            "until": until.isoformat(),
            "reason": reason.code,
        }
        keys: frozenset[str | bytes] = frozenset({f"erasure-plans:{plan.agency}", plan_key(plan.id)})
        subject = what if isinstance(what, SubjectRef) else None
        change = Change("erasure-plan", stored, keys, reference=False, subject=subject)
        return Plan("erasure-planned", detail, change, Reads(policy, keys), reason.words, id=plan.id)

    async def _waiting(self, caller: Caller, plan: str, *, lapsed: bool = False) -> ErasurePlan:
        """A plan of the caller's agency. The same words for none and for somebody else's."""
        require(caller, *_MAY)
        own = await self._holds.own(caller)
        found = await self._plans.planned(own, plan)
        if not found:
            raise NotAllowed(_NONE)
        if not lapsed and not waits(found[0].proposal, self._clock.now()):
            raise InvalidRequest(
                "plan_id", f"lapsed: nobody confirmed it within {LASTS.days} days; plan it again"
            )
        return found[0]

    async def _named_again(
        self, caller: Caller, plan: ErasurePlan, subject: SubjectRef | None, actor: Actor
    ) -> What:
        """What the plan is about. A wrong guess at whom it is about is an entry."""
        if subject is None:
            return plan.asked
        if self._plans.subject(subject) != plan.subject:
            await self._administration.note(caller, "erasure-tried", {"plan": plan.id}, actor)
            raise InvalidRequest("person", "is not whom the plan is about")
        return subject


def _whether_named(plan: ErasurePlan, subject: SubjectRef | None) -> None:
    """That the person is named again where the plan is about one. Raises InvalidRequest."""
    if subject is not None and not plan.subject:
        raise InvalidRequest("person", "the plan names entries; give only its id")
    if subject is None and plan.subject:
        raise InvalidRequest("person", "name the person again: the plan holds no identifier")
