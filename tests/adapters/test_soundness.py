"""What a record must be before it may leave an adapter: a fact that was asked for says its state."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime

import pytest

from adapters.sdk import Answer, Found, Question
from adapters.sdk.conformance import leaves
from adapters.sdk.desk import Desk
from adapters.sdk.soundness import faults
from broker.v1 import adapter_pb2
from records.ambulance.v1 import incident_pb2
from records.fire.v1 import premises_risk_pb2 as fire
from records.shared.v1 import fact_pb2 as shared

RISK = "records.fire.v1.PremisesRisk"
NONE = shared.FACT_STATE_NONE_RECORDED
PARTS = ("oxygen", "hoarding", "access", "hazards", "sprinklers", "evacuation")


def record(*but: str) -> fire.PremisesRisk:
    """A record in which every part but these says its state."""
    made = fire.PremisesRisk(uprn="1")
    for part in PARTS:
        if part not in but:
            getattr(made, part).state = NONE
    return made


@pytest.mark.parametrize("part", PARTS)
def test_a_fact_that_was_asked_for_must_be_there(part: str) -> None:
    """Left out, nobody could tell "none" from "not looked"; one leaf of it that was asked for is enough."""
    permitted = leaves(fire.PremisesRisk)
    missing = [f"{part}: was asked for and is not there; a fact must say its state"]
    assert faults(record(), RISK, permitted) == []
    assert faults(record(part), RISK, permitted) == missing
    deepest = max((path for path in permitted if path.startswith(f"{part}.")), key=lambda path: path.count("."))
    assert faults(record(*PARTS), RISK, ["uprn", deepest]) == missing


def test_a_fact_that_was_not_asked_for_may_be_left_out() -> None:
    """Neither a part that no agreement names nor a part without a state has to be there."""
    assert faults(record(*PARTS), RISK, ["uprn", "address.lines", "address.postcode", "crew_notes"]) == []
    assert faults(record("hazards"), RISK, [p for p in leaves(fire.PremisesRisk) if "hazards" not in p]) == []


@pytest.mark.parametrize(
    ("latitude", "longitude", "fault"),
    [
        (54.5, -3.1, None),
        (None, None, None),
        (54.5, None, "location.latitude: give both latitude and longitude, or neither"),
        (None, -3.1, "location.latitude: give both latitude and longitude, or neither"),
        (-3.1, 54.5, "location.latitude: outside the United Kingdom; are the two the wrong way round?"),
        (54.5, 31.0, "location.longitude: outside the United Kingdom; are the two the wrong way round?"),
        (float("nan"), -3.1, "location.latitude: outside the United Kingdom; are the two the wrong way round?"),
    ],
)
def test_a_point_is_whole_and_in_the_country(
    latitude: float | None, longitude: float | None, fault: str | None
) -> None:
    """Whatever was asked for: a crew would be sent there."""
    made = incident_pb2.Incident(incident="nwas/2026-11-21/0042")
    made.location.uprn = "1"
    if latitude is not None:
        made.location.latitude = latitude
    if longitude is not None:
        made.location.longitude = longitude
    assert faults(made, "records.ambulance.v1.Incident", ["incident"]) == ([fault] if fault else [])


def test_a_state_that_is_not_set_is_a_fault_whoever_asked() -> None:
    """A part that is there without a state is refused, asked for or not."""
    made = record()
    made.oxygen.ClearField("state")
    made.oxygen.kept_in = "hall"
    assert faults(made, RISK, ["uprn"]) == ["oxygen.state: a fact must say its state"]


async def test_the_log_says_which_fact_was_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """The asker gets a failure instead of the record, and the adapter's log the name of the field."""

    async def answer(question: Question) -> Answer:
        await asyncio.sleep(0)
        assert question.subject is not None
        return Found(record("hazards"), (question.subject,), datetime.now(UTC))

    provided = adapter_pb2.Provided(record_type=RISK, digest="0" * 64, subject_schemes=["uprn"])
    ask = adapter_pb2.Ask(
        record_type=RISK,
        digest="0" * 64,
        purpose="emergency-response",
        requester="nwas",
        permitted_paths=["uprn", "hazards.items.code"],
    )
    ask.subject.scheme, ask.subject.value, ask.timeout.seconds = "uprn", "1", 2
    with caplog.at_level(logging.WARNING, "adapters.sdk"):
        said = await Desk(answer, [provided], at_once=1).handle(ask, time.monotonic())
    assert said.failed.why.endswith("hazards: was asked for and is not there; a fact must say its state")
    assert "hazards: was asked for and is not there" in caplog.text
