"""`decide`: the table that auditors read, and what must hold whatever the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core import agreement as agreements
from broker.core import decision as decisions
from broker.core.agreement import Agreement
from broker.core.decision import decide, subject_key
from broker.core.directive import AGAINST, KINDS, Directive
from broker.core.directory import Agency, System, agency_key, record_type_key, system_key
from broker.core.flow import FlowKey, flow_keys
from broker.core.model import Assurance, Decision, Function, Outcome, Request, SubjectRef, Traits
from broker.core.recordtype import RecordType
from broker.core.reference import Reference
from broker.law import load
from tests.support.values import replace
from tests.support.world import ACTOR, HOME, PERMITTED, RISK, ask, flow, key_of, risk_set, said, terms, toml

LAW = load()
LABELS = {RISK: RecordType.submitted(risk_set(), RISK).labels}
NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
SINCE = datetime(2020, 1, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Case:
    """Everything a decision is made of, so that one input at a time can be changed."""

    request: Request = field(default_factory=lambda: ask(request_id="r"))
    agencies: tuple[Agency, ...] = tuple(
        Agency(a, a.upper(), kind, "england", SINCE, contact="IG lead", phone="01228 1")
        for a, kind in (("nwas", "ambulance"), ("cfrs", "fire"), ("cumberland", "council"))
    )
    systems: tuple[System, ...] = (
        System("nwas", "cad", Function.PARTNER, frozenset({key_of("nwas/cad")}), SINCE),
    )
    agreements: tuple[Agreement, ...] = ()
    directives: tuple[Directive, ...] = ()
    linked: tuple[Directive, ...] = ()
    now: datetime = NOW

    def decide(self, now: datetime | None = None) -> Decision:
        """The decision, by default at the case's own time."""
        reference = Reference.build(
            1, LAW, self.agencies, self.systems, self.agreements, {RISK: "d"}, labels=LABELS
        )
        return decide(self.request, reference, self.directives, now or self.now, self.linked)


def agreed(**changes: Any) -> Agreement:
    """The agreement of `terms` with these changes."""
    return agreements.parse(toml(terms(**changes)), LAW)


PLAIN = agreed()
REQUIRED = agreed(directives={"weight": "required", "recorders": ["cumberland", "nwas"]})
RECORDED = agreed(directives={"weight": "recorded"})
QUERIES = agreed(flows=[flow(queries=True)])
ENDED = agreed(valid_until=date(2026, 11, 20))
LAST_DAY = agreed(valid_until=date(2026, 11, 21))
TOMORROW = agreed(valid_from=date(2026, 11, 22))
BASE = Case(agreements=(PLAIN,))
TRAITS = Traits("Tyson", "Joss")


def change(**changes: Any) -> Case:
    """The base case with another request."""
    return replace(BASE, request=replace(BASE.request, **changes))


def agency(case: Case, name: str, **changes: Any) -> Case:
    """The case with one agency changed."""
    return replace(case, agencies=tuple(replace(a, **changes) if a.id == name else a for a in case.agencies))


def system(**changes: Any) -> Case:
    """The base case with another state of the asking system."""
    return replace(BASE, systems=(replace(BASE.systems[0], **changes),))


def word(weight: Agreement, *directives: Directive, linked: Sequence[Directive] = ()) -> Case:
    """What the person has said, under an agreement that gives it this weight."""
    return replace(BASE, agreements=(weight,), directives=directives, linked=tuple(linked))


