"""Code systems, identifiers and references of exported AuditEvents, and HL7's codes for our purposes."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

from broker.consent.names import (
    AGENCY_ID,
    BASE,
    DIRECTIVE_ID,
    NHS_NUMBER,
    PARTICIPATION,
    PURPOSE,
    PURPOSE_OF_USE,
    SUBJECT_ID,
)
from broker.core import base64_strict, canonical

__all__ = ["DIRECTIVE_ID", "PARTICIPATION"]

# HL7 v3 PurposeOfUse.
BREAK_GLASS = "BTG"
PROFILE = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
AUTHZ = "https://profiles.ihe.net/ITI/BALP/CodeSystem/AuthZsubType"
ENTITY = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
SNOMED = "http://snomed.info/sct"
INTERACTION = "http://hl7.org/fhir/restful-interaction"
RESOURCES = "http://hl7.org/fhir/resource-types"
_HL7 = "http://terminology.hl7.org/CodeSystem/"
AUDIT_TYPE = f"{_HL7}audit-event-type"
LIFECYCLE = f"{_HL7}iso-21089-lifecycle"
ENTITY_TYPE = f"{_HL7}audit-entity-type"
ROLE = f"{_HL7}object-role"
ROLE_TYPE = f"{_HL7}extra-security-role-type"
ROLE_CLASS = f"{_HL7}v3-RoleClass"
SOURCE_TYPE = f"{_HL7}security-source-type"

LOG_ENTRY = f"{BASE}/StructureDefinition/log-entry"
EVENT = f"{BASE}/CodeSystem/event"
ACTOR_ROLE = f"{BASE}/CodeSystem/role"
ACTOR_ID = f"{BASE}/Id/actor"
RECORD_DIGEST = f"{BASE}/Id/record-digest"
AGREEMENT = f"{BASE}/agreement"
BROKER = "/server/broker"
_URI = "urn:ietf:rfc:3986"

# Identifiers of people, the one that says most first; the others of ours are of places and events.
PEOPLE = ("nhs-number", "chi-number", "local-patient-id", "social-care-id", "police-nominal")
# Looks at what is kept here, which change nothing.
LOOKS = frozenset(
    {
        *("log-searched", "log-exported", "log-replayed", "entry-viewed", "explained", "agreement-planned"),
        *("directives-viewed", "referrals-viewed", "referral-viewed", "overrides-viewed"),
    }
)


@cache
def _hl7() -> dict[str, list[str]]:
    """PurposeOfUse by our purpose, from the file that decisions read."""
    text = resources.files("broker").joinpath("law/purposes.toml").read_text(encoding="utf-8")
    return {row["code"]: row.get("hl7", []) for row in tomllib.loads(text)["row"]}


def purposes(code: str, override: str = "") -> list[dict[str, Any]]:
    """A purpose as a concept: ours, and HL7's codes where there are any; and break-glass, where an emergency
    override was used, as a concept of its own."""
    theirs = [{"system": PURPOSE_OF_USE, "code": each} for each in _hl7().get(code, [])]
    ours = [{"coding": [{"system": PURPOSE, "code": code}, *theirs]}] if code else []
    broken = {"coding": [coding(PURPOSE_OF_USE, BREAK_GLASS)], "text": override}
    return [*ours, *([broken] if override else [])]


def coding(system: str, code: str) -> dict[str, Any]:
    """A Coding."""
    return {"system": system, "code": code}


def concept(system: str, code: str) -> dict[str, Any]:
    """A CodeableConcept of one coding."""
    return {"coding": [coding(system, code)]}


def event(name: str) -> dict[str, Any]:
    """The entry's own event, as a coding."""
    return coding(EVENT, name)


def agency(name: str) -> dict[str, Any]:
    """A reference to an agency, by its id here."""
    return {"type": "Organization", "identifier": {"system": AGENCY_ID, "value": name}}


def device(uri: str) -> dict[str, Any]:
    """A reference to a system, by its SPIFFE id."""
    return {"type": "Device", "identifier": {"system": _URI, "value": uri}}


def identifier(scheme: str, value: str) -> dict[str, Any]:
    """An identifier of a person."""
    return {"system": NHS_NUMBER if scheme == "nhs-number" else f"{SUBJECT_ID}{scheme}", "value": value}


def b64(data: bytes) -> str:
    """base64Binary."""
    return base64_strict.encode(data)


def base64(value: object) -> str:
    """A value's canonical JSON as base64Binary."""
    return b64(canonical.encode(value))


def filled(element: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty: FHIR has no empty lists or strings."""
    return {name: value for name, value in element.items() if value not in ("", [], {})}
