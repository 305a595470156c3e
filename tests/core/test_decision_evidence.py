"""What a decision says beside its outcome: for the evidence, for the owner, for whoever must act by a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from broker.core import directive as words_of
from broker.core.decision import as_decided, is_about_person, is_subject_key, subject_key
from broker.core.directive import Directive, next_change
from broker.core.directory import Agency, agency_key, record_type_key, system_key
from broker.core.model import Decision, Outcome
from broker.core.steps import STEPS
from broker.core.steps.person import counts
from broker.core.walk import Walk, contact
from tests.core.test_decision import BASE, NOW, agreed, word
from tests.decisions.cases import Row, decided, requested, rows
from tests.support.values import replace
from tests.support.world import HOME, flow, said

BY_NAME = {row.case: row for row in rows()}
PLAIN = BY_NAME["5: cumbria-police asks cumberland for SocialCareStatus"]
MARAC = BY_NAME["10: cumbria-police asks cumberland for ResearchReturn"]
ENDS = datetime(2028, 4, 1, tzinfo=UTC)


def of(row: Row | str, **changes: str) -> Decision:
    """The decision on a row of the table, with some cells changed."""
    row = BY_NAME[row] if isinstance(row, str) else row
    return decided(replace(row, **changes))[0]


def verdicts(decision: Decision) -> dict[str, str]:
    """What each rule said, but for those that passed."""
    return {r.rule: r.verdict for r in decision.rules if r.verdict != "pass"}


# What it read.

STANDING = {
    agency_key("cumbria-police"),
    agency_key("cumberland"),
    system_key("cumbria-police/desk"),
    record_type_key("records.council.v1.SocialCareStatus"),
    "flow:cumbria-police|cumberland|records.council.v1.SocialCareStatus|missing-person",
}


def test_a_decision_names_exactly_what_it_read() -> None:
    """Both agencies, system, record type and flow; and the subject once the walk came to the person."""
    assert of(PLAIN).reads == STANDING | {"subject:nhs-number|9000000009"}
    assert of(PLAIN, role="visitor").reads == STANDING
    assert of(PLAIN, circumstances="").reads == STANDING | {"subject:nhs-number|9000000009"}
    by_traits = BY_NAME["a missing person by traits, agreed with the trust"]
    assert not any(is_subject_key(key) for key in of(by_traits).reads)


def test_what_was_read_of_contracts_and_routes_is_named_too() -> None:
    """So that a change of either is seen by the append; without one, nothing more."""
    acted = of("a control room asks for the fire service that it works for")
    assert {"acts:cfrs", agency_key("cumbria-police")} <= acted.reads
    routed = of("whoever holds it for this place")
    assert any(key.startswith("route:") for key in routed.reads)
    assert not any(key.startswith(("acts:", "route:")) for key in of(PLAIN).reads)


def test_what_is_kept_back_for_the_persons_sake_is_still_named() -> None:
    """What the requester is told is withheld goes by these, and so says nothing of the shield."""
    shielded = of("safe contact: the numbers to ring are left out")
    assert shielded.named == of("safe contact: the numbers to ring are left out", said="").permitted
    assert set(shielded.permitted) < set(shielded.named)


def test_the_request_is_carried_on_as_it_was_decided() -> None:
    """With the controllers of both sides; untouched where it named them itself."""
    for name, sides in (
        (
            "a control room asks for the fire service that it works for",
            ("cfrs", "cumbria-police", "cumberland"),
        ),
        ("whoever holds it for this place", ("cfrs", "", "cumberland")),
    ):
        request = requested(BY_NAME[name])
        carried = as_decided(request, of(name))
        assert (carried.requester, carried.processor, carried.provider) == sides
        assert replace(carried, requester=request.requester, processor="", provider=request.provider) == request
    plain = requested(PLAIN)
    assert as_decided(plain, of(PLAIN)) is plain


def test_a_hypothetical_asks_nothing_about_anybody() -> None:
    """The steps about the person are left out and say so; all others are walked."""
    row = BY_NAME["an objection, respected"]
    hypothetical = decided(row, nobody=True)[0]
    assert hypothetical.outcome is Outcome.PERMIT
    person = {step.rule for step in STEPS if step.rule.startswith("person.")}
    assert verdicts(hypothetical) == dict.fromkeys(person, "left out")
    assert not any(is_subject_key(key) for key in hypothetical.reads)
    assert {rule for rule in person if is_about_person(rule)} == person
    assert not is_about_person("judgement.taken")
    assert decided(replace(row, role="visitor"), nobody=True)[0].rules[-1].rule == "role.named"


def test_the_key_of_a_subject_is_known_as_one() -> None:
    """By its form alone, so that it is never kept."""
    assert subject_key("uprn", "7") == "subject:uprn|7"
    assert is_subject_key("subject:uprn|7")
    assert not is_subject_key("agency:uprn")


def test_it_says_whether_it_came_to_the_person() -> None:
    """From the first step about the person on, every refusal under `ncnd` must look alike."""
    assert of(PLAIN).about_person
    assert of("the actor is the former partner").about_person
    assert not of(PLAIN, role="visitor").about_person
    assert of(MARAC).ncnd
    assert not of(PLAIN).ncnd


# Until when it holds.


@pytest.mark.parametrize(
    ("changes", "until"),
    [
        ({}, "2028-04-01"),
        ({"when": "2028-04-01T00:00Z"}, ""),
        ({"when": "2026-03-31T10:00Z"}, "2026-04-01"),
        ({"circumstances": "system until 2027-01-01"}, "2027-01-01"),
        ({"circumstances": "system from 2027-01-02"}, "2027-01-02"),
        ({"circumstances": "system from 2026-11-21T10:00Z"}, "2028-04-01"),
        ({"circumstances": "cumbria-police until 2027-01-03"}, "2027-01-03"),
        ({"circumstances": "cumberland until 2027-01-04"}, "2027-01-04"),
        ({"said": "consent by ncic until 2027-01-05"}, "2027-01-05"),
        ({"said": "consent by ncic since 2027-01-06"}, "2027-01-06"),
        ({"said": "consent by ncic reconsider 2027-01-07"}, "2027-01-07"),
        ({"said": "consent by ncic until 2026-01-01"}, "2028-04-01"),
        ({"said": "consent by ncic until 2026-11-21T10:00Z"}, "2028-04-01"),
        ({"said": "consent by ncic for audit until 2027-01-08"}, "2028-04-01"),
        ({"said": "consent by ncic until 2027-02-01; consent by ncic until 2027-01-09"}, "2027-01-09"),
        ({"said": "objection by ncic elsewhere until 2027-01-10"}, "2027-01-10"),
        ({"said": "consent by ncic elsewhere until 2027-01-11"}, "2028-04-01"),
        ({"circumstances": "grant for 2h"}, "2026-11-21T12:00Z"),
        ({"circumstances": "grant ran out"}, "2028-04-01"),
        (
            {"circumstances": "override life-at-risk for 2h", "role": "x", "known_by": "signed-token"},
            "2026-11-21T12:00Z",
        ),
        ({"differs": "flow.context = now.hour < 25"}, "2026-11-21T10:01Z"),
        ({"differs": "flow.context = now.hour > 25"}, "2026-11-21T10:01Z"),
        (
            {
                "differs": "legal.gateway = children-act-2004-s16la",
                "circumstances": "law children-act-2004-s16la from 2026-12-01",
            },
            "2026-12-01",
        ),
    ],
    ids=str,
)
def test_it_holds_until_the_first_thing_that_time_alone_changes(changes: dict[str, str], until: str) -> None:
    """The agreement's end, or something sooner that was looked at; never a moment that is past."""
    row = replace(PLAIN, **changes)
    if "circumstances" in changes:
        row = replace(row, circumstances=f"{PLAIN.circumstances}; {row.circumstances}")
    found = of(row).valid_until
    assert found == (
        datetime.fromisoformat(until.replace("Z", "+00:00")).replace(tzinfo=UTC) if until else None
    )


