"""`broker audit downtime-card`: what stands on the page, and that its form is what record-late reads."""

from __future__ import annotations

import re
import stat
import subprocess
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path
from shutil import which

import pytest

from broker.cli import late_rows
from broker.cli.downtime import Card, as_html, card, in_words
from broker.core import agreement as agreements
from broker.core.directory import Agency
from broker.law import load
from broker.v1 import routing_pb2
from tests.cli.conftest import Parties, Run
from tests.support.world import flow, terms, toml

SINCE = datetime(2020, 1, 1, tzinfo=UTC)
AGENCIES = {
    "nwas": Agency("nwas", "Ambulance <North West>", "ambulance", "england", SINCE, phone="01204 498400"),
    "cfrs": Agency("cfrs", "Cumbria Fire", "fire", "england", SINCE, phone="01772 862545", contact="J. Doe"),
}
PARTIES = [
    {"agency": "nwas", "regime": "uk-gdpr", "dpo": "Olive Officer"},
    {"agency": "cfrs", "regime": "uk-gdpr", "siro": "Stan Senior"},
]
ROUTE = routing_pb2.Route(
    id="fire",
    kind="fire",
    districts=["E07000028"],
    hours="office",
    timetable="Mon-Fri 09:00-17:00",
    holder="cfrs",
)


class Page(HTMLParser):
    """Tags in order with how they are open, so that what is not closed shows; and heads of tables."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.unscoped = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)
        if tag == "th" and "scope" not in dict(attrs):
            self.unscoped += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(agency: str = "nwas", **changes: object) -> str:
    """The card of an agency with one agreement."""
    made = agreements.parse(toml(terms(parties=PARTIES, **changes)), load())
    return as_html(card(AGENCIES[agency], [made], AGENCIES, [ROUTE], load(), date(2026, 11, 22)))


def test_it_says_whom_to_ring_and_what_may_be_said() -> None:
    """The other agency's number and hours, the fields in words, purpose, roles, agreement and what to mind."""
    told = page()
    assert "01772 862545" in told
    assert "all it holds: Mon-Fri 09:00-17:00 (E07000028)" in told
    assert "premises risk (fire)" in told
    assert "uprn, oxygen, hazards" in told
    assert "ambulance-crew" in told
    assert "nwas-cfrs-premises" in told
    assert "Not where the person has refused or objected. Not to be passed on." in told
    assert "Ambulance &lt;North West&gt;" in told
    asked = page("cfrs")
    assert "01204 498400" in asked
    assert "nothing that you may ask for" in asked


def test_what_people_must_look_at_themselves_is_said() -> None:
    """A consent that is needed, a named person's decision with their number, silence, a condition."""
    told = page(
        ncnd=True,
        directives={"weight": "required", "recorders": ["cumberland"]},
        referral={"role": "the duty officer", "phone": "01228 999999"},
        flows=[flow(judgement=True, context='incident.startsWith("nwas/")')],
    )
    assert "Only with the person&#39;s recorded consent." in told
    assert "The duty officer decides, 01228 999999." in told
    assert "Neither confirm nor deny that there is a record." in told
    assert "Only as the agreement says (its condition)." in told


def test_nobody_is_named() -> None:
    """Officers of the agreement and the directory's contact stay off it."""
    told = page()
    for name in ("Olive", "Stan", "J. Doe"):
        assert name not in told


def test_a_reader_can_find_the_way() -> None:
    """Well-formed, one first heading and no gap, each head of a table with its scope, nothing fetched."""
    told = page()
    read = Page(told)
    assert read.open == []
    assert read.headings == ["h1", "h2", "h2", "h2"]
    assert read.unscoped == 0
    assert '<html lang="en-GB">' in told
    assert "<script" not in told
    assert "http" not in told.replace("http-equiv", "")
    assert "size: A4 landscape" in told


def test_the_form_has_the_columns_of_the_file() -> None:
    """All of them, in their order, with a mark where a row must have one."""
    heads = re.findall(r'<th scope="col">([a-z ]+?)( \*)?</th>', page().split('class="form"')[1])
    columns = [
        (name.replace("_", " "), "" if empty else " *") for name, (empty, _) in late_rows.COLUMNS.items()
    ]
    assert heads == columns


