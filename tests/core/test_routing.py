"""Files of routes, and whom they lead to: by place, by the clock, by responsible authority."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from broker.core import agreement as agreements
from broker.core.acting import Acting, acting_key
from broker.core.agreement import Agreement
from broker.core.decision import as_decided, decide
from broker.core.directive import Directive
from broker.core.directory import Agency, System, agency_key
from broker.core.flow import FlowKey
from broker.core.model import Decision, Function, Outcome, Place, Request, SubjectRef
from broker.core.recordtype import RecordType
from broker.core.reference import Reference
from broker.core.routing import parse, route_key
from broker.errors import InvalidRequest
from broker.law import load
from tests.support.cumbria import (
    CARLISLE,
    CHANGE,
    CHILD,
    EDEN,
    INTO,
    SINCE,
    child_plan,
    council,
    routes,
)
from tests.support.values import replace
from tests.support.world import ACTOR, ask, key_of, said, terms, toml

LAW = load()
TYPE = RecordType.submitted(child_plan(), CHILD)
PATHS = tuple(leaf.path for leaf in TYPE.leaves)[:3]
FRIDAY_DAY = datetime(2026, 11, 20, 16, 59, 59, tzinfo=UTC)
FRIDAY_NIGHT = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)
CHILD_ID = SubjectRef(TYPE.subject_schemes[0], "9000001005")
TICK = timedelta(microseconds=1)


def shared(
    *providers: str, requester: str = "nwas", purpose: str = "safeguarding-child", **changes: Any
) -> Agreement:
    """An agreement under which `requester` may see child plans of these."""
    legal = {
        "basis": "art6-1-e",
        "condition": "art9-2-g-sch1-para18",
        "offence_condition": "art10-dpa-s10-5-sch1-para18",
        "gateway": "",
        "confidentiality": "public-interest",
        "justification": "A child may be at risk.",
    }
    legal["offence_condition"] = next(c for c, row in LAW.conditions.items() if row.covers == "offence")
    flows = [
        {
            "provider": provider,
            "requester": requester,
            "record_type": CHILD,
            "permitted": list(PATHS),
            "roles": ["ambulance-crew"],
            "subject_schemes": [CHILD_ID.scheme],
        }
        for provider in providers
    ]
    parties = [{"agency": each, "regime": "uk-gdpr"} for each in (requester, *providers)]
    made = terms(
        id=f"{requester}-{'-'.join(providers)}-{purpose}",
        purpose=purpose,
        legal=legal,
        flows=flows,
        parties=parties,
        valid_from=date(2022, 1, 1),
        **changes,
    )
    return agreements.parse(toml(made), LAW)


def system(agency: str) -> System:
    """An enrolled system."""
    return System(agency, "cad", Function.PARTNER, frozenset({key_of(f"{agency}/cad")}), SINCE)


@dataclass(frozen=True)
class Case:
    """Everything a decision on a child plan is made of."""

    request: Request = field(
        default_factory=lambda: ask(
            record_type=CHILD,
            provider="",
            subject=CHILD_ID,
            purpose="safeguarding-child",
            place=Place(district=CARLISLE),
        )
    )
    agencies: tuple[Agency, ...] = (
        Agency("nwas", "NWAS", "ambulance", "england", SINCE),
        Agency("nwfc", "Fire control", "other", "england", SINCE),
        Agency("cfrs", "CFRS", "fire", "england", SINCE),
        council("cumberland"),
        council("wf"),
    )
    agreements: tuple[Agreement, ...] = (shared("cumberland", "wf"),)
    files: tuple[bytes, ...] = (routes(),)
    acting: tuple[Acting, ...] = ()
    directives: tuple[Directive, ...] = ()
    now: datetime = FRIDAY_DAY

    def reference(self) -> Reference:
        """The snapshot."""
        return Reference.build(
            1,
            LAW,
            self.agencies,
            [system("nwas"), system("nwfc"), system("wf")],
            self.agreements,
            {CHILD: TYPE.digest},
            labels={CHILD: TYPE.labels},
            routings=[parse(file, LAW) for file in self.files],
            acting=self.acting,
        )

    def decide(self, **changes: Any) -> Decision:
        """The decision, with these fields of the request changed."""
        return decide(replace(self.request, **changes), self.reference(), self.directives, self.now)


def told(decision: Decision, rule: str) -> str:
    """What a rule of the full view says."""
    return next(r.detail for r in decision.rules if r.rule == rule)


def refused(decision: Decision) -> tuple[str, str]:
    """Code, and the rule that refused."""
    assert decision.refused is not None, decision
    return decision.refused.code, decision.rules[-1].rule


BASE = Case()


@pytest.mark.parametrize(
    ("district", "now", "provider"),
    [
        (CARLISLE, FRIDAY_DAY, "cumberland"),
        (EDEN, FRIDAY_DAY, "wf"),
        ("E06000063", FRIDAY_DAY, "cumberland"),
        (CARLISLE, FRIDAY_NIGHT, "wf"),
        (EDEN, FRIDAY_NIGHT, "wf"),
        (CARLISLE, datetime(2026, 11, 21, 12, tzinfo=UTC), "wf"),  # Saturday
        (CARLISLE, datetime(2026, 12, 28, 12, tzinfo=UTC), "wf"),  # bank holiday
        (CARLISLE, datetime(2026, 12, 29, 12, tzinfo=UTC), "cumberland"),
        (CARLISLE, datetime(2026, 6, 15, 12, tzinfo=UTC), "cumberland"),  # a holiday in Scotland alone
        (CARLISLE, datetime(2026, 3, 27, 16, 30, tzinfo=UTC), "cumberland"),  # half past four in winter
        (CARLISLE, datetime(2026, 3, 30, 16, 30, tzinfo=UTC), "wf"),  # half past five in summer
        (CARLISLE, datetime(2026, 10, 23, 16, 30, tzinfo=UTC), "wf"),  # and back
        (CARLISLE, datetime(2026, 10, 26, 16, 30, tzinfo=UTC), "cumberland"),
    ],
)
def test_children_are_asked_about_by_place_and_clock(district: str, now: datetime, provider: str) -> None:
    """By day each council's own hub; at night, at weekends and on bank holidays the team that one hosts."""
    decision = replace(BASE, now=now).decide(place=Place(district=district))
    assert decision.outcome is Outcome.PERMIT, decision.rules[-1]
    assert (decision.provider, decision.controller) == (provider, provider)
    assert as_decided(BASE.request, decision).provider == provider
    assert "of cumbria/1" in told(decision, "party.holder")


