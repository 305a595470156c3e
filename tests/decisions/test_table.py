"""The decision table, row by row; and that it leaves nothing out."""

from __future__ import annotations

import pytest

from broker.core.directive import KINDS
from broker.core.steps import STEPS
from tests.decisions import words
from tests.decisions.cases import COLUMNS, LAW, TABLE, Row, came, decided, expected_fields, rows
from tests.decisions.examples import FILES, example


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.case)
def test_a_row_of_the_decision_table(row: Row) -> None:
    """Who asks whom for what and why, what the person has said, and what comes of it by which rule."""
    decision, permitted = decided(row)
    found = came(decision)
    assert (found.outcome, found.step) == (row.outcome, row.step), decision.rules[-1].detail
    assert found.fields == expected_fields(row, permitted)
    if row.gateway:
        assert found.gateway == row.gateway
    assert row.owner_told in decision.rules[-1].detail


def test_the_table_is_one_that_people_can_keep() -> None:
    """Its columns, a name for each row and no name twice, a law for each, nothing with blanks at its ends."""
    assert TABLE.read_text(encoding="utf-8").splitlines()[0] == ",".join(COLUMNS)
    names = [row.case for row in rows()]
    assert len(set(names)) == len(names) >= 150
    for row in rows():
        cells = [getattr(row, column) for column in COLUMNS]
        assert all(cell == cell.strip() and "\n" not in cell for cell in cells), row.case
        assert row.law, row.case


def test_every_scenario_and_every_purpose_is_asked_about() -> None:
    """Each example permits something and refuses something."""
    for number in FILES:
        outcomes = {row.outcome.split()[0] for row in rows() if row.agreement == number}
        assert outcomes & {"permit", "refer"}
        assert "refuse" in outcomes
    assert {row.purpose for row in rows()} >= LAW.purposes.keys()


def test_every_rule_ends_some_row() -> None:
    """Each step of the walk has a row that it ended, and each has the code that the others have of it."""
    ended = {row.step for row in rows()} - {""}
    assert ended == {step.rule for step in STEPS}
    codes: dict[str, set[str]] = {}
    for row in rows():
        if row.step not in ("", "fields.named"):
            codes.setdefault(row.step, set()).add(row.outcome)
    assert {rule: sorted(found) for rule, found in codes.items() if len(found) > 1} == {}


def test_every_rule_that_yields_is_gone_past() -> None:
    """By an override and by a human's decision, each where it may and nowhere else."""
    past: dict[str, set[str]] = {"override": set(), "grant": set()}
    for row in rows():
        if row.outcome.startswith("permit by"):
            for rule in decided(row)[0].rules:
                if rule.verdict.startswith("waived by "):
                    past[rule.verdict.removeprefix("waived by ")].add(rule.rule)
    heard = {"person.holders-agree", "person.not-against", "person.consent"}
    moment = {"context.condition", "judgement.taken"}
    assert past["override"] == {"role.named", *heard, *moment}
    assert past["grant"] == {"person.protected-identity", "person.opt-out", *heard, *moment}


def test_everything_that_can_be_said_is_said() -> None:
    """Kinds, standings, capacities and weights, here and under another number."""
    here = [d for row in rows() for d in words.said(row.said)[0]]
    elsewhere = [d for row in rows() for d in words.said(row.said)[1]]
    assert {d.kind for d in here} == KINDS
    assert {d.kind for d in elsewhere} >= {
        "consent",
        "refusal",
        "opt-out",
        "safe-contact",
        "protected-identity",
    }
    assert {d.standing for d in here} == {
        "self",
        "gillick-child",
        "parental-responsibility",
        "attorney",
        "deputy",
    }
    assert {d.capacity for d in here} == {"presumed", "has", "lacks"}
    weights = {example(row.agreement)["directives"]["weight"] for row in rows() if row.agreement and row.said}
    assert weights == {"required", "respected", "recorded"}