def test_names_of_records_read_as_words() -> None:
    """The agency's name behind the record's."""
    assert in_words("records.nhs.v1.ChildProtectionView") == "child protection view (nhs)"
    assert in_words("Thing") == "thing"


def test_one_is_made_of_a_running_broker(broker: Run, parties: Parties, tmp_path: Path) -> None:
    """For an agency in the directory, by its own system; the empty file beside it can be filled in."""
    out, rows = tmp_path / "card.html", tmp_path / "rows.csv"
    command = ("audit", "downtime-card", "--agency", "clifire", "-o", out, "--csv", rows)
    made = broker(*command, "--as", parties.requester)
    assert made.code == 0, made.err
    assert "summaries-for-crews" in out.read_text()
    assert "(clifire)" in out.read_text()
    assert stat.S_IMODE(rows.stat().st_mode) == 0o600, "what is written into it is about people"
    again = broker(*command, "--as", parties.requester)
    assert (again.code, "is not touched" in again.err) == (0, True), again.err
    assert rows.read_text().strip().split(",") == list(late_rows.COLUMNS)
    unknown = broker("audit", "downtime-card", "--agency", "nobody")
    assert (unknown.code, "not in the directory" in unknown.err) == (1, True)


WORDY = {
    "ncnd": True,
    "referral": {"role": "the duty officer of the agency that holds it", "phone": "01228 999999"},
    "flows": [flow(judgement=True, context='incident.startsWith("nwas/")')],
}


def made(count: int, **changes: object) -> Card:
    """A card of so many agreements."""
    terms_ = [toml(terms(id=f"premises-{n}", parties=PARTIES, **changes)) for n in range(count)]
    agreed = [agreements.parse(each, load()) for each in terms_]
    return card(AGENCIES["nwas"], agreed, AGENCIES, [ROUTE], load(), date(2026, 11, 22))


def test_a_card_that_does_not_fit_says_so() -> None:
    """It leaves nothing out but the second form: who prints it looks first."""
    cards = [made(count) for count in range(1, 20)]
    told = [(each.fits, each.forms) for each in cards]
    assert told == sorted(told, key=lambda pair: (not pair[0], pair[0] and pair[1] == 1))
    assert set(told) == {(True, 2), (True, 1), (False, 2)}
    assert as_html(cards[0]).count('class="form"') == 2
    assert as_html(next(each for each in cards if each.forms == 1)).count('class="form"') == 1
    assert not made(12, **WORDY).fits


BROWSER = which("chromium") or which("chromium-browser") or which("google-chrome") or ""


@pytest.mark.long
@pytest.mark.skipif(not BROWSER, reason="NO BROWSER: without chromium nothing says that the card fits A4")
@pytest.mark.parametrize("changes", [{}, WORDY], ids=["short", "wordy"])
def test_it_prints_on_the_pages_that_it_says(tmp_path: Path, changes: dict[str, object]) -> None:
    """By a real browser, on A4: one page wherever it fits by its own word, with as many forms as it says."""
    told = []
    for count in (1, 3, 4, 5, 6, 8, 10, 14):
        of = made(count, **changes)
        told.append(of.fits)
        pages, boxes = printed(as_html(of), tmp_path)
        assert boxes == {(842, 595)}, "A4, landscape"
        assert pages == 1 or not of.fits, f"{count} agreements take {pages} pages"
    assert set(told) == {True, False}


def printed(page: str, folder: Path) -> tuple[int, set[tuple[int, int]]]:
    """How many pages a browser makes of it, and their sizes in points."""
    file, out = folder / "card.html", folder / "card.pdf"
    file.write_text(page)
    line = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    line += ["--no-pdf-header-footer", f"--print-to-pdf={out}", file.as_uri()]
    subprocess.run(line, capture_output=True, timeout=60, check=True)
    pdf = out.read_bytes()
    boxes = re.findall(rb"/MediaBox\s*\[\s*0\s+0\s+([\d.]+)\s+([\d.]+)\s*\]", pdf)
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))
    return pages, {(round(float(width)), round(float(height))) for width, height in boxes}