# who, what, why, what the person said, on which day -> outcome, code, the step that ended the walk
TABLE: list[tuple[str, Case, str, str]] = [
    ("an enrolled system, a named role, an agreement", BASE, "permit", ""),
    # who asks
    ("a system that is not enrolled", replace(BASE, systems=()), "party", "identity.enrolled"),
    ("with another key", change(key_digest="0" * 64), "party", "identity.enrolled"),
    ("suspended", system(suspended=True), "party", "identity.enrolled"),
    ("enrolled from tomorrow", system(valid_from=NOW + timedelta(days=1)), "party", "identity.enrolled"),
    ("enrolled until now", system(valid_until=NOW), "party", "identity.enrolled"),
    ("enrolled for one more microsecond", system(valid_until=NOW + TICK), "permit", ""),
    # of which agency
    ("requester ended", agency(BASE, "nwas", valid_until=NOW), "party", "party.valid-today"),
    ("requester not yet there", agency(BASE, "nwas", valid_from=NOW + TICK), "party", "party.valid-today"),
    ("provider ended", agency(BASE, "cfrs", valid_until=NOW), "party", "party.valid-today"),
    ("provider unknown", change(provider="lancs"), "party", "party.valid-today"),
    ("another agency's end", agency(BASE, "cumberland", valid_until=NOW), "permit", ""),
    # why
    ("a purpose without meaning", change(purpose="curiosity"), "purpose", "purpose.known"),
    ("a purpose nobody agreed", change(purpose="firearms-licensing"), "agreement", "agreement.in-force"),
    # under which agreement
    ("no agreement", replace(BASE, agreements=()), "agreement", "agreement.in-force"),
    ("its own record", change(provider="nwas"), "agreement", "agreement.in-force"),
    ("the other way round", change(requester="cfrs", provider="nwas"), "party", "identity.enrolled"),
    ("an agreement that ended", replace(BASE, agreements=(ENDED,)), "agreement", "agreement.in-force"),
    ("on its last day", replace(BASE, agreements=(LAST_DAY,)), "permit", ""),
    ("one that begins tomorrow", replace(BASE, agreements=(TOMORROW,)), "agreement", "agreement.in-force"),
    # by whom
    ("another role", change(actor=replace(ACTOR, role="visitor")), "role", "role.named"),
    (
        "a shared device where a roster is needed",
        change(actor=replace(ACTOR, assurance=Assurance.SHARED_DEVICE)),
        "assurance",
        "assurance.enough",
    ),
    ("exactly a roster", change(actor=replace(ACTOR, assurance=Assurance.ROSTER)), "permit", ""),
    (
        "no assurance at all",
        change(actor=replace(ACTOR, assurance=Assurance.UNSPECIFIED)),
        "assurance",
        "assurance.enough",
    ),
    # about whom
    (
        "named by another scheme",
        change(subject=SubjectRef("nhs-number", "9000000009")),
        "context",
        "context.subject-named",
    ),
    ("named by traits", change(subject=None, query=TRAITS), "context", "context.subject-named"),
    (
        "named by traits, agreed",
        replace(change(subject=None, query=TRAITS), agreements=(QUERIES,)),
        "permit",
        "",
    ),
    # what the person said, respected
    ("nothing", word(PLAIN), "permit", ""),
    ("a consent", word(PLAIN, said("consent")), "permit", ""),
    ("a refusal", word(PLAIN, said("refusal")), "person", "person.not-against"),
    ("an objection", word(PLAIN, said("objection")), "person", "person.not-against"),
    ("a restriction", word(PLAIN, said("restriction")), "person", "person.not-against"),
    (
        "both, whatever the order",
        word(PLAIN, said("objection"), said("consent")),
        "person",
        "person.not-against",
    ),
    (
        "an objection to something else",
        word(PLAIN, said("objection", purposes=frozenset({"audit"}))),
        "permit",
        "",
    ),
    (
        "an objection to this requester",
        word(PLAIN, said("objection", requesters=frozenset({"nwas"}))),
        "person",
        "person.not-against",
    ),
    (
        "an objection to other providers",
        word(PLAIN, said("objection", providers=frozenset({"ncic"}))),
        "permit",
        "",
    ),
    ("an objection that has run out", word(PLAIN, said("objection", valid_until=NOW)), "permit", ""),
    (
        "one that has a moment left",
        word(PLAIN, said("objection", valid_until=NOW + TICK)),
        "person",
        "person.not-against",
    ),
    ("one not said yet", word(PLAIN, said("objection", said_at=NOW + TICK)), "permit", ""),
    ("one said this moment", word(PLAIN, said("objection", said_at=NOW)), "person", "person.not-against"),
    # required
    ("nothing, where consent is required", word(REQUIRED), "person", "person.consent"),
    ("a consent by a recorder", word(REQUIRED, said("consent", "cumberland")), "permit", ""),
    ("a consent by somebody else", word(REQUIRED, said("consent", "ncic")), "person", "person.consent"),
    (
        "a consent by the requester itself",
        word(REQUIRED, said("consent", "nwas")),
        "person",
        "person.consent",
    ),
    (
        "a consent and an objection",
        word(REQUIRED, said("consent", "cumberland"), said("objection", "ncic")),
        "person",
        "person.not-against",
    ),
    (
        "a consent that has run out",
        word(REQUIRED, said("consent", valid_until=NOW)),
        "person",
        "person.consent",
    ),
    (
        "a consent to another purpose",
        word(REQUIRED, said("consent", purposes=frozenset({"audit"}))),
        "person",
        "person.consent",
    ),
    # recorded
    ("an objection that is only recorded", word(RECORDED, said("objection")), "permit", ""),
    # under another number
    ("an objection there", word(PLAIN, linked=[said("objection")]), "person", "person.not-against"),
    ("a consent there", word(REQUIRED, linked=[said("consent")]), "person", "person.consent"),
    (
        "an objection there outweighs a consent here",
        word(REQUIRED, said("consent"), linked=[said("refusal")]),
        "person",
        "person.not-against",
    ),
]


