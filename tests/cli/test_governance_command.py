"""`broker governance`: reports from a running broker, in each form."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from tests.cli.conftest import Parties, Run


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
