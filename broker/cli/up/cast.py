"""Who takes part in the demonstration: agencies, their systems, and the people asked about.

Agencies are the real bodies of Cumbria and their published codes; every person and premises is invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from broker.core.directory import Agency
from broker.core.model import Function

# Since the council's end, when the fire service moved to the commissioner.
_SINCE = datetime(2023, 4, 1, tzinfo=UTC)


def _agency(agency_id: str, name: str, kind: str, code: str = "", phone: str = "") -> Agency:
    contact = "information governance"
    return Agency(agency_id, name, kind, "england", _SINCE, code=code, contact=contact, phone=phone)


AGENCIES = (
    _agency("cfrs", "Cumbria Fire and Rescue Service", "fire", phone="01632 960101"),
    _agency("nwas", "North West Ambulance Service", "ambulance", "RX7", "01632 960102"),
    _agency("cumbria-police", "Cumbria Constabulary", "police", phone="01632 960103"),
    _agency("cumberland", "Cumberland Council", "council", "E06000063", "01632 960104"),
    _agency("wf", "Westmorland and Furness Council", "council", "E06000064", "01632 960105"),
    _agency("ncic", "North Cumbria Integrated Care", "nhs", "RNN", "01632 960106"),
    _agency("auditor", "Joint audit", "auditor"),
)


@dataclass(frozen=True, slots=True)
class Member:
    """One system that has a certificate."""

    agency: str
    system: str
    function: Function = Function.PARTNER

    @property
    def folder(self) -> str:
        """Where its certificate lies, under DIR/certs."""
        return f"{self.agency}-{self.system}"


OPERATOR = Member("operator", "cli", Function.OPERATOR)
FIRE_ADAPTER = Member("cfrs", "risk")
NHS_ADAPTER = Member("ncic", "fhir")
MEMBERS = (
    Member("cfrs", "mdt"),
    Member("nwas", "cad"),
    Member("cumbria-police", "control"),
    Member("cumberland", "mash"),
    Member("wf", "mash"),
    Member("ncic", "ed"),
    Member("auditor", "console", Function.AUDITOR),
    FIRE_ADAPTER,
    NHS_ADAPTER,
)

# Edith Exampleton, whom the NHS adapter's synthetic patients hold, and the premises where she lives.
EDITH = ("nhs-number", "9000001005")
EDITHS_HOME = ("uprn", "100062990001")