def test_the_next_change_is_the_first_that_is_to_come() -> None:
    """Of what was said, each beginning, end and day to ask again; none where nothing is to come."""
    begun = said("consent", said_at=NOW - timedelta(days=9))
    assert next_change([begun], NOW) is None
    assert next_change([replace(begun, valid_until=NOW)], NOW) is None
    tomorrow = NOW + timedelta(days=1)
    for changes in ({"valid_until": tomorrow}, {"said_at": tomorrow}, {"reconsider_at": tomorrow}):
        assert next_change([begun, replace(begun, **changes)], NOW) == tomorrow


# What was applied, in the owner's words.


def test_each_rule_says_what_became_of_it() -> None:
    """Passed, gone past and by what, noted for a human, referred, refused; and nothing after the last."""
    assert verdicts(of(PLAIN)) == {}
    assert len(of(PLAIN).rules) == len(STEPS)
    assert verdicts(of(PLAIN, role="visitor")) == {"role.named": "refuse"}
    both = of("role by override, objection by the human: fewer of both")
    assert verdicts(both) == {"role.named": "waived by override", "person.not-against": "waived by grant"}
    assert both.waived == ("role.named", "person.not-against")
    assert {r.detail for r in both.rules} == {""}
    told = of("a protected identity in MARAC research, granted")
    assert told.waived == ("person.protected-identity", "judgement.taken")
    noted = of("an objection in MARAC research is put before the human")
    assert verdicts(noted) == {"person.not-against": "noted", "judgement.taken": "refer"}
    assert "Would otherwise be refused by: person.not-against." in noted.rules[-1].detail
    assert "otherwise" not in of(MARAC).rules[-1].detail
    for decision in (both, noted, of(PLAIN)):
        assert [r.rule for r in decision.rules] == [step.rule for step in STEPS[: len(decision.rules)]]


