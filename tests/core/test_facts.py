"""What a reader is shown for a fact that is there, absent, unknown or held back."""

from __future__ import annotations

import pytest

from broker.core.facts import Row, Shown, rows
from records.fire.v1.premises_risk_pb2 import Oxygen, PremisesRisk
from records.nhs.v1.patient_summary_pb2 import Allergies, Allergy, Code, Name, PatientSummary
from records.shared.v1.fact_pb2 import (
    FACT_STATE_NONE_RECORDED,
    FACT_STATE_UNAVAILABLE,
    FACT_STATE_UNSPECIFIED,
    FACT_STATE_VALUE,
    FACT_STATE_WITHHELD,
)

SUBSTANCE = "allergies.items.substance.display"
ALL_OF_IT = [
    "allergies.as_at",
    "allergies.items.criticality",
    SUBSTANCE,
    "allergies.state",
]


def shown(record: PatientSummary, withheld: list[str], path: str) -> Row:
    """The one row of that path."""
    [row] = [row for row in rows(record, withheld) if row.path == path]
    return row


def test_a_withheld_allergy_never_reads_as_none() -> None:
    """Allergies withheld show withheld, whether the record says none, something or nothing of them."""
    for allergies in (
        Allergies(),
        Allergies(state=FACT_STATE_NONE_RECORDED),
        Allergies(state=FACT_STATE_VALUE, items=[Allergy(substance=Code(display="latex"))]),
    ):
        found = {row.path: row.shown for row in rows(PatientSummary(allergies=allergies), ALL_OF_IT)}
        assert found["allergies.state"] is Shown.WITHHELD
        assert Shown.NONE_RECORDED not in found.values()


def test_a_withheld_value_shows_withheld_beside_a_state_that_is_released() -> None:
    """With the state permitted and a substance not, the list shows withheld and not nothing."""
    record = PatientSummary(allergies=Allergies(state=FACT_STATE_VALUE))
    assert shown(record, [SUBSTANCE], SUBSTANCE).shown is Shown.WITHHELD
    assert shown(record, [SUBSTANCE], "allergies.state") == Row("allergies.state", "value", None)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (FACT_STATE_UNSPECIFIED, "not stated"),
        (FACT_STATE_VALUE, "not stated"),
        (FACT_STATE_NONE_RECORDED, "none recorded"),
        (FACT_STATE_UNAVAILABLE, "unavailable"),
        (FACT_STATE_WITHHELD, "withheld"),
        (99, "unavailable"),
    ],
)
def test_an_absent_value_reads_as_its_state_says(state: int, word: str) -> None:
    """Only "none recorded" reads as none; unspecified and a state of a newer version never do."""
    record = (
        PatientSummary.FromString(b"\x3a\x02\x08" + bytes([state]))
        if state
        else PatientSummary(allergies=Allergies())
    )
    assert shown(record, [], SUBSTANCE).value == word


def test_a_record_without_anything_claims_nothing() -> None:
    """An empty record shows every field as not stated."""
    assert {row.shown for row in rows(PatientSummary(), [])} == {Shown.NOT_STATED}
    assert {row.shown for row in rows(PremisesRisk(), [])} == {Shown.NOT_STATED}


def test_none_recorded_beside_an_item_is_a_contradiction() -> None:
    """A source that says none and sends one is shown as contradictory, with what it sent."""
    record = PatientSummary(
        allergies=Allergies(state=FACT_STATE_NONE_RECORDED, items=[Allergy(substance=Code(display="latex"))])
    )
    assert shown(record, [], "allergies.state").shown is Shown.CONTRADICTORY
    assert shown(record, [], "allergies.items[0].substance.display").value == "latex"
    assert Shown.NONE_RECORDED not in {row.shown for row in rows(record, [])}


def test_when_and_by_whom_stand_beside_none_recorded() -> None:
    """An as-at time and provenance do not contradict "none recorded"."""
    oxygen = Oxygen(state=FACT_STATE_NONE_RECORDED, as_at="2026-11-21T10:00:00Z")
    oxygen.provenance.source = "home oxygen register"
    found = {row.path: row.value for row in rows(PremisesRisk(oxygen=oxygen), [])}
    assert found["oxygen.state"] == found["oxygen.kind"] == "none recorded"
    assert found["oxygen.as_at"] == "2026-11-21T10:00:00Z"
    assert found["hoarding.state"] == "not stated"


def test_values_are_shown_in_the_order_of_the_type() -> None:
    """Values, lists and enum names are text, and every field has a row."""
    record = PatientSummary(nhs_number="9990000000", name=Name(family="Moss", given=["Ann", "May"]), gender=1)
    found = rows(record, [])
    assert [(row.path, row.value) for row in found[:5]] == [
        ("nhs_number", "9990000000"),
        ("name.family", "Moss"),
        ("name.given", "Ann, May"),
        ("birth_date", "not stated"),
        ("gender", "female"),
    ]


def test_false_and_zero_are_not_claimed_as_facts() -> None:
    """Without presence, false cannot be told from nothing said, and is shown as not stated."""
    record = PremisesRisk()
    record.sprinklers.state = FACT_STATE_VALUE
    assert {row.path: row.value for row in rows(record, [])}["sprinklers.fitted"] == "not stated"