@pytest.mark.parametrize(("case", "code", "step"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_decision_table(case: Case, code: str, step: str) -> None:
    """Each row: who asks what and why, what the person said, and what comes of it."""
    decision = case.decide()
    if code == "permit":
        assert (decision.outcome, decision.refused) == (Outcome.PERMIT, None)
        assert decision.permitted == tuple(sorted(PERMITTED))
        assert [rule.verdict for rule in decision.rules] == ["pass"] * len(decisions.STEPS)
        return
    assert decision.outcome is Outcome.REFUSE
    assert decision.refused is not None
    assert (decision.refused.code, decision.refused.rule) == (code, code)
    assert decision.refused.message
    assert decision.refused.remedy
    assert (decision.permitted, decision.obligations) == ((), ())
    assert (decision.rules[-1].rule, decision.rules[-1].verdict) == (step, "refuse")


def test_who_asks_its_own_agency_is_not_told_to_telephone_itself() -> None:
    """It is told whose record that is; who asks another is told whom to telephone."""
    own = change(provider="nwas").decide().refused
    assert own is not None
    assert own.message == "nwas is the asking agency itself: no agreement is with oneself."
    assert own.remedy.startswith("Look in your agency's own systems")
    other = replace(BASE, agreements=()).decide().refused
    assert other is not None
    assert "in an emergency, telephone them" in other.remedy


def test_the_walk_is_in_the_order_a_human_would_ask() -> None:
    """Who, of whom, what for, who agreed, which role, about whom, on what law, what was said, which fields."""
    assert [rule.rule for rule in BASE.decide().rules] == [
        "identity.enrolled",
        "party.acts-for",
        "party.holder",
        "party.valid-today",
        "purpose.known",
        "agreement.in-force",
        "agreement.not-suspended",
        "role.named",
        "assurance.enough",
        "context.subject-named",
        "regime.fits",
        "basis.stands",
        "condition.special-category",
        "condition.offence",
        "gateway.opens",
        "further-use.authorised",
        "confidence.set-aside",
        "person.staff-conflict",
        "person.protected-identity",
        "person.holders-agree",
        "person.not-against",
        "person.opt-out",
        "person.consent",
        "context.condition",
        "judgement.taken",
        "fields.named",
    ]


def test_the_first_refusal_ends_the_walk() -> None:
    """What comes later is neither looked at nor listed: mend one thing and the next shows."""
    actor = replace(ACTOR, role="visitor", assurance=Assurance.UNSPECIFIED)
    worst = replace(
        change(purpose="curiosity", actor=actor, key_digest="0" * 64), directives=(said("objection"),)
    )
    mends: list[dict[str, Any]] = [
        {"key_digest": key_of("nwas/cad")},
        {"purpose": "emergency-response"},
        {"actor": replace(actor, role="ambulance-crew")},
        {"actor": ACTOR},
    ]
    codes = []
    request = worst.request
    for mend in ({}, *mends):
        request = replace(request, **mend)
        refused = replace(worst, request=request).decide().refused
        assert refused is not None
        codes.append(refused.code)
    assert codes == ["party", "purpose", "role", "assurance", "person"]


def test_a_permit_names_its_law_and_its_obligations() -> None:
    """Agreement, basis, condition, gateway, regime, controller, and what the requester takes on."""
    decision = BASE.decide()
    assert (decision.agreement, decision.agreement_version) == ("nwas-cfrs-premises", 1)
    assert (decision.basis, decision.condition) == ("art6-1-e", "art9-2-g-sch1-para18")
    assert (decision.gateway, decision.regime, decision.controller) == ("frsa-2004-s7", "uk-gdpr", "cfrs")
    assert [(o.code, o.due) for o in decision.obligations] == [
        ("no-onward-sharing", None),
        ("retain-until", NOW + timedelta(days=30)),
    ]


def test_an_empty_set_of_fields_permits_nothing() -> None:
    """No file can say so, but were there one it would be refused."""
    empty = PLAIN.flows[0].model_copy(update={"permitted": ()})
    none = PLAIN.model_copy(update={"flows": (empty,)})
    decision = replace(BASE, agreements=(none,)).decide()
    assert decision.outcome is Outcome.REFUSE
    assert decision.rules[-1].rule == "fields.named"


def test_a_refusal_about_the_person_reads_the_same_whatever_they_said() -> None:
    """Consent missing, objection, restriction, another number: one code, one sentence, one remedy."""
    cases = [
        word(REQUIRED),
        word(REQUIRED, said("consent", "nwas")),
        *(word(PLAIN, said(kind)) for kind in AGAINST),
        word(PLAIN, linked=[said("objection")]),
    ]
    assert len({case.decide().refused for case in cases}) == 1


# Whatever the input.

TIMES = [NOW + timedelta(days=d) for d in (-400, -1, 0, 1, 400)] + [NOW + TICK]
directives = st.builds(
    lambda kind, recorder, at, until, purposes, requesters: said(
        kind, recorder, said_at=at, valid_until=until, purposes=purposes, requesters=requesters
    ),
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(["cumberland", "nwas", "ncic"]),
    st.sampled_from(TIMES),
    st.none() | st.sampled_from(TIMES),
    st.sampled_from([frozenset(), frozenset({"emergency-response"}), frozenset({"audit"})]),
    st.sampled_from([frozenset(), frozenset({"nwas"}), frozenset({"ncic"})]),
)
lists = st.lists(directives, max_size=4).map(tuple)
AGREEMENTS = [PLAIN, REQUIRED, RECORDED, QUERIES, ENDED, LAST_DAY, TOMORROW, agreed(ncnd=True)]
ends = st.none() | st.sampled_from(TIMES)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any combination of valid inputs, most of them close to a permit."""
    often = st.sampled_from
    by = draw(often([HOME, HOME, HOME, SubjectRef("nhs-number", "9000000009"), None]))
    request = replace(
        BASE.request,
        subject=by,
        query=None if by else TRAITS,
        purpose=draw(often(["emergency-response"] * 5 + ["audit", "curiosity"])),
        provider=draw(often(["cfrs"] * 5 + ["lancs", "cumberland"])),
        key_digest=draw(often([key_of("nwas/cad")] * 5 + ["0" * 64])),
        actor=replace(
            ACTOR,
            role=draw(often(["ambulance-crew"] * 4 + ["visitor"])),
            assurance=draw(often([Assurance.PERSONAL_LOGIN] * 3 + list(Assurance))),
        ),
    )
    made = Case(request=request, directives=draw(lists), linked=draw(lists))
    for name in ("nwas", "cfrs"):
        starts = draw(often([SINCE] * 4 + TIMES))
        made = agency(made, name, valid_from=starts, valid_until=draw(ends))
    asking = replace(
        made.systems[0],
        valid_from=draw(often([SINCE] * 4 + TIMES)),
        valid_until=draw(ends),
        suspended=draw(often([False] * 5 + [True])),
    )
    chosen = draw(st.lists(often(AGREEMENTS), max_size=2))
    named = tuple(a.model_copy(update={"id": f"a-{n}"}) for n, a in enumerate(chosen))
    return replace(made, systems=draw(often([(asking,)] * 5 + [()])), agreements=named)


def essence(decision: Decision) -> tuple[object, ...]:
    """What a decision comes to, without the moment it was made at."""
    return (
        decision.outcome,
        decision.refused,
        decision.agreement,
        decision.agreement_version,
        decision.permitted,
        decision.rules,
        decision.ncnd,
        decision.about_person,
        tuple((o.code, o.detail) for o in decision.obligations),
    )


@given(cases())
@settings(max_examples=200)
def test_decide_is_total_and_either_permits_fields_or_says_why_not(case: Case) -> None:
    """It never raises; a permit names fields and an agreement, a refusal a code, words and a remedy."""
    decision = case.decide()
    assert (decision.outcome is Outcome.PERMIT) == (decision.refused is None) == bool(decision.permitted)
    if decision.outcome is Outcome.PERMIT:
        assert decision.agreement
        assert len(decision.rules) == len(decisions.STEPS)
    assert decision.about_person == ("person.staff-conflict" in [rule.rule for rule in decision.rules])


@given(cases())
@settings(max_examples=200)
def test_time_alone_changes_nothing_before_valid_until(case: Case) -> None:
    """Until the last microsecond before it, the decision is the same; without one, for ever."""
    decision = case.decide()
    if decision.valid_until is None:
        for days in (1, 500, 5000):
            assert essence(case.decide(case.now + timedelta(days=days))) == essence(decision)
        return
    assert decision.valid_until > case.now
    assert essence(case.decide(decision.valid_until - TICK)) == essence(decision)
    middle = case.now + (decision.valid_until - case.now) / 2
    assert essence(case.decide(middle)) == essence(decision)


def test_valid_until_is_the_first_of_all_ends() -> None:
    """System, both agencies, agreement and directives each end it; the earliest counts."""
    ends_at = [NOW + timedelta(days=n) for n in range(1, 6)]
    case = replace(
        BASE,
        agreements=(agreed(valid_until=(NOW + timedelta(days=6)).date()),),
        directives=(said("consent", valid_until=ends_at[4]),),
    )
    seen = [case.decide().valid_until]
    for name, at in (("nwas", ends_at[3]), ("cfrs", ends_at[2])):
        case = agency(case, name, valid_until=at)
        seen.append(case.decide().valid_until)
    case = replace(case, systems=(replace(case.systems[0], valid_until=ends_at[1]),))
    seen.append(case.decide().valid_until)
    case = replace(case, directives=(*case.directives, said("objection", said_at=ends_at[0])))
    seen.append(case.decide().valid_until)
    assert seen == list(reversed(ends_at))


@given(cases(), st.data())
@settings(max_examples=200)
def test_whatever_a_decision_reads_is_among_its_keys(case: Case, data: st.DataObject) -> None:
    """Changing any input whose key it does not name leaves it as it is; so the append sees every change."""
    decision = case.decide()
    others = {
        agency_key("cumberland"): agency(case, "cumberland", valid_until=SINCE),
        agency_key("cfrs"): agency(case, "cfrs", valid_until=SINCE),
        agency_key("nwas"): agency(case, "nwas", valid_until=SINCE),
        system_key("nwas/cad"): replace(case, systems=()),
        system_key("cfrs/new"): replace(
            case, systems=(*case.systems, System("cfrs", "new", Function.PARTNER, frozenset({"k"}), SINCE))
        ),
        subject_key(HOME.scheme, HOME.value): replace(case, directives=(said("objection"),)),
    }
    for purpose, (requester, provider) in product(
        ("audit", "emergency-response"), (("nwas", "cfrs"), ("cfrs", "nwas"))
    ):
        made = agreed(id="a-new", purpose=purpose, flows=[flow(requester=requester, provider=provider)])
        (key,) = flow_keys(made)
        others[key] = replace(case, agreements=(made, *case.agreements))
    key = data.draw(st.sampled_from(sorted(others)))
    if key not in decision.reads and not (key.startswith("subject:") and case.request.subject is None):
        assert essence(others[key].decide()) == essence(decision)
    assert decision.reads >= {
        agency_key(case.request.requester),
        agency_key(case.request.provider),
        system_key(case.request.caller),
        record_type_key(case.request.record_type),
        str(FlowKey(case.request.requester, case.request.provider, RISK, case.request.purpose)),
    }


@given(cases(), directives.filter(lambda d: d.kind in AGAINST), st.booleans())
@settings(max_examples=200)
def test_another_objection_never_turns_a_refusal_into_a_permit(
    case: Case, objection: Directive, linked: bool
) -> None:
    """What somebody says against a use can only stand in its way."""
    more = (
        replace(case, linked=(*case.linked, objection))
        if linked
        else replace(case, directives=(*case.directives, objection))
    )
    if case.decide().outcome is Outcome.REFUSE:
        assert more.decide().outcome is Outcome.REFUSE


@given(cases(), directives.filter(lambda d: d.kind == "consent"))
def test_a_consent_under_another_identifier_changes_nothing(case: Case, consent: Directive) -> None:
    """Links carry restrictions only, and the boundaries of what is ignored do not matter either."""
    assert essence(replace(case, linked=(*case.linked, consent)).decide()) == essence(case.decide())


@given(cases(), directives)
def test_the_requesters_own_record_of_a_consent_never_suffices(case: Case, consent: Directive) -> None:
    """Alone, it turns no refusal under `required` into a permit."""
    own = replace(consent, kind="consent", recorder="nwas")
    alone = replace(case, agreements=(REQUIRED,), directives=(own,))
    assert alone.decide().outcome is Outcome.REFUSE


@given(cases())
def test_the_order_of_directives_does_not_matter(case: Case) -> None:
    """A database gives them in any order."""
    turned = replace(case, directives=case.directives[::-1], linked=case.linked[::-1])
    assert essence(turned.decide()) == essence(case.decide())
    assert turned.decide().valid_until == case.decide().valid_until
