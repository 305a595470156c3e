"""Who took part in an event and what it was about, as agents and entities of a FHIR AuditEvent.

As far as the view says: whoever it does not name is nobody here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.offline.export import fhir
from broker.offline.export.fhir import BROKER, DCM, ENTITY, ENTITY_TYPE, ROLE
from broker.offline.export.row import Said


def observer(said: Said) -> dict[str, Any]:
    """The broker, which wrote the entry down."""
    return fhir.device(f"spiffe://{_domain(said)}{BROKER}")


def _domain(said: Said) -> str:
    return said.origin.partition("/log/")[0]


def requester(said: Said) -> dict[str, Any]:
    """Who asked, as far as the view says: the full one by system; to the requester it is itself."""
    if said.fact("system"):
        return fhir.device(requester_uri(said))
    if said.row.audience == "requester":
        return fhir.agency(said.row.agency)
    agreement = said.fact("agreement")
    return {"type": "Organization", "display": f"the requester under {agreement or 'no agreement'}"}


def requester_uri(said: Said) -> str:
    """The asking system's own id, or the trust domain's where the view does not name it."""
    agency, system = said.fact("acted_for"), said.fact("system")
    if agency and system:
        return f"spiffe://{_domain(said)}/agency/{agency}/system/{system}"
    # By mutual TLS through the broker, and no address is kept.
    return f"spiffe://{_domain(said)}"


def agent(
    said: Said, system: str, code: str, who: dict[str, Any], *, network: str | None = ""
) -> dict[str, Any]:
    """An agent that did not begin it."""
    made: dict[str, Any] = {"type": fhir.concept(system, code), "who": who, "requestor": False}
    if network is not None:
        made["network"] = {"address": network or f"spiffe://{_domain(said)}{BROKER}", "type": "5"}
    return made


def custodian(said: Said) -> list[dict[str, Any]]:
    """The agency that keeps the record."""
    if not (provider := said.fact("provider")):
        return []
    return [agent(said, fhir.SNOMED, "159541003", fhir.agency(provider), network=None)]


def user(said: Said) -> list[dict[str, Any]]:
    """The person at the keyboard, as their system claims."""
    actor = said.view.get("actor")
    if not isinstance(actor, Mapping) or not actor.get("id"):
        return []
    user = agent(
        said,
        fhir.PARTICIPATION,
        "IRCP",
        {"identifier": {"system": fhir.ACTOR_ID, "value": actor["id"]}},
        network=None,
    )
    role = [fhir.concept(fhir.ACTOR_ROLE, actor["role"])] if actor.get("role") else []
    return [fhir.filled({**user, "requestor": True, "name": actor.get("name") or "", "role": role})]


def parties(said: Said) -> list[dict[str, Any]]:
    """The broker, the system that spoke to it, and the person at its keyboard."""
    agents = [agent(said, DCM, "110152", observer(said))]
    if said.fact("system"):
        agents.append(agent(said, DCM, "110153", requester(said), network=requester_uri(said)))
    return [*agents, *user(said)]


def policies(said: Said) -> list[str]:
    """The agreement that it stands on."""
    return [f"{fhir.AGREEMENT}/{agreement}"] if (agreement := said.fact("agreement")) else []


def patients(said: Said) -> list[dict[str, Any]]:
    """The person, by the identifier that says most: one, as the profiles want it; the view has the others."""
    known = [each for each in _identifiers(said) if each[0] in fhir.PEOPLE]
    if not known:
        return []
    scheme, value = min(known, key=lambda each: fhir.PEOPLE.index(each[0]))
    what = {"type": "Patient", "identifier": fhir.identifier(scheme, value)}
    return [{"what": what, "type": fhir.coding(ENTITY_TYPE, "1"), "role": fhir.coding(ROLE, "1")}]


def _identifiers(said: Said) -> list[tuple[str, str]]:
    detail = said.view.get("detail")
    places = [*(said.view.get("identifiers") or ()), said.view.get("asked_by")]
    places.append(detail.get("subject") if isinstance(detail, Mapping) else None)
    return [
        (str(each["scheme"]), str(each["value"]))
        for each in places
        if isinstance(each, Mapping) and each.get("scheme") and each.get("value")
    ]


def places(said: Said) -> list[dict[str, Any]]:
    """The premises, by UPRN."""
    return [
        {
            "what": {"type": "Location", "identifier": fhir.identifier(scheme, value)},
            "type": fhir.coding(fhir.RESOURCES, "Location"),
        }
        for scheme, value in dict.fromkeys(_identifiers(said))
        if scheme == "uprn"
    ]


def consents(said: Said) -> list[dict[str, Any]]:
    """What people had said that was read, as Consents of the same identifiers as they are exported with."""
    return [
        {
            "what": {"type": "Consent", "identifier": {"system": fhir.DIRECTIVE_ID, "value": str(each)}},
            "type": fhir.coding(fhir.RESOURCES, "Consent"),
        }
        for each in said.view.get("directives") or ()
    ]


def incident(said: Said) -> list[dict[str, Any]]:
    """The incident that it was for, by its number."""
    if not (number := said.fact("incident")):
        return []
    return [
        {
            "what": {"identifier": fhir.identifier("incident", number)},
            "type": fhir.coding(ENTITY_TYPE, "4"),
            "role": fhir.coding(ROLE, "20"),
            "description": "incident",
        }
    ]


def request(said: Said) -> list[dict[str, Any]]:
    """The request, by its sender's id."""
    if not (request := said.fact("request_id")):
        return []
    return [{"what": {"identifier": {"value": request}}, "type": fhir.coding(ENTITY, "XrequestId")}]
