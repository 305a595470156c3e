"""A report as data: words, facts about it, and tables. How it looks is the command line's.

Owns the bounds: a table has at most `MOST` rows, and says so where there would be more.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

Cell = str | int | None
MOST = 10_000


class Column(Struct, frozen=True):
    """A column by its key, for programs, and its head, for people. `kind` says what its cells are, where they
    are codes with a meaning in `Document.names`, or times (RFC 3339); empty where they are words or numbers."""

    key: str
    head: str
    kind: str = ""


class Table(Struct, frozen=True):
    """Rows under a caption; the first column names the row. None in a row is shown as nothing.

    `chart` is the key of a column of numbers that is also drawn as bars.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    heading: str = ""
    notes: tuple[str, ...] = ()
    chart: str = ""


class Document(Struct, frozen=True):
    """A report. `facts` are name and value, `none` is said where no table has a row."""

    name: str
    title: str
    about: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    none: str = "There is nothing to show."
    # What codes in the tables mean, by the kind of their column: kind, code, name.
    names: tuple[tuple[str, str, str], ...] = ()


# What columns of these keys hold, wherever they stand.
_KINDS = {
    **dict.fromkeys(("agency", "requester", "provider", "of", "by"), "agency"),
    **dict.fromkeys(("at", "due", "received"), "time"),
    **dict.fromkeys(("outcome", "event"), "event"),
    "code": "refusal",
    "purpose": "purpose",
    "type": "record-type",
    "kinds": "labels",
    "role": "role",
    "override": "override",
}


def columns(**heads: str) -> tuple[Column, ...]:
    """Columns of codes in order, from `key="Head"`."""
    return tuple(Column(key, head, _KINDS.get(key, "")) for key, head in heads.items())


def spoken(**heads: str) -> tuple[Column, ...]:
    """Columns whose cells are words already."""
    return tuple(Column(key, head) for key, head in heads.items())


def bounded(rows: Iterable[tuple[Cell, ...]]) -> tuple[tuple[tuple[Cell, ...], ...], tuple[str, ...]]:
    """At most `MOST` of the rows, and a note where there are more."""
    kept: list[tuple[Cell, ...]] = []
    for row in rows:
        if len(kept) == MOST:
            return tuple(kept), (f"There are more than the {MOST} rows shown: ask for a shorter time.",)
        kept.append(row)
    return tuple(kept), ()
