"""A provider's adapter whose system answers at once: the real SDK around a record made once."""

from __future__ import annotations

from datetime import UTC, datetime

from adapters.sdk import Found, Provides, Question, run, serve
from records.fire.v1 import premises_risk_pb2
from records.shared.v1 import fact_pb2

RECORD_TYPE = "records.fire.v1.PremisesRisk"


def premises(uprn: str) -> premises_risk_pb2.PremisesRisk:
    """Premises with the usual: oxygen, a way in, one hazard; and things that no ambulance crew is told."""
    record = premises_risk_pb2.PremisesRisk(uprn=uprn, crew_notes="Visited in June; daughter holds a key.")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    value = fact_pb2.FACT_STATE_VALUE
    record.oxygen.state, record.oxygen.as_at = value, now
    record.oxygen.kind = premises_risk_pb2.OXYGEN_KIND_CONCENTRATOR
    record.oxygen.kept_in = "front bedroom"
    record.access.state, record.access.as_at = value, now
    record.access.directions = "Rear lane only; no turning for an aerial appliance"
    record.hazards.state, record.hazards.as_at = value, now
    record.hazards.items.add(code="LPG", description="Two 47 kg cylinders", location="north gable")
    record.evacuation.state, record.evacuation.as_at = value, now
    record.evacuation.need = premises_risk_pb2.EVACUATION_NEED_CARRIED
    record.occupier.name = "Edith Exampleton"
    return record


async def answer(question: Question) -> Found:
    """At once, whoever is asked for."""
    if question.subject is None:
        raise ValueError("the benchmark asks by identifier")
    return Found(premises(question.subject.value), (question.subject,), datetime.now(UTC))


if __name__ == "__main__":
    run(serve(answer, [Provides(RECORD_TYPE, ("uprn",))], software="bench"))
