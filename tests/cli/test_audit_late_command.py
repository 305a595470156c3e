"""`broker audit record-late` against a running broker, and the file it reads."""

from __future__ import annotations

import csv
import io
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.cli import late_rows
from broker.errors import InvalidRequest, SetupError
from tests.cli.conftest import ACTOR, SUBJECT, Parties, Run

CELLS = {
    "id": "",
    "occurred": "",
    "channel": "telephone",
    "gave_agency": "clinhs",
    "gave_role": "nurse",
    "gave_name": "P. Quill",
    "took_agency": "clifire",
    "took_role": "fire-crew",
    "took_name": "J. Wilson",
    "about": SUBJECT,
    "record_type": "records.nhs.v1.PatientSummary",
    "fields": "allergies.state; allergies.items.substance.display",
    "purpose": "emergency-response",
    "agreement": "summaries-for-crews",
    "incident": "clifire/2026-11-21/0042",
    "why": "The broker was down.",
}


def row(**changes: str) -> dict[str, str]:
    """One sharing, as it would be typed up, a moment ago."""
    return {**CELLS, "occurred": datetime.now(UTC).isoformat(timespec="seconds"), **changes}


def file(path: Path, *rows: dict[str, str]) -> Path:
    """A CSV of them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(CELLS))
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue())
    return path


def test_a_file_is_recorded_once(broker: Run, parties: Parties, tmp_path: Path) -> None:
    """Each row gets an id and an entry; the same file gets the same ones; the other side finds them."""
    path = file(tmp_path / "downtime.csv", row(), row(why="And another."))
    said = ("audit", "record-late", *ACTOR, "--from-file", path, "--as", parties.requester)
    unnumbered = broker(*said)
    assert (unnumbered.code, "row 2, id" in unnumbered.err) == (1, True)
    checked = broker(*said, "--number", "--check")
    assert (checked.code, "nothing was written" in checked.out) == (0, True), checked.err
    first = broker(*said, "--json")
    assert first.code == 0, first.err
    assert [each["status"] for each in first.rows] == ["recorded", "recorded"]
    assert all(each["verified"] for each in first.rows)
    again = broker(*said)
    assert again.out.count("stood already") == 2
    assert "not evidence before release" in again.out
    why = ("--reason", "complaint", "--actor-id", "ann", "--role", "auditor", "--json")
    who = ("--person", "-", "--where", "event=recorded-late", "--as", parties.provider)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = broker("audit", "search", *why, *who, stdin=SUBJECT)
        if found.out.count("not-before-release") >= 2:
            break
        time.sleep(0.3)
    entries = {json.loads(line).get("entry") for line in found.out.splitlines()}
    assert {each["entry"] for each in first.rows} <= entries


def test_nothing_stands_of_a_file_with_a_bad_row(broker: Run, parties: Parties, tmp_path: Path) -> None:
    """It is named by row and column, by the broker or by this machine, never with what stands there."""
    said = ("audit", "record-late", *ACTOR, "--number", "--as", parties.requester, "--from-file")
    for changes, place in (
        ({"fields": "allergies.colour"}, "row 3, fields"),
        ({"about": "nhs-number:1"}, "row 3, about"),
        ({"took_agency": "clinhs"}, "row 3, took_agency"),
        ({"occurred": "yesterday"}, "row 3, occurred"),
        ({"why": ""}, "row 3, why"),
    ):
        path = file(tmp_path / "bad.csv", row(), row(**changes))
        refused = broker(*said, path)
        assert (refused.code, place in refused.err) == (1, True), refused.err
        assert "yesterday" not in refused.err
        assert refused.out == ""


def test_everything_wrong_is_said_at_once(broker: Run, parties: Parties, tmp_path: Path) -> None:
    """Of each row the first thing; to check, rows need no ids and the file stays; groups are fields."""
    rows = (
        row(why=""),
        row(fields="allergies; blood pressure"),
        row(fields="allergies.colour"),
        row(gave_agency="x"),
    )
    path = file(tmp_path / "wrong.csv", *rows)
    before = path.read_bytes()
    said = ("audit", "record-late", *ACTOR, "--check", "--as", parties.requester, "--from-file")
    refused = broker(*said, path)
    for place in ("row 2, why", "row 3, fields", "row 4, fields", "row 5, gave_agency"):
        assert place in refused.err, refused.err
    assert (refused.code, "4 rows would not be taken" in refused.err) == (1, True)
    good = broker(*said, file(tmp_path / "good.csv", row(fields="allergies")))
    assert (good.code, good.err) == (0, "")
    more = broker(*said, file(tmp_path / "more.csv", row(), row(fields="allergies; medications")))
    assert (more.code, "row 3, fields: medications: summaries-for-crews gives nothing of it" in more.err) == (
        0,
        True,
    )
    assert path.read_bytes() == before


def test_one_is_said_on_the_command_line(broker: Run, parties: Parties) -> None:
    """Whom it is about and why are read from standard input; the id that is printed makes a repeat safe."""
    options = [
        part
        for name, value in row(about="-", why="-").items()
        if name != "id"
        for part in (f"--{name.replace('_', '-')}", value)
    ]
    said = ("audit", "record-late", *ACTOR, *options, "--as", parties.requester)
    first = broker(*said, stdin=f"{SUBJECT}\nThe broker was down.\n")
    assert first.code == 0, first.err
    identifier = first.err.split()[1].rstrip(":")
    again = broker(*said, "--id", identifier, "--json", stdin=f"{SUBJECT}\nThe broker was down.\n")
    assert again.rows[0]["status"] == "stood already"
    refused = broker(*said, "--id", identifier, stdin=f"{SUBJECT}\nSomething else.\n")
    assert (refused.code, "--id" in refused.err) == (1, True)
    operator = broker(*said, "--as", "operator-cli", stdin=f"{SUBJECT}\nx\n")
    assert (operator.code, "agencies record what they shared" in operator.err) == (1, True)


def test_times_are_those_of_the_clock_on_the_wall() -> None:
    """A time without an offset is the United Kingdom's; one that came twice or never asks for its offset."""
    assert late_rows.occurred("2026-07-01 14:05") == datetime(2026, 7, 1, 13, 5, tzinfo=UTC)
    assert late_rows.occurred("2026-12-01T14:05:00") == datetime(2026, 12, 1, 14, 5, tzinfo=UTC)
    assert late_rows.occurred("2026-10-25T01:30:00+00:00") == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    for text, hint in (
        ("2026-10-25 01:30", "twice"),
        ("2026-03-29 01:30", "left out"),
        ("2026-07-01", "write"),
    ):
        with pytest.raises(ValueError, match=hint):
            late_rows.occurred(text)


