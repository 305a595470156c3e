"""The trust's patient record: a FHIR R4 server, asked afresh for every question.

Two round trips: the patient by NHS number, then all parts that will be released, side by side. A patient that
cannot be read fails the answer; a part that cannot be read is unavailable and the rest is answered. Refuses
resources about anybody but the patient asked for, whatever the server's search let through.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from adapters.nhs import demographics, mapping
from adapters.nhs.codes import Json, items
from adapters.nhs.fhir import FhirServer
from adapters.sdk import Answer, Found, NotFound, ProviderTimeout, ProviderUnavailable, Question, SubjectRef

log = logging.getLogger("adapters.nhs")

# Part of the record -> what is searched, how the patient is named there, what else comes along.
_SEARCHES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "allergies": ("AllergyIntolerance", {}),
    "medications": ("MedicationStatement", {"_include": "MedicationStatement:medication"}),
    "conditions": ("Condition", {}),
    "alerts": ("Flag", {}),
}
# A part that hangs must leave time to answer with the others.
_PARTS_SHARE = 0.8


class PatientRecord:
    """Answers for `records.nhs.v1.PatientSummary`."""

    def __init__(self, server: FhirServer, local_numbers: Mapping[str, str] | None = None) -> None:
        self._server = server
        self._local = dict(local_numbers or {})

    async def answer(self, question: Question) -> Answer:
        """The summary of the patient asked for, inside the question's time.

        Raises InvalidRequest, ProviderUnavailable (MappingError among them) or ProviderTimeout.
        """
        if question.subject is None:
            raise ProviderUnavailable("patients are found by NHS number only")
        asked = SubjectRef(demographics.SCHEME, demographics.nhs_number_of(question.subject.value))
        trace = {"X-Correlation-ID": str(uuid.uuid4())}
        if question.traceparent:
            trace["traceparent"] = question.traceparent
        patient = await self._patient(asked.value, trace, question)
        if patient is None:
            return NotFound((asked,))
        held = mapping.Held(patient, await self._parts(patient, trace, question), datetime.now(UTC))
        summary = mapping.patient_summary(held, asked, question.wants, self._local)
        for problem in summary.problems:
            log.warning("part unavailable: %s", problem)
        return Found(summary.record, summary.identifiers, held.read_at)

    async def _patient(self, number: str, trace: Mapping[str, str], question: Question) -> Json | None:
        wanted = {"identifier": f"{demographics.NHS_NUMBER}|{number}"}
        found = await self._server.search("Patient", wanted, trace, question.remaining())
        for patient in found:
            if patient.get("resourceType") != "Patient" or not _has_number(patient, number):
                raise ProviderUnavailable("the FHIR server answers with a patient that was not asked for")
        active = [p for p in found if p.get("active") is not False]
        if len(active) > 1:
            raise ProviderUnavailable("the FHIR server holds more than one patient under that number")
        if active:
            return active[0]
        return await self._successor(found, trace, question) if found else None

    async def _successor(
        self, inactive: Sequence[Json], trace: Mapping[str, str], question: Question
    ) -> Json | None:
        """The patient that a merged record points to. Its number may be another; both are then learnt."""
        targets = {
            _local_id(link.get("other"), "Patient")
            for patient in inactive
            for link in items(patient, "link")
            if link.get("type") == "replaced-by"
        }
        if not targets:
            return None
        target = targets.pop()
        if targets or not target:
            raise ProviderUnavailable("the FHIR server says two ways by whom a patient is replaced")
        patient = await self._server.read("Patient", target, trace, question.remaining())
        if patient.get("resourceType") != "Patient" or patient.get("active") is False:
            raise ProviderUnavailable("the FHIR server replaces a patient by one that is not active")
        return patient

    async def _parts(
        self, patient: Json, trace: Mapping[str, str], question: Question
    ) -> dict[str, Sequence[Json] | None]:
        wanted = [part for part in _SEARCHES if question.wants(part)]
        within = question.remaining() * _PARTS_SHARE
        results = await asyncio.gather(*(self._part(part, patient, trace, within) for part in wanted))
        return dict(zip(wanted, results, strict=True))

    async def _part(
        self, part: str, patient: Json, trace: Mapping[str, str], within: float
    ) -> Sequence[Json] | None:
        kind, extra = _SEARCHES[part]
        id_ = str(patient.get("id") or "")
        if not id_:
            return None
        try:
            found = await self._server.search(kind, {"patient": f"Patient/{id_}", **extra}, trace, within)
        except (ProviderUnavailable, ProviderTimeout) as e:
            log.warning("%s unavailable: %s", part, e)
            return None
        about = [r for r in found if r.get("resourceType") == kind]
        # A server that ignores a search parameter answers with everybody's.
        if any(_local_id(r.get("patient") or r.get("subject"), "Patient") != id_ for r in about):
            log.error("%s unavailable: the FHIR server answers with another patient's", part)
            return None
        return found


def _has_number(patient: Json, number: str) -> bool:
    return any(
        i.get("system") == demographics.NHS_NUMBER and i.get("value") == number
        for i in items(patient, "identifier")
    )


def _local_id(reference: object, kind: str) -> str:
    """The logical id in a reference such as "Patient/1" or "https://server/fhir/Patient/1"; else empty."""
    target = str(reference.get("reference") or "") if isinstance(reference, Mapping) else ""
    head, _, id_ = target.partition("/_history/")[0].rpartition("/")
    return id_ if head == kind or head.endswith(f"/{kind}") else ""
