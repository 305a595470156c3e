"""What commands print: tables for people, JSON for scripts, to standard output and nowhere else.

Owns the look. Refuses control characters and markup in values: much of what is shown was written by others,
and a record must not be able to repaint an operator's terminal.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp
    from rich.console import Console
    from rich.table import Table

# Where output is not a terminal, rows are not folded for one.
_WIDE = 240
_UNBOUNDED = 100_000
_DIGEST = re.compile(r"\b([0-9a-f]{16})[0-9a-f]{48}\b", re.ASCII)
_TIME = re.compile(r"\b(\d{4}-\d\d-\d\d)T(\d\d:\d\d):(\d\d)(?:\.\d+)?Z", re.ASCII)


def say(text: str) -> None:
    """One line of plain text."""
    sys.stdout.write(clean(text) + "\n")


def now() -> None:
    """What was said so far is written now, also to a file or pipe: of a command that goes on."""
    sys.stdout.flush()


def emit_json(value: Any) -> None:
    """One JSON document, indented, keys in the order given; what could steer a terminal is escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    sys.stdout.write("".join(char if _harmless(char) else _escaped(char) for char in text) + "\n")


def raw(data: bytes) -> None:
    """UTF-8 text as its exact bytes; on a terminal without what could steer it."""
    text = data.decode("utf-8")
    if sys.stdout.isatty():
        sys.stdout.write(clean(text))
    elif (binary := getattr(sys.stdout, "buffer", None)) is not None:
        sys.stdout.flush()
        binary.write(data)
        binary.flush()
    else:
        sys.stdout.write(text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """A table; None shows as an empty cell. Only the last column is folded where the terminal is narrow."""
    console, grid = _console(), _grid(columns, rows, title)
    grid.columns[-1].no_wrap = False
    console.print(grid)


def fields(pairs: Iterable[tuple[str, object]]) -> None:
    """One thing, a name and a value per line, values never folded; pairs whose value is None are left out."""
    shown = [(clean(name), _cell(value)) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        below = value.replace("\n", "\n" + " " * (width + 2))
        sys.stdout.write(f"{name:<{width}}  {below}\n")


def one(facts: Mapping[str, object], as_json: bool, more: Iterable[tuple[str, object]] = ()) -> None:
    """One thing: `fields` for people, an object for scripts. Keys are snake case; None shows in JSON only.

    `more` are further fields for people, whose names may repeat.
    """
    if as_json:
        emit_json(dict(facts))
    else:
        shown = [(name.replace("_", " "), plain(value)) for name, value in facts.items()]
        fields((*shown, *more))


def listed(
    name: str,
    found: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    as_json: bool,
    none: str,
    more: Mapping[str, object] | None = None,
) -> None:
    """A list: `many` for people; for scripts an object whose `name` is the array, every key of each, and
    `more` beside it, such as the entry of the look. Never a bare array: something can be said beside it later.
    """
    if as_json:
        emit_json({name: [dict(each) for each in found], **(more or {})})
    else:
        many(found, columns, none)


def many(found: Sequence[Mapping[str, object]], columns: Sequence[str], none: str) -> None:
    """A table of those keys, or the sentence `none` where there is nothing.

    In a table digests and times are shortened. Where the terminal is too narrow for it, each thing is shown by
    itself instead, whole: an id that is broken over lines cannot be copied.
    """
    if found:
        heads = [column.replace("_", " ") for column in columns]
        rows = [[plain(each[column]) for column in columns] for each in found]
        console, grid = _console(), _grid(heads, [[_short(value) for value in row] for row in rows])
        if _width(console, grid) <= console.width:
            console.print(grid)
            return
        for number, row in enumerate(rows):
            if number:
                say("")
            fields((head, value) for head, value in zip(heads, row, strict=True))
    else:
        say(none)


def when(message: Message, field: str) -> str | None:
    """A Timestamp field as RFC 3339 in UTC, or None where it is not set."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return stamp.ToJsonString()


def day(message: Message, field: str, before: timedelta = timedelta(0)) -> str | None:
    """The day in UTC of a Timestamp field, or of the moment so much before it; None where it is not set."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    return (stamp.ToDatetime(UTC) - before).date().isoformat()


def plain(value: object) -> object:
    """A value as people read it: lists with commas, yes and no, nothing for nothing."""
    if isinstance(value, list | tuple):
        return ", ".join(str(each) for each in value) or None
    if isinstance(value, bool):
        return "yes" if value else "no"
    return None if value == "" else value


def clean(text: str) -> str:
    """The text with every character that could steer a terminal replaced."""
    return "".join(char if _harmless(char) else "\N{REPLACEMENT CHARACTER}" for char in text)


def _harmless(char: str) -> bool:
    return char.isprintable() or char == "\n"


def _escaped(char: str) -> str:
    """RFC 8259 section 7; outside strings a JSON text has nothing to escape."""
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _cell(value: object) -> str:
    return "" if value is None else clean(str(value))


def _short(value: object) -> object:
    """Digests by their first 16 digits, times to the minute, days alone where it is midnight."""
    if not isinstance(value, str):
        return value
    value = _DIGEST.sub(r"\1...", value)
    return _TIME.sub(lambda at: at[1] if at[2] == "00:00" and at[3] == "00" else f"{at[1]} {at[2]}", value)


def _grid(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=None if title is None else Text(clean(title)), title_justify="left", show_edge=False)
    for column in columns:
        grid.add_column(column, overflow="fold", no_wrap=True)
    for row in rows:
        grid.add_row(*(Text(_cell(value)) for value in row))
    return grid


def _width(console: Console, grid: Table) -> int:
    """Columns that it takes where nothing is folded or cut."""
    return console.measure(grid, options=console.options.update(max_width=_UNBOUNDED)).maximum


def _console() -> Console:
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    return console
