"""What FHIR R4 has no element for: one extension, which says how a directive was taken and by whom.

Both directions stand side by side. Refuses a part that it does not know: it is our own extension.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from broker.consent import times
from broker.consent.element import Element, shown
from broker.consent.names import EXTRAS
from broker.core.directive import Directive


class Part(NamedTuple):
    """A part of the extension: the field of a directive, and the type of its value."""

    field: str
    type: str


PARTS = {
    "standing": Part("standing", "valueCode"),
    "manner": Part("manner", "valueCode"),
    "speaker": Part("speaker", "valueString"),
    "authority": Part("authority", "valueString"),
    "capacity": Part("capacity", "valueCode"),
    "assessor": Part("assessor", "valueString"),
    "assessedOn": Part("assessed_on", "valueDate"),
    "assessed": Part("assessed", "valueString"),
    "takenBy": Part("taken_by", "valueString"),
    "explained": Part("explained", "valueString"),
    "company": Part("company", "valueCode"),
    "reconsiderAt": Part("reconsider_at", "valueDateTime"),
    "actor": Part("actors", "valueString"),
}
# A child who speaks for itself is the patient like anybody; every other standing is told by who spoke.
CHILD = "gillick-child"


def write(directive: Directive) -> dict[str, Any]:
    """The extension of a directive."""
    parts: list[dict[str, Any]] = []
    for url, part in PARTS.items():
        value = getattr(directive, part.field)
        if not value or (part.field == "standing" and value != CHILD) or value == "presumed":
            continue
        for each in sorted(value) if part.field == "actors" else [value]:
            parts.append({"url": url, part.type: _written(each, part.type)})
    return {"url": EXTRAS, "extension": parts}


def read(consent: Element) -> dict[str, Any]:
    """Fields of a directive, by name; without the extension none."""
    found: dict[str, Any] = {}
    for extension in consent.each("extension"):
        if not isinstance(extension.value, dict) or extension.value.get("url") != EXTRAS:
            continue
        extension.only("url")
        for each in extension.each("extension"):
            url = each.child("url").text()
            part = PARTS.get(url)
            if part is None:
                raise each.refuse(f"{shown(url)} is no part of this extension")
            value = _read(each.only("url", part.type).child(part.type), part.type)
            if part.field == "actors":
                found["actors"] = found.get("actors", frozenset()) | {value}
            elif part.field in found:
                raise each.refuse("stands twice")
            else:
                found[part.field] = value
    if found.get("standing", CHILD) != CHILD:
        raise consent.child("extension").refuse(
            f"only {CHILD} is a standing here; Consent.performer says any other"
        )
    return found


def _written(value: Any, kind: str) -> str:
    if kind == "valueDateTime":
        return times.written(value)
    return str(value.isoformat()) if kind == "valueDate" else str(value)


def _read(value: Element, kind: str) -> Any:
    if kind == "valueDateTime":
        return times.span(value)[0]
    return times.day(value) if kind == "valueDate" else value.text()
