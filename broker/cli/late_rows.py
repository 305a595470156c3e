"""A file of what was shared while the broker was down: CSV, a row each, in the columns of the downtime card.

Owns the columns. Refuses a file whose heads are others, and names what is wrong by row and column as a
spreadsheet counts them, without ever repeating a value.
"""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from broker.errors import InvalidRequest, SetupError

if TYPE_CHECKING:
    from broker.v1 import audit_pb2 as pb

# Column, whether a row may leave it empty, and what to write there.
COLUMNS: dict[str, tuple[bool, str]] = {
    "id": (True, "Leave empty; --number fills it in when this is typed up."),
    "occurred": (False, "Day and clock time here, such as 2026-11-21 14:05."),
    "channel": (False, "telephone, radio, in-person, paper, email or other."),
    "gave_agency": (False, "Who gave it: their agency's id."),
    "gave_role": (False, "Their role, such as control-operator."),
    "gave_name": (True, "Their name."),
    "took_agency": (False, "Who took it: their agency's id."),
    "took_role": (False, "Their role."),
    "took_name": (True, "Their name."),
    "about": (False, "Whom or what it was about, such as uprn:100062990001."),
    "record_type": (False, "Which record it was from."),
    "fields": (
        False,
        "What was said: fields, or groups of them as the card has them, with semicolons between.",
    ),
    "purpose": (False, "What for: a purpose code."),
    "agreement": (True, "Under which agreement; empty for none."),
    "incident": (True, "The incident: agency/date/number."),
    "why": (False, "Why, in words."),
}
MAX_ROWS = 1000
MAX_BYTES = 2 << 20
# By field of the wire; what is not here has its own name.
_OF_FIELD = {
    "gave.agency": "gave_agency",
    "gave.role": "gave_role",
    "gave.name": "gave_name",
    "took.agency": "took_agency",
    "took.role": "took_role",
    "took.name": "took_name",
    "about.scheme": "about",
    "about.value": "about",
}


@dataclass(frozen=True)
class Row:
    """One row: its number as a spreadsheet shows it (0: no file, a command line), and what stands in it."""

    number: int
    cells: Mapping[str, str]

    def problem(self, column: str, problem: str) -> InvalidRequest:
        """What is wrong with it."""
        place = f"row {self.number}, {column}" if self.number else f"--{column.replace('_', '-')}"
        return InvalidRequest(place, problem)

    def message(self) -> pb.LateRecord:
        """For the wire. Raises InvalidRequest by row and column."""
        from broker.v1 import audit_pb2 as pb

        for column, (may_be_empty, what) in COLUMNS.items():
            if not may_be_empty and not self.cells[column]:
                raise self.problem(column, f"is empty. {what}")
        if not self.cells["id"]:
            raise self.problem("id", "is empty: --number gives each row one, so that a repeat is known")
        scheme, colon, value = self.cells["about"].partition(":")
        if not colon:
            raise self.problem("about", "is not SCHEME:VALUE, such as uprn:100062990001")
        made = pb.LateRecord(
            id=self.cells["id"],
            channel=self.cells["channel"],
            record_type=self.cells["record_type"],
            # The card has spaces where names have underscores.
            fields=["_".join(each.split()) for each in self.cells["fields"].split(";") if each.strip()],
            purpose=self.cells["purpose"],
            agreement=self.cells["agreement"],
            incident=self.cells["incident"],
            why=self.cells["why"],
        )
        made.about.scheme, made.about.value = scheme, value
        for name, side in (("gave", made.gave), ("took", made.took)):
            side.agency, side.role = self.cells[f"{name}_agency"], self.cells[f"{name}_role"]
            side.name = self.cells[f"{name}_name"]
        try:
            made.occurred.FromDatetime(occurred(self.cells["occurred"]))
        except ValueError as error:
            raise self.problem("occurred", str(error)) from None
        return made


def occurred(text: str) -> datetime:
    """A moment from RFC 3339 with its offset, or from day and clock time in the United Kingdom.

    Raises ValueError with what to do, also for a time that the clock showed twice or never.
    """
    from broker.core.london import local, moment

    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or len(text) < len("2026-11-21 14:05"):
        raise ValueError("is no time; write 2026-11-21 14:05, or 2026-11-21T14:05:00Z")
    if at.tzinfo is not None:
        return at.astimezone(UTC)
    found = moment(at.date(), at.time())
    if local(found).replace(tzinfo=None) != at:
        raise ValueError("is a time that the clock left out that night; look again")
    if local(found + timedelta(hours=1)).replace(tzinfo=None) == at:
        raise ValueError("came twice that night: add +01:00 for the first time, +00:00 for the second")
    return found


def read(data: bytes) -> list[Row]:
    """The rows of a file. Raises SetupError where it is no such file."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SetupError("the file is not UTF-8: save it as CSV UTF-8") from error
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise SetupError(f"the file is not CSV: {error}") from error
    heads = [each.strip() for each in lines[0]] if lines else []
    missing = [name for name in COLUMNS if name not in heads and not COLUMNS[name][0]]
    strange = [each for each in heads if each not in COLUMNS]
    if missing or strange or len(set(heads)) != len(heads):
        wrong = f"no column {missing[0]}" if missing else "a column that is not known, or stands twice"
        raise SetupError(f"the first row has {wrong}; the columns are {', '.join(COLUMNS)}")
    rows = [Row(n, _cells(n, heads, line)) for n, line in enumerate(lines[1:], 2) if any(map(str.strip, line))]
    if not 1 <= len(rows) <= MAX_ROWS:
        raise SetupError(f"the file has {len(rows)} rows; 1 to {MAX_ROWS} can be recorded at once")
    return rows


def numbered(rows: list[Row]) -> list[Row]:
    """Every row with an id: those that had none are given one."""
    return [Row(row.number, {**row.cells, "id": row.cells["id"] or str(uuid.uuid4())}) for row in rows]


def as_csv(rows: list[Row]) -> bytes:
    """The rows as a file (RFC 4180) in the columns' order."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([row.cells[name] for name in COLUMNS] for row in rows)
    return text.getvalue().encode()


def located(error: InvalidRequest, rows: list[Row]) -> InvalidRequest:
    """What a broker says of `records.N.field`, by row and column."""
    place, _, rest = error.field.removeprefix("records.").partition(".")
    if not place.isdigit() or int(place) >= len(rows):
        return error
    return rows[int(place)].problem(_OF_FIELD.get(rest, rest), error.problem)


def row_of(error: InvalidRequest, rows: list[Row]) -> Row | None:
    """Which row a broker speaks of; None where it speaks of none of them."""
    place = error.field.removeprefix("records.").partition(".")[0]
    return rows[int(place)] if place.isdecimal() and int(place) < len(rows) else None


def warned(text: str, rows: list[Row]) -> str:
    """A broker's warning, `records.N.field: words`, by row and column."""
    field, _, words = text.partition(": ")
    return str(located(InvalidRequest(field, words), rows))


def parts(rows: list[Row], most: int) -> Iterator[list[Row]]:
    """So many at a time."""
    return (rows[at : at + most] for at in range(0, len(rows), most))


def _cells(number: int, heads: list[str], line: list[str]) -> dict[str, str]:
    if len(line) > len(heads) and any(map(str.strip, line[len(heads) :])):
        raise InvalidRequest(f"row {number}", "has more cells than the first row has heads")
    cells = dict.fromkeys(COLUMNS, "")
    return cells | {head: cell.strip() for head, cell in zip(heads, line, strict=False)}
