"""What is said against a use, and what shields somebody, can only stand in its way, whatever else is so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.core import agreement as agreements
from broker.core.agreement import Agreement
from broker.core.decision import decide
from broker.core.directive import AGAINST, KINDS, OPT_OUT, SHIELDS, Directive
from broker.core.directory import Agency, System
from broker.core.model import Decision, Function, Grant, Outcome, Override, Request
from broker.core.reference import Reference
from broker.law import load
from tests.support.spoken import directives
from tests.support.values import replace
from tests.support.world import ACTOR, PERMITTED, RISK, ask, flow, key_of, said, terms, toml

LAW = load()
NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
SINCE = datetime(2020, 1, 1, tzinfo=UTC)
# How somebody is reached is among what is asked for.
REACHING = ("oxygen.kind", "hazards.items.code")
LABELS = {RISK: {p: frozenset({"contact"} if p in REACHING else {"special-category"}) for p in PERMITTED}}
AGENCIES = tuple(
    Agency(a, a.upper(), kind, "england", SINCE)
    for a, kind in (("nwas", "ambulance"), ("cfrs", "fire"), ("cumberland", "council"), ("ncic", "nhs"))
)
SYSTEMS = (System("nwas", "cad", Function.PARTNER, frozenset({key_of("nwas/cad")}), SINCE),)
OVERRIDE = {"codes": ["life-at-risk"]}


def agreed(purpose: str, weight: str, opt_out: str, **changes: Any) -> Agreement:
    """An agreement for one purpose; overrides give two of its fields."""
    said_weight = {"weight": weight, "recorders": ["cumberland", "ncic"], "opt_out": opt_out}
    if weight != "required":
        said_weight.pop("recorders")
    legal = {"basis": "art6-1-e", "condition": "art9-2-g-sch1-para18"}
    given = flow(override=["uprn", "oxygen.kind"], **changes)
    return agreements.parse(
        toml(terms(purpose=purpose, directives=said_weight, legal=legal, flows=[given], override=OVERRIDE)), LAW
    )


PURPOSES = ("emergency-response", "home-fire-safety")
AGREED = [
    agreed(purpose, weight, opt_out, judgement=judgement)
    for purpose in PURPOSES
    for weight in ("required", "respected", "recorded")
    for opt_out in ("applies", "does-not-apply")
    for judgement in (True, False)
]


@dataclass(frozen=True)
class Case:
    """A request, what was said, and what a human decided."""

    request: Request
    agreement: Agreement
    said: tuple[Directive, ...] = ()
    linked: tuple[Directive, ...] = ()
    grant: Grant | None = None

    def decide(self) -> Decision:
        """As it is now."""
        return decide(self.request, reference(self.agreement), self.said, NOW, self.linked, self.grant)


@cache
def reference(agreement: Agreement) -> Reference:
    """Everything else that is read, with one agreement in force."""
    return Reference.build(1, LAW, AGENCIES, SYSTEMS, (agreement,), {RISK: "d"}, labels=LABELS)


names = st.sampled_from(["cumberland", "ncic", "nwas", "cfrs"])
spoken = directives(st.sampled_from(PURPOSES), st.just(RISK), names).map(
    # Most about this very use and in force, or nothing would be met.
    lambda d: replace(d, actors=frozenset({ACTOR.id}) if d.actors else d.actors)
)
wide = spoken.map(
    lambda d: replace(
        d,
        purposes=frozenset(),
        record_types=frozenset(),
        requesters=frozenset(),
        providers=frozenset(),
        valid_until=None,
        matter="sharing",
    )
)
words = st.lists(spoken | wide, max_size=3).map(tuple)
grants = st.builds(
    Grant,
    st.just("0f8fad5b-d9cb-469f-a165-70867728950e"),
    st.lists(st.sampled_from(PERMITTED), unique=True).map(tuple),
    st.sampled_from([NOW - timedelta(hours=1), NOW + timedelta(hours=1)]),
)
overrides = st.builds(
    Override,
    st.sampled_from(["life-at-risk", "curiosity"]),
    st.sampled_from(["she does not breathe", ""]),
    st.none() | st.just(NOW + timedelta(hours=1)),
)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A request that the agreement names, with whatever has been said, granted or overridden."""
    agreement = draw(st.sampled_from(AGREED))
    request = ask(purpose=agreement.purpose, override=draw(st.none() | overrides))
    return Case(request, agreement, draw(words), draw(words), draw(st.none() | grants))


against = (spoken | wide).filter(lambda d: d.kind != "consent")


@given(cases(), against, st.booleans())
@settings(max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])
def test_what_stands_against_a_use_never_opens_or_widens_it(case: Case, word: Directive, linked: bool) -> None:
    """Refusal, objection, restriction, opt-out or shield, under this identifier or another: whatever was not
    permitted stays so, and what was is no more than before."""
    assert word.kind in AGAINST | SHIELDS | {OPT_OUT}
    before = case.decide()
    more = {"linked": (*case.linked, word)} if linked else {"said": (*case.said, word)}
    after = replace(case, **more).decide()
    if before.outcome is not Outcome.PERMIT:
        assert after.outcome is not Outcome.PERMIT
    assert set(after.permitted) <= set(before.permitted)


@pytest.mark.parametrize("kind", sorted(KINDS - {"consent"}))
def test_each_of_them_can_stand_in_the_way(kind: str) -> None:
    """So that the property above is of something: a use is permitted, and with this word is less so."""
    quiet = Case(ask(purpose="home-fire-safety"), agreed("home-fire-safety", "respected", "applies"))
    word = said(kind, actors=frozenset({ACTOR.id} if kind == "staff-conflict" else ()))
    assert quiet.decide().outcome is Outcome.PERMIT
    for more in ({"said": (word,)}, {"linked": (word,)}):
        assert set(replace(quiet, **more).decide().permitted) < set(quiet.decide().permitted)


def test_parenthood_never_opens_a_childs_safe_contact() -> None:
    """A mother's consent, with every right to speak, does not bring back how the child is reached; and somebody
    who may speak for another lifts nothing."""
    agreement = agreed("home-fire-safety", "required", "does-not-apply")
    mother = said(
        "consent",
        "cumberland",
        standing="parental-responsibility",
        speaker="mother",
        authority="birth certificate seen",
    )
    open_ = Case(ask(purpose="home-fire-safety"), agreement, (mother,)).decide()
    assert set(REACHING) <= set(open_.permitted)
    safe = said("safe-contact", "ncic")
    for case in (
        Case(ask(purpose="home-fire-safety"), agreement, (mother, safe)),
        Case(ask(purpose="home-fire-safety"), agreement, (safe, mother)),
        Case(ask(purpose="home-fire-safety"), agreement, (mother,), (safe,)),
        Case(
            ask(purpose="home-fire-safety", override=Override("life-at-risk", "she does not breathe")),
            agreement,
            (mother, safe),
        ),
    ):
        shielded = case.decide()
        assert shielded.outcome is Outcome.PERMIT
        assert set(shielded.permitted) == set(open_.permitted) - set(REACHING)
        # What the requester is told is withheld goes by these, and so says nothing of the shield.
        assert shielded.named == open_.named == open_.permitted


def test_a_crew_on_its_way_to_save_a_life_is_told_where() -> None:
    """The shield is from those who need not come to the door."""
    case = Case(ask(), agreed("emergency-response", "respected", "does-not-apply"), (said("safe-contact"),))
    assert set(case.decide().permitted) == set(PERMITTED)