def test_a_file_that_is_none_is_refused() -> None:
    """Other heads, no rows, too many, other bytes; a byte order mark and empty rows are let by."""
    heads = ",".join(late_rows.COLUMNS)
    for data in (b"", b"a,b\n1,2\n", heads.encode(), b"\xff\xfe", (heads + ",why\n").encode()):
        with pytest.raises(SetupError):
            late_rows.read(data)
    with pytest.raises(InvalidRequest):
        late_rows.read(f"{heads}\n{',' * 20}x\n".encode())
    rows = late_rows.read(f"\ufeff{heads}\n,,\n,2026-07-01 14:05\n".encode())
    assert [(each.number, each.cells["occurred"]) for each in rows] == [(3, "2026-07-01 14:05")]
    assert late_rows.read(late_rows.as_csv(rows))[0].cells == rows[0].cells
    with pytest.raises(SetupError):
        late_rows.read((heads + "\n" + ",x\n" * (late_rows.MAX_ROWS + 1)).encode())


def test_the_past_is_bounded(broker: Run, parties: Parties) -> None:
    """A year ago is a slip of the pen."""
    old = (datetime.now(UTC) - timedelta(days=800)).isoformat()
    options = [
        part
        for name, value in row(occurred=old).items()
        if name != "id"
        for part in (f"--{name.replace('_', '-')}", value)
    ]
    refused = broker("audit", "record-late", *ACTOR, *options, "--as", parties.requester)
    assert (refused.code, "--occurred" in refused.err) == (1, True)