def test_a_refusal_says_of_an_override_why_it_did_not_count_and_only_there() -> None:
    """Where one was asked for and could have gone past."""
    told = of("no override: nobody saying why in words").rules[-1].detail
    assert told.endswith("An override was asked for and does not count: nobody said why in words.")
    assert "override" not in of("an objection, respected").rules[-1].detail
    assert "override" not in of("no override goes past the opt-out").rules[-1].detail
    assert "override" not in of("no override makes up for assurance").rules[-1].detail


def test_a_missing_consent_says_what_it_lacks_and_nothing_where_there_is_none() -> None:
    """The owner is told why the nearest one did not stand."""
    nothing = "No consent that counts has been recorded for this use."
    assert of("nothing said, required").rules[-1].detail == nothing
    visit = of("a consent to a visit is not consent to sharing").rules[-1].detail
    lacks = "was given for a visit, which is not consent to share"
    assert visit == f"{nothing} One recorded by cumberland {lacks}."


def test_a_permit_says_what_let_it_through() -> None:
    """The override's code, the referral of the human, and neither where neither was needed."""
    used, granted = of("override past an objection"), of("a human decided past an objection")
    assert (used.override, used.grant) == ("life-at-risk", "")
    assert (granted.override, granted.grant) == ("", "referral-1")
    for row in ("an override that nothing stood against gives the whole", PLAIN):
        assert (of(row).override, of(row).grant, of(row).waived) == ("", "", ())
    idle = of("a grant with nothing in its way changes nothing")
    assert (idle.override, idle.grant) == ("", "")


# What is owed, and by when.


def test_obligations_are_due_from_the_moment_of_the_decision() -> None:
    """As many days as the agreement says; none owed by whom nothing is given."""
    assert [(o.code, o.due) for o in of(PLAIN).obligations] == [
        ("notify-owner", None),
        ("retain-until", NOW + timedelta(days=90)),
        ("no-onward-sharing", None),
    ]
    assert of("an objection, respected").obligations == ()


def test_an_override_is_reviewed_and_nothing_else_is() -> None:
    """Within the hours that the agreement gives its provider; also where the agreement grants one unused."""
    owed = of("override past an objection").obligations[-1]
    assert (owed.code, owed.due) == ("override-review", NOW + timedelta(hours=72))
    assert owed.detail
    for row in (PLAIN, "a human decided past an objection", "a human decided"):
        assert "override-review" not in [o.code for o in of(row).obligations]


