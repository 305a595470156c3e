"""One agency taken over: its certificate, its signing key and its adapter gain nothing that it had not."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from broker.core.directive import Directive
from broker.core.model import Assurance, Override, Request, SubjectRef
from broker.errors import BrokerError
from broker.ports import Answer, Question
from tests.core.test_decision_properties import directives
from tests.decisions.examples import TYPES
from tests.support.values import replace
from tests.support.world import (
    ACTOR,
    HOME,
    OPERATOR,
    OTHER_HOME,
    PERMITTED,
    RISK,
    World,
    ask,
    caller,
    flow,
    key_of,
    said,
    terms,
    toml,
)

Of = TypeVar("Of")
ALIAS = SubjectRef("uprn", "10000000003")
SUBJECTS = (HOME, OTHER_HOME, ALIAS)
PURPOSES = ("emergency-response", "home-fire-safety", "safeguarding-adult")
LEAVES = frozenset(TYPES[RISK].labels)


class TakenOver(RuleBasedStateMachine):
    """Whoever holds one agency's certificate, signing key and adapter tries to see more than before."""

    attacker = "nwas"

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.loop = asyncio.new_event_loop()
        self.written: list[str] = []
        self.claims: tuple[SubjectRef, ...] = ()

    def teardown(self) -> None:
        self.loop.close()

    def wait(self, doing: Coroutine[Any, Any, Of]) -> Of | None:
        """What it comes to, or None where the broker refuses it."""
        try:
            return self.loop.run_until_complete(doing)
        except BrokerError:
            return None

    @initialize()
    def set_up(self) -> None:
        """Two agencies ask the fire service; one home objected, one under another number, one said nothing."""
        world, others = self.world, ("nwas", "cumberland")
        for n, (who, purpose, weight) in enumerate(
            (who, purpose, weight)
            for who in others
            for purpose, weight in zip(PURPOSES, ("respected", "required", "recorded"), strict=True)
        ):
            world.agree(
                id=f"a-{n}",
                purpose=purpose,
                directives={"weight": weight, "recorders": ["nwas", "cumberland", "ncic"]},
                legal={"basis": "art6-1-e", "condition": "art9-2-g-sch1-para18"},
                parties=[{"agency": a, "regime": "uk-gdpr"} for a in (who, "cfrs")],
                flows=[flow(requester=who)],
            )
        # What the attacker itself holds, for somebody else to ask.
        world.agree(id="b", parties=terms()["parties"], flows=[flow(requester="cfrs", provider="nwas")])
        self.objection = world.say(HOME, said("objection", "ncic")).id
        self.wait(world.ready())
        honest = {HOME: (HOME,), OTHER_HOME: (OTHER_HOME,), ALIAS: (ALIAS, HOME)}

        async def script(question: Question) -> Answer:
            asked_for = question.request.subject
            assert asked_for is not None
            known = honest[asked_for] if question.request.provider == "cfrs" else self.claims
            return replace(world.found(), identifiers=known or (asked_for,))

        world.providers.script = script
        self.could = {(s, p): self.best(s, p) for s in SUBJECTS for p in PURPOSES}
        assert self.could[HOME, "emergency-response"] == frozenset()
        assert self.could[ALIAS, "emergency-response"] == frozenset()
        assert self.could[OTHER_HOME, "emergency-response"] == frozenset(PERMITTED)
        assert self.could[OTHER_HOME, "home-fire-safety"] == frozenset()

    def seen(self, request: Request) -> frozenset[str]:
        """Fields that an answer gives."""
        disclosed = self.wait(self.world.exchange.answer(request))
        return LEAVES - {w.path for w in disclosed.withheld} if disclosed and disclosed.record else frozenset()

    def best(self, subject: SubjectRef, purpose: str, **changes: Any) -> frozenset[str]:
        """What the attacker sees when it claims the best that it could claim."""
        actor = replace(ACTOR, assurance=Assurance.SIGNED_TOKEN)
        mine = {"requester": self.attacker, "key_digest": key_of(f"{self.attacker}/cad"), "actor": actor}
        return self.seen(ask(subject=subject, purpose=purpose, **{**mine, **changes}))

    @rule(subject=st.sampled_from(SUBJECTS), directive=directives())
    def says(self, subject: SubjectRef, directive: Directive) -> None:
        """Records anything in anybody's name: who recorded it, the certificate says."""
        made = replace(directive, id=str(uuid.uuid4()), recorder=self.attacker)
        if self.wait(
            self.world.directives.add(caller(self.attacker), subject, made, ACTOR)  # type: ignore[arg-type]
        ):
            self.written.append(made.id)

    @rule(data=st.data())
    def withdraws(self, data: st.DataObject) -> None:
        """Withdraws what it recorded, and tries what it did not."""
        which = data.draw(st.sampled_from([*self.written, self.objection, str(uuid.uuid4())]))
        self.wait(self.world.directives.withdraw_one(caller(self.attacker), which, ACTOR))

    @rule(subject=st.sampled_from(SUBJECTS), purpose=st.sampled_from(["", *PURPOSES]))
    def withdraws_consents(self, subject: SubjectRef, purpose: str) -> None:
        """Withdraws everybody's consents, as anybody may."""
        self.wait(self.world.directives.withdraw_consents(caller(self.attacker), subject, purpose, ACTOR))

    @rule(
        known=st.sampled_from([f"a-{n}" for n in range(6)] + ["new"]),
        purpose=st.sampled_from([*PURPOSES, "direct-care"]),
        forged=st.sampled_from(["alone", "twice", "in another name", "with the other's old one"]),
        by_operator=st.booleans(),
    )
    def writes_an_agreement(self, known: str, purpose: str, forged: str, by_operator: bool) -> None:
        """Writes one that gives it everything, signs what it can, and has a careless operator apply it."""
        made = terms(
            id=known,
            version=9,
            purpose=purpose,
            directives={"weight": "recorded"},
            parties=[{"agency": a, "regime": "uk-gdpr"} for a in (self.attacker, "cfrs")],
            flows=[flow(requester=self.attacker, permitted=sorted(LEAVES))],
        )
        file, on = toml(made), self.world.clock.now().date()
        own, other = self.world.signatories[self.attacker], self.world.signatories["cfrs"]
        mine = own.sign(file, on)
        given_ = {
            "alone": [mine],
            "twice": [mine, mine],
            "in another name": [mine, replace(own, agency="cfrs").sign(file, on)],
            "with the other's old one": [mine, other.sign(toml(terms()), on)],
        }[forged]
        who = OPERATOR if by_operator else caller(self.attacker)
        assert self.wait(self.world.agreements.apply(who, file, given_)) is None

    @rule(identifiers=st.lists(st.sampled_from(SUBJECTS), min_size=1, max_size=3, unique=True))
    def answers_for_itself(self, identifiers: list[SubjectRef]) -> None:
        """Its adapter claims any link when somebody asks it."""
        self.claims = tuple(identifiers)
        request = ask(requester="cfrs", provider="nwas", key_digest=key_of("cfrs/cad"), subject=identifiers[0])
        self.seen(request)

    @rule(
        subject=st.sampled_from(SUBJECTS),
        purpose=st.sampled_from(PURPOSES),
        role=st.sampled_from(["ambulance-crew", "visitor"]),
        override=st.none() | st.just(Override("life-at-risk", "says so")),
        retry=st.booleans(),
    )
    def asks(
        self, subject: SubjectRef, purpose: str, role: str, override: Override | None, retry: bool
    ) -> None:
        """Asks with any claim, also as a repeat of a request and with an override that nobody granted."""
        actor = replace(ACTOR, role=role, assurance=Assurance.SIGNED_TOKEN)
        changes: dict[str, Any] = {"actor": actor, "override": override}
        if retry:
            changes["retry_of"] = str(uuid.uuid4())
        assert self.best(subject, purpose, **changes) <= self.could[subject, purpose]

    @invariant()
    def sees_no_more(self) -> None:
        """Nothing that was refused before is given now."""
        for (subject, purpose), before in getattr(self, "could", {}).items():
            assert self.best(subject, purpose) <= before, (subject, purpose)


@pytest.mark.parametrize("attacker", ["nwas", "cumberland"])
def test_an_agency_taken_over_gains_nothing(attacker: str) -> None:
    """By any sequence of directives, links and agreements that it may write by itself."""
    machine = type("TakenOver", (TakenOver,), {"attacker": attacker})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=15, stateful_step_count=12, deadline=None)
    )
