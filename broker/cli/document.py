"""A report of the broker's as a page of HTML, a CSV file, or JSON, and how a command writes it.

Owns that nothing in a value can act, as in `report`; and that what is drawn also stands as numbers in a table.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import evidence, output
from broker.cli.report import Format, environment, harmless
from broker.core.reports.times import in_words
from broker.errors import IntegrityError

if TYPE_CHECKING:
    from broker.cli.connection import Link
    from broker.v1 import report_pb2 as pb

Cell = str | int | None
BARS = 40  # that fit a page of A4, each beside its name
LABEL = 85  # characters of 13 pixels, wide ones too, that fit a line of a chart
_SHORT = 42  # the same, left of the bars
_BARS_BELOW = 22  # that fit a page, each below its name
WIDE = 8  # columns that a page of A4 takes
Form = Annotated[
    Format, typer.Option("--format", help="A page to read, tables for a spreadsheet, or JSON for programs.")
]
AsJson = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", dir_okay=False, help="Write it there; by default to standard output."
    ),
]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a chart: what it stands for, its number, and its length from 0 to 1. None is withheld."""

    name: str
    value: int | None
    length: float

    @property
    def label(self) -> str:
        """Its name as long as a line of the drawing: the table has all of it."""
        return self.name if len(self.name) <= LABEL else f"{self.name[: LABEL - 1]}\N{HORIZONTAL ELLIPSIS}"


@dataclass(slots=True)
class Table:
    """One table of a report."""

    heading: str
    caption: str
    columns: list[tuple[str, str]]
    notes: list[str]
    chart: str
    # What each column's cells are, in order; empty where they are words.
    kinds: list[str] = field(default_factory=list)
    rows: list[list[Cell]] = field(default_factory=list)
    # What codes mean, by kind and code.
    names: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def wide(self) -> bool:
        """Too wide for a page: each row is a block of its own."""
        return len(self.columns) > WIDE

    def said(self, row: list[Cell]) -> list[str]:
        """A row as people read it: names in the place of codes, times by a clock in the United Kingdom."""
        kinds = self.kinds or [""] * len(row)
        return [self._said(kind, cell) for kind, cell in zip(kinds, row, strict=True)]

    def block(self, row: list[Cell]) -> list[tuple[str, str]]:
        """The same under their heads, without what is empty."""
        heads = [head for _, head in self.columns]
        return [(head, cell) for head, cell in zip(heads, self.said(row), strict=True) if cell]

    def _said(self, kind: str, cell: Cell) -> str:
        if cell is None:
            return ""
        if kind == "time" and isinstance(cell, str) and cell:
            return in_words(datetime.fromisoformat(cell))
        return self.names.get((kind, str(cell)), str(cell))

    def bars(self) -> list[Bar]:
        """What is drawn: the first rows, each named by what stands before its number."""
        keys = [key for key, _ in self.columns]
        if self.chart not in keys:
            return []
        at = keys.index(self.chart)
        most = max((value for row in self.rows if isinstance(value := row[at], int)), default=0)
        bars = [
            Bar(
                ", ".join(cell for cell in self.said(row)[:at] if cell) or "none",
                value if isinstance(value := row[at], int) else None,
                value / most if isinstance(value, int) and most else 0.0,
            )
            for row in self.rows[:BARS]
        ]
        return bars[:_BARS_BELOW] if below(bars) else bars


def below(bars: Sequence[Bar]) -> bool:
    """Whether each bar stands below its name, which is too long to stand beside it."""
    return any(len(bar.name) > _SHORT for bar in bars)


@dataclass(slots=True)
class Document:
    """A whole report."""

    name: str
    title: str
    about: list[str]
    facts: list[tuple[str, str]]
    none: str
    made_at: str
    tables: list[Table] = field(default_factory=list)
    names: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def made_on(self) -> str:
        """When it was made, in words."""
        return in_words(datetime.fromisoformat(self.made_at))


