"""Synthetic patients for the demonstration, put into a FHIR server through its own API.

NHS numbers are from the range that is never issued (9xx xxx xxxx), names and addresses are invented,
telephone numbers are from Ofcom's range for drama.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from adapters.nhs.codes import SNOMED
from adapters.nhs.demographics import NHS_NUMBER
from adapters.nhs.fhir import tls
from adapters.sdk import ProviderUnavailable

LOCAL_NUMBER = "https://example-trust.nhs.uk/Id/local-patient-number"

# Edith Exampleton, whose number was once another; Rowan Sampleby, marked restricted; Wilf Sampleby, who has
# no known allergies; Ada Placeholder, of whom nothing clinical is recorded.
EDITH, EDITH_BEFORE, ROWAN, WILF, ADA = "9000001005", "9000001013", "9000001021", "9000001048", "9000001056"
UNKNOWN = "9000001307"

Resource = dict[str, Any]


def patients() -> list[Resource]:
    """Every resource, patients first, each with its id."""
    edith = _patient("edith", EDITH, "Exampleton", "Edith", "female", "1941-03-09")
    edith["identifier"] += [
        {"system": NHS_NUMBER, "value": EDITH_BEFORE, "use": "old"},
        {"system": LOCAL_NUMBER, "value": "EX004711"},
    ]
    edith["address"] = [_address("14 Example Terrace", "Ulverston", "LA12 7ZZ")]
    edith["telecom"] = [{"system": "phone", "value": "01632 960014", "use": "home"}]
    rowan = _patient("rowan", ROWAN, "Sampleby", "Rowan", "female", "1989-07-30")
    rowan["meta"] = {"security": [{"system": _CONFIDENTIALITY, "code": "R", "display": "restricted"}]}
    rowan["address"] = [_address("Flat 7, Sample Court", "Barrow-in-Furness", "LA14 1ZZ")]
    rowan["telecom"] = [{"system": "phone", "value": "01632 960031", "use": "mobile"}]
    wilf = _patient("wilf", WILF, "Sampleby", "Wilf", "male", "1956-11-02")
    wilf["address"] = [_address("Hollin Garth Farm", "Ambleside", "LA22 9ZZ")]
    ada = _patient("ada", ADA, "Placeholder", "Ada", "female", "1972-01-01")
    return [edith, rowan, wilf, ada, *_edith_clinical(), *_rowan_clinical(), no_known_allergy("wilf")]


def allergy(id_: str, patient: str, code: str, display: str, **more: Any) -> Resource:
    """An active, confirmed AllergyIntolerance of the patient with that logical id."""
    return {
        "resourceType": "AllergyIntolerance",
        "id": id_,
        "clinicalStatus": _status("allergyintolerance-clinical", "active"),
        "verificationStatus": _status("allergyintolerance-verification", "confirmed"),
        "code": _snomed(code, display),
        "patient": {"reference": f"Patient/{patient}"},
        "recordedDate": "2019-05-14",
        **more,
    }


def no_known_allergy(patient: str) -> Resource:
    """The record that somebody asked and there are none."""
    return allergy(f"{patient}-no-known-allergy", patient, "716186003", "No known allergy")


async def load_demo(base_url: str, *, ca: Path, cert: Path, key: Path) -> None:
    """Put every resource (PUT, so that doing it again puts it back). Raises ProviderUnavailable."""
    async with httpx.AsyncClient(
        base_url=base_url.rstrip("/") + "/", verify=tls(ca, cert, key), trust_env=False, timeout=10
    ) as client:
        for resource in patients():
            kind = resource["resourceType"]
            try:
                response = await client.put(f"{kind}/{resource['id']}", json=resource)
            except httpx.HTTPError as e:
                raise ProviderUnavailable(f"the FHIR server cannot be reached ({type(e).__name__})") from e
            if response.status_code not in (httpx.codes.OK, httpx.codes.CREATED):
                raise ProviderUnavailable(f"the FHIR server refuses a {kind}: {response.status_code}")


_CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"


def _edith_clinical() -> list[Resource]:
    reaction = {"manifestation": [_snomed("39579001", "Anaphylaxis")], "severity": "severe"}
    penicillin = allergy(
        "edith-penicillin",
        "edith",
        "91936005",
        "Allergy to penicillin",
        criticality="high",
        reaction=[reaction],
    )
    return [
        penicillin,
        _medication("edith-tiotropium", "edith", "Tiotropium inhaler", "One inhalation daily"),
        _medication("edith-oxygen", "edith", "Home oxygen concentrator", "2 l/min, 16 hours a day"),
        _condition("edith-copd", "edith", "13645005", "Chronic obstructive lung disease"),
        {
            "resourceType": "Flag",
            "id": "edith-oxygen-flag",
            "status": "active",
            "code": {"text": "Oxygen in the home: no naked flame"},
            "subject": {"reference": "Patient/edith"},
            "period": {"start": "2025-10-01", "end": "2027-10-01"},
        },
    ]


def _rowan_clinical() -> list[Resource]:
    return [
        allergy("rowan-latex", "rowan", "300916003", "Allergy to latex", criticality="low"),
        _condition("rowan-asthma", "rowan", "195967001", "Asthma"),
    ]


def _patient(id_: str, number: str, family: str, given: str, gender: str, born: str) -> Resource:
    return {
        "resourceType": "Patient",
        "id": id_,
        "active": True,
        "identifier": [{"system": NHS_NUMBER, "value": number}],
        "name": [{"use": "official", "family": family, "given": [given]}],
        "gender": gender,
        "birthDate": born,
        "generalPractitioner": [
            {
                "display": "Example Surgery",
                "identifier": {
                    "system": "https://fhir.nhs.uk/Id/ods-organization-code",
                    "value": "Y12345",
                },
            }
        ],
    }


def _medication(id_: str, patient: str, text: str, dosage: str) -> Resource:
    return {
        "resourceType": "MedicationStatement",
        "id": id_,
        "status": "active",
        "medicationCodeableConcept": {"text": text},
        "subject": {"reference": f"Patient/{patient}"},
        "effectivePeriod": {"start": "2024-02-01"},
        "dosage": [{"text": dosage}],
    }


def _condition(id_: str, patient: str, code: str, display: str) -> Resource:
    return {
        "resourceType": "Condition",
        "id": id_,
        "clinicalStatus": _status("condition-clinical", "active"),
        "verificationStatus": _status("condition-ver-status", "confirmed"),
        "code": _snomed(code, display),
        "subject": {"reference": f"Patient/{patient}"},
        "recordedDate": "2018-09-03",
    }


def _status(system: str, code: str) -> Resource:
    return {"coding": [{"system": f"http://terminology.hl7.org/CodeSystem/{system}", "code": code}]}


def _snomed(code: str, display: str) -> Resource:
    return {"coding": [{"system": SNOMED, "code": code, "display": display}]}


def _address(line: str, town: str, postcode: str) -> Resource:
    return {"use": "home", "line": [line], "city": town, "postalCode": postcode}
