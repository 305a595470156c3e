"""The example agreements of docs/agreements, their agencies, and the record types they name."""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from broker.catalogue import standard_record_types
from broker.core.directory import Agency
from broker.core.recordtype import RecordType

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "agreements"
TYPES = {name: RecordType.stored(data, name) for name, data in standard_record_types()}
LABELS = {name: of.labels for name, of in TYPES.items()}
FILES = {path.name[:2]: path for path in sorted(FOLDER.glob("[0-9][0-9]-*.toml"))}


def _midnight(day: date, more: int = 0) -> datetime:
    return datetime.combine(day, time.min, UTC) + timedelta(days=more)


@cache
def agencies() -> dict[str, Agency]:
    """Those of agencies.toml, whose `valid_until` is a last day, by id."""
    listed = tomllib.loads((FOLDER / "agencies.toml").read_text(encoding="utf-8"))["agencies"]
    return {
        each["id"]: Agency(
            each["id"],
            each["name"],
            each["kind"],
            each["jurisdiction"],
            _midnight(each["valid_from"]),
            _midnight(each["valid_until"], 1) if "valid_until" in each else None,
            code=each.get("code", ""),
            contact=each.get("contact", ""),
        )
        for each in listed
    }


@cache
def example(number: str) -> dict[str, Any]:
    """The keys of one example, as its file has them."""
    return tomllib.loads(FILES[number].read_text(encoding="utf-8"))
