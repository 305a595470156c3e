"""What an export says of who acted, and of an emergency override: in every form where somebody looks for it."""

from __future__ import annotations

import csv
import json
from typing import Any

import fhirkit
import pytest

from broker.offline.export import forms
from broker.offline.export.row import Said
from broker.offline.export.table import COLUMNS
from tests.support.exporting import given, rows, world_of_kinds
from tests.support.values import replace
from tests.support.world import AUDITOR, caller

USED = {"override": "life-at-risk", "incident": "nwas/2026-11-21/0042"}
REVIEWED = {
    "event": "override-reviewed",
    "outcome": "justified",
    "requester": "nwas",
    "provider": "ncic",
    "system": "fhir",
    "actor": {"id": "p.moss", "role": "caldicott-guardian"},
}


async def released(**changes: Any) -> Said:
    """The row of a release in an auditor's export, with another view."""
    found = next(
        each for each in rows(await given(await world_of_kinds())) if each.fact("event") == "disclosure"
    )
    return replace(found, view={**found.view, **changes})


def cells(said: Said) -> dict[str, str]:
    """A row of CSV by column."""
    (line,) = csv.reader([forms.form("csv").write(said).decode()])
    return dict(zip(COLUMNS, line, strict=True))


def logged(said: Said) -> tuple[str, dict[str, str]]:
    """Severity and text attributes of a log record."""
    line = json.loads(forms.form("otlp").write(said))
    record = line["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    pairs = {each["key"]: each["value"].get("stringValue", "") for each in record["attributes"]}
    return record["severityText"], pairs


async def test_an_emergency_override_shows_wherever_it_is_looked_for() -> None:
    """A column, an attribute and a warning, HL7's break-glass with the incident; without one, none of them."""
    used, plain = await released(**USED), await released(incident=None)
    assert cells(used)["override"] == "life-at-risk"
    assert cells(plain)["override"] == ""
    severity, told = logged(used)
    assert (severity, told["bluelight.override"]) == ("WARN", "life-at-risk")
    severity, told = logged(plain)
    assert (severity, "bluelight.override" in told) == ("INFO", False)
    assert "nwas/2026-11-21/0042" not in json.dumps(logged(used)), "no incident without details"
    event = json.loads(forms.form("fhir").write(used))
    assert [str(issue) for issue in fhirkit.validate(event)] == []
    ours, broken = event["purposeOfEvent"]
    assert ours["coding"][0]["code"] == used.fact("purpose")
    assert (broken["coding"][0]["code"], broken["text"]) == ("BTG", "life-at-risk")
    values = [each["what"]["identifier"]["value"] for each in event["entity"] if "identifier" in each["what"]]
    assert "nwas/2026-11-21/0042" in values
    quiet = json.loads(forms.form("fhir").write(plain))
    assert "BTG" not in json.dumps(quiet["purposeOfEvent"])


async def test_a_review_is_of_the_agency_whose_human_made_it() -> None:
    """Not of the agency that had asked, whose entry it is too."""
    reviewed = await released(**REVIEWED)
    assert cells(reviewed)["acted_for"] == "ncic"
    assert logged(reviewed)[1]["bluelight.acted_for"] == "ncic"
    event = forms.form("fhir").write(reviewed).decode()
    assert "spiffe://blue-light.test/agency/ncic/system/fhir" in event
    assert "agency/nwas/system" not in event
    assert cells(await released())["acted_for"] == "nwas"


@pytest.mark.parametrize("who", [AUDITOR, caller("cfrs")], ids=["auditor", "provider"])
async def test_of_a_request_whoever_asked_acted(who: Any) -> None:
    """As the view says: to a provider too."""
    found = [
        each for each in rows(await given(await world_of_kinds(), who)) if each.fact("event") == "disclosure"
    ]
    assert {each.fact("acted_for") for each in found} == {"nwas"}
