"""`broker audit report` and `complaint` against a running broker: each command, and how a report is written."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.cli.document import BARS, WIDE, Document, Table, after, write
from broker.cli.report import Format
from broker.v1 import report_pb2 as pb
from tests.cli.conftest import Parties, Result, Run
from tests.cli.test_audit_card_command import BROWSER, printed
from tests.cli.test_report import EVIL, Page

WHO = ("--actor-id", "ann", "--role", "auditor")
WHY = ("--reason", "complaint")
# Nobody whom other tests of this broker ask about: it is counted what there is of them.
PERSON = "nhs-number:9434765870"


def until(done: Callable[[], bool], within: float = 20.0) -> None:
    """Wait for the index to have caught up."""
    deadline = time.monotonic() + within
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_a_request_for_access_from_beginning_to_answer(broker: Run, parties: Parties) -> None:
    """Begun with the person on standard input, cleared by an agency, answered, and nothing cleared after it."""
    asked = broker(
        *("request", "--record-type", "records.nhs.v1.PatientSummary", "--provider", "clinhs"),
        *("--subject", "-", "--purpose", "emergency-response", "--actor-id", "j.wilson", "--role", "visitor"),
        *("--as", parties.requester),
        stdin=PERSON,
    )
    assert asked.code == 1, "refused: nobody is there to answer, and the role may not ask"
    begun = broker(
        "audit", "report", "subject", *WHY, *WHO, "--json", "--as", parties.provider, stdin=f"{PERSON}\n"
    )
    assert begun.code == 0, begun.err
    access = begun.json["access"]
    assert begun.json["verified"] is True
    listed = broker(
        "audit", "report", "drafts", "--reason", "to-check", *WHO, "--json", "--as", parties.requester
    )
    assert access in {each["access"] for each in listed.json["accesses"]}
    seen: list[Result] = []

    def drafted() -> bool:
        seen.append(broker("audit", "report", "draft", access, *WHY, *WHO, "--json", "--as", parties.requester))
        return seen[-1].code == 0

    until(drafted)
    draft = seen[-1].json
    (table,) = draft["tables"]
    assert {row["status"] for row in table["rows"]} == {"not cleared"}
    assert "DRAFT" in draft["about"][0]
    clear = ("audit", "report", "clear", access, *WHO, "--as", parties.requester)
    assert broker(*clear).code == 2, "neither --entry nor --all"
    refused = broker(*clear, "--all", "--leave-out", "third-party")
    assert (refused.code, "record the reasons" in refused.err) == (1, True)
    left_out, *rest = [row["entry"] for row in table["rows"]]
    named = broker(*clear, "--entry", left_out, "--leave-out", "third-party", "--words", "a neighbour")
    assert named.code == 0, named.err
    if rest:
        assert broker(*clear, "--all", "--json").json["cleared"] == len(rest)
    answer = ("audit", "report", "answer", access, *WHY, *WHO)
    assert "no such request for access" in broker(*answer, "--as", parties.requester).err
    early = broker(*answer, "--json", "--as", parties.provider)
    assert (early.code, early.out) == (3, "")
    assert "your own entries: 0 to be told, 0 left out, 0 undecided" in early.err
    assert "give it with --yes" in early.err
    told = broker(*answer, "--yes", "--json", "--as", parties.provider).json
    assert left_out not in json.dumps(told["tables"])
    assert "These words stand in every such report" in told["about"][0]
    assert "9434765870" not in json.dumps(told)
    again = broker(*answer, "--as", parties.provider)
    assert (again.code, "own entries" in again.err) == (0, False), "what was given is given again as it was"
    page = again.out
    assert "<h1>Who has seen what about you</h1>" in page
    assert "was answered already" in broker(*clear, "--all").err


def test_a_person_is_read_from_standard_input_alone(broker: Run, parties: Parties) -> None:
    """There is no option for one; nothing, or too much, is refused without being repeated."""
    for stdin in ("", "nobody", f"{PERSON}\n" * 9):
        result = broker("audit", "report", "subject", *WHY, *WHO, "--as", parties.provider, stdin=stdin)
        assert result.code == 2
        assert "9434765870" not in result.err
    bad = broker("audit", "report", "subject", *WHY, *WHO, "--as", parties.provider, stdin="nhs-number:12")
    assert bad.code == 1
    assert "nhs-number:12" not in bad.err


def test_reports_for_who_may_have_them(broker: Run, parties: Parties, auditor: str, tmp_path: Path) -> None:
    """Each by its command; an operator has performance alone; a file is written where it was asked for."""
    since = ("--since", "2026-01-01")
    for command in ("breach", "snooping", "overrides", "agency", "complaints"):
        made = broker("audit", "report", command, *WHY, *WHO, *since, "--json", "--as", auditor)
        assert made.code == 0, made.err
        assert made.json["report"] == command
        assert {"Log", "Checkpoint", "Index", "Read as", "This report"} <= made.json["facts"].keys()
        refused = broker("audit", "report", command, *WHY, *WHO, *since, "--as", "operator-cli")
        assert (refused.code, "performance report and no other" in refused.err) == (1, True)
    page = tmp_path / "page.html"
    page.write_text("what stood there before")
    page.chmod(0o644)
    month = ("audit", "report", "performance", "--month", "2026-09", *WHY, *WHO)
    assert broker(*month, "-o", page).code == 0
    assert "<h1>The broker in figures</h1>" in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600
    now = f"{datetime.now(UTC):%Y-%m}"
    month_again = broker(*month, "--json", "--as", auditor).json
    assert "these are the figures of then" in month_again["facts"]["First published"]
    breach = ("audit", "report", "breach", *WHY, *WHO, *since, "--json", "--as", auditor)
    assert broker(*breach, "--key-digest", "a" * 64).json["facts"]["Only by the key"] == "a" * 64
    assert "not over" in broker(*month[:4], now, *month[5:]).err
    assert broker(*month[:4], "2026", *month[5:]).code == 2
    assert "of your own side" in broker(*month, "--as", parties.requester).err
    none = broker("audit", "report", "breaches", "--reason", "to-check", *WHO, "--as", parties.requester)
    assert (none.code, "wrong person" in none.out) == (0, True)


def test_signs_are_the_readers_to_set(broker: Run, auditor: str, tmp_path: Path) -> None:
    """Hours, purposes, how often, and a staff list from a file, which must name its columns."""
    staff = tmp_path / "staff.csv"
    staff.write_text("\ufeffactor,agency,name,postcode\nj.wilson,clifire,Jo Wilson,CA1 1AA\n", encoding="utf-8")
    snooping = ("audit", "report", "snooping", *WHY, *WHO, "--as", auditor, "--json")
    options = ("--repeated", 3, "--hours", "fire-crew=08:00-18:00", "--expects-incident", "missing-person")
    facts = broker(*snooping, *options, "--staff", staff).json["facts"]
    assert facts["Often"].startswith("3 times")
    assert facts["Hours"] == "fire-crew 08:00 to 18:00"
    assert facts["An incident is expected for"] == "missing-person"
    assert facts["Staff list"] == "1 people"
    assert "signs.shifts.0" in broker(*snooping, "--hours", "late").err
    staff.write_text("who\nj.wilson\n")
    assert "actor at least" in broker(*snooping, "--staff", staff).err


def test_a_complaint_by_commands(broker: Run, parties: Parties, auditor: str) -> None:
    """Recorded, acknowledged, closed, listed, and in the report."""
    as_ = (*WHO, "--as", parties.requester)
    made = broker("audit", "complaint", "add", "--reference", "C-17", "--words", "a visit", *as_, "--json").json
    complaint = made["complaint"]
    assert (made["entry"], made["verified"]) == (complaint, True)
    assert complaint in broker("audit", "complaint", "list", "--reason", "to-check", *as_).out
    assert broker("audit", "complaint", "acknowledge", complaint, *as_).code == 0
    close = ("audit", "complaint", "close", complaint, "--outcome", "upheld", "--words", "sorry", *as_)
    assert broker(*close).code == 0
    assert "closed already" in broker(*close).err
    listed = broker("audit", "complaint", "list", "--reason", "to-check", *as_, "--json").json["complaints"]
    assert [each["outcome"] for each in listed if each["complaint"] == complaint] == ["upheld"]
    told = broker("audit", "report", "complaints", *WHY, *WHO, "--format", "csv", "--as", auditor).out
    assert "C-17" in told


def document(*rows: list[str | int | None], chart: str = "number") -> Document:
    """A report of one table."""
    table = Table("A heading", "A caption", [("name", "Name"), ("number", "Number")], ["A note"], chart)
    table.rows.extend(rows)
    facts = [("Log", "log"), ("Fact", EVIL)]
    return Document(
        "agency", f"Title {EVIL}", [EVIL], facts, "Nothing at all.", "2026-11-21T10:00:00Z", [table]
    )


def test_how_far_a_report_is_comes_before_it() -> None:
    """Told as it comes, and no part of the report."""
    told: list[tuple[int, int]] = []
    head = pb.ReportPart(head=pb.ReportHead(name="agency"))
    parts = [pb.ReportPart(progress=pb.ReportProgress(read=n, of=9)) for n in (2, 5)] + [head]
    assert list(after(iter(parts), lambda read, of: told.append((read, of)))) == [head]
    assert told == [(2, 9), (5, 9)]


def test_a_page_with_bars_is_accessible_and_whole_in_itself() -> None:
    """The drawing has a name and words, its numbers stand in the table; nothing is fetched and nothing acts."""
    text = write(document(["one", 12], [EVIL, None]), Format.html)
    page = Page(text)
    assert page.all("html") == [{"lang": "en-GB"}]
    assert [len(page.all(tag)) for tag in ("main", "h1", "h2", "table", "caption", "svg")] == [1] * 6
    assert [each["scope"] for each in page.all("th")] == ["col", "col", "row", "row"]
    (drawing,) = page.all("svg")
    ids = {each.get("id") for _, each in page.elements}
    assert drawing["role"] == "img"
    assert set(str(drawing["aria-labelledby"]).split()) <= ids
    assert [each["width"] for each in page.all("rect")] == ["300.0", "0.0"]
    assert "<td>12</td>" in text
    assert "withheld" in text
    assert "<script" not in text
    assert not re.search(r"https?:|url\(|@import|\bon\w+=", text)
    assert "\x1b" not in text


def test_people_read_names_and_programs_codes() -> None:
    """On the page a name stands in the place of a code, and a time as people write it; in files for programs
    the codes, with what they mean."""
    made = document(["nwas", 1])
    made.tables[0].kinds = ["agency", ""]
    made.tables.append(Table("", "Times", [("at", "When")], [], "", ["time"], [["2026-07-21T10:00+01:00"]]))
    made.names = made.tables[0].names = {("agency", "nwas"): "North West Ambulance (nwas)"}
    text = write(made, Format.html)
    assert '<th scope="row">North West Ambulance (nwas)</th>' in text
    assert ">North West Ambulance (nwas)</text>" in text, "in the drawing too"
    assert "21 July 2026, 10:00 BST" in text
    told = json.loads(write(made, Format.json))
    assert told["tables"][0]["rows"][0]["name"] == "nwas"
    assert told["names"] == [{"kind": "agency", "code": "nwas", "name": "North West Ambulance (nwas)"}]
    cells = list(csv.reader(io.StringIO(write(made, Format.csv), newline="")))
    assert ["nwas", "1"] in cells
    assert ["agency", "nwas", "North West Ambulance (nwas)"] in cells


def test_what_is_too_wide_for_a_page_is_a_block_an_entry() -> None:
    """Nothing is cut off on paper: heads and values, without what is empty; paper is A4."""
    heads = [(f"k{n}", f"Head {n}") for n in range(WIDE + 1)]
    wide = Table("", "A caption", heads, [], "", [""] * len(heads), [[EVIL, *[None] * (WIDE - 1), 7]])
    made = document()
    made.tables = [wide]
    text = write(made, Format.html)
    page = Page(text)
    assert len(page.all("table")) == 0
    assert len(page.all("li")) == 1
    assert "<dt>Head 8</dt><dd>7</dd>" in text
    assert "Head 3" not in text
    assert "\x1b" not in text
    assert "<script" not in text
    assert "@page { size: A4" in text


@pytest.mark.long
@pytest.mark.skipif(not BROWSER, reason="NO BROWSER: without chromium nothing says that a report fits A4")
def test_a_report_prints_on_a4(tmp_path: Path) -> None:
    """By a real browser: upright, and as many pages as its entries take, none of them for what was cut off."""
    heads = [(f"k{n}", f"Head {n}") for n in range(WIDE + 4)]
    row: list[str | int | None] = [f"what stands in cell {n}, in some words" for n in range(len(heads))]
    made = document(*([f"row {n}", n] for n in range(10)))
    made.tables.append(Table("", "Entries", heads, [], "", [""] * len(heads), [row] * 20))
    pages, boxes = printed(write(made, Format.html), tmp_path)
    assert boxes == {(595, 842)}, "A4"
    assert 4 <= pages <= 8


def test_no_bar_is_drawn_over_its_name() -> None:
    """A long name stands above its bar and is whole up to a line's length; short ones stand beside theirs."""
    long = "Patient summary, North Cumbria Integrated Care NHS Foundation Trust (ncic)"
    text = write(
        document(["one", 12], [long, 3], ["x" * 200, 1], *([f"row {n}", n] for n in range(60))), Format.html
    )
    page = Page(text)
    bars = page.all("rect")
    assert {each["x"] for each in bars} == {"0"}
    assert f">{long}</text>" in text
    assert f">{'x' * 84}\N{HORIZONTAL ELLIPSIS}</text>" in text
    names, numbers = [page.all("text")[n::2] for n in (0, 1)]
    for name, bar, number in zip(names, bars, numbers, strict=True):
        assert int(str(name["y"])) < int(str(bar["y"])) < int(str(number["y"])) < int(str(name["y"])) + 42
    assert int(str(page.all("svg")[0]["height"])) < 1000, "a page of A4"
    assert f"The first {len(bars)} rows of the table are drawn" in text
    beside = Page(write(document(["Response to an emergency now", 12]), Format.html))
    assert beside.all("rect")[0]["x"] == "340"