def test_a_decision_by_a_route_ends_when_the_route_does() -> None:
    """At 16:59:59 it holds until 17:00; its keys are read, also those under which there is no route."""
    decision = BASE.decide()
    assert decision.valid_until == FRIDAY_NIGHT
    assert {route_key(CHILD), route_key("council"), agency_key("cumberland")} <= decision.reads


def test_a_route_for_the_record_type_goes_before_one_for_the_kind() -> None:
    """All that councils hold goes to Cumberland in the west, but for children's records by night."""
    west = "records.council.v1.SocialCareStatus"
    reference = replace(BASE, now=FRIDAY_NIGHT).reference()
    found = {t: reference.routes.find(t, CARLISLE, FRIDAY_NIGHT).routes[0].holder for t in (CHILD, west)}
    assert found == {CHILD: "wf", west: "cumberland"}


def test_where_no_route_leads_anywhere_it_is_refused_with_what_to_do() -> None:
    """Another district, or no file at all: `party`, and how to see what is known."""
    for case, place in ((BASE, Place(district="E08000003")), (replace(BASE, files=()), BASE.request.place)):
        decision = case.decide(place=place)
        assert refused(decision) == ("party", "party.holder")
        assert decision.refused is not None
        assert "broker route ask" in decision.refused.remedy
        assert decision.provider == ""


def test_a_route_to_the_requester_itself_is_refused() -> None:
    """Nobody needs a broker to ask themselves."""
    decision = replace(BASE, now=FRIDAY_NIGHT).decide(requester="wf", key_digest=key_of("wf/cad"))
    assert refused(decision) == ("party", "party.holder")


