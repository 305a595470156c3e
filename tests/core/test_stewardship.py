"""The record of processing, reviews and impact assessments: rows of agreements."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, time
from typing import Any

import pytest

from broker.core import processing as records
from broker.core import stewardship
from broker.core.directory import Agency, Successor
from broker.core.london import moment
from broker.core.stewardship import Standing
from broker.core.terms import OwnLegal
from broker.law import load
from tests.core.test_checks import AGENCIES, asks, parsed, police, types
from tests.support.world import terms

TODAY = date(2026, 11, 21)
LAW = load()


def standing(status: str = "in force", last: date | None = None, **changes: Any) -> Standing:
    """The agreement of `terms` with these changes, and where it stands."""
    agreement = parsed(**changes)
    return Standing(agreement, status, last or agreement.valid_until)


def processing(*standings: Standing, controller: str = "") -> list[records.Processing]:
    """The record of processing."""
    return records.processing(standings, AGENCIES, types(), LAW, TODAY, controller)


def test_each_controller_has_its_row_of_each_flow() -> None:
    """Who gives discloses, who asks receives, each on its own law, in words with their source."""
    giver, asker = processing(standing(**police()))
    assert (asker.controller, asker.activity, asker.counterpart) == ("nwas", "receives", "CUMBRIA-POLICE")
    assert (giver.controller, giver.activity, giver.counterpart) == ("cumbria-police", "discloses", "NWAS")
    assert "Art. 6(1)(e)" in asker.basis
    assert "Art. 10" in asker.condition
    assert "offence" in asker.data
    assert asker.subjects == "people known to the police"
    assert asker.transfers_abroad.startswith("none")
    assert processing(standing(**police()), controller="nwas") == [asker]


def test_a_partys_own_law_stands_in_its_own_row() -> None:
    """DPA 2018 s.61 for who is under Part 3, Article 30 for the other side."""
    legal = {"basis": "art6-1-e", "condition": "art9-2-g-sch1-para18", "gateway": "common-law-police"}
    changes = police(purpose="law-enforcement", legal=legal)
    changes["parties"] = [
        {"agency": "nwas", "regime": "uk-gdpr", "dpo": "Dee Pea"},
        {"agency": "cumbria-police", "regime": "dpa-2018-part-3"},
    ]
    agreement = parsed(**changes)
    force = agreement.parties[1].model_copy(update={"legal": OwnLegal(basis="part3-s35-task")})
    agreement = agreement.model_copy(update={"parties": (agreement.parties[0], force)})
    giver, asker = processing(Standing(agreement, "in force", agreement.valid_until))
    assert "DPA 2018 s.35" in giver.basis
    assert "Part 3" in giver.regime
    assert ("Art. 6" in asker.basis, asker.data_protection_officer) == (True, "Dee Pea")


@pytest.mark.parametrize(
    ("status", "rows"),
    [("in force", 2), ("suspended", 2), ("not yet in force", 2), ("expired", 0), ("superseded", 0)],
)
def test_what_is_over_is_left_out(status: str, rows: int) -> None:
    """Of every report; what is suspended goes on being held."""
    one = standing(status, review_on=TODAY)
    assert len(processing(one)) == rows
    assert len(stewardship.reviews([one], TODAY, 90)) == rows // 2
    assert len(stewardship.assessments([one], AGENCIES, types(), LAW, TODAY)) == rows // 2


def test_a_processor_is_no_controller() -> None:
    """It has a row with the controller for which it acts, and none of its own."""
    parties = [
        {"agency": "nwas", "regime": "uk-gdpr"},
        {"agency": "cfrs", "regime": "uk-gdpr", "role": "processor"},
    ]
    assert [row.controller for row in processing(standing(parties=parties))] == ["nwas"]


@pytest.mark.parametrize(
    ("obligations", "governance", "said"),
    [
        ([{"code": "retain-until", "days": 30}], {"retention": "Line 7"}, "Line 7; 30 days after release"),
        ([{"code": "no-onward-sharing"}], {}, "not stated in the agreement"),
    ],
)
def test_retention_is_the_schedules_line_and_the_obligation(
    obligations: list[dict[str, Any]], governance: dict[str, str], said: str
) -> None:
    """Article 30(1)(f): the envisaged time limits."""
    assert processing(standing(obligations=obligations, governance=governance))[0].retention == said


@pytest.mark.parametrize(
    ("review_on", "last", "within", "state"),
    [
        (date(2026, 11, 20), None, 0, "overdue"),
        (date(2026, 11, 21), None, 0, "due"),
        (date(2026, 11, 22), None, 0, None),
        (date(2027, 2, 19), None, 90, "due"),
        (date(2027, 2, 20), None, 90, None),
        (date(2027, 12, 31), date(2027, 1, 31), 90, "ends"),
    ],
)
def test_reviews_are_due_by_the_day(review_on: date, last: date | None, within: int, state: str | None) -> None:
    """Inside so many days, both ends included; what ends before its review is told too."""
    rows = stewardship.reviews([standing(review_on=review_on, last=last)], TODAY, within)
    assert [row.state for row in rows] == ([state] if state else [])
    if state:
        assert rows[0].days == (review_on - TODAY).days


@pytest.mark.parametrize(
    ("governance", "sensitive", "covered"),
    [
        ({"dpia": "D-1", "dpia_status": "approved"}, True, "yes"),
        ({"dpia_status": "approved"}, True, "no"),
        ({"dpia": "D-1", "dpia_status": "in-progress"}, True, "no"),
        ({}, True, "no"),
        ({"dpia_status": "not-required"}, True, "no"),
        ({"dpia_status": "not-required"}, False, "not required"),
        ({}, False, "no"),
    ],
)
def test_an_agreement_is_covered_by_an_approved_assessment(
    governance: dict[str, str], sensitive: bool, covered: str
) -> None:
    """With its reference; where nothing sensitive flows, its parties may say that none is required."""
    permitted = () if sensitive else ("uprn",)
    flows = asks("nwas", "cfrs", "records.fire.v1.PremisesRisk", *permitted) if permitted else {}
    one = standing(governance=governance, **flows)
    (row,) = stewardship.assessments([one], AGENCIES, types(), LAW, TODAY)
    assert row.covered == covered
    assert (row.sensitive == "none") is not sensitive


def test_those_without_cover_come_first() -> None:
    """Whatever their names."""
    bare = standing(id="z-bare", governance={})
    (first, second) = stewardship.assessments([standing(), bare], AGENCIES, types(), LAW, TODAY)
    assert (first.agreement, first.covered, second.covered) == ("z-bare/1", "no", "yes")


def succeeded(**successors: str) -> dict[str, Agency]:
    """The agencies, the fire service replaced on 1 April 2026 by these, each in one district."""
    made = dict(AGENCIES)
    into = tuple(Successor(name.replace("_", "-"), frozenset({code})) for name, code in successors.items())
    made["cfrs"] = replace(made["cfrs"], valid_until=moment(date(2026, 4, 1), time.min), successors=into)
    for each in into:
        made[each.agency] = replace(AGENCIES["cfrs"], id=each.agency, name=each.agency.upper())
    return made


def test_who_takes_a_partys_place_has_rows_of_its_own_from_the_day_on() -> None:
    """With in whose place it stands; the old one's row says since when it is over; before the day nothing."""
    one, agencies = standing(), succeeded(west_fire="E07000028", east_fire="E07000030")
    for today, there in ((date(2026, 3, 31), False), (date(2026, 4, 1), True)):
        rows = records.processing([one], agencies, types(), LAW, today)
        found = {(row.controller, row.counterpart): row for row in rows}
        pairs = {("nwas", "CFRS"), ("cfrs", "NWAS")}
        pairs |= {("nwas", "WEST-FIRE"), ("west-fire", "NWAS")} if there else set()
        pairs |= {("nwas", "EAST-FIRE"), ("east-fire", "NWAS")} if there else set()
        assert found.keys() == pairs
        over = "cfrs ended on 2026-04-01, in its place west-fire, east-fire"
        assert found["cfrs", "NWAS"].lineage == (over if there else "")
        if there:
            west = found["west-fire", "NWAS"]
            assert west.lineage == "west-fire in the place of cfrs since 2026-04-01"
            assert (west.activity, west.agreement) == ("discloses", found["cfrs", "NWAS"].agreement)
            assert found["nwas", "WEST-FIRE"].lineage == west.lineage
    alone = records.processing([one], agencies, types(), LAW, date(2026, 4, 1), "west-fire")
    assert [row.counterpart for row in alone] == ["NWAS"]


def test_nobody_named_by_the_old_agency_answers_for_its_successor() -> None:
    """Its data protection officer is its own; and what a successor has signed itself stands instead."""
    parties = [
        {"agency": "nwas", "regime": "uk-gdpr", "dpo": "Dee Pea"},
        {"agency": "cfrs", "regime": "uk-gdpr", "dpo": "Ann Old"},
    ]
    agencies, today = succeeded(west_fire="E07000028"), date(2026, 4, 2)
    county = standing(parties=parties)
    rows = records.processing([county], agencies, types(), LAW, today)
    officers = {row.controller: row.data_protection_officer for row in rows}
    assert officers == {"nwas": "Dee Pea", "cfrs": "Ann Old", "west-fire": ""}
    flows = [{**flow, "provider": "west-fire"} for flow in terms()["flows"]]
    own = standing(id="own", parties=[parties[0], {"agency": "west-fire", "regime": "uk-gdpr"}], flows=flows)
    both = records.processing([county, own], agencies, types(), LAW, today, "west-fire")
    assert [(row.agreement, row.lineage) for row in both] == [("own/1", "")]