def test_a_drawing_has_its_bounds() -> None:
    """So many rows are drawn, and it is said; a table without numbers has none."""
    many = document(*([f"row {n}", n] for n in range(BARS + 5)))
    text = write(many, Format.html)
    assert len(Page(text).all("rect")) == BARS
    assert f"The first {BARS} rows" in text
    assert "<svg" not in write(document(["one", 1], chart=""), Format.html)
    assert "Nothing at all." in write(document(), Format.html)


@pytest.mark.parametrize("value", ["=1+1", "@x", " +1", "-1", "\uff1d1"])
def test_no_cell_of_a_report_is_a_formula(value: str) -> None:
    """In rows, captions, facts and notes; numbers stay numbers and what is withheld stays empty."""
    made = document([value, -3], ["two", None])
    made.facts.append((value, value))
    made.tables[0].notes.append(value)
    made.tables[0].caption = value
    cells = list(csv.reader(io.StringIO(write(made, Format.csv), newline="")))
    assert [row for row in cells if any(cell.lstrip("\ufeff\u00a0 ") == value.strip() for cell in row)] == []
    assert [f"'{value}", "-3"] in cells
    assert ["two", ""] in cells


def test_scripts_get_every_table() -> None:
    """JSON with facts, and rows by key."""
    told = json.loads(write(document(["one", 1], ["two", None]), Format.json))
    assert told["tables"][0]["rows"] == [{"name": "one", "number": 1}, {"name": "two", "number": None}]
    assert told["facts"]["Log"] == "log"
