"""Rows as CSV (RFC 4180, UTF-8, a heading, one row a line), safe to open in a spreadsheet.

A cell that a spreadsheet would take for a formula gets an apostrophe before it: one that begins with `=`, `+`,
`-`, `@`, a tab, a carriage return or a line feed; and so does one that begins with an apostrophe, so that the
first one can always be taken away. Control characters in the facts are written as `\\u00XX`; the opening has
them as they are.
"""

from __future__ import annotations

import csv
import io
import json

from broker.core import base64_strict
from broker.core.merkle import HASH_BYTES
from broker.errors import IntegrityError
from broker.offline.export.row import FACTS, Row, Said

NAME = "csv"
COLUMNS = (
    *("index", "id", "at", "log", "agency", "audience", *FACTS, "view", "leaf"),
    *("entry", "opening", "proof", "checkpoint"),
)
# A view may be a megabyte, in base64.
csv.field_size_limit(4 << 20)
_GUARDED = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def write(said: Said) -> bytes:
    """The line."""
    row, b64 = said.row, base64_strict.encode
    view = json.dumps(said.view, ensure_ascii=False, separators=(",", ":")) if said.view else ""
    cells = [
        str(row.index),
        said.entry.id,
        said.at,
        said.origin,
        row.agency,
        row.audience,
        *(_plain(said.fact(name)) for name in FACTS),
        view,
        said.leaf.hex(),
        b64(row.entry),
        b64(row.opening),
        " ".join(b64(each) for each in row.proof),
        b64(row.checkpoint),
    ]
    return _line([_guarded(cell) for cell in cells])


def read(line: bytes) -> Row:
    """The row of a line; nothing of it is verified. Raises IntegrityError."""
    try:
        (cells,) = csv.reader([line.decode("utf-8")], strict=True)
        fields = dict(zip(COLUMNS, (cell.removeprefix("'") for cell in cells), strict=True))
        index = int(fields["index"])
    except (ValueError, csv.Error) as error:
        raise IntegrityError("row: not a line with these columns") from error
    proof = fields["proof"].split(" ") if fields["proof"] else []
    return Row(
        index,
        base64_strict.decode(fields["entry"], "row entry"),
        fields["agency"],
        fields["audience"],
        base64_strict.decode(fields["opening"], "row opening"),
        tuple(base64_strict.decode(each, "row proof", length=HASH_BYTES) for each in proof),
        base64_strict.decode(fields["checkpoint"], "row checkpoint"),
    )


def _guarded(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_GUARDED) else cell


def _plain(text: str) -> str:
    return "".join(each if each >= " " and each != "\x7f" else f"\\u{ord(each):04x}" for each in text)


def _line(cells: list[str]) -> bytes:
    made = io.StringIO()
    csv.writer(made, lineterminator="\r\n").writerow(cells)
    return made.getvalue().encode()


HEAD = _line(list(COLUMNS))
