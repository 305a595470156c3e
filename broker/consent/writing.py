"""A directive as a FHIR R4 Consent, which `reading` reads as the same directive.

The root rule has its type, as IHE PCF wants it, and a policyRule that says the same for who follows the base
standard. A consent to a visit is of another scope, so that nobody takes it for a consent to share.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from broker.consent import extras, people, purposes, subjects, times
from broker.consent.agencies import Agencies
from broker.consent.names import (
    ACT_CODE,
    ACTION,
    DIRECTIVE_ID,
    KIND,
    LOINC,
    MATTER,
    PARTICIPATION,
    RECORD_TYPE,
    SCOPE,
)
from broker.consent.reading import Understood
from broker.core.directive import SHIELDS, Directive
from broker.law import Law


def write(said: Understood, agencies: Agencies, law: Law) -> dict[str, Any]:
    """The resource."""
    subject, directive = said
    performer, contained = people.write(subject, directive.standing)
    permit = directive.kind == "consent"
    sharing = directive.matter == "sharing"
    resource: dict[str, Any] = {
        "resourceType": "Consent",
        "id": directive.id or [],
        "contained": contained,
        "extension": [extras.write(directive)],
        "identifier": [{"system": DIRECTIVE_ID, "value": directive.id}] if directive.id else [],
        "status": "active",
        "scope": _concept(*((SCOPE, "patient-privacy") if sharing else (MATTER, "visit"))),
        "category": [_concept(LOINC, "59284-0"), _concept(KIND, directive.kind)],
        "patient": subjects.write(subject),
        "dateTime": times.written(directive.said_at),
        # A shield is nobody's word.
        "performer": [] if directive.kind in SHIELDS else [performer],
        "organization": [agencies.write(directive.recorder)],
        "policyRule": _concept(ACT_CODE, "OPTIN" if permit else "OPTOUT"),
        "provision": _provision(directive, agencies, law, permit=permit),
    }
    return _filled(resource)


def bundle(said: Iterable[Understood], agencies: Agencies, law: Law, at: datetime) -> dict[str, Any]:
    """A collection of them."""
    entries = [
        {"fullUrl": f"urn:uuid:{each.directive.id}", "resource": write(each, agencies, law)} for each in said
    ]
    made: dict[str, Any] = {"resourceType": "Bundle", "type": "collection", "timestamp": times.written(at)}
    return {**made, "entry": entries} if entries else made


def _provision(directive: Directive, agencies: Agencies, law: Law, *, permit: bool) -> dict[str, Any]:
    actors = [
        {"role": _concept(PARTICIPATION, role), "reference": agencies.write(agency)}
        for role, names in (("IRCP", directive.requesters), ("CST", directive.providers))
        for agency in sorted(names)
    ]
    rule: dict[str, Any] = {
        "type": "permit" if permit else "deny",
        "period": {"end": times.last(directive.valid_until)} if directive.valid_until else [],
        "actor": actors,
        "action": [_concept(ACTION, "disclose")] if directive.matter == "sharing" else [],
        "purpose": purposes.write(directive.purposes, law, permit=permit),
        "class": [{"system": RECORD_TYPE, "code": name} for name in sorted(directive.record_types)],
    }
    return _filled(rule)


def _filled(elements: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty: FHIR has no empty lists."""
    return {name: value for name, value in elements.items() if value != []}


def _concept(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}