def test_a_named_provider_is_asked_wherever_the_place_is() -> None:
    """Routes are for requests that name none."""
    decision = replace(BASE, now=FRIDAY_NIGHT).decide(provider="cumberland")
    assert (decision.outcome, decision.provider) == (Outcome.PERMIT, "cumberland")
    assert decision.valid_until != FRIDAY_NIGHT
    assert route_key(CHILD) not in decision.reads


def test_a_looked_after_child_belongs_to_the_responsible_authority() -> None:
    """Whatever the district and the hour, and with no district at all."""
    for place in (
        Place(district=EDEN, responsible_authority="cumberland"),
        Place(responsible_authority="cumberland"),
    ):
        decision = replace(BASE, now=FRIDAY_NIGHT).decide(place=place)
        assert (decision.outcome, decision.provider) == (Outcome.PERMIT, "cumberland")
        assert told(decision, "party.holder") == "cumberland, by the responsible authority."


def test_where_life_may_depend_on_it_the_place_decides() -> None:
    """In an emergency the district's holder is asked, and the full view says whose child it is."""
    agreed = (shared("cumberland", "wf", purpose="emergency-response"),)
    place = Place(district=EDEN, responsible_authority="cumberland")
    decision = replace(BASE, agreements=agreed).decide(place=place, purpose="emergency-response")
    assert decision.provider == "wf"
    assert "the place decides, not the responsible authority cumberland" in told(decision, "party.holder")
    alone = Place(responsible_authority="cumberland")
    without = replace(BASE, agreements=agreed).decide(place=alone, purpose="emergency-response")
    assert without.provider == "cumberland"


def test_the_responsible_authority_is_for_what_councils_hold() -> None:
    """Another holder's record is looked for by the place."""
    reference = BASE.reference()
    fire = reference.routes.find("records.fire.v1.PremisesRisk", EDEN, FRIDAY_DAY)
    assert [route.holder for route in fire.routes] == ["cfrs"]
    place = Place(district=EDEN, responsible_authority="cumberland")
    decision = BASE.decide(record_type="records.fire.v1.PremisesRisk", place=place)
    assert decision.provider == "cfrs"


SPOILT = [
    ("version", {"version = 1\n": "version = 0\n"}),
    ("routes.4.holder", {'holder = "cfrs"': 'holder = "C D"'}),
    ("routes.0.districts.0", {'"E06000063"': '"Carlisle"'}),
    ("routes.0.timetable", {"[timetables.hubs]": "[timetables.other]"}),
    ("timetables.hubs.closes", {"closes = 17:00:00": "closes = 08:00:00"}),
    ("timetables.hubs.bank_holidays", {"england-and-wales": "cornwall"}),
    ("routes.3.record_type", {'kind = "council"\n': f'kind = "council"\nrecord_type = "{CHILD}"\n'}),
    ("routes.1.id", {"children-east-day": "children-west-day"}),
    ("routes.4.kindd", {'kind = "fire"': 'kindd = "fire"'}),
]


@pytest.mark.parametrize(("key", "changes"), SPOILT, ids=[row[0] for row in SPOILT])
def test_what_is_wrong_in_a_file_is_named(key: str, changes: dict[str, str]) -> None:
    """By its key in the file."""
    with pytest.raises(InvalidRequest) as caught:
        parse(routes(**changes), LAW)
    assert caught.value.field == key


@pytest.mark.parametrize(
    "changes",
    [
        {'hours = "out-of-hours"\ntimetable = "hubs"\n': 'hours = "always"\n'},
        {'kind = "council"': f'record_type = "{CHILD}"'},
    ],
    ids=["hours", "district"],
)
def test_two_routes_that_could_both_apply_are_refused(changes: dict[str, str]) -> None:
    """Of equal rank, in one district, at one moment: nobody could say who is asked."""
    with pytest.raises(InvalidRequest, match="could both apply in E0"):
        parse(routes(**changes), LAW)


