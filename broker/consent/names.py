"""Code systems and identifier systems as they are written in FHIR, and those that are this broker's own.

Ours are names and not addresses: nothing has to be reachable there. HL7 writes its own with `http:`, and NHS
England the same ones with `https:`; both are read, and HL7's spelling is written.
"""

from __future__ import annotations

BASE = "https://blue-light.test/fhir"
KIND = f"{BASE}/CodeSystem/directive-kind"
MATTER = f"{BASE}/CodeSystem/directive-matter"
STANDING = f"{BASE}/CodeSystem/standing"
PURPOSE = f"{BASE}/CodeSystem/purpose"
RECORD_TYPE = f"{BASE}/CodeSystem/record-type"
AGENCY_ID = f"{BASE}/Id/agency"
DIRECTIVE_ID = f"{BASE}/Id/directive"
SUBJECT_ID = f"{BASE}/Id/subject/"
EXTRAS = f"{BASE}/StructureDefinition/directive"

NHS_NUMBER = "https://fhir.nhs.uk/Id/nhs-number"
ODS = "https://fhir.nhs.uk/Id/ods-organization-code"
NHS_PROXY_BASIS = "https://fhir.nhs.uk/England/CodeSystem/England-NHSProxyLegalBasis"
# UK Core: how an address carries its UPRN.
ADDRESS_KEY = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-AddressKey"
ADDRESS_KEY_TYPE = "https://fhir.hl7.org.uk/CodeSystem/UKCore-AddressKeyType"

LOINC = "http://loinc.org"
_HL7 = "http://terminology.hl7.org/"
SCOPE = f"{_HL7}CodeSystem/consentscope"
ACT_CODE = f"{_HL7}CodeSystem/v3-ActCode"
PURPOSE_OF_USE = f"{_HL7}CodeSystem/v3-ActReason"
PARTICIPATION = f"{_HL7}CodeSystem/v3-ParticipationType"
ROLE_CODE = f"{_HL7}CodeSystem/v3-RoleCode"
ACTION = f"{_HL7}CodeSystem/consentaction"


def canonical(system: str) -> str:
    """A system in the one spelling that stands above."""
    return f"http{system[5:]}" if system.startswith("https://terminology.hl7.org/") else system
