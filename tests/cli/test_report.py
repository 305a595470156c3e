"""Reports as HTML, CSV and JSON: nothing in a value can act, and a page can be read by everybody."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import date
from html.parser import HTMLParser

import msgspec
import pytest

from broker.cli.report import Format, Report, Table, harmless, write


class Row(msgspec.Struct):
    """A row of two values."""

    name: str
    days: int


EVIL = "<script>alert('x')</script>\x1b[2J & \"quoted\""


def report(*rows: Row, heading: str = "") -> Report:
    """A report of one table."""
    table = Table("A caption", (("name", "Name"), ("days", "Days")), rows, heading, [("Fact", EVIL)])
    return Report(f"Title {EVIL}", ("About it",), [table], "Nothing at all.", date(2026, 11, 21), Row)


class Page(HTMLParser):
    """Elements of a page with their attributes, and its text by element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every such element."""
        return [attributes for name, attributes in self.elements if name == tag]


def test_a_page_is_accessible_and_whole_in_itself() -> None:
    """Language, title, one h1, captions, scopes, a region that the keyboard reaches; nothing is fetched."""
    text = write(report(Row("one", 1), heading="A controller"), Format.html)
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en-GB"}]
    assert [len(page.all(tag)) for tag in ("title", "main", "h1", "h2", "table", "caption")] == [1] * 6
    assert [each["scope"] for each in page.all("th")] == ["col", "col", "row"]
    (region,) = [each for each in page.all("div") if each.get("class") == "table"]
    assert region["tabindex"] == "0"
    assert region["aria-labelledby"] == page.all("caption")[0]["id"]
    assert {tag for tag, _ in page.elements} & {"script", "link", "img", "iframe"} == set()
    assert not re.search(r"https?:|url\(|@import|@font-face|\bon\w+=", text)
    assert {each.get("name") for each in page.all("meta")} >= {"viewport"}


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""

    def part(value: int) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = (part(int(colour[n : n + 2], 16)) for n in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_colours_have_contrast() -> None:
    """WCAG 2.2, 1.4.3 for text on both grounds (4.5), 1.4.11 for lines and focus (3)."""
    style = write(report(Row("one", 1)), Format.html).split("<style>")[1].split("</style>")[0]
    grounds = re.findall(r"background: (#\w{6})", style)
    texts = re.findall(r"[{ ]color: (#\w{6})", style)
    lines = re.findall(r"solid (#\w{6})", style)
    assert (len(grounds), len(texts), len(lines)) == (2, 2, 3)
    for ground in grounds:
        for colours, least in ((texts, 4.5), (lines, 3.0)):
            for colour in colours:
                one, other = sorted((luminance(ground), luminance(colour)), reverse=True)
                assert (one + 0.05) / (other + 0.05) >= least, (ground, colour)


def test_values_are_escaped_in_a_page() -> None:
    """In titles, headings, facts and cells."""
    text = write(report(Row(EVIL, 1), heading=EVIL), Format.html)
    assert "<script" not in text
    assert "\x1b" not in text
    assert text.count("&lt;script&gt;") == 5


@pytest.mark.parametrize(
    "value",
    [
        "=1+1",
        "+1",
        "-1",
        "@x",
        "\t=1",
        "\r=1",
        " =cmd|' /C calc'!A0",
        "\u00a0=1",
        "\uff1d1",
        "\ufeff=1",
        "\n@x",
        "\x00-1",
    ],
)
def test_no_cell_is_a_formula(value: str) -> None:
    """Whatever stands before the sign, a spreadsheet sees text."""
    cell = next(csv.reader(io.StringIO(write(report(Row(value, -3)), Format.csv).split("\r\n", 1)[1])))
    assert cell[0].startswith("'")
    assert cell[1] == "-3"


def test_ordinary_cells_stay_as_they_are() -> None:
    """Quotes, commas and line breaks are kept by CSV's own rules."""
    for value in ('a "word", and\nanother', "x=1", "", "2026-11-21"):
        assert harmless(value) == value
        text = write(report(Row(value, 1)), Format.csv)
        assert list(csv.reader(io.StringIO(text, newline=""))) == [["name", "days"], [value, "1"]]


def test_scripts_get_every_row() -> None:
    """JSON with the title and the day."""
    told = json.loads(write(report(Row(EVIL, 1), Row("two", 2)), Format.json))
    assert told["rows"] == [{"name": EVIL, "days": 1}, {"name": "two", "days": 2}]
    assert told["made_on"] == "2026-11-21"


def test_nothing_is_said_to_be_nothing() -> None:
    """A page without rows says so; a table without rows is its heads, so that it is seen to be whole."""
    assert "Nothing at all." in write(report(), Format.html)
    assert "<table" not in write(report(), Format.html)
    assert write(report(), Format.csv) == "name,days\r\n"