def test_a_referral_has_a_day_by_which_it_is_decided() -> None:
    """From the agreement; nothing else has one."""
    assert of(MARAC).refer_by == NOW + timedelta(hours=120)
    assert of("mother consents, father objects").refer_by == NOW + timedelta(hours=24)
    for row in (PLAIN, "an objection, respected", "a human decided"):
        assert of(row).refer_by is None


def test_a_referral_says_whose_it_is() -> None:
    """The role that the agreement names, or a named person; the telephone number where there is one."""
    refused = of(MARAC).refused
    assert refused is not None
    assert refused.code == refused.rule == "referred"
    assert "the agency's MARAC representative" in refused.message
    assert refused.remedy.endswith("with this one as retry_of.")
    plain = of("mother consents, father objects").refused
    assert plain is not None
    assert "a named person" in plain.message
    firearms = of("a firearms marker without consent is put before the clinician").refused
    assert firearms is not None
    assert firearms.remedy.endswith(" Telephone 017687 72025 where it cannot wait.")


def test_a_refusal_says_whom_to_speak_to() -> None:
    """The provider by its name, with contact and telephone where it has them; else who runs the broker."""
    known = Agency("x", "Fire", "fire", "england", NOW)
    assert contact(None) == "the operator of this broker"
    assert contact(known) == "Fire"
    assert contact(replace(known, contact="Duty desk")) == "Fire (Duty desk)"
    assert contact(replace(known, contact="Duty desk", phone="01228 1")) == "Fire (Duty desk, 01228 1)"
    refused = of("an objection, respected").refused
    assert refused is not None
    assert refused.remedy.startswith("Speak to Cumberland Council (Information governance). ")


def test_a_refusal_says_who_took_the_place_of_an_agency() -> None:
    """Each of its successors; and where there is none, how to look for the right id."""
    gone = "the old county council is no party any more"
    plain = of(gone).refused
    assert plain is not None
    assert plain.remedy.startswith("Check the provider's id with `broker agency list`")
    heirs = "; ".join(f"cumbria-county-council succeeded by {name}" for name in ("cumberland", "wf"))
    refused = of(gone, circumstances=heirs).refused
    assert refused is not None
    assert refused.remedy.startswith("It was replaced by cumberland, wf: name the one that has the place")
    unknown = of("a provider that nobody knows").refused
    assert unknown is not None
    assert unknown.remedy == plain.remedy


def test_the_agreement_of_one_that_ended_says_in_whose_place_the_parties_are() -> None:
    """To the owner, beside the rule that found it; nothing where they signed themselves."""
    both = {r.rule: r.detail for r in of("both parties have been replaced").rules}["agreement.in-force"]
    assert "gp-derwent in the place of ncic since 2026-11-01T00:00:00+00:00" in both.split("; ")
    assert "gwynedd in the place of cumberland since 2026-11-10T00:00:00+00:00" in both.split("; ")
    assert {r.detail for r in of(PLAIN).rules} == {""}
    objected = of("an objection, respected").rules
    assert {r.rule: r.detail for r in objected}["agreement.in-force"] == ""


def test_both_sides_of_the_law_stand_in_the_evidence() -> None:
    """The requester's own, and the provider's regime beside it."""
    decision = of("MARAC research by the council asks the police")
    assert (decision.regime, decision.provider_regime) == ("uk-gdpr", "dpa-2018-part-3")
    assert (decision.basis, decision.condition) == ("art6-1-e", "art9-2-g-sch1-para18")
    other = of(MARAC)
    assert (other.regime, other.provider_regime) == ("dpa-2018-part-3", "uk-gdpr")
    assert (other.basis, other.condition) == ("part3-s35-task", "sch8-para4")
    assert (decision.agreement, decision.agreement_version) == ("marac-research", 1)
    assert decision.controller == "cumbria-police"
    assert of("no agreement at all").controller == "cumbria-police"
    assert of("no gateway named: none is needed").gateway == ""


# Words and their worth.


