"""The directory, the law and the time by which consents are read here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.consent.agencies import Agencies
from broker.consent.reading import Here
from broker.core.directory import Agency
from broker.law import load
from tests.support.spoken import NOW

SINCE = datetime(2020, 1, 1, tzinfo=UTC)
LAW = load()
DIRECTORY = (
    Agency("nwas", "North West Ambulance Service", "ambulance", "england", SINCE, code="RX7"),
    Agency("ncic", "North Cumbria Integrated Care", "nhs", "england", SINCE, code="RNN"),
    Agency("cfrs", "Cumbria Fire and Rescue", "fire", "england", SINCE),
    Agency("cumberland", "Cumberland Council", "council", "england", SINCE, code="E06000063"),
    # One code on two: neither is found by it.
    Agency("ward-a", "Ward A", "nhs", "england", SINCE, code="RTX"),
    Agency("ward-b", "Ward B", "nhs", "england", SINCE, code="RTX"),
)
AGENCIES = Agencies(DIRECTORY)
POLICY = "http://example.org/policies/basePrivacyConsentPolicy.txt"
DAPB3051 = (
    "https://digital.nhs.uk/data-and-information/information-standards/governance/latest-activity/"
    "standards-and-collections/dapb3051-identity-verification-and-authentication-standard-for-digital-health-"
    "and-care-services"
)
HERE = Here("ncic", AGENCIES, LAW, NOW, frozenset({POLICY, DAPB3051}))
NHS = "https://fhir.nhs.uk/Id/nhs-number"
NUMBER = "9000000009"
HL7 = "https://terminology.hl7.org/CodeSystem/"


def concept(system: str, code: str) -> dict[str, Any]:
    """A CodeableConcept of one coding."""
    return {"coding": [{"system": system, "code": code}]}


def organisation(ods: str) -> dict[str, Any]:
    """A reference by ODS code."""
    return {"identifier": {"system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": ods}}


def actor(role: str, ods: str) -> dict[str, Any]:
    """An actor of a provision."""
    return {"role": concept(f"{HL7}v3-ParticipationType", role), "reference": organisation(ods)}


def purpose(code: str) -> dict[str, Any]:
    """A coding of PurposeOfUse."""
    return {"system": f"{HL7}v3-ActReason", "code": code}


@pytest.fixture
def consent() -> dict[str, Any]:
    """Somebody's permit for treatment, as IHE PCF and NHS England write one; to be changed at will."""
    return {
        "resourceType": "Consent",
        "meta": {"profile": ["https://profiles.ihe.net/ITI/PCF/StructureDefinition/IHE.PCF.consentBasic"]},
        "status": "active",
        "scope": concept(f"{HL7}consentscope", "patient-privacy"),
        "category": [concept("http://loinc.org", "59284-0")],
        "patient": {"identifier": {"system": NHS, "value": NUMBER}},
        "dateTime": "2026-06-13",
        "performer": [{"identifier": {"system": NHS, "value": NUMBER}}],
        "organization": [organisation("RNN")],
        "sourceAttachment": {"title": "Signed form"},
        "policy": [{"uri": POLICY}],
        "provision": {"type": "permit", "purpose": [purpose("TREAT")]},
    }
