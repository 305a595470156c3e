"""An honest deployment at work: every kind of change that its people may make, in an order that chance decides.

What the broker refuses is no change, and is tried all the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from broker.core.model import Override, Place, Reason
from broker.errors import BrokerError, ProviderUnavailable
from broker.ports import Found, NotFound, ProviderFailed
from broker.rulings import Ruling
from tests.human.conftest import JUDGED, OVERRIDDEN, OWNER, SILENT, SILENT_OVERRIDDEN, Later
from tests.human.test_referrals import grants
from tests.keeping.conftest import AUDITOR, COUNCIL, NWAS, OFFICER, WHY, caught_up
from tests.keeping.honest_office import Office
from tests.support.cumbria import CARLISLE, EDEN
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR, WATCHED, caller, record_of, said

SECOND = replace(OFFICER, id="a.okafor", name="Ada Okafor")
VISITOR = replace(ACTOR, role="visitor")
WEST, EAST = caller("west-fire"), caller("east-fire")
PURPOSES = ("", "", "", "emergency-planning", JUDGED, JUDGED, OVERRIDDEN, OVERRIDDEN, SILENT, SILENT_OVERRIDDEN)
Step = Callable[[], Awaitable[object]]


class Honest(Office):
    """All of it, one step after the other."""

    def __init__(self, stage: Stage, seed: int, *, months: bool) -> None:
        super().__init__(stage, seed, months=months)
        self.steps: dict[str, Step] = {
            name.removeprefix("do_"): getattr(self, name) for name in dir(self) if name.startswith("do_")
        }
        # What there is more of in a day.
        self._often = ["ask"] * 8 + ["decide", "review", "tell", "erase", "again", "hold"] * 2

    async def step(self) -> str:
        """One change, or one that is refused; what it was."""
        if isinstance(self.stage.clock, Later) and self.ago() != self.stage.clock.by:
            self.stage.clock.by = self.ago()
        names = [*self.steps, *self._often]
        name = self.chance.choice(names)
        try:
            await self.steps[name]()
            told = name
        except BrokerError as e:
            told = f"{name}: refused, {e}"
        await caught_up(self.stage)
        self.done.append(told)
        return told

    async def do_ask(self) -> None:
        """A request of any kind, whatever comes of it."""
        chance, stage, subject = self.chance, self.stage, self.who()
        changes: dict[str, Any] = {"reason": Reason("welfare", chance.choice(["", "the daughter\nrang"]))}
        if purpose := chance.choice(PURPOSES):
            changes["purpose"] = purpose
        if chance.random() < 0.2:
            changes["actor"] = VISITOR
        if chance.random() < 0.3:
            words = chance.choice(["the father\nis at the door", ""])
            changes["override"] = Override("life-at-risk", words)
        if chance.random() < 0.15:
            changes["record_type"] = WATCHED
        if chance.random() < 0.3:
            changes["place"] = Place(district=chance.choice([CARLISLE, EDEN]))
            if chance.random() < 0.5:
                changes["provider"] = ""
        request = stage.asks(subject=subject, **changes)
        known = (subject, self.who())
        catalogue = stage.reference.catalogue
        answer = chance.choice(
            [
                *[Found(b"", catalogue.newest(request.record_type).digest, known)] * 5,
                NotFound(known),
                ProviderFailed(ProviderUnavailable("gone"), "no adapter"),
            ]
        )
        if isinstance(answer, Found):
            answer = Found(record_of(request.record_type), answer.digest, known)
        stage.providers.answers(answer)
        self.requests.append(request)
        await stage.exchange.answer(request)

    async def do_again(self) -> None:
        """The same request once more, or one that repeats it."""
        if not self.requests:
            return
        request = self.chance.choice(self.requests[-12:])
        if self.chance.random() < 0.6:
            request = replace(request, request_id=str(uuid.uuid4()), retry_of=request.request_id)
            self.requests.append(request)
        self.stage.finds(request)
        await self.stage.exchange.answer(request)

    async def do_refer(self) -> None:
        """Ask for a human's decision where nothing permits."""
        request = self.stage.asks(subject=self.who(), reason=Reason("welfare", "nobody else knows"))
        if self.chance.random() < 0.5:
            request = replace(request, purpose=JUDGED)
        self.requests.append(request)
        await self.stage.referring.ask(request)

    async def do_decide(self) -> None:
        """A human decides on a request, perhaps not for the first time."""
        found, _ = await self.stage.referrals.listed(OWNER, OFFICER, WHY)
        if found:
            ruling = self.chance.choice(
                [Ruling(False, "it can be met without"), grants("uprn"), grants("uprn"), grants()]
            )
            await self.stage.referrals.decide(OWNER, self.chance.choice(found).row.id, ruling, OFFICER)

    async def do_review(self) -> None:
        """A human looks at an override again."""
        found, _, _ = await self.stage.overrides.listed(OWNER, OFFICER, WHY)
        if found:
            verdict = self.chance.choice(["justified", "not-justified", "wrong-person"])
            row = self.chance.choice(found).row
            await self.stage.overrides.review(OWNER, row.id, verdict, "as it was", OFFICER)

    async def do_restrict(self) -> None:
        """Somebody may use no more of them."""
        found, _, _ = await self.stage.overrides.listed(OWNER, OFFICER, WHY)
        if found:
            row, what = self.chance.choice(found).row, self.chance.choice(["actor", "role", "system"])
            until = self.chance.choice([None, self.stage.clock.now() + timedelta(seconds=1)])
            await self.stage.overrides.restrict(OWNER, row.id, what, until, "until trained", OFFICER)

    async def do_lift(self) -> None:
        """They may again."""
        _, made, _ = await self.stage.overrides.listed(OWNER, OFFICER, WHY)
        if made:
            await self.stage.overrides.lift(OWNER, self.chance.choice(made).id, "trained", OFFICER)

    async def do_tell(self) -> None:
        """A person says something, and it is taken down."""
        now, kind = self.stage.clock.now(), self.chance.choice(["objection", "consent", "consent"])
        soon = now + timedelta(seconds=2)
        until = {"valid_until": soon} if kind == "consent" and self.chance.random() < 0.3 else {}
        spoken = said(kind, said_at=now, explained="what it is for" if kind == "consent" else "", **until)
        await self.stage.said.add(self.chance.choice([COUNCIL, COUNCIL, NWAS]), self.who(), spoken, ACTOR)

    async def do_take_back(self) -> None:
        """They say that it counts no longer, here or elsewhere."""
        subject, who = self.who(), self.chance.choice([COUNCIL, COUNCIL, NWAS])
        if self.chance.random() < 0.5:
            await self.stage.said.withdraw_consents(who, subject, "", ACTOR)
            return
        found, _ = await self.stage.said.of_own(who, subject, ACTOR, WHY)
        if found:
            await self.stage.said.withdraw_one(who, self.chance.choice(found).directive.id, ACTOR)

    async def do_hold(self) -> None:
        """A hold, of whatever kind."""
        what = self.chance.choice(
            [self.who(), self.who(), ("incident", "nwas/2026-11-21/1"), ("agreement", "judged/1")]
        )
        who = self.chance.choice([self.party(), AUDITOR])
        await self.stage.holds.place(who, what, "CASE-8", OFFICER, WHY)

    async def do_release(self) -> None:
        """It is over."""
        for hold in await self.stage.keeping.holds():
            who = replace(AUDITOR, agency=hold.agency) if hold.everything else caller(hold.agency)
            if self.chance.random() < 0.7:
                await self.stage.holds.release(who, hold.id, OFFICER, WHY)

    async def do_erase(self) -> None:
        """A person's entries, by one controller."""
        await self.stage.erasures.erase(self.party(), self.who(), OFFICER, WHY)

    async def do_erase_some(self) -> None:
        """Entries by their ids, or the words in them."""
        who, some = self.party(), list[str]()
        for index in self.chance.sample(range(size := await self.stage.size()), min(size, 15)):
            entry = await self.stage.view.id_at(index)
            some += [entry] if who.agency in await self.stage.view.parties(entry) else []
        words = self.chance.random() < 0.5
        await self.stage.erasures.erase(who, tuple(some[:3]), OFFICER, WHY, words_only=words)

    async def do_plan_erasure(self) -> None:
        """Two people erase; or nobody confirms, or it is refused or withdrawn."""
        stage, who, subject = self.stage, self.party(), self.who()
        plan, _, _ = await stage.erasing.plan(who, subject, "unlawful", OFFICER, WHY)
        await caught_up(stage)
        what = self.chance.random()
        if what < 0.5:
            records = replace(who, system="records", key_digest="9" * 64)
            named = subject if self.chance.random() < 0.8 else self.who()
            await stage.erasing.confirm(records, plan.id, named, SECOND, WHY)
        elif what < 0.7:
            await stage.erasing.end(who, plan.id, self.chance.choice(["", "legal-claims"]), OFFICER, WHY)

    async def do_plan_only(self) -> None:
        """A plan that nobody confirms, and that goes with the next one once it has lapsed."""
        await self.stage.erasing.plan(self.party(), self.who(), "unlawful", OFFICER, WHY)
