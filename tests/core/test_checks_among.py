"""The checks that look beyond one value: files beside each other, and conditions that nothing makes true."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from broker.core import checks
from broker.core.agreement import Agreement
from broker.core.directory import Successor
from broker.law import load
from broker.law import roles as usual_roles
from tests.core.test_checks import AGENCIES, S18, TODAY, flow, found, parsed, parties, types
from tests.support.values import replace

LAW = load()


def test_offline_what_is_not_at_hand_is_a_warning() -> None:
    """An agency or an agreement that a broker may well know."""
    lancs = {"parties": parties("nwas", "lancs"), "flows": [flow(provider="lancs")], "supersedes": "older"}
    told = dict(found(whole=False, **lancs))
    assert told == {"agency.assumed": "parties.1.agency", "supersedes.given": "supersedes"}
    severities = {rule.id: rule.severity for rule in checks.RULES}
    assert {severities[each] for each in told} == {checks.WARNING}


@pytest.mark.parametrize(
    ("begins", "ends", "purpose", "supersedes", "overlaps"),
    [
        (date(2026, 1, 1), date(2026, 6, 1), "emergency-response", None, True),
        (date(2028, 12, 31), date(2029, 12, 31), "emergency-response", None, True),
        (date(2029, 1, 1), date(2029, 12, 31), "emergency-response", None, False),
        (date(2025, 1, 1), date(2025, 12, 31), "emergency-response", None, False),
        (date(2026, 1, 1), date(2028, 12, 31), "emergency-planning", None, False),
        (date(2027, 1, 1), date(2029, 12, 31), "emergency-response", "nwas-cfrs-premises", False),
    ],
)
def test_two_agreements_for_one_flow_on_one_day(
    begins: date, ends: date, purpose: str, supersedes: str | None, overlaps: bool
) -> None:
    """The other one may be of other days or another purpose, or take this one's place."""
    other = parsed(
        id="other",
        valid_from=begins,
        valid_until=ends,
        review_on=begins,
        purpose=purpose,
        supersedes=supersedes,
    )
    assert (("overlap", "flows.0") in found(other)) is overlaps


def test_versions_are_numbered_upwards() -> None:
    """Against what a broker has applied; files that lie beside each other may be two versions."""
    assert ("version.higher", "version") in found(parsed())
    assert ("version.higher", "version") not in found(parsed(), version=2)
    assert ("version.higher", "version") not in found(parsed(), whole=False)


def test_no_version_ends_an_agreement_for_a_party_that_does_not_sign() -> None:
    """A new version of an id with other parties would; one that has ended anyway stands in nobody's way."""
    older = parsed(parties=parties("nwas", "cfrs", "ncic"))
    assert found(older, version=2) == [("version.signed", "parties")]
    assert found(older, version=2, parties=parties("nwas", "cfrs", "ncic")) == []
    assert found(older, version=2, whole=False) == []
    ended = {"valid_until": date(2026, 3, 1), "review_on": date(2026, 2, 1)}
    over = parsed(parties=parties("nwas", "cfrs", "ncic"), **ended)
    assert found(over, version=2) == []


def test_a_version_that_leaves_a_gap_is_told() -> None:
    """The one before ends as it is applied, whatever its first day."""
    later = {"version": 2, "valid_from": date(2027, 1, 1)}
    assert found(parsed(), **later) == [("version.begins", "valid_from")]
    assert found(parsed(valid_from=date(2026, 12, 31)), **later) == []
    assert found(parsed(), version=2) == []


def test_nobody_signs_for_a_party_that_has_ended() -> None:
    """Its key would open what its successor holds, in a new agreement that the successor never signed."""
    end = datetime(2026, 6, 1, tzinfo=UTC)
    ended = replace(AGENCIES["cfrs"], valid_until=end, successors=(Successor("gone"),))
    setting = checks.Setting(parsed(), LAW, {**AGENCIES, "cfrs": ended}, types(), TODAY, whole=True)
    (told,) = checks.errors(setting)
    assert (told.rule, told.key) == ("agency.ended", "parties.1.agency")
    assert told.text == "cfrs ended on 2026-06-01; name who is in its place, gone"


def test_nobody_ends_an_agreement_for_who_has_taken_a_partys_place() -> None:
    """One of two successors that signs anew ends it for itself alone: what it signs goes before anyway."""
    begins = date(2026, 12, 1)
    into = (Successor("cfrs"), Successor("ncic"))
    ended = replace(AGENCIES["gone"], valid_until=datetime(2026, 6, 1, tzinfo=UTC), successors=into)
    older = parsed(id="older", parties=parties("nwas", "gone"), flows=[flow(provider="gone")])
    setting = checks.Setting(
        parsed(supersedes="older", valid_from=begins, version=2),
        LAW,
        {**AGENCIES, "gone": ended},
        types(),
        TODAY,
        (older,),
        whole=True,
    )
    (told,) = checks.check(setting)
    assert (told.rule, told.problem.split()[0]) == ("supersedes.signed", "ncic")


