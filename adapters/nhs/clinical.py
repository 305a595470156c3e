"""FHIR R4 AllergyIntolerance, MedicationStatement, Condition and Flag -> the parts of a summary. Pure.

Each function takes what a search that succeeded returned. What was entered in error or refuted does not
appear; what remains empty is "none recorded"; resources the trust restricts are left out, and a part with
nothing but those is withheld, never none. Raises MappingError rather than guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from adapters.nhs import codes
from adapters.nhs.codes import Json, concept, items, required, status
from adapters.nhs.demographics import day, lasting, rfc3339
from adapters.sdk import MappingError
from records.nhs.v1 import patient_summary_pb2 as nhs
from records.shared.v1 import fact_pb2 as shared

SOURCE = "trust-patient-record"


def allergies(resources: Sequence[Json], as_at: datetime) -> nhs.Allergies:
    """Allergies that stand. "No known allergy" is none recorded, never an allergy of that name."""
    made = nhs.Allergies(as_at=rfc3339(as_at))
    standing = [r for r in resources if _stands(r)]
    shown = [r for r in standing if not codes.restricted(r)]
    for resource in shown:
        substance = concept(resource.get("code"))
        if substance is None:
            raise MappingError("AllergyIntolerance.code: names nothing")
        if not _says_none(resource):
            made.items.append(_allergy(resource, substance))
    made.state = _state(made.items, hidden=len(shown) < len(standing))
    return made


def medications(resources: Sequence[Json], as_at: datetime) -> nhs.Medications:
    """What the patient may be taking now."""
    made = nhs.Medications(as_at=rfc3339(as_at))
    stocked = {f"Medication/{r.get('id')}": r for r in resources if r.get("resourceType") == "Medication"}
    statements = [r for r in resources if r.get("resourceType") == "MedicationStatement"]
    now = [
        r
        for r in statements
        if required(codes.MEDICATION_STATUS, r.get("status"), "MedicationStatement.status")
    ]
    shown = [r for r in now if not codes.restricted(r)]
    for resource in shown:
        medicine = _medicine(resource, stocked)
        if medicine is None:
            raise MappingError("MedicationStatement.medication[x]: names nothing")
        dosage = "; ".join(str(d["text"]) for d in items(resource, "dosage") if d.get("text"))
        period = resource.get("effectivePeriod")
        started = period.get("start") if isinstance(period, Mapping) else resource.get("effectiveDateTime")
        made.items.add(
            medicine=medicine, dosage=dosage, started_on=day(started, "MedicationStatement.effective[x]")
        )
    made.state = _state(made.items, hidden=len(shown) < len(now))
    return made


def conditions(resources: Sequence[Json], as_at: datetime) -> nhs.Conditions:
    """Conditions somebody holds to be so, past ones with their status."""
    made = nhs.Conditions(as_at=rfc3339(as_at))
    standing = []
    for resource in resources:
        verification = status(codes.CONDITION_VERIFICATION, resource)
        if verification is None or verification[1]:
            standing.append(resource)
    shown = [r for r in standing if not codes.restricted(r)]
    for resource in shown:
        what = concept(resource.get("code"))
        if what is None:
            raise MappingError("Condition.code: names nothing")
        clinical = status(codes.CONDITION_CLINICAL, resource)
        made.items.add(
            condition=what,
            clinical_status="" if clinical is None else clinical[1],
            onset_on=day(resource.get("onsetDateTime"), "Condition.onset[x]"),
            recorded_on=day(resource.get("recordedDate"), "Condition.recordedDate"),
        )
    made.state = _state(made.items, hidden=len(shown) < len(standing))
    return made


def alerts(resources: Sequence[Json], as_at: datetime) -> nhs.Alerts:
    """Flags in force on the day of `as_at`."""
    made = nhs.Alerts(as_at=rfc3339(as_at))
    raised = [
        r
        for r in resources
        if required(codes.FLAG_STATUS, r.get("status"), "Flag.status") and lasting(r, as_at)
    ]
    shown = [r for r in raised if not codes.restricted(r)]
    for resource in shown:
        alert = concept(resource.get("code"))
        if alert is None:
            raise MappingError("Flag.code: names nothing")
        period = resource.get("period")
        period = period if isinstance(period, Mapping) else {}
        made.items.add(
            alert=alert,
            provenance=shared.Provenance(
                source=SOURCE,
                # A flag is raised on somebody's judgement; FHIR has no element that says otherwise.
                nature=shared.NATURE_ASSESSMENT,
                recorded_on=day(period.get("start"), "Flag.period.start"),
                review_by=day(period.get("end"), "Flag.period.end"),
                confidence=shared.CONFIDENCE_REPORTED,
            ),
        )
    made.state = _state(made.items, hidden=len(shown) < len(raised))
    return made


def _state(shown: Sequence[Any], *, hidden: bool) -> shared.FactState.ValueType:
    if len(shown):
        return shared.FACT_STATE_VALUE
    return shared.FACT_STATE_WITHHELD if hidden else shared.FACT_STATE_NONE_RECORDED


def _stands(resource: Json) -> bool:
    # Both are looked at before either decides, so that an unknown code never hides behind the other.
    verification = status(codes.ALLERGY_VERIFICATION, resource)
    clinical = status(codes.ALLERGY_CLINICAL, resource)
    # Absent says nothing against it, and an allergy too many is safer than one too few.
    return (verification is None or verification[1]) and (clinical is None or clinical[1])


def _says_none(resource: Json) -> bool:
    return any(
        c.get("system") == codes.SNOMED and c.get("code") in codes.NO_KNOWN_ALLERGY
        for c in items(resource.get("code"), "coding")
    )


def _allergy(resource: Json, substance: nhs.Code) -> nhs.Allergy:
    made = nhs.Allergy(
        substance=substance, recorded_on=day(resource.get("recordedDate"), "AllergyIntolerance.recordedDate")
    )
    if "criticality" in resource:
        element = "AllergyIntolerance.criticality"
        made.criticality = required(codes.CRITICALITY, resource["criticality"], element)
    verification = status(codes.ALLERGY_VERIFICATION, resource)
    if verification is not None:
        made.verification = verification[0]
    reaction = _worst_reaction(resource)
    if reaction is not None:
        made.reaction.CopyFrom(reaction)
    return made


def _worst_reaction(resource: Json) -> nhs.Code | None:
    def rank(reaction: Json) -> int:
        if "severity" not in reaction:
            return len(codes.SEVERITY)
        return required(codes.SEVERITY, reaction["severity"], "AllergyIntolerance.reaction.severity")

    for reaction in sorted(items(resource, "reaction"), key=rank):
        for manifestation in items(reaction, "manifestation"):
            if (code := concept(manifestation)) is not None:
                return code
    return None


def _medicine(resource: Json, stocked: Mapping[str, Json]) -> nhs.Code | None:
    if "medicationCodeableConcept" in resource:
        return concept(resource["medicationCodeableConcept"])
    reference = resource.get("medicationReference")
    if not isinstance(reference, Mapping):
        return None
    target = str(reference.get("reference") or "")
    contained = {f"#{c.get('id')}": c for c in items(resource, "contained")}
    found = contained.get(target) or stocked.get("/".join(target.split("/")[-2:]))
    code = concept(found.get("code")) if found is not None else None
    return code or (nhs.Code(display=str(reference["display"])) if reference.get("display") else None)