def read(link: Link, parts: Iterator[pb.ReportPart]) -> Document:
    """The report from its parts; the entry that says it was made is verified where the log's keys are at hand.

    Raises IntegrityError for parts that make none.
    """
    first = next(parts, None)
    if first is None or not first.HasField("head"):
        raise IntegrityError("report: it does not begin with its head")
    document = _head(link, first.head)
    for part in parts:
        if part.HasField("table"):
            told = part.table
            columns = [(each.key, each.head) for each in told.columns]
            kinds = [each.kind for each in told.columns]
            table = Table(told.heading, told.caption, columns, [*told.notes], told.chart, kinds)
            table.names = document.names
            document.tables.append(table)
        if not document.tables:
            raise IntegrityError("report: rows of no table")
        document.tables[-1].rows.extend([_cell(each) for each in row.cells] for row in part.rows)
    return document


def after(parts: Iterator[pb.ReportPart], tell: Callable[[int, int], None]) -> Iterator[pb.ReportPart]:
    """The parts of the report, after it was told how far it is."""
    for part in parts:
        if part.HasField("progress"):
            tell(part.progress.read, part.progress.of)
        else:
            yield part


def _head(link: Link, head: pb.ReportHead) -> Document:
    noted = evidence.noted(head.receipt, link.endpoint.vkey)
    proof = "verified" if noted["verified"] else "not verified: no log.vkey at hand"
    facts = [(each.name, each.value) for each in head.facts]
    facts.append(("This report", f"entry {noted['entry']} of the log, {proof}"))
    made_at = output.when(head, "made_at") or ""
    names = {(each.kind, each.code): each.name for each in head.names}
    return Document(head.name, head.title, [*head.about], facts, head.none, made_at, names=names)


def _cell(cell: pb.ReportCell) -> Cell:
    which = cell.WhichOneof("value")
    return None if which is None else (cell.text if which == "text" else cell.number)


def write(document: Document, form: Format) -> str:
    """The whole document as text."""
    if form is Format.html:
        return environment().get_template("document.html.j2").render(report=document, below=below) + "\n"
    return as_csv(document) if form is Format.csv else as_json(document)


def as_json(document: Document) -> str:
    """An object with the facts and every table's rows by key."""
    tables = [
        {
            "caption": table.caption,
            "notes": table.notes,
            "rows": [
                {key: cell for (key, _), cell in zip(table.columns, row, strict=True)} for row in table.rows
            ],
        }
        for table in document.tables
    ]
    made = {
        "report": document.name,
        "title": document.title,
        "made_at": document.made_at,
        "about": document.about,
        "facts": dict(document.facts),
        "tables": tables,
        "names": [
            {"kind": kind, "code": code, "name": name} for (kind, code), name in sorted(document.names.items())
        ],
    }
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def as_csv(document: Document) -> str:
    """Tables (RFC 4180) one below the other, an empty line between: what it is first, then each under its
    caption, heads as keys."""
    text = io.StringIO()
    writer = csv.writer(text)
    about = [("report", document.title), ("made at", document.made_at)]
    for fact in (*about, *document.facts, *(("about", each) for each in document.about)):
        writer.writerow([harmless(each) for each in fact])
    for table in document.tables:
        writer.writerow([])
        writer.writerow([harmless(table.caption)])
        writer.writerow([key for key, _ in table.columns])
        for row in table.rows:
            writer.writerow(["" if cell is None else harmless(cell) for cell in row])
        for note in table.notes:
            writer.writerow([harmless(note)])
    if document.names:
        writer.writerows([[], ["What the codes mean"], ["kind", "code", "name"]])
        for (kind, code), name in sorted(document.names.items()):
            writer.writerow([harmless(each) for each in (kind, code, name)])
    return text.getvalue()


def put(document: Document, form: Format, as_json: bool, to: Path | None) -> None:
    """Write it where it was asked for. Raises SetupError."""
    data = write(document, Format.json if as_json else form).encode("utf-8")
    if to is None:
        output.raw(data)
        return
    from broker.pki.files import replace

    replace(to, data, 0o600)  # what is in it may be about people, whatever stood there before
    output.say(f"{to}: written")
