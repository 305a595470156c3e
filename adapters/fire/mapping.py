"""Rows of the risk system -> `PremisesRisk`. Pure: no I/O, no clock.

Owns the meaning of the risk system's codes. A code it has no word for is a `MappingError` that names the
column; it never guesses, and a fact that is held back carries nothing but that it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TypeVar

from adapters.sdk import InvalidRequest, MappingError
from records.fire.v1 import premises_risk_pb2 as fire
from records.shared.v1 import fact_pb2 as shared

_UPRN = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)

T = TypeVar("T")
Row = Mapping[str, object]
Wants = Callable[[str], bool]

_OXYGEN = {
    "CYLINDER": fire.OXYGEN_KIND_CYLINDER,
    "CONCENTRATOR": fire.OXYGEN_KIND_CONCENTRATOR,
    "LIQUID": fire.OXYGEN_KIND_LIQUID,
}
_EVACUATION = {
    "UNAIDED": fire.EVACUATION_NEED_UNAIDED,
    "GUIDED": fire.EVACUATION_NEED_GUIDED,
    "ASSISTED": fire.EVACUATION_NEED_ASSISTED,
    "CARRIED": fire.EVACUATION_NEED_CARRIED,
}
_NATURE = {"FACT": shared.NATURE_FACT, "ASSESSMENT": shared.NATURE_ASSESSMENT}
_CONFIDENCE = {
    "REPORTED": shared.CONFIDENCE_REPORTED,
    "PROBABLE": shared.CONFIDENCE_PROBABLE,
    "CONFIRMED": shared.CONFIDENCE_CONFIRMED,
}


@dataclass(frozen=True, slots=True)
class Premises:
    """What the risk system holds for one UPRN at `read_at`: current facts by kind, hazards, the occupier."""

    read_at: datetime
    premises: Row = field(repr=False)
    facts: Mapping[str, Row] = field(repr=False)
    hazards: tuple[Row, ...] = field(repr=False)
    occupier: Row | None = field(repr=False)


def uprn(value: str) -> str:
    """`value` if it is a canonical UPRN: 1 to 12 digits without leading zeros. Else raises InvalidRequest.

    One premises must have one name, or what its occupier said could be walked around.
    """
    if not _UPRN.fullmatch(value):
        raise InvalidRequest("subject.value", "is not a UPRN of 1 to 12 digits without leading zeros")
    return value


def premises_risk(held: Premises, wants: Wants) -> fire.PremisesRisk:
    """The record with the parts that `wants(field name)` names; all others are left out.

    Raises MappingError when a code is not in our tables.
    """
    as_at = rfc3339(held.read_at)
    record = fire.PremisesRisk(uprn=_text(held.premises, "uprn"))
    if wants("address"):
        lines = held.premises["address_lines"]
        record.address.lines.extend(str(line) for line in lines if line)  # type: ignore[attr-defined]
        record.address.postcode = _text(held.premises, "postcode")
    if wants("crew_notes"):
        record.crew_notes = _text(held.premises, "crew_notes")
    if wants("occupier") and held.occupier is not None:
        record.occupier.name = _text(held.occupier, "name")
        record.occupier.phone = _text(held.occupier, "phone")
    for kind, fill in _FILL.items():
        if wants(kind):
            _fact(getattr(record, kind), held.facts.get(kind), fill, as_at)
    if wants("hazards"):
        _hazards(record.hazards, held.hazards, as_at)
    return record


def rfc3339(moment: datetime) -> str:
    """`moment` in UTC, whole seconds, with Z. RFC 3339 section 5.6."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _fact(part: _Part, row: Row | None, fill: Callable[[_Part, Row], None], as_at: str) -> None:
    part.as_at = as_at
    if row is None:
        part.state = shared.FACT_STATE_NONE_RECORDED
    elif row["held_back"]:
        part.state = shared.FACT_STATE_WITHHELD
    else:
        part.state = shared.FACT_STATE_VALUE
        part.provenance.CopyFrom(_provenance(row, "fact"))
        fill(part, row)


def _hazards(part: fire.Hazards, rows: tuple[Row, ...], as_at: str) -> None:
    part.as_at = as_at
    shown = [row for row in rows if not row["held_back"]]
    if len(shown) < len(rows) and not shown:
        part.state = shared.FACT_STATE_WITHHELD
        return
    part.state = shared.FACT_STATE_VALUE if shown else shared.FACT_STATE_NONE_RECORDED
    for row in shown:
        part.items.add(
            code=_text(row, "code"),
            description=_text(row, "description"),
            location=_text(row, "location"),
            provenance=_provenance(row, "hazard"),
        )


def _oxygen(part: fire.Oxygen, row: Row) -> None:
    part.kind = _code(_OXYGEN, row, "fact.code (oxygen)", "code")
    part.kept_in = _text(row, "location")


def _hoarding(part: fire.Hoarding, row: Row) -> None:
    rating = _number(row, "amount")
    if not 1 <= rating <= 9:
        raise MappingError("risk.fact.amount (hoarding): no Clutter Image Rating from 1 to 9")
    part.clutter_rating = rating
    part.rooms = _text(row, "location")


def _access(part: fire.Access, row: Row) -> None:
    part.directions = _text(row, "description")
    part.key_safe_fitted = bool(row["fitted"])
    part.key_safe_code = _text(row, "key_safe_code")


def _sprinklers(part: fire.Sprinklers, row: Row) -> None:
    if row["fitted"] is None:
        raise MappingError("risk.fact.fitted (sprinklers): does not say whether there are any")
    part.fitted = bool(row["fitted"])
    part.coverage = _text(row, "description")


def _evacuation(part: fire.Evacuation, row: Row) -> None:
    part.need = _code(_EVACUATION, row, "fact.code (evacuation)", "code")
    part.people = _number(row, "amount")
    part.floor = _text(row, "location")


_Part = fire.Oxygen | fire.Hoarding | fire.Access | fire.Sprinklers | fire.Evacuation
_FILL: dict[str, Callable[..., None]] = {
    "oxygen": _oxygen,
    "hoarding": _hoarding,
    "access": _access,
    "sprinklers": _sprinklers,
    "evacuation": _evacuation,
}


def _provenance(row: Row, table: str) -> shared.Provenance:
    return shared.Provenance(
        source=_text(row, "source"),
        nature=_code(_NATURE, row, f"{table}.nature", "nature"),
        confidence=_code(_CONFIDENCE, row, f"{table}.confidence", "confidence"),
        recorded_on=_day(row["recorded_on"]),
        review_by=_day(row["review_by"]),
    )


def _code(table: Mapping[str, T], row: Row, where: str, column: str) -> T:
    try:
        return table[str(row[column])]
    except KeyError:
        raise MappingError(f"risk.{where}: a code that this adapter has no word for") from None


def _text(row: Row, column: str) -> str:
    value = row[column]
    return "" if value is None else str(value)


def _number(row: Row, column: str) -> int:
    value = row[column]
    return value if isinstance(value, int) and value >= 0 else 0


def _day(value: object) -> str:
    # asyncpg gives a date; the same row as JSON gives its text, which is ISO 8601 already.
    return value.isoformat() if isinstance(value, date) else str(value or "")