def test_the_words_that_people_speak_in_are_these() -> None:
    """Whoever imports or records directives is held to them; the table and the wire have the same."""
    assert {
        "consent",
        "refusal",
        "objection",
        "restriction",
        "opt-out",
        "protected-identity",
        "staff-conflict",
        "safe-contact",
    } == words_of.KINDS
    assert words_of.KINDS - {"consent"} == words_of.CARRIED
    assert {"self", "gillick-child", "parental-responsibility", "attorney", "deputy"} == words_of.STANDINGS
    assert {"verbal", "written"} == words_of.MANNERS
    assert {"presumed", "has", "lacks"} == words_of.CAPACITIES
    assert {"alone", "accompanied"} == words_of.COMPANY
    assert {"sharing", "visit"} == words_of.MATTERS
    plain = Directive("d", "consent", "ncic", NOW)
    assert (plain.standing, plain.manner, plain.matter, plain.capacity) == (
        "self",
        "verbal",
        "sharing",
        "presumed",
    )
    empty = (plain.speaker, plain.authority, plain.assessor, plain.assessed, plain.taken_by)
    assert {*empty, plain.explained, plain.company} == {""}


def test_a_consent_can_matter_only_where_one_is_required_and_its_recorder_counts() -> None:
    """Whoever records one is told so: kind, matter, weight, recorder, scope, the requester itself."""
    required = agreed(
        directives={"weight": "required", "recorders": ["cumberland", "nwas"]},
        parties=[{"agency": a, "regime": "uk-gdpr"} for a in ("nwas", "cfrs", "cumberland")],
        flows=[flow(), flow(requester="cumberland")],
    )
    consent = said("consent")
    assert counts(consent, required)
    assert counts(said("consent", "nwas"), required)  # for what the council asks
    assert not counts(said("consent", "ncic"), required)
    assert not counts(said("objection"), required)
    assert not counts(said("consent", matter="visit"), required)
    assert not counts(consent, agreed(directives={"weight": "respected", "recorders": ["cumberland"]}))
    assert not counts(said("consent", purposes=frozenset({"audit"})), required)
    assert not counts(said("consent", requesters=frozenset({"cumberland"})), required)
    assert not counts(said("consent", providers=frozenset({"ncic"})), required)
    assert not counts(said("consent", record_types=frozenset({"records.x"})), required)


def test_of_holders_only_those_are_weighed_whose_word_the_agreement_heeds() -> None:
    """A consent that does not count disagrees with nobody."""
    father = said("objection", "ncic", standing="parental-responsibility", speaker="father")
    mother = said("consent", "cumberland", standing="parental-responsibility", speaker="mother", authority="x")
    heeded = agreed(directives={"weight": "respected", "recorders": ["cumberland"]})
    assert word(heeded, mother, father).decide().outcome is Outcome.REFER
    ignored = agreed(directives={"weight": "respected", "recorders": []})
    assert word(ignored, mother, father).decide().outcome is Outcome.REFUSE


def test_a_step_placed_before_the_agreement_is_a_defect() -> None:
    """It is raised, not refused, or a rule in the wrong place would pass for a decision."""
    with pytest.raises(LookupError, match="no agreement chosen yet"):
        _ = Walk(BASE.request, None, (), (), NOW).chosen  # type: ignore[arg-type]


def test_nothing_said_costs_nothing() -> None:
    """The same decision as with what does not concern it, without a moment at which it might change."""
    other = said("objection", purposes=frozenset({"audit"}), valid_until=NOW + timedelta(days=1))
    assert word(agreed(), other).decide() == word(agreed()).decide()


def test_a_conflict_is_looked_for_before_anything_else_about_the_person() -> None:
    """So from there on the subject is among what was read."""
    conflict = said("staff-conflict", actors=frozenset({BASE.request.actor.id}))
    decision = replace(BASE, directives=(conflict,)).decide()
    assert subject_key(HOME.scheme, HOME.value) in decision.reads
    assert decision.rules[-1].rule == "person.staff-conflict"


def test_traits_are_asked_with_only_where_agreed() -> None:
    """And an identifier by a scheme that is not named is not let in by that."""
    queries = agreed(flows=[flow(queries=True, subject_schemes=["police-nominal"])])
    assert replace(BASE, agreements=(queries,)).decide().rules[-1].rule == "context.subject-named"


def test_the_day_of_a_decision_is_its_argument() -> None:
    """The moment it was made at stands in it."""
    assert BASE.decide().decided_at == NOW
    assert replace(BASE, systems=()).decide().decided_at == NOW
