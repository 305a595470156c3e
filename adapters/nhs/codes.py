"""FHIR R4's required codes, and which of them mean that something is the case.

General FHIR validators accept any text in these elements, so these tables decide. A code that is not in its
table is a `MappingError` that names the element: it is never guessed, and never quoted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from adapters.sdk import MappingError
from records.nhs.v1 import patient_summary_pb2 as nhs

T = TypeVar("T")
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Binding(Generic[T]):
    """A concept with a required binding: its element, the end of its code system's URL, what codes mean."""

    element: str
    system: str
    meanings: Mapping[str, T]


SNOMED = "http://snomed.info/sct"

# http://hl7.org/fhir/R4/valueset-administrative-gender.html
GENDER = {
    "female": nhs.GENDER_FEMALE,
    "male": nhs.GENDER_MALE,
    "other": nhs.GENDER_OTHER,
    "unknown": nhs.GENDER_UNKNOWN,
}

# http://hl7.org/fhir/R4/valueset-allergyintolerance-clinical.html: is it an allergy now?
ALLERGY_CLINICAL = Binding(
    "AllergyIntolerance.clinicalStatus",
    "allergyintolerance-clinical",
    {"active": True, "inactive": False, "resolved": False},
)

# http://hl7.org/fhir/R4/valueset-allergyintolerance-verification.html: does it stand?
ALLERGY_VERIFICATION = Binding(
    "AllergyIntolerance.verificationStatus",
    "allergyintolerance-verification",
    {"unconfirmed": True, "confirmed": True, "refuted": False, "entered-in-error": False},
)

# http://hl7.org/fhir/R4/valueset-allergy-intolerance-criticality.html
CRITICALITY = {"low": "low", "high": "high", "unable-to-assess": "unable-to-assess"}

# http://hl7.org/fhir/R4/valueset-reaction-event-severity.html, worst first
SEVERITY = {"severe": 0, "moderate": 1, "mild": 2}

# http://hl7.org/fhir/R4/valueset-condition-clinical.html
CONDITION_CLINICAL = Binding(
    "Condition.clinicalStatus",
    "condition-clinical",
    {c: c for c in ("active", "recurrence", "relapse", "inactive", "remission", "resolved")},
)

# http://hl7.org/fhir/R4/valueset-condition-ver-status.html. A differential is one of several guesses, and the
# record has no field to say so: it is not released as a condition.
CONDITION_VERIFICATION = Binding(
    "Condition.verificationStatus",
    "condition-ver-status",
    {
        "unconfirmed": True,
        "provisional": True,
        "confirmed": True,
        "differential": False,
        "refuted": False,
        "entered-in-error": False,
    },
)

# http://hl7.org/fhir/R4/valueset-medication-statement-status.html: may it be taken now? `unknown` may.
MEDICATION_STATUS = {
    "active": True,
    "unknown": True,
    "intended": False,
    "completed": False,
    "stopped": False,
    "on-hold": False,
    "not-taken": False,
    "entered-in-error": False,
}

# http://hl7.org/fhir/R4/valueset-flag-status.html
FLAG_STATUS = {"active": True, "inactive": False, "entered-in-error": False}

# SNOMED CT: no known allergy; no known drug, environmental and food allergy. They say what is not there.
NO_KNOWN_ALLERGY = frozenset({"716186003", "409137002", "428607008", "429625007"})

# http://terminology.hl7.org/CodeSystem/v3-Confidentiality: these may be shown. Restricted, very restricted
# and whatever is added tomorrow may not.
_OPEN = frozenset({"U", "L", "M", "N"})
_CONFIDENTIALITY = "//terminology.hl7.org/CodeSystem/v3-Confidentiality"


def required(table: Mapping[str, T], code: object, element: str) -> T:
    """What `code` means, or MappingError naming `element` (such as "Patient.gender")."""
    if not isinstance(code, str) or code not in table:
        raise MappingError(f"{element}: a code that is not in FHIR R4's required set")
    return table[code]


def status(binding: Binding[T], resource: Json) -> tuple[str, T] | None:
    """The code of the bound concept and what it means; None where it is absent.

    Raises MappingError for a concept without a coding of the bound system, and for an unknown code.
    """
    concept = resource.get(binding.element.rpartition(".")[2])
    if concept is None:
        return None
    for coding in items(concept, "coding"):
        if str(coding.get("system", "")).endswith(f"//terminology.hl7.org/CodeSystem/{binding.system}"):
            meaning = required(binding.meanings, coding.get("code"), binding.element)
            return str(coding["code"]), meaning
    raise MappingError(f"{binding.element}: no coding of {binding.system}")


def restricted(resource: Json) -> bool:
    """Whether `meta.security` holds a confidentiality code above normal, or one that we do not know."""
    return any(
        str(label.get("system", "")).endswith(_CONFIDENTIALITY) and label.get("code") not in _OPEN
        for label in items(resource.get("meta"), "security")
    )


def items(element: object, name: str) -> Sequence[Json]:
    """The objects in the list `element.name`; empty where there is none."""
    value = element.get(name) if isinstance(element, Mapping) else None
    return [x for x in value if isinstance(x, Mapping)] if isinstance(value, list) else []


def concept(value: object) -> nhs.Code | None:
    """A CodeableConcept as one code: SNOMED CT before others, its words alone where nothing is coded."""
    if not isinstance(value, Mapping):
        return None
    text = str(value.get("text") or "")
    codings = [c for c in items(value, "coding") if c.get("code")]
    codings.sort(key=lambda c: (c.get("system") != SNOMED, not c.get("userSelected", False)))
    if codings:
        best = codings[0]
        display = str(best.get("display") or text)
        return nhs.Code(system=str(best.get("system") or ""), code=str(best["code"]), display=display)
    return nhs.Code(display=text) if text else None
