"""Owns the retention policy: how long the views of each class are kept, and which line of a schedule says so.

A class is a name that an agreement gives to the evidence of its disclosures (`evidence.retention`); two are
ours: `standard`, where none is named, and `changes`, of what decisions read. What no policy names is kept
without end. Refused: another file than a policy, a class twice, a period without its schedule line, and the
names of what is kept for a legal hold.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, ValidationError

from broker.core.tables import read
from broker.core.terms import Part, RetentionName, Text
from broker.errors import InvalidRequest

STANDARD = "standard"
CHANGES = "changes"
# What outlives its own class, under legal hold or still in use: one after the other, each destroyed whole.
HELD = "hold"
MAX_FILE = 64 * 1024
_HELD = re.compile(r"hold(-[0-9]{1,6})?", re.ASCII)


class RetentionClass(Part):
    """One class: kept for so many whole months after the month it was made in, by that line of a schedule."""

    name: RetentionName
    months: Annotated[int, Field(ge=1, le=1200)]
    schedule: Text


class RetentionFile(Part):
    """The file: what it is called, and its classes."""

    version: Annotated[int, Field(ge=1, le=100_000)]
    title: Text
    classes: Annotated[tuple[RetentionClass, ...], Field(min_length=1, max_length=200, alias="class")]


class RetentionPolicy:
    """A policy as it was read. `digest` is hex SHA-256 of the file's bytes; empty for none."""

    def __init__(self, title: str = "", digest: str = "", classes: Mapping[str, RetentionClass] = {}) -> None:
        self.title = title
        self.digest = digest
        self.classes = dict(classes)

    def due(self, month: str, name: str) -> datetime | None:
        """The first moment at which a month (YYYY-MM) of a class is kept no more; None: there is no end."""
        known = self.classes.get(name)
        return None if known is None else month_after(month, known.months + 1)


def parse(file: bytes) -> RetentionPolicy:
    """The policy in a TOML file, or InvalidRequest naming the key that is wrong (`class.0.months`)."""
    tables = read(file, MAX_FILE)
    try:
        made = RetentionFile.model_validate(tables)
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:200]
        raise InvalidRequest(where or "file", first["msg"].removeprefix("Value error, ")) from None
    classes: dict[str, RetentionClass] = {}
    for n, each in enumerate(made.classes):
        if each.name in classes:
            raise InvalidRequest(f"class.{n}.name", f"{each.name} stands twice")
        if is_held(each.name):
            raise InvalidRequest(f"class.{n}.name", f"{each.name} is what legal holds keep, and has no period")
        classes[each.name] = each
    return RetentionPolicy(made.title, hashlib.sha256(file).hexdigest(), classes)


def is_held(name: str) -> bool:
    """Whether this is a class of what outlives its own."""
    return _HELD.fullmatch(name) is not None


def held_after(name: str) -> str:
    """The class into which goes what outlives this one."""
    if not is_held(name):
        return HELD
    return f"{HELD}-{int(name.removeprefix(HELD).removeprefix('-') or 1) + 1}"


def month_after(month: str, months: int) -> datetime:
    """The first moment in UTC of the month so many months after one."""
    year, number = int(month[:4]), int(month[5:7]) - 1 + months
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
