"""Rows of the risk system -> PremisesRisk."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fire import mapping
from adapters.fire.mapping import Premises, premises_risk
from adapters.sdk import InvalidRequest, MappingError
from adapters.sdk.conformance import leaves
from adapters.sdk.soundness import faults
from records.fire.v1 import premises_risk_pb2 as fire
from records.shared.v1 import fact_pb2 as shared

RISK = "records.fire.v1.PremisesRisk"
READ_AT = datetime(2026, 11, 21, 9, 30, 15, 999, tzinfo=UTC)
PLACE = {"uprn": "100062990001", "address_lines": ["1 Some Lane"], "postcode": "LA1 1ZZ", "crew_notes": "n"}
BLANK: dict[str, Any] = {
    "held_back": False,
    "code": None,
    "amount": None,
    "location": None,
    "description": None,
    "fitted": None,
    "key_safe_code": None,
    "source": "site-visit",
    "nature": "FACT",
    "confidence": "CONFIRMED",
    "recorded_on": "2026-06-03",
    "review_by": None,
}


def everything(_: str) -> bool:
    """Wants every part."""
    return True


def record(facts: dict[str, Any], hazards: list[dict[str, Any]] | None = None, occupier: Any = None) -> Any:
    """The record made of such rows."""
    rows = {kind: BLANK | row for kind, row in facts.items()}
    extra = tuple({"code": "LPG", **BLANK, **h} for h in hazards or [])
    return premises_risk(Premises(READ_AT, PLACE, rows, extra, occupier), everything)


@pytest.mark.parametrize("good", ["1", "100062990001", "999999999999"])
def test_a_canonical_uprn_is_taken(good: str) -> None:
    """1 to 12 digits without leading zeros."""
    assert mapping.uprn(good) == good


@pytest.mark.parametrize(
    "bad", ["", "0", "0100062990001", "1000629900012", " 1", "1 ", "1\n", "１２", "12a", "+1", "1_0"]
)
def test_any_other_form_of_a_uprn_is_refused_without_quoting_it(bad: str) -> None:
    """One premises has one name, or what its occupier said could be walked around."""
    with pytest.raises(InvalidRequest) as e:
        mapping.uprn(bad)
    assert e.value.field == "subject.value"


@given(st.text(max_size=14))
def test_whatever_passes_is_its_own_canonical_form(value: str) -> None:
    """Nothing passes that an integer would print differently."""
    try:
        assert str(int(mapping.uprn(value))) == value
    except InvalidRequest:
        assert not (value.isascii() and value.isdigit() and value[0] != "0" and len(value) <= 12)


CODES = [
    ("oxygen", "CYLINDER", "kind", fire.OXYGEN_KIND_CYLINDER),
    ("oxygen", "CONCENTRATOR", "kind", fire.OXYGEN_KIND_CONCENTRATOR),
    ("oxygen", "LIQUID", "kind", fire.OXYGEN_KIND_LIQUID),
    ("evacuation", "UNAIDED", "need", fire.EVACUATION_NEED_UNAIDED),
    ("evacuation", "GUIDED", "need", fire.EVACUATION_NEED_GUIDED),
    ("evacuation", "ASSISTED", "need", fire.EVACUATION_NEED_ASSISTED),
    ("evacuation", "CARRIED", "need", fire.EVACUATION_NEED_CARRIED),
]


@pytest.mark.parametrize(("kind", "code", "field", "value"), CODES)
def test_each_code_has_its_word(kind: str, code: str, field: str, value: int) -> None:
    """Every code of the risk system maps to the enum value of that name."""
    part = getattr(record({kind: {"code": code}}), kind)
    assert part.state == shared.FACT_STATE_VALUE
    assert getattr(part, field) == value


def test_no_enum_value_is_without_a_code() -> None:
    """A value added to a record type must get a code of the risk system, or this says so."""
    mapped = {("OxygenKind", v) for k, _, f, v in CODES if f == "kind"}
    mapped |= {("EvacuationNeed", v) for k, _, f, v in CODES if f == "need"}
    known = {("OxygenKind", v) for v in fire.OxygenKind.values() if v}
    known |= {("EvacuationNeed", v) for v in fire.EvacuationNeed.values() if v}
    assert mapped == known


@pytest.mark.parametrize(
    ("kind", "row", "names"),
    [
        ("oxygen", {"code": "HELIOX-SECRET"}, "risk.fact.code (oxygen)"),
        ("oxygen", {"code": None}, "risk.fact.code (oxygen)"),
        ("oxygen", {"code": "cylinder"}, "risk.fact.code (oxygen)"),
        ("evacuation", {"code": "HOVER-SECRET"}, "risk.fact.code (evacuation)"),
        ("hoarding", {"amount": 10}, "risk.fact.amount"),
        ("hoarding", {"amount": None}, "risk.fact.amount"),
        ("sprinklers", {"fitted": None}, "risk.fact.fitted"),
        ("access", {"nature": "RUMOUR-SECRET"}, "risk.fact.nature"),
        ("access", {"confidence": "SECRET"}, "risk.fact.confidence"),
    ],
)
def test_an_unknown_code_is_named_and_never_guessed(kind: str, row: dict[str, Any], names: str) -> None:
    """The column is in the error; the value is not."""
    with pytest.raises(MappingError) as e:
        record({kind: row})
    assert names in str(e.value)
    assert "SECRET" not in str(e.value)


def test_no_row_means_none_recorded_and_held_back_means_withheld() -> None:
    """The two never look alike, and a fact held back carries nothing of itself."""
    made = record({"oxygen": {"held_back": True, "code": "LIQUID", "location": "hall"}})
    assert made.oxygen.state == shared.FACT_STATE_WITHHELD
    assert made.oxygen == fire.Oxygen(state=shared.FACT_STATE_WITHHELD, as_at="2026-11-21T09:30:15Z")
    for kind in ("hoarding", "access", "sprinklers", "evacuation", "hazards"):
        assert getattr(made, kind).state == shared.FACT_STATE_NONE_RECORDED


def test_hazards_held_back_leave_no_trace_beside_others_and_no_none_alone() -> None:
    """All held back: withheld, not none. Some: only the others are there."""
    assert record({}, [{"held_back": True}]).hazards.state == shared.FACT_STATE_WITHHELD
    mixed = record({}, [{"held_back": True, "code": "LPG"}, {"code": "ASBESTOS"}]).hazards
    assert mixed.state == shared.FACT_STATE_VALUE
    assert [h.code for h in mixed.items] == ["ASBESTOS"]


def test_no_sprinklers_is_a_value() -> None:
    """Somebody looked and there are none: that is a fact about them, not its absence."""
    part = record({"sprinklers": {"fitted": False}}).sprinklers
    assert part.state == shared.FACT_STATE_VALUE
    assert part.fitted is False


def test_provenance_says_source_nature_dates_and_confidence() -> None:
    """Dates come through as ISO 8601, from a date or from its text."""
    row = {"fitted": True, "nature": "ASSESSMENT", "confidence": "REPORTED", "review_by": date(2027, 1, 2)}
    got = record({"sprinklers": row}).sprinklers.provenance
    assert got == shared.Provenance(
        source="site-visit",
        nature=shared.NATURE_ASSESSMENT,
        recorded_on="2026-06-03",
        review_by="2027-01-02",
        confidence=shared.CONFIDENCE_REPORTED,
    )


def test_only_what_will_be_released_is_put_in() -> None:
    """Parts without a permitted leaf are left out whole."""
    held = Premises(READ_AT, PLACE, {"oxygen": BLANK | {"code": "LIQUID"}}, (), {"name": "N", "phone": "P"})
    made = premises_risk(held, lambda part: part == "oxygen")
    assert [f.name for f, _ in made.ListFields()] == ["uprn", "oxygen"]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "oxygen": st.sampled_from(["CYLINDER", "LIQUID"]).map(lambda c: {"code": c}),
            "hoarding": st.integers(1, 9).map(lambda n: {"amount": n}),
            "access": st.text(max_size=20).map(lambda t: {"description": t}),
            "sprinklers": st.booleans().map(lambda b: {"fitted": b}),
        },
    ),
    st.booleans(),
)
def test_whatever_the_rows_the_record_is_sound(facts: dict[str, Any], held_back: bool) -> None:
    """Every record that mapping makes passes the checks it is sent under."""
    rows = {kind: row | {"held_back": held_back} for kind, row in facts.items()}
    assert faults(record(rows), RISK, leaves(fire.PremisesRisk)) == []
