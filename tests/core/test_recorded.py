"""A decision read back from its full view: what was asked, as it was asked, and what it came to."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.case import Case, Said, decided
from broker.core.decision import LEFT_OUT, decide, is_about_person
from broker.core.model import (
    Actor,
    Assurance,
    Grant,
    Outcome,
    Override,
    Place,
    Reason,
    Request,
    SubjectRef,
    Traits,
)
from broker.core.recorded import Recorded, Ruling, is_decision
from broker.core.reference import Reference
from broker.core.steps import STEPS
from broker.drafts import draft
from broker.errors import IntegrityError
from broker.law import digest, load
from broker.ports import Reads
from tests.core import test_decision as table
from tests.support.values import replace
from tests.support.world import RISK, ask, flow, key_of, said

WORDS = "words that stand nowhere in clear"
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
TIMES = st.integers(0, 10**15).map(lambda us: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(microseconds=us))
NUMBERS = st.integers(1, 10**12).map(lambda n: SubjectRef("uprn", str(n)))
POINTS = st.one_of(st.just((None, None)), st.tuples(st.floats(49, 61.5), st.floats(-9.5, 2.5)))
PLACES = st.builds(
    lambda uprn, at, district: Place(uprn, at[0], at[1], district),
    st.sampled_from(["", "10000000001"]),
    POINTS | st.just((51.4779, 0.0)),
    st.sampled_from(["", "E07000028"]),
)
TRAITS = st.builds(
    Traits,
    family_name=TEXTS,
    given_name=TEXTS,
    birth_date=st.sampled_from(["", "1950-01-01"]),
    approximate_age=st.integers(0, 130),
    postcode=TEXTS,
)
ACTORS = st.builds(
    Actor,
    id=TEXTS.filter(bool),
    role=st.sampled_from(["ambulance-crew", "dispatcher"]),
    name=TEXTS,
    on_behalf_of=TEXTS,
    callsign=TEXTS,
    device=TEXTS,
    employer=TEXTS,
    assurance=st.sampled_from(Assurance),
)
OVERRIDES = st.none() | st.builds(
    Override,
    code=st.sampled_from(["life-at-risk", "other"]),
    words=st.sampled_from(["", WORDS]),
    until=st.none() | TIMES,
)
GRANTS = st.none() | st.builds(
    Grant, referral=st.uuids().map(str), permitted=st.lists(TEXTS, max_size=3).map(tuple), until=TIMES
)
REQUESTS = st.builds(
    lambda by, **changes: (
        ask(**{**changes, ("subject" if isinstance(by, SubjectRef) else "query"): by})
        if isinstance(by, SubjectRef)
        else ask(**changes, subject=None, query=by)
    ),
    NUMBERS | TRAITS,
    actor=ACTORS,
    override=OVERRIDES,
    place=st.none() | PLACES,
    incident=st.sampled_from(["", "nwas/2026-11-21/4711"]),
    retry_of=st.sampled_from(["", "4f9f7a0e-54a4-4f0a-8b5e-1f6f0c1c9d11"]),
    reason=st.builds(Reason, st.sampled_from(["", "complaint"]), st.just(WORDS)),
    urgent=st.booleans(),
    key_digest=st.sampled_from([key_of("nwas/cad"), "0" * 64]),
)
TERMS: dict[str, Any] = {
    "flows": [flow(override=["uprn"], queries=True)],
    "override": {"codes": ["life-at-risk"]},
}


def reference_of(terms: dict[str, Any]) -> Reference:
    """A snapshot with one agreement."""
    base, agreed = table.BASE, (table.agreed(**terms),)
    return Reference.build(7, table.LAW, base.agencies, base.systems, agreed, {RISK: "d"}, labels=table.LABELS)


def viewed(
    request: Request,
    now: datetime,
    learnt: Any = (),
    grant: Grant | None = None,
    terms: dict[str, Any] = TERMS,
) -> dict[str, Any]:
    """The full view of this request's decision, as it comes back from the store."""
    reference = reference_of(terms)
    heard = [said("objection")] if learnt else []
    decision = decide(request, reference, (), now, heard, grant)
    case = Case(
        request,
        decision,
        9,
        now,
        Reads(9, decision.reads, decision.valid_until),
        tuple(learnt),
        7,
        table.LAW.digest,
        tuple(d.id for d in heard),
        grant,
    )
    told = Said("refusal" if decision.refused else "not-found", decided(decision), refused=decision.refused)
    full: dict[str, Any] = json.loads(json.dumps(draft(str(uuid.uuid4()), case, told, None, None).full))
    recorded = Recorded.of(full)
    assert recorded.ruling == Ruling.of(decision)
    assert (recorded.policy, recorded.reference, recorded.now, recorded.law) == (9, 7, now, table.LAW.digest)
    assert recorded.said == {d.id for d in heard}
    return full


