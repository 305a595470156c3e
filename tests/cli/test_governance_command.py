"""`broker governance`: reports from a running broker, in each form."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from broker.core.london import local
from tests.cli.conftest import AGREEMENT, Parties, Run
from tests.support.signing import Signatory


def test_the_record_of_processing_is_per_controller(broker: Run, parties: Parties, auditor: str) -> None:
    """Each party of each flow; a controller alone where it is named; a partner sees its own agreements."""
    rows = broker("governance", "ropa", "--format", "json", "--as", auditor).json["rows"]
    ours = [each for each in rows if each["agreement"] == "summaries-for-crews/1"]
    assert [(each["controller"], each["activity"]) for each in ours] == [
        ("clifire", "receives"),
        ("clinhs", "discloses"),
    ]
    assert "special-category" in ours[0]["data"]
    assert ours[0]["subjects"] == "patients and others with an NHS number"
    alone = broker("governance", "ropa", "--controller", "clinhs", "--format", "json").json["rows"]
    assert {each["controller"] for each in alone} == {"clinhs"}
    assert "is not in the directory" in broker("governance", "ropa", "--controller", "nobody").err
    page = broker("governance", "ropa", "--as", parties.requester).out
    assert "<h2>Agency clifire</h2>" in page
    assert "<h1>Record of processing activities</h1>" in page


def test_reviews_that_are_due(broker: Run, parties: Parties) -> None:
    """Inside so many days; a table for a spreadsheet has the same rows."""
    far = broker("governance", "reviews", "--within", 3000, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(far)))
    (ours,) = [each for each in rows if each["agreement"] == "summaries-for-crews/1"]
    assert (ours["review_on"], ours["state"]) == ("2027-06-30", "due")
    near = broker("governance", "reviews", "--within", 0, "--format", "json").json["rows"]
    assert "summaries-for-crews/1" not in {each["agreement"] for each in near}
    assert broker("governance", "reviews", "--within", -1).code == 2


def test_what_no_assessment_covers(broker: Run, parties: Parties, tmp_path: Path) -> None:
    """Written to a file where one is named."""
    file = tmp_path / "dpia.html"
    said = broker("governance", "dpia", "-o", file)
    assert (said.code, said.out) == (0, f"{file}: written\n")
    assert '<th scope="row">summaries-for-crews/1</th>' in file.read_text()
    rows = broker("governance", "dpia", "--format", "json").json["rows"]
    (ours,) = [each for each in rows if each["agreement"] == "summaries-for-crews/1"]
    assert (ours["covered"], ours["sensitive"], ours["policy_document"]) == ("no", "special-category", "APD-7")
    assert "cannot write" in broker("governance", "dpia", "-o", tmp_path / "none" / "x.html").err


def test_who_took_a_partys_place_is_in_the_record_of_processing(
    broker: Run, parties: Parties, tmp_path: Path
) -> None:
    """With its rows under the agreement that it took over, and in whose place it stands."""
    for agency in ("oldtrust", "newtrust"):
        made = ("agency", "add", agency, "--name", agency, "--kind", "nhs", "--from", "2020-01-01")
        assert broker(*made).code == 0
    old, file = Signatory("oldtrust"), tmp_path / "old.toml"
    file.write_text(AGREEMENT.replace("clinhs", "oldtrust").replace("summaries-for-crews", "old-summaries"))
    key = old.pin(tmp_path / "old.pub")
    assert broker("agency", "key", "enrol", "oldtrust", key, "--actor-id", "ann").code == 0
    replace(parties, signatories=(parties.signatories[0], old)).sign(file)
    assert broker("agreement", "apply", file).code == 0
    today = local(datetime.now(UTC)).date()
    assert broker("agency", "succeed", "oldtrust", "--into", "newtrust", "--on", today, "--yes").code == 0
    (row,) = broker("governance", "ropa", "--controller", "newtrust", "--format", "json").json["rows"]
    assert (row["agreement"], row["counterpart"]) == ("old-summaries/1", "Agency clifire")
    assert row["lineage"] == f"newtrust in the place of oldtrust since {today}"
    assert "In whose place" in broker("governance", "ropa", "--controller", "newtrust").out