def test_nobody_ends_an_agreement_for_a_party_that_does_not_sign() -> None:
    """Each party of the older one that is still there is a party; one that has gone need not be."""
    older = parsed(id="older", parties=parties("nwas", "cfrs", "gone"), valid_until=date(2026, 12, 31))
    later = {"supersedes": "older", "valid_from": date(2026, 12, 1), "version": 2}
    assert found(older, **later) == []
    more = parsed(id="older", parties=parties("nwas", "cfrs", "ncic"), valid_until=date(2026, 12, 31))
    assert found(more, **later) == [("supersedes.signed", "supersedes")]


def test_agreements_do_not_take_each_others_place() -> None:
    """Nor one's own by way of another."""
    one = parsed(id="one", supersedes="two", purpose="emergency-planning")
    two = parsed(id="two", supersedes="nwas-cfrs-premises", purpose="emergency-planning")
    assert ("supersedes.ends", "supersedes") in found(one, two, supersedes="one")
    assert "supersedes.ends" not in dict(found(one, two, id="three", supersedes="one"))


def test_a_version_that_comes_too_late_is_told() -> None:
    """What another has taken the place of by then is never in force."""
    successor = parsed(id="successor", supersedes="nwas-cfrs-premises", valid_from=date(2026, 6, 1))
    late = {"valid_from": date(2026, 6, 1)}
    assert ("supersedes.never", "id") in found(successor, **late)
    assert "supersedes.never" not in dict(found(successor))


def test_a_role_that_nobody_has_is_told() -> None:
    """Unless it is a usual one, or another agreement has it; where none are at hand, none are asked for."""

    def told(*others: Agreement, roles: frozenset[str] = usual_roles()) -> list[tuple[str, str, str]]:
        made = parsed(flows=[flow(roles=["xyzzy", "ambulance-crew", "dispatchr"])])
        setting = checks.Setting(made, LAW, AGENCIES, types(), TODAY, others, whole=True, roles=roles)
        return [(e.rule, e.key, e.fix) for e in checks.check(setting) if e.rule == "roles.known"]

    unknown = ("roles.known", "flows.0.roles.0", "ask the requester's system what it sends")
    assert told() == [unknown, ("roles.known", "flows.0.roles.2", "did you mean dispatcher?")]
    other = parsed(id="other", flows=[flow(roles=["xyzzy"])])
    assert [key for _, key, _ in told(other)] == ["flows.0.roles.2"]
    assert told(roles=frozenset()) == []


def test_a_role_spelt_nearly_as_another_is_told() -> None:
    """A role of its own is fine, and so is one that others use."""
    other = parsed(id="other", purpose="emergency-planning")
    misspelt = [flow(roles=["ambulance-crew", "ambulance-crws"])]
    assert ("roles.alike", "flows.0.roles.1") in found(other, flows=misspelt)
    assert found(other, flows=[flow(roles=["ambulance-crew", "dispatcher"])]) == []


def test_the_same_of_several_flows_is_told_once() -> None:
    """With their numbers: a lead mends one line, not ten."""
    flows = [flow(), flow(requester="cumberland")]
    changes = {
        "parties": parties("nwas", "cfrs", "cumberland"),
        "flows": flows,
        "legal": {**S18, "condition": ""},
    }
    setting = checks.Setting(parsed(**changes), LAW, AGENCIES, types(), TODAY, whole=True)
    (told,) = [each for each in checks.check(setting) if each.rule == "condition.special-category"]
    assert told.problem.endswith("(flows 1, 2)")


CONTEXTS = [
    ('incident.startsWith("nwas/")', True),
    ('incident != ""', True),
    ('"complaint" == reason', True),
    ('actor.role == "ambulance-crew" && actor.assurance >= assurance.personal_login', True),
    ("now.hour >= 22 || now.hour < 6", True),
    ("now.weekday == 6 && now.hour == 3", True),
    ("place.known && place.uprn.startsWith('1000')", True),
    ('reason in ["complaint", "claim"]', True),
    ('now.date >= "2026-12-24"', True),
    ('purpose == "emergency-response" && requester == "nwas" && scheme == "uprn"', True),
    ('actor.device.matches("[a-z]+")', True),
    ('actor.role == "dispatcher"', False),
    ('purpose == "audit"', False),
    ("now.weekday == 8", False),
    ('scheme == "nhs-number"', False),
    ('incident.startsWith("nwas/") && incident == ""', False),
    ("actor.assurance > assurance.signed_token", False),
]


@pytest.mark.parametrize(("context", "possible"), CONTEXTS)
def test_a_condition_that_nothing_makes_true_is_told(context: str, possible: bool) -> None:
    """Roles, schemes and purpose are the flow's own; words are those that the condition compares with."""
    assert (("context.ever", "flows.0.context") in found(flows=[flow(context=context)])) is not possible