@settings(max_examples=200, deadline=None)
@given(REQUESTS, TIMES, st.lists(NUMBERS, max_size=2, unique=True), GRANTS)
def test_a_request_comes_back_as_it_was_asked(
    request: Request, now: datetime, learnt: list[SubjectRef], grant: Grant | None
) -> None:
    """Everything that a decision reads of it; of words, that there were some, and not one of them."""
    full = viewed(request, now, learnt, grant)
    recorded = Recorded.of(full)
    words = "(kept apart)" if request.override and request.override.words else ""
    expected = replace(
        request,
        reason=Reason(request.reason.code),
        override=replace(request.override, words=words) if request.override else None,
        traceparent="",
        timeout=recorded.request.timeout,
    )
    assert recorded.request == expected
    assert (recorded.learnt, recorded.grant) == (tuple(learnt), grant)
    assert WORDS not in json.dumps(full)


def test_a_humans_decision_is_heard_again() -> None:
    """What a named human of the provider let through, for so long and these fields, is let through again."""
    terms = {"flows": [flow(judgement=True)]}
    for hours, outcome in ((1, "permit"), (-1, "refer")):
        grant = Grant(str(uuid.uuid4()), ("uprn",), table.NOW + timedelta(hours=hours))
        recorded = Recorded.of(viewed(ask(), table.NOW, grant=grant, terms=terms))
        again = decide(recorded.request, reference_of(terms), (), recorded.now, (), recorded.grant)
        assert again.outcome == outcome
        assert Ruling.of(again) == recorded.ruling
        assert recorded.ruling.grant == (grant.referral if outcome == "permit" else "")
        without = decide(recorded.request, reference_of(terms), (), recorded.now)
        assert bool(Ruling.of(without).differs_from(recorded.ruling)) == (outcome == "permit")


def test_what_is_missing_or_wrong_is_named() -> None:
    """A view that lacks what a decision is made of, and one with a value that is none."""
    full = viewed(ask(), table.NOW)
    assert is_decision(full)
    for key in ("key", "law", "reference", "learnt", "directives", "granted", "asked_by", "rules"):
        with pytest.raises(IntegrityError, match=f"no {key}"):
            Recorded.of({name: value for name, value in full.items() if name != key})
    for key, value in (("now", "yesterday"), ("policy", "x"), ("actor", None), ("asked_by", 1), ("place", [])):
        with pytest.raises(IntegrityError):
            Recorded.of({**full, key: value})


def test_a_refusal_by_the_answer_is_not_the_decisions() -> None:
    """A permit to which the provider had too many people to offer was permitted all the same."""
    full = viewed(ask(), table.NOW)
    refused = {"code": "ambiguous", "message": "x", "remedy": "y"}
    assert Recorded.of({**full, "refused": refused}).ruling.refused == ""
    assert full["decided"] == Outcome.PERMIT.value


def test_the_law_files_have_a_digest() -> None:
    """The same for the same files; one letter of one of them, or their order, makes another."""
    assert load().digest == load().digest
    assert len(load().digest) == 64
    assert len({digest(["a", "b"]), digest(["b", "a"]), digest(["ab", ""]), digest(["a", "c"])}) == 4


def test_a_hypothetical_walks_no_step_about_the_person() -> None:
    """They stand in the rules as left out, what was said is not read, and nothing else is different."""
    case = replace(table.BASE, directives=(said("objection"),))
    reference = Reference.build(
        1, table.LAW, case.agencies, case.systems, case.agreements, {RISK: "d"}, labels=table.LABELS
    )
    made = decide(case.request, reference, case.directives, case.now, nobody=True)
    assert made.outcome is Outcome.PERMIT
    left_out = {rule.rule for rule in made.rules if rule.verdict == LEFT_OUT}
    assert left_out == {step.rule for step in STEPS if is_about_person(step.rule)}
    assert not made.about_person
    late = decide(case.request, reference, (), case.now + timedelta(days=5000), nobody=True)
    assert (late.outcome, late.rules[-1].rule) == (Outcome.REFUSE, "agreement.in-force")
