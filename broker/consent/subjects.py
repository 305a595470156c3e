"""Whom a Consent is about: an NHS number, a UPRN in the UK Core extension, or another scheme by identifier."""

from __future__ import annotations

from typing import Any

from broker.consent.element import Code, Element
from broker.consent.names import ADDRESS_KEY, ADDRESS_KEY_TYPE, NHS_NUMBER, SUBJECT_ID
from broker.core.subject import SubjectRef, parse_subject
from broker.errors import InvalidRequest


def write(subject: SubjectRef) -> dict[str, Any]:
    """A Reference to whoever it is. Premises stand for whoever lives there."""
    if subject.scheme == "uprn":
        key = [
            {"url": "type", "valueCoding": {"system": ADDRESS_KEY_TYPE, "code": "UPRN"}},
            {"url": "value", "valueString": subject.value},
        ]
        return {"extension": [{"url": ADDRESS_KEY, "extension": key}], "type": "Patient"}
    system = NHS_NUMBER if subject.scheme == "nhs-number" else SUBJECT_ID + subject.scheme
    return {"type": "Patient", "identifier": {"system": system, "value": subject.value}}


def patient(reference: Element, contained: dict[str, Element]) -> SubjectRef:
    """Whom a Consent is about. Refused where the reference and what it leads to name two."""
    subject = read(reference)
    if reference.value.get("type", "Patient") != "Patient":
        raise reference.child("type").refuse("is not Patient")
    target = contained.get(str(reference.value.get("reference")))
    own = reference.value.get("identifier") or {}
    for other in target.each("identifier") if target is not None else ():
        same = isinstance(other.value, dict) and other.value.get("system") == own.get("system")
        if same and other.value.get("value") != own.get("value"):
            raise other.refuse("is somebody else's than Consent.patient.identifier")
    return subject


def read(reference: Element) -> SubjectRef:
    """The one subject that a Reference names. Refused where it names none, or two."""
    reference.only("reference", "type", "identifier", "display")
    found = [_uprn(each) for each in reference.each("extension") if _is_address_key(each)]
    if reference.has("identifier"):
        found.append(_identified(reference.child("identifier")))
    if len(found) != 1:
        raise reference.refuse(
            "names nobody, or more than one; give an identifier (an NHS number) or the UPRN extension"
        )
    return found[0]


def _identified(identifier: Element) -> SubjectRef:
    identifier.only("use", "type", "system", "value", "period", "assigner")
    if identifier.value.get("use") == "old":
        raise identifier.child("use").refuse("is old: whose number it is today is not said")
    system, value = identifier.child("system").text(), identifier.child("value")
    if system == NHS_NUMBER:
        return _parsed("nhs-number", value)
    if not system.startswith(SUBJECT_ID):
        raise identifier.child("system").refuse(f"is not known here; an NHS number is of {NHS_NUMBER}")
    return _parsed(system.removeprefix(SUBJECT_ID), value)


def _parsed(scheme: str, value: Element) -> SubjectRef:
    try:
        return parse_subject(scheme, value.text())
    except InvalidRequest as error:
        raise value.refuse(error.problem) from error


def _is_address_key(extension: Element) -> bool:
    return isinstance(extension.value, dict) and extension.value.get("url") == ADDRESS_KEY


def _uprn(extension: Element) -> SubjectRef:
    parts = {each.child("url").text(): each for each in extension.each("extension")}
    if parts.keys() != {"type", "value"}:
        raise extension.refuse("needs type and value")
    kind = parts["type"].child("valueCoding").code()
    if kind != Code(ADDRESS_KEY_TYPE, "UPRN"):
        raise parts["type"].refuse("is not UPRN")
    value = parts["value"].child("valueString")
    # Written with leading zeros up to twelve digits elsewhere; here a number has one spelling.
    return _parsed("uprn", Element(value.path, value.text().lstrip("0")))
