"""What holds of decisions whatever is asked, said, agreed and tried."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core import agreement as agreements
from broker.core.decision import decide
from broker.core.directive import AGAINST, CAPACITIES, KINDS, SHIELDS, STANDINGS, Directive
from broker.core.directory import System
from broker.core.model import (
    Actor,
    Assurance,
    Decision,
    Function,
    Grant,
    Outcome,
    Override,
    Place,
    Reason,
    Request,
    SubjectRef,
    Traits,
)
from broker.core.reference import Reference
from broker.core.steps import STEPS
from tests.decisions.cases import LAW
from tests.decisions.examples import FILES, LABELS, TYPES, agencies, example
from tests.support.world import (
    key_of,
)

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
TIMES = st.sampled_from([NOW + timedelta(hours=h) for h in (-9999, -1, 0, 1, 9999)])
AGREED = [agreements.parse(path.read_bytes(), LAW) for path in FILES.values()]
FLOWS = [(agreed, flow) for agreed in AGREED for flow in agreed.flows]
NAMES = sorted(agencies())
Said = tuple[Directive, ...]


@st.composite
def directives(draw: st.DrawFn, kinds: frozenset[str] = KINDS) -> Directive:
    """Anything that somebody may have said."""
    pick = st.sampled_from
    some = st.sets(pick(["a.hill", "b.fell"]), max_size=1).map(frozenset)
    return Directive(
        str(draw(st.uuids())),
        draw(pick(sorted(kinds))),
        draw(pick(NAMES)),
        draw(TIMES),
        standing=draw(pick(sorted(STANDINGS))),
        purposes=draw(st.sets(pick(sorted(LAW.purposes)), max_size=1).map(frozenset)),
        requesters=draw(st.sets(pick(NAMES), max_size=1).map(frozenset)),
        valid_until=draw(st.none() | TIMES),
        matter=draw(pick(["sharing", "sharing", "visit"])),
        speaker=draw(pick(["", "mother", "father"])),
        authority=draw(pick(["", "birth-certificate"])),
        capacity=draw(pick(sorted(CAPACITIES))),
        assessor=draw(pick(["", "dr-moss"])),
        assessed_on=draw(st.none() | st.just(date(2026, 5, 1))),
        reconsider_at=draw(st.none() | TIMES),
        actors=draw(some),
    )


@st.composite
def asked(draw: st.DrawFn) -> tuple[Request, Grant | None]:
    """A request under an example, most of it as agreed; and perhaps what a human decided on it."""
    pick = st.sampled_from
    agreed, terms_ = draw(pick(FLOWS))
    scheme = draw(pick([*terms_.subject_schemes, "uprn", ""]))
    override = st.builds(
        Override,
        pick([*(agreed.override.codes if agreed.override else ()), "curiosity"]),
        pick(["life at risk", ""]),
        st.none() | TIMES,
    )
    request = Request(
        request_id="r",
        requester=terms_.requester,
        system="desk",
        key_digest=key_of(f"{terms_.requester}/desk"),
        record_type=terms_.record_type,
        provider=terms_.provider,
        subject=SubjectRef(scheme, "7") if scheme else None,
        query=None if scheme else Traits("Tyson"),
        purpose=draw(pick([agreed.purpose] * 5 + ["audit", "", "curiosity"])),
        actor=Actor(
            draw(pick(["a.hill", "c.dale"])),
            draw(pick([*terms_.roles, *terms_.roles, "visitor"])),
            on_behalf_of=draw(pick(["", "b.fell"])),
            assurance=draw(pick([Assurance.SIGNED_TOKEN, Assurance.SIGNED_TOKEN, *Assurance])),
        ),
        reason=Reason(draw(pick(["storm-declared", "x", ""]))),
        override=draw(st.none() | override),
        incident=draw(pick([f"{name}/2026-11-21/1" for name in ("cfrs", "cumbria-police", "nwas")] + [""])),
        place=draw(st.none() | st.just(Place("100062990001"))),
    )
    paths = st.lists(pick([*terms_.permitted, "nothing.there"]), unique=True).map(tuple)
    grant = draw(st.none() | st.builds(Grant, st.just("referral"), paths, TIMES))
    return request, grant


def reference(agreed: list[agreements.Agreement], suspended: bool = False) -> Reference:
    """All agencies, a system of each, and these agreements."""
    systems = [
        System(a, "desk", Function.PARTNER, frozenset({key_of(f"{a}/desk")}), datetime(2020, 1, 1, tzinfo=UTC))
        for a in NAMES
    ]
    stopped = [a.id for a in agreed] if suspended else []
    return Reference.build(1, LAW, agencies().values(), systems, agreed, {}, labels=LABELS, suspended=stopped)


ALL = reference(AGREED)
CASES = asked()
LISTS = st.lists(directives(), max_size=3).map(tuple)


def terms_of(request: Request) -> agreements.FlowTerms:
    """The flow that a request is about."""
    wanted = (request.requester, request.provider, request.record_type)
    return next(f for _, f in FLOWS if (f.requester, f.provider, f.record_type) == wanted)


@given(CASES, LISTS, LISTS, st.sampled_from([NOW, NOW.replace(year=1971), NOW.replace(year=2199)]))
@settings(max_examples=120)
def test_it_never_raises_and_permits_only_what_an_agreement_names(
    case: tuple[Request, Grant | None], here: Said, elsewhere: Said, now: datetime
) -> None:
    """Whatever the request, the word, the override and the grant: no field from anywhere else."""
    request, grant = case
    decision = decide(request, ALL, here, now, elsewhere, grant)
    assert (decision.outcome is Outcome.PERMIT) == (decision.refused is None) == bool(decision.permitted)
    assert set(decision.permitted) <= set(terms_of(request).permitted)
    assert list(decision.permitted) == sorted(set(decision.permitted))
    if decision.override:
        assert set(decision.permitted) <= set(terms_of(request).override)
    if decision.grant and grant:
        assert set(decision.permitted) <= set(grant.permitted)
    assert decision.valid_until is None or decision.valid_until > now
    ended = len(STEPS) if decision.outcome is Outcome.PERMIT else len(decision.rules)
    assert [r.rule for r in decision.rules] == [step.rule for step in STEPS[:ended]]


@given(CASES, LISTS, LISTS, directives(AGAINST | SHIELDS | {"opt-out"}), st.booleans())
@settings(max_examples=120)
def test_another_refusal_opens_nothing(
    case: tuple[Request, Grant | None], here: Said, elsewhere: Said, more: Directive, linked: bool
) -> None:
    """Whatever is said against a use, under whichever number: no refusal becomes a permit, no field is added.

    It may call for an override or a human where none was needed before, and those give fewer fields.
    """
    request, grant = case
    before = decide(request, ALL, here, NOW, elsewhere, grant)
    after = decide(
        request, ALL, here if linked else (*here, more), NOW, (*elsewhere, more) if linked else elsewhere, grant
    )
    assert set(after.permitted) <= set(before.permitted)
    if before.outcome is Outcome.REFUSE:
        assert after.outcome is not Outcome.PERMIT


@given(CASES, LISTS, st.data())
@settings(max_examples=100)
def test_another_permitted_field_takes_no_obligation_away(
    case: tuple[Request, Grant | None], here: Said, data: st.DataObject
) -> None:
    """An agreement that gives more asks at least as much of who receives it."""
    request, grant = case
    before = decide(request, ALL, here, NOW, (), grant)
    if before.outcome is not Outcome.PERMIT:
        return
    leaves = sorted(TYPES[request.record_type].labels)
    more = data.draw(st.sampled_from(leaves))
    wider = []
    for agreed in AGREED:
        flows = tuple(
            f.model_copy(update={"permitted": (*f.permitted, more)}) if f == terms_of(request) else f
            for f in agreed.flows
        )
        wider.append(agreed.model_copy(update={"flows": flows}))
    after = decide(request, reference(wider), here, NOW, (), grant)
    if after.outcome is Outcome.PERMIT:
        assert set(after.obligations) >= set(before.obligations)


@given(CASES, LISTS)
@settings(max_examples=100)
def test_the_empty_set_permits_nothing(case: tuple[Request, Grant | None], here: Said) -> None:
    """No agreement, an agreement of no fields, a suspended one: nothing, whatever else is so."""
    request, grant = case
    nameless = [
        a.model_copy(
            update={"flows": tuple(f.model_copy(update={"permitted": (), "override": ()}) for f in a.flows)}
        )
        for a in AGREED
    ]
    for nothing in (reference([]), reference(nameless), reference(AGREED, suspended=True)):
        assert decide(request, nothing, here, NOW, (), grant).outcome is not Outcome.PERMIT


def test_a_field_is_never_permitted_by_another_agreements_purpose() -> None:
    """Each example's plain request, asked under every other purpose, is refused."""
    for number in FILES:
        made = example(number)
        first = made["flows"][0]
        for purpose in LAW.purposes.keys() - {made["purpose"]}:
            request = Request(
                "r",
                first["requester"],
                "desk",
                key_of(f"{first['requester']}/desk"),
                first["record_type"],
                first["provider"],
                SubjectRef(first["subject_schemes"][0], "7"),
                None,
                purpose,
                Actor("a.hill", first["roles"][0], assurance=Assurance.SIGNED_TOKEN),
            )
            decision: Decision = decide(request, ALL, (), NOW)
            assert decision.rules[-1].rule == "agreement.in-force"
