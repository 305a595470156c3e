"""`python -m tests.support.register LINKS`: a trust's adapter, as a process of its own on the SDK.

Every number is somebody's. LINKS is a JSON object that names further numbers of a person by each; an answer
takes up to 20 ms, each another time, so that questions and withdrawals overtake each other.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from adapters.sdk import Found, Provides, Question, SubjectRef, run, serve
from records.nhs.v1 import patient_summary_pb2
from records.shared.v1 import fact_pb2

PATIENT = "records.nhs.v1.PatientSummary"
SCHEME = "nhs-number"
_PAUSES = 7, 0, 13, 3, 19, 1, 9, 16, 5, 11  # milliseconds


def patient(number: str) -> patient_summary_pb2.PatientSummary:
    """A record that says of everything that nothing is recorded."""
    record = patient_summary_pb2.PatientSummary(nhs_number=number)
    record.name.family = "Register"
    for part in (record.contact, record.allergies, record.medications, record.conditions, record.alerts):
        part.state = fact_pb2.FACT_STATE_NONE_RECORDED
    return record


async def _main(links: dict[str, list[str]]) -> None:
    asked = count()

    async def answer(question: Question) -> Found:
        assert question.subject is not None
        await asyncio.sleep(_PAUSES[next(asked) % len(_PAUSES)] / 1000)
        number = question.subject.value
        known = (number, *links.get(number, ()))
        return Found(patient(number), tuple(SubjectRef(SCHEME, n) for n in known), datetime.now(UTC))

    await serve(answer, [Provides(PATIENT, (SCHEME,))], software="register")


if __name__ == "__main__":
    run(_main(json.loads(Path(sys.argv[1]).read_text())))
