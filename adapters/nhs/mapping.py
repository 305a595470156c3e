"""FHIR R4 resources -> `PatientSummary`. Pure: no I/O, no clock.

Owns how the parts come together: a part whose search failed, or which holds a code that our tables do not
know, is unavailable and says so; the rest of the record stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from adapters.nhs import clinical, demographics
from adapters.nhs.codes import Json
from adapters.sdk import MappingError, SubjectRef
from records.nhs.v1 import patient_summary_pb2 as nhs
from records.shared.v1 import fact_pb2 as shared

_Part = nhs.Allergies | nhs.Medications | nhs.Conditions | nhs.Alerts

# Field of the record -> how it is made from what its search returned.
PARTS: Mapping[str, Callable[[Sequence[Json], datetime], _Part]] = {
    "allergies": clinical.allergies,
    "medications": clinical.medications,
    "conditions": clinical.conditions,
    "alerts": clinical.alerts,
}


@dataclass(frozen=True, slots=True)
class Held:
    """What the server holds of one patient. A part that is None could not be read."""

    patient: Json = field(repr=False)
    parts: Mapping[str, Sequence[Json] | None] = field(repr=False)
    read_at: datetime


@dataclass(frozen=True, slots=True)
class Summary:
    """The record, the identifiers learnt, and what could not be mapped (elements, never values)."""

    record: nhs.PatientSummary = field(repr=False)
    identifiers: tuple[SubjectRef, ...]
    problems: tuple[str, ...]


def patient_summary(
    held: Held, asked: SubjectRef, wants: Callable[[str], bool], local: Mapping[str, str]
) -> Summary:
    """The summary with the parts that `wants(field name)` names; all others are left out.

    `local` maps identifier systems to the ODS code of the trust whose own numbers they hold. Raises
    MappingError when the patient's own demographics hold a code that is not in our tables.
    """
    patient, at = held.patient, held.read_at
    record = nhs.PatientSummary(nhs_number=demographics.current_number(patient, asked.value, at))
    if wants("name") and (name := demographics.name(patient, at)) is not None:
        record.name.CopyFrom(name)
    if wants("birth_date"):
        record.birth_date = demographics.day(patient.get("birthDate"), "Patient.birthDate")
    if wants("gender"):
        record.gender = demographics.gender(patient)
    if wants("contact"):
        record.contact.CopyFrom(demographics.contact(patient, at))
    if wants("practice") and (practice := demographics.practice(patient, at)) is not None:
        record.practice.CopyFrom(practice)
    problems = []
    for part in (p for p in PARTS if wants(p)):
        problem = _part(record, part, held.parts.get(part), at)
        if problem:
            problems.append(problem)
    known = set(demographics.identifiers(patient, local)) | {asked}
    return Summary(record, tuple(sorted(known)), tuple(problems))


def _part(record: nhs.PatientSummary, part: str, resources: Sequence[Json] | None, at: datetime) -> str:
    """Fill one part in; what was wrong, or empty."""
    target = getattr(record, part)
    problem = "" if resources is not None else f"{part}: could not be read"
    if resources is not None:
        try:
            target.CopyFrom(PARTS[part](resources, at))
        except MappingError as e:
            problem = str(e)
    if problem:
        target.state = shared.FACT_STATE_UNAVAILABLE
        target.as_at = demographics.rfc3339(at)
    return problem