def test_routes_follow_each_other_by_days() -> None:
    """One to the last day of March by the clock in the UK, the next from the first of April."""
    text = f"""
id = "x"
version = 1
title = "x"
[[routes]]
id = "old"
record_type = "{CHILD}"
districts = ["{CARLISLE}"]
holder = "cumbria"
valid_until = 2023-03-31
[[routes]]
id = "new"
record_type = "{CHILD}"
districts = ["{CARLISLE}"]
holder = "cumberland"
valid_from = 2023-04-01
"""
    found = replace(BASE, files=(text.encode(),)).reference().routes
    before = found.find(CHILD, CARLISLE, CHANGE - TICK)
    assert [r.name for r in before.routes] == ["old"]
    assert before.until == CHANGE == datetime(2023, 3, 31, 23, tzinfo=UTC)
    assert [r.name for r in found.find(CHILD, CARLISLE, CHANGE).routes] == ["new"]


# Acting for another.

FOR_AMBULANCE = Acting("a", "nwfc", "nwas", "C-1", SINCE)
ASKS = {
    "requester": "nwfc",
    "key_digest": key_of("nwfc/cad"),
    "provider": "cumberland",
    "actor": replace(ACTOR, on_behalf_of="nwas"),
}


def test_who_acts_for_another_is_decided_for_as_the_other() -> None:
    """Parties, law and fields are the controller's; the entry can name both."""
    decision = replace(BASE, acting=(FOR_AMBULANCE,)).decide(**ASKS)
    assert decision.outcome is Outcome.PERMIT, decision.rules[-1]
    assert (decision.requester, decision.processor) == ("nwas", "nwfc")
    assert acting_key("nwas") in decision.reads
    assert told(decision, "party.acts-for") == "nwfc acts for nwas under C-1."
    made = as_decided(replace(BASE.request, **ASKS), decision)
    assert (made.requester, made.processor, made.caller) == ("nwas", "nwfc", "nwfc/cad")
    assert decision.permitted == replace(BASE).decide(provider="cumberland").permitted


@pytest.mark.parametrize(
    "acting",
    [
        (),
        (replace(FOR_AMBULANCE, valid_until=FRIDAY_DAY),),
        (replace(FOR_AMBULANCE, valid_from=FRIDAY_DAY + TICK),),
        (replace(FOR_AMBULANCE, purposes=frozenset({"emergency-response"})),),
        (replace(FOR_AMBULANCE, record_types=frozenset({"records.fire.v1.PremisesRisk"})),),
        (replace(FOR_AMBULANCE, crews=frozenset({"C27P1"})),),
        (replace(FOR_AMBULANCE, processor="wf"),),
        # Never further: it acts for one that acts for the other.
        (replace(FOR_AMBULANCE, controller="cfrs"), Acting("b", "cfrs", "nwas", "C-2", SINCE)),
    ],
    ids=["none", "ended", "to come", "purpose", "type", "crew", "somebody else", "transitive"],
)
def test_without_a_relation_in_force_it_is_refused(acting: tuple[Acting, ...]) -> None:
    """As `party`, at its own step, and for the agency that asked."""
    decision = replace(BASE, acting=acting).decide(**ASKS)
    assert refused(decision) == ("party", "party.acts-for")
    assert (decision.requester, decision.processor) == ("nwfc", "")


def test_a_processor_has_nothing_of_its_own() -> None:
    """Asking for itself it has no agreement, whomever it acts for."""
    decision = replace(BASE, acting=(FOR_AMBULANCE,)).decide(**{**ASKS, "actor": ACTOR})
    assert refused(decision) == ("agreement", "agreement.in-force")


def test_a_crew_that_somebody_asks_for_is_no_agency() -> None:
    """`on_behalf_of` may name a crew, as ever."""
    decision = BASE.decide(provider="cumberland", actor=replace(ACTOR, on_behalf_of="C27P1"))
    assert (decision.outcome, decision.processor) == (Outcome.PERMIT, "")


def test_a_relation_that_ends_ends_the_decision() -> None:
    """Mutual aid for hours: an attached crew asks until then."""
    ends = FRIDAY_DAY + timedelta(hours=2)
    aid = replace(FOR_AMBULANCE, valid_until=ends, crews=frozenset({"C27P1"}))
    crew = replace(ACTOR, on_behalf_of="nwas", callsign="C27P1")
    decision = replace(BASE, acting=(aid,)).decide(**{**ASKS, "actor": crew})
    assert (decision.outcome, decision.valid_until) == (Outcome.PERMIT, ends)


