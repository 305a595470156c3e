"""Each example agreement is one that the broker takes, that the law bears, and that keeps back what it says."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from broker.core import agreement as agreements
from broker.core.agreement import MAX_FILE
from broker.core.flow import flow_question
from broker.core.lawfulness import flaws, openings
from tests.catalogue.test_scenarios import NEEDS, Need
from tests.decisions.cases import LAW, decided, rows
from tests.decisions.examples import FILES, FOLDER, LABELS, TYPES, agencies

AGREED = {number: agreements.parse(path.read_bytes(), LAW) for number, path in FILES.items()}
FLOWS = [(number, flow) for number, agreed in AGREED.items() for flow in agreed.flows]
EACH_FLOW = pytest.mark.parametrize(
    ("number", "flow"), FLOWS, ids=[f"{n} {f.requester}-{f.provider}-{f.record_type}" for n, f in FLOWS]
)


class Withheld(NamedTuple):
    """What a scenario keeps back: labels that no permitted path has, and a pattern that none matches."""

    labels: str
    pattern: str = "^$"


WITHHELD = {
    "01": Withheld("identifying contact third-party", "history|description"),
    "02": Withheld("identifying contact third-party", "oxygen|hoarding|complaint|disposition|crew_notes"),
    "03": Withheld("identifying free-text contact", "intelligence|conviction|source|confidence"),
    "04": Withheld("identifying contact free-text", "diagnos|condition|medic"),
    "05": Withheld("identifying third-party safe-contact", "^case|team|allergies|conditions|dosage|address"),
    "06": Withheld("free-text third-party", "care|notes|address"),
    "07": Withheld("offence contact", "observations.words|birth_date|age"),
    "08": Withheld("contact safe-contact", "home|parties.*birth|intelligence"),
    "09": Withheld("identifying third-party free-text", "unborn|team|(?<!ended)_on$|case|file"),
    "10": Withheld("identifying contact safe-contact location", "address|uprn"),
    "11": Withheld("identifying offence free-text location", "history|conviction"),
    "12": Withheld("identifying contact free-text", "evacuation|medical|diagnos"),
    "13": Withheld("identifying special-category free-text", "concern|nhs_number"),
    "14": Withheld("special-category contact free-text", "kind"),
}


@EACH_FLOW
def test_its_paths_are_leaves_of_a_record_that_its_provider_holds(
    number: str, flow: agreements.FlowTerms
) -> None:
    """With their states, an override too; by schemes that the record type has."""
    of = TYPES[flow.record_type]
    of.check_paths(flow.permitted)
    of.check_paths(flow.override)
    assert set(flow.subject_schemes) <= set(of.subject_schemes)
    assert of.held_by(agencies()[flow.provider].kind)


@EACH_FLOW
def test_the_law_bears_it(number: str, flow: agreements.FlowTerms) -> None:
    """No flaw, and where gateways are named one opens."""
    question = flow_question(AGREED[number], flow, LAW, agencies(), LABELS)
    assert flaws(question) == {}
    assert openings(question)[0]


@EACH_FLOW
def test_what_its_scenario_withholds_is_not_permitted(number: str, flow: agreements.FlowTerms) -> None:
    """No such label and no such field; nor would an override give it."""
    kept_back, of = WITHHELD[number], TYPES[flow.record_type]
    for path in flow.permitted:
        assert not of.labels[path] & set(kept_back.labels.split()), path
        assert not re.search(kept_back.pattern, path), path


@EACH_FLOW
def test_its_request_is_permitted_with_exactly_its_fields(number: str, flow: agreements.FlowTerms) -> None:
    """The table has its plain request; what a human is to judge is given whole once they have said so."""
    record = flow.record_type.removeprefix("records.")
    name = f"{int(number)}: {flow.requester} asks {flow.provider} for {record.split('.')[-1]}"
    (row,) = (row for row in rows() if row.case == name)
    assert row.outcome == ("refer" if flow.judgement else "permit")
    decision, _ = decided(row)
    assert decision.permitted == (() if flow.judgement else tuple(sorted(flow.permitted)))


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: need.scenario)
def test_what_a_scenario_needs_is_given(need: Need) -> None:
    """Of each record type that an example names; what is left out all the same is listed here, with why."""
    number, record_type = f"{int(need.scenario.split()[0]):02}", f"records.{need.record_type}"
    given = {p for f in AGREED[number].flows if f.record_type == record_type for p in f.permitted}
    missing = set(need.paths.split()) - given if given else set()
    assert missing <= {
        # Addresses and words for a place are kept back; a point is enough.
        "location.uprn",
        "people.state",
        "people.items.status",
        # Asked by two sides, each given what it needs.
        "access.directions",
        "worker.phone",
        "concern.observations.words",
        # A child that is not born yet has no attendance.
        "unborn.state",
        "unborn.due_on",
    }


def test_there_is_one_for_each_scenario() -> None:
    """Fourteen files, each with its number, all under a size that can be signed."""
    assert sorted(FILES) == [f"{n:02}" for n in range(1, 15)]
    assert len({agreed.id for agreed in AGREED.values()}) == 14
    assert all(path.stat().st_size <= MAX_FILE for path in FILES.values())


def test_each_says_what_stands_behind_it() -> None:
    """An approved impact assessment, a policy document where a condition needs one, whom to call."""
    for agreed in AGREED.values():
        named = {agreed.legal.condition, agreed.legal.offence_condition}
        named |= {p.legal.condition or "" for p in agreed.parties if p.legal}
        needs = any(LAW.conditions[code].policy_document for code in named if code)
        assert bool(agreed.governance.policy_document) == needs, agreed.id
        assert agreed.governance.dpia, agreed.id
        assert agreed.governance.dpia_status == "approved"
        assert agreed.governance.retention
        assert agreed.governance.breach_lead
        assert all(p.dpo for p in agreed.parties)


def test_humans_judge_what_only_humans_should() -> None:
    """MARAC research and firearms markers, and nothing that cannot wait; MARAC neither confirms nor denies."""
    judged = {number for number, flow in FLOWS if flow.judgement}
    assert judged == {"10", "13"}
    assert {number for number, agreed in AGREED.items() if agreed.ncnd} == {"10"}
    lanes = {n for n, agreed in AGREED.items() if agreed.limits and agreed.limits.emergency_per_minute}
    assert lanes == {"01", "02", "03", "04", "11"}


def test_the_page_names_every_file_in_every_table() -> None:
    """The first table links each; each of the three has a row for every number, and the weights are right."""
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for number, path in FILES.items():
        assert f"[{path.stem}]({path.name})" in page
        lines = re.findall(rf"^\| {int(number)} \|.*$", page, re.MULTILINE)
        assert len(lines) == 3
        weight = AGREED[number].directives.weight
        assert lines[2].split("|")[2].strip().startswith("put before" if number == "10" else weight)
        assert f"`{AGREED[number].purpose}`" in lines[0]
        limits = AGREED[number].limits
        lane = limits.emergency_per_minute if limits else None
        assert lines[2].split("|")[4].strip() == (f"{lane} a minute" if lane else "none")
