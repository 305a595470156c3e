"""The two steps that settle for whom is asked and who holds the record: what they say, read, and wait for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.core.acting import Acting
from broker.core.directory import Agency, agency_key
from broker.core.model import Outcome, Place
from broker.core.steps.sides import needs_district, resolved
from tests.core.test_routing import (
    ASKS,
    BASE,
    COUNTY_CASE,
    FOR_AMBULANCE,
    FRIDAY_DAY,
    LAW,
    refused,
    told,
)
from tests.support.cumbria import CARLISLE, CHILD, EDEN, SINCE, routes
from tests.support.values import replace
from tests.support.world import ACTOR

HOUR = timedelta(hours=1)
FOR_COUNCIL = Acting("c", "nwfc", "cumberland", "C-3", SINCE)


def test_asking_on_behalf_of_ones_own_agency_is_asking_for_oneself() -> None:
    """No contract with oneself is looked for."""
    decision = BASE.decide(actor=replace(ACTOR, on_behalf_of="nwas"))
    assert (decision.outcome, decision.requester, decision.processor) == (Outcome.PERMIT, "nwas", "")


def test_who_answers_for_a_provider_is_read_and_holds_until_it_ends() -> None:
    """The end of the contract, and of the processor's own time in the directory, end the decision."""
    ends = FRIDAY_DAY + HOUR
    by_contract = replace(BASE, acting=(replace(FOR_COUNCIL, valid_until=ends),)).decide(provider="cumberland")
    assert (by_contract.answered_by, by_contract.valid_until) == (("nwfc",), ends)
    assert agency_key("nwfc") in by_contract.reads
    agencies = tuple(replace(a, valid_until=ends) if a.id == "nwfc" else a for a in BASE.agencies)
    case = replace(BASE, acting=(FOR_COUNCIL,), agencies=agencies)
    assert (case.decide(provider="cumberland").valid_until) == ends


@pytest.mark.parametrize("there", [False, True], ids=["unknown", "ended"])
def test_a_processor_that_takes_no_part_answers_for_nobody(there: bool) -> None:
    """Whatever the contract says; the decision reads that it is not there."""
    ended = Agency("nwfc", "Fire control", "other", "england", SINCE, valid_until=FRIDAY_DAY)
    agencies = (*(a for a in BASE.agencies if a.id != "nwfc"), *((ended,) if there else ()))
    decision = replace(BASE, acting=(FOR_COUNCIL,), agencies=agencies).decide(provider="cumberland")
    assert (decision.outcome, decision.answered_by) == (Outcome.PERMIT, ())
    assert agency_key("nwfc") in decision.reads


def test_what_is_resolved_beforehand_is_what_is_decided() -> None:
    """For quotas and lanes: untouched where the request says it all, and a named provider is kept."""
    reference = replace(BASE, acting=(FOR_AMBULANCE,)).reference()
    plain = replace(BASE.request, provider="wf")
    assert resolved(plain, reference, FRIDAY_DAY) is plain
    for_other = replace(BASE.request, **{**ASKS, "provider": "wf"})
    assert (resolved(for_other, reference, FRIDAY_DAY).requester, for_other.place) == (
        "nwas",
        BASE.request.place,
    )
    assert resolved(for_other, reference, FRIDAY_DAY).provider == "wf"
    assert resolved(BASE.request, reference, FRIDAY_DAY).provider == "cumberland"


@pytest.mark.parametrize(
    ("provider", "place", "record_type", "purpose", "needs"),
    [
        ("", None, CHILD, "safeguarding-child", True),
        ("", Place(uprn="1"), CHILD, "safeguarding-child", True),
        ("", Place(district=CARLISLE), CHILD, "safeguarding-child", False),
        ("wf", None, CHILD, "safeguarding-child", False),
        ("", Place(responsible_authority="wf"), CHILD, "safeguarding-child", False),
        ("", Place(responsible_authority="wf"), CHILD, "no-such-purpose", False),
        ("", Place(responsible_authority="wf"), "records.fire.v1.PremisesRisk", "home-fire-safety", True),
    ],
)
def test_when_a_district_must_be_given(
    provider: str, place: Place | None, record_type: str, purpose: str, needs: bool
) -> None:
    """Where neither a provider nor a responsible authority says who holds it."""
    request = replace(BASE.request, provider=provider, place=place, record_type=record_type, purpose=purpose)
    assert needs_district(request, LAW) is needs


def test_the_route_that_led_there_is_told_and_nothing_beside_it() -> None:
    """By its name and file."""
    assert told(BASE.decide(), "party.holder") == "cumberland, by route children-west-day of cumbria/1."


def test_an_owner_is_told_which_routes_apply() -> None:
    """None, or each by name: a file that somebody mends."""
    nowhere = replace(BASE, files=()).decide()
    assert refused(nowhere) == ("party", "party.holder")
    assert told(nowhere, "party.holder") == "No route applies."
    other = routes().replace(b'id = "cumbria"', b'id = "another"', 1)
    both = replace(BASE, files=(routes(), other)).decide()
    assert refused(both) == ("party", "party.holder")
    names = sorted(told(both, "party.holder").removeprefix("Routes that apply: ").removesuffix(".").split(", "))
    assert names == ["children-west-day of another/1", "children-west-day of cumbria/1"]


def test_who_parted_an_agency_is_told_with_what_to_give() -> None:
    """Both successors, and that the district decides between them."""
    decision = COUNTY_CASE.decide(place=Place(responsible_authority="cumbria"))
    assert decision.refused is not None
    assert decision.refused.message.startswith("cumbria was replaced by cumberland, wf, and it is not known")
    assert decision.refused.remedy == "Give place.district, an ONS code, or name the provider."
    assert EDEN not in decision.refused.message
