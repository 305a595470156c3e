"""Tables for people outside: a page of HTML, a CSV file, or JSON, of the same rows.

Owns that nothing in a value can act: in HTML everything is escaped, and in CSV a cell that a spreadsheet would
take for a formula is made text. A page is whole in itself: no script, no font, nothing fetched.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from broker.cli import output

if TYPE_CHECKING:
    import jinja2

# What a spreadsheet takes for a formula, also after blanks, and in full width (OWASP, CSV injection).
_FORMULA = re.compile("[\\s\\x00-\\x1f\ufeff\u00a0]*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\\t\\r\\n\\x00]")


class Format(StrEnum):
    """How a report is written."""

    html = "html"
    csv = "csv"
    json = "json"


@dataclass(frozen=True)
class Table:
    """Rows under a heading. `columns` are keys of the rows and their heads; the first names the row."""

    caption: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[msgspec.Struct]
    heading: str = ""
    # Of the whole table, such as who answers for it: name and value.
    facts: Sequence[tuple[str, str]] = field(default=())

    def cells(self) -> list[list[Any]]:
        """The values of each row, in the order of the columns."""
        return [[_plain(getattr(row, key)) for key, _ in self.columns] for row in self.rows]


@dataclass(frozen=True)
class Report:
    """A document of tables, all of the same kind of rows."""

    title: str
    about: Sequence[str]
    tables: Sequence[Table]
    # Said where there is no row at all.
    none: str
    made_on: date
    # What every row is.
    kind: type[msgspec.Struct]


def write(report: Report, form: Format) -> str:
    """The whole document as text."""
    if form is Format.html:
        return as_html(report)
    return as_csv(report) if form is Format.csv else as_json(report)


def as_json(report: Report) -> str:
    """An object with every row of every table."""
    rows = [msgspec.to_builtins(row) for table in report.tables for row in table.rows]
    made = {"title": report.title, "made_on": report.made_on.isoformat(), "rows": rows}
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def as_csv(report: Report) -> str:
    """One table (RFC 4180) of every row, all fields, keys as heads, which are there without a row too."""
    text = io.StringIO()
    writer = csv.writer(text)
    rows = [row for table in report.tables for row in table.rows]
    writer.writerow(report.kind.__struct_fields__)
    for row in rows:
        writer.writerow([harmless(_plain(getattr(row, name))) for name in row.__struct_fields__])
    return text.getvalue()


def harmless(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: text that begins like one gets a quote before it."""
    if isinstance(value, str):
        return f"'{output.clean(value)}" if _FORMULA.match(value) else output.clean(value)
    return value


def as_html(report: Report) -> str:
    """A page: see report.html.j2."""
    return environment().get_template("report.html.j2").render(report=report) + "\n"


def environment() -> jinja2.Environment:
    """Templates in which every value is escaped, and `shown` takes out what could steer a terminal."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("broker.cli", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["shown"] = _shown
    return made


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value


def _shown(value: object) -> str:
    return output.clean(str(value))