@pytest.mark.parametrize("scope", ["requesters", "all"])
def test_what_was_said_against_a_processor_stands_where_it_acts(scope: str) -> None:
    """An objection to the processor, or to the controller, or to all."""
    requesters = frozenset({"nwfc"}) if scope == "requesters" else frozenset()
    case = replace(BASE, acting=(FOR_AMBULANCE,), directives=(said("objection", requesters=requesters),))
    assert refused(case.decide(**ASKS))[0] == "person"


def test_a_processors_own_record_of_a_consent_does_not_count() -> None:
    """No more than the requester's own would."""
    agreed = (shared("cumberland", "wf", directives={"weight": "required", "recorders": ["nwfc", "wf"]}),)
    for recorder, counts in (("nwfc", False), ("wf", True)):
        word = (said("consent", recorder=recorder),)
        case = replace(BASE, agreements=agreed, acting=(FOR_AMBULANCE,), directives=word)
        assert (case.decide(**ASKS).outcome is Outcome.PERMIT) is counts


def test_whose_adapter_may_answer_for_the_provider() -> None:
    """A processor's in force, of this scope; no attached crew's."""
    relation = Acting("c", "nwfc", "cumberland", "C-3", SINCE)
    case = replace(BASE, acting=(relation,))
    decision = case.decide()
    assert decision.answered_by == ("nwfc",)
    assert acting_key("cumberland") in decision.reads
    for other in (
        replace(relation, crews=frozenset({"X"})),
        replace(relation, purposes=frozenset({"direct-care"})),
        replace(relation, valid_until=FRIDAY_DAY),
        replace(relation, controller="wf"),
    ):
        assert replace(BASE, acting=(other,)).decide().answered_by == ()


# Succession.

COUNTY = council("cumbria", valid_until=CHANGE, successors=INTO)
THEN = CHANGE + timedelta(days=7, hours=10)  # a Saturday
COUNTY_CASE = replace(
    BASE,
    agencies=(*BASE.agencies, COUNTY),
    agreements=(shared("cumbria"),),
    files=(routes(**{'holder = "cumberland"': 'holder = "cumbria"', 'holder = "wf"': 'holder = "cumbria"'}),),
    now=THEN,
)


@pytest.mark.parametrize(("district", "heir"), [(CARLISLE, "cumberland"), (EDEN, "wf")])
def test_what_the_county_held_is_held_by_who_has_the_district(district: str, heir: str) -> None:
    """Routes and agreements are as they were; from 1 April 2023 they lead to the successor, as lineage."""
    place = Place(district=district)
    before = replace(COUNTY_CASE, now=CHANGE - TICK).decide(place=place)
    assert (before.outcome, before.provider, before.valid_until) == (Outcome.PERMIT, "cumbria", CHANGE)
    after = COUNTY_CASE.decide(place=place)
    assert (after.outcome, after.provider, after.controller) == (Outcome.PERMIT, heir, heir)
    assert (after.agreement, after.permitted) == (before.agreement, before.permitted)
    assert f"{heir} in the place of cumbria since 2023-03-31T23:00:00+00:00" in told(
        after, "agreement.in-force"
    )
    assert f"cumbria -> {heir}" in told(after, "party.holder")
    assert {agency_key("cumbria"), agency_key(heir)} <= after.reads


def test_the_old_agency_is_asked_no_more() -> None:
    """By name: refused, with who took its place."""
    decision = COUNTY_CASE.decide(provider="cumbria")
    assert refused(decision) == ("party", "party.valid-today")
    assert decision.refused is not None
    assert "cumberland, wf" in decision.refused.remedy


def test_without_a_district_nobody_guesses_between_successors() -> None:
    """A responsible authority that was parted needs the district."""
    decision = COUNTY_CASE.decide(place=Place(responsible_authority="cumbria"))
    assert refused(decision) == ("party", "party.holder")
    with_district = COUNTY_CASE.decide(place=Place(responsible_authority="cumbria", district=EDEN))
    assert with_district.provider == "wf"


