"""Entries as FHIR R4 AuditEvents: valid, and in the patterns of IHE BALP where one fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fhirkit
import pytest
from fhir.resources.R4B.auditevent import AuditEvent

from broker.core.model import Caller
from broker.offline.export import forms
from tests.support.certificates import Authority
from tests.support.exporting import PERSON, given, rows, world_of_kinds
from tests.support.fhir import real_server
from tests.support.world import AUDITOR, HOME, caller

NWAS, CFRS = caller("nwas"), caller("cfrs")
PROFILE = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."


async def resources(who: Caller) -> dict[str, list[dict[str, Any]]]:
    """AuditEvents of every kind there is for somebody, by event."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in rows(await given(await world_of_kinds(), who)):
        found.setdefault(one.fact("event"), []).append(json.loads(forms.form("fhir").write(one)))
    return found


@pytest.mark.parametrize("who", [AUDITOR, NWAS, CFRS], ids=["auditor", "requester", "provider"])
async def test_every_audit_event_is_r4(who: Caller) -> None:
    """By a validator of R4, and by the models of R4B; one for each entry, under the entry's id and time."""
    for event, found in (await resources(who)).items():
        for each in found:
            assert [str(issue) for issue in fhirkit.validate(each)] == [], event
            AuditEvent.model_validate(each)


def _codes(concept: dict[str, Any]) -> str:
    coding = concept.get("coding", [concept])[0]
    return f"{coding['system'].rpartition('/')[2]}#{coding['code']}"


def _agents(event: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {_codes(agent["type"]): agent for agent in event["agent"]}


def _entities(event: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {_codes(entity["type"]): entity for entity in event["entity"]}


async def test_a_release_is_a_privacy_disclosure_at_the_source() -> None:
    """What BALP 1.1 requires: type, action, source that recorded it, recipient, custodian, patient, data."""
    event = (await resources(AUDITOR))["disclosure"][0]
    assert event["meta"]["profile"] == [f"{PROFILE}PrivacyDisclosure.Source"]
    assert (_codes(event["type"]), event["action"], event["outcome"]) == ("DCM#110106", "R", "0")
    assert "iso-21089-lifecycle#disclose" in [_codes(each) for each in event["subtype"]]
    agents, entities = _agents(event), _entities(event)
    source, recipient = agents["DCM#110153"], agents["DCM#110152"]
    assert source["who"] == event["source"]["observer"]
    assert source["network"]
    assert recipient["network"]
    assert recipient["who"]["identifier"]["value"] == "spiffe://blue-light.test/agency/nwas/system/cad"
    assert agents["sct#159541003"]["who"]["identifier"]["value"] == "cfrs"
    user = agents["v3-ParticipationType#IRCP"]
    assert (user["requestor"], user["who"]["identifier"]["value"]) == (True, "a.hill")
    patient = entities["audit-entity-type#1"]
    assert _codes(patient["role"]) == "object-role#1"
    assert patient["what"]["identifier"] == {
        "system": "https://fhir.nhs.uk/Id/nhs-number",
        "value": PERSON.value,
    }
    assert entities["audit-entity-type#2"]["what"]["identifier"]["value"]
    assert entities["resource-types#Location"]["what"]["identifier"]["value"] == HOME.value
    codes = [each["code"] for each in event["purposeOfEvent"][0]["coding"]]
    assert codes == ["emergency-response", "ETREAT", "ERTREAT"]
    assert "modifierExtension" not in event


async def test_a_refusal_on_what_was_said_is_a_decision_by_consent() -> None:
    """What BALP requires: its only subtype, client, user, organisation and authoriser, and entities closed to
    the patient and the consents that were read."""
    refused = (await resources(AUDITOR))["refusal"]
    event = refused[-1]
    assert event["meta"]["profile"] == [f"{PROFILE}AuthZconsent"]
    assert (_codes(event["type"]), event["action"], event["outcome"]) == ("DCM#110113", "E", "8")
    assert event["outcomeDesc"] == "refused: person"
    assert [each["code"] for each in event["subtype"]] == ["AuthZ-Consent"]
    agents = _agents(event)
    assert agents["extra-security-role-type#authserver"]["who"] == event["source"]["observer"]
    assert agents["DCM#110150"].keys() == {"type", "who", "requestor", "network"}
    assert agents["v3-RoleClass#PROV"].keys() == {"type", "who", "requestor"}
    assert agents["v3-ParticipationType#IRCP"]["requestor"] is True
    assert _entities(event).keys() == {"audit-entity-type#1", "resource-types#Consent"}
    # Refused for the role, before anybody's words were read: claimed as nothing that it is not.
    assert "meta" not in refused[0]
    assert [each["code"] for each in refused[0]["subtype"]] == ["AuthZ-Role", "refusal"]


async def test_a_look_at_what_somebody_said_is_a_patient_query() -> None:
    """The client is its source and the server its destination, as BALP has it; a look at the log is none."""
    found = await resources(AUDITOR)
    (event,) = found["directives-viewed"]
    assert event["meta"]["profile"] == [f"{PROFILE}PatientQuery"]
    assert (_codes(event["type"]), event["action"]) == ("audit-event-type#rest", "E")
    assert "restful-interaction#search" in [_codes(each) for each in event["subtype"]]
    agents, entities = _agents(event), _entities(event)
    assert agents["DCM#110153"]["who"]["identifier"]["value"].endswith("/agency/cumberland/system/cad")
    assert agents["DCM#110152"]["network"]
    assert entities["audit-entity-type#2"]["query"]
    assert _codes(entities["audit-entity-type#2"]["role"]) == "object-role#24"
    assert "what" not in entities["audit-entity-type#2"]
    (looked,) = found["log-searched"]
    assert (_codes(looked["type"]), "meta" in looked) == ("DCM#110101", False)


async def test_identifiers_are_in_nobodys_events_who_may_not_see_them() -> None:
    """A requester's events name no patient and claim no profile of one, and not in what opens them either."""
    for found in (await resources(NWAS)).values():
        for event in found:
            assert "meta" not in event
            assert not [each for each in (PERSON, HOME) if each.value in json.dumps(event)]
    for one in rows(await given(await world_of_kinds(), NWAS)):
        assert not [each for each in (PERSON, HOME) if each.value.encode() in one.row.opening]
    own = json.dumps((await resources(CFRS))["disclosure"])
    assert PERSON.value in own


async def test_a_real_server_takes_them(tmp_path: Path) -> None:
    """A FHIR R4 server takes an event of each kind by PUT, and gives it back as it was."""
    authority = Authority(tmp_path / "ca")
    (tmp_path / "fhir").mkdir()
    kinds = [found[-1] for found in (await resources(AUDITOR)).values()]
    with real_server(tmp_path / "fhir", authority.server(), authority.client("ncic", "ed")) as server:
        for event in kinds:
            await server.put(event)
            kept = await server.get("AuditEvent", event["id"])
            assert {**kept, "meta": {}} == {**event, "meta": {}}
            assert kept["meta"].get("profile") == event.get("meta", {}).get("profile")