def test_an_agreement_of_ones_own_goes_before_an_inherited_one() -> None:
    """From its first day; until then the inherited one serves, and the decision ends that day."""
    own = shared("cumberland")
    case = replace(COUNTY_CASE, agreements=(shared("cumbria"), own))
    assert case.decide().agreement == own.id
    later = own.model_copy(update={"valid_from": date(2023, 5, 1)})
    waiting = replace(COUNTY_CASE, agreements=(shared("cumbria"), later))
    decision = waiting.decide()
    assert decision.agreement == shared("cumbria").id
    assert decision.valid_until is not None
    assert decision.valid_until <= datetime(2023, 5, 1, tzinfo=UTC)


def test_flows_are_inherited_on_both_sides_and_over_generations() -> None:
    """The county asks and is asked; and its heir may itself be replaced."""
    one = council(
        "wf",
        valid_until=CHANGE + timedelta(days=100),
        successors=(replace(INTO[1], agency="lakes", districts=frozenset()),),
    )
    agencies = (*(a for a in COUNTY_CASE.agencies if a.id != "wf"), one, council("lakes"))
    case = replace(
        COUNTY_CASE, agencies=agencies, agreements=(shared("cumbria"), shared("nwas", requester="cumbria"))
    )
    flows = case.reference()._index.flows
    asked = {(k.requester, k.provider): f for k, f in flows.items()}
    assert {p for r, p in asked if r == "nwas"} == {"cumbria", "cumberland", "wf", "lakes"}
    assert {r for r, p in asked if p == "nwas"} == {"cumbria", "cumberland", "wf", "lakes"}
    assert asked["nwas", "lakes"][0].begins == CHANGE + timedelta(days=100)
    assert (
        replace(case, now=CHANGE + timedelta(days=101)).decide(place=Place(district=EDEN)).provider == "lakes"
    )


def test_what_was_said_of_the_old_agency_holds_of_the_new() -> None:
    """An objection to what the county holds is one to what its successors hold."""
    word = (said("objection", recorder="nwas", providers=frozenset({"cumbria"}), said_at=SINCE),)
    assert refused(replace(COUNTY_CASE, directives=word).decide())[0] == "person"
    others = (said("objection", recorder="nwas", providers=frozenset({"cfrs"}), said_at=SINCE),)
    assert replace(COUNTY_CASE, directives=others).decide().outcome is Outcome.PERMIT


def test_a_predecessors_record_of_a_consent_is_ones_own() -> None:
    """It never counts for the requester; a recorder's successor counts where the recorder did."""
    weight = {"weight": "required", "recorders": ["cumbria", "cfrs"]}
    asked_by_heir = replace(
        COUNTY_CASE, agreements=(shared("cumberland", requester="cumbria", directives=weight),)
    )
    asks = {"requester": "wf", "key_digest": key_of("wf/cad"), "provider": "cumberland"}
    assert FlowKey("wf", "cumberland", CHILD, "safeguarding-child") in asked_by_heir.reference()._index.flows
    for recorder, counts in (("cumbria", False), ("wf", False), ("cumberland", True), ("cfrs", True)):
        case = replace(asked_by_heir, directives=(said("consent", recorder=recorder, said_at=SINCE),))
        assert (case.decide(**asks).outcome is Outcome.PERMIT) is counts, recorder


def test_a_reference_without_successions_is_as_before() -> None:
    """Compiled flows are kept from snapshot to snapshot, and made anew when a party gets an heir."""
    plain = replace(COUNTY_CASE, agencies=(*BASE.agencies, council("cumbria")))
    first = plain.reference()
    again = Reference.build(
        2, LAW, first.agencies.values(), (), plain.agreements, {}, labels={CHILD: TYPE.labels}, before=first
    )
    assert len(again._index.flows) == 1
    grown = Reference.build(
        3, LAW, COUNTY_CASE.agencies, (), plain.agreements, {}, labels={CHILD: TYPE.labels}, before=again
    )
    assert len(grown._index.flows) == 3
