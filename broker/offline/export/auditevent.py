"""Rows as FHIR R4 AuditEvents, one a line (NDJSON), in the patterns of IHE BALP 1.1 where one fits.

A profile is claimed only where all that it requires stands in the view: a release to a person's record as
Privacy Disclosure at the Source, a refusal on what somebody had said as Authorization Decision by Consent, a
look at what somebody has said as Patient Query. A requester's view holds no identifier, so its events name no
patient. What proves the entry is an extension, since one of the profiles is closed to other entities.
"""

from __future__ import annotations

import json
from typing import Any

from broker.errors import IntegrityError
from broker.offline.export import fhir, parts
from broker.offline.export.fhir import AUDIT_TYPE, DCM, ENTITY_TYPE, LOOKS, PROFILE, ROLE
from broker.offline.export.jsonlines import parsed, row_of
from broker.offline.export.row import Row, Said

NAME = "fhir"
HEAD = b""
# HL7 audit-event-outcome: success, minor failure (it may still come to something), serious failure.
_OUTCOMES = {"permit": "0", "refer": "4", "refuse": "8"}
_FAILED = frozenset({"not-found", "provider-failure", "undelivered"})


def write(said: Said) -> bytes:
    """The line."""
    return json.dumps(resource(said), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read(line: bytes) -> Row:
    """The row of a line; nothing of it is verified. Raises IntegrityError."""
    try:
        (chain,) = [each for each in parsed(line)["extension"] if each["url"] == fhir.LOG_ENTRY]
        fields: dict[str, Any] = {"proof": []}
        for each in chain["extension"]:
            name = each["url"]
            (value,) = [inner for key, inner in each.items() if key != "url"]
            if name == "proof":
                fields["proof"].append(value)
            else:
                fields[name] = value
        fields["index"] = int(fields["index"])
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError("row: not an AuditEvent as they are exported") from error
    return row_of(fields)


def resource(said: Said) -> dict[str, Any]:
    """The resource."""
    event = said.fact("event")
    if event == "disclosure":
        own = _disclosure(said)
    elif event in ("refusal", "referral-asked"):
        own = _decision(said)
    elif event in LOOKS:
        own = _look(said)
    else:
        own = _activity(said)
    made = {
        "resourceType": "AuditEvent",
        "id": said.entry.id,
        "meta": {"profile": own.pop("profile")} if "profile" in own else {},
        "extension": [_evidence(said)],
        **own,
        "recorded": said.at,
        "outcome": _outcome(said),
        "outcomeDesc": _described(said),
        "purposeOfEvent": fhir.purposes(said.fact("purpose"), said.fact("override")),
        "source": {
            "site": said.origin,
            "observer": parts.observer(said),
            "type": [fhir.coding(fhir.SOURCE_TYPE, "4")],
        },
    }
    return {name: value for name, value in made.items() if value not in ("", {}, [])}


def _disclosure(said: Said) -> dict[str, Any]:
    """Export at the source: the broker, which released it for the agency that keeps the record."""
    patients = parts.patients(said)
    data = {
        "what": {"identifier": {"system": fhir.RECORD_DIGEST, "value": said.fact("response") or "none"}},
        "type": fhir.coding(ENTITY_TYPE, "2"),
        "role": fhir.coding(ROLE, "4"),
        "description": said.fact("record_type") or "record",
    }
    agents = [
        {**parts.agent(said, DCM, "110153", parts.observer(said)), "policy": parts.policies(said)},
        parts.agent(said, DCM, "110152", parts.requester(said), network=parts.requester_uri(said)),
        *parts.custodian(said),
        *parts.user(said),
    ]
    made: dict[str, Any] = {
        "type": fhir.coding(DCM, "110106"),
        "subtype": [fhir.coding(fhir.LIFECYCLE, "disclose"), fhir.event(said.fact("event"))],
        "action": "R",
        "agent": [fhir.filled(each) for each in agents],
        "entity": [*patients, data, *parts.places(said), *parts.incident(said), *parts.request(said)],
    }
    return {"profile": [PROFILE + "PrivacyDisclosure.Source"], **made} if patients else made


def _decision(said: Said) -> dict[str, Any]:
    """A refusal, or a referral to a human: a decision of the broker on a request."""
    patients, consents = parts.patients(said), parts.consents(said)
    user, system = parts.user(said), said.fact("system")
    agents = [parts.agent(said, fhir.ROLE_TYPE, "authserver", parts.observer(said), network=None)]
    if system:
        agents.append(
            parts.agent(said, DCM, "110150", parts.requester(said), network=parts.requester_uri(said))
        )
    if said.fact("requester"):
        agents.append(
            parts.agent(said, fhir.ROLE_CLASS, "PROV", fhir.agency(said.fact("requester")), network=None)
        )
    agents += user
    made = {"type": fhir.coding(DCM, "110113"), "action": "E", "agent": agents}
    if patients and consents and user and system:
        return {
            "profile": [PROFILE + "AuthZconsent"],
            **made,
            "subtype": [fhir.coding(fhir.AUTHZ, "AuthZ-Consent")],
            "entity": [*patients, *consents],
        }
    subtype = [fhir.coding(fhir.AUTHZ, "AuthZ-Role"), fhir.event(said.fact("event"))]
    entity = [*patients, *parts.places(said), *parts.incident(said), *parts.request(said)]
    return {**made, "subtype": subtype, "entity": entity}


def _look(said: Said) -> dict[str, Any]:
    """Somebody looked at the log, a queue, or what a person has said."""
    event, detail = said.fact("event"), said.view.get("detail")
    patients = parts.patients(said)
    if event == "directives-viewed" and patients and said.fact("system"):
        query = {
            "type": fhir.coding(ENTITY_TYPE, "2"),
            "role": fhir.coding(ROLE, "24"),
            "query": fhir.base64(detail),
        }
        return {
            "profile": [PROFILE + "PatientQuery"],
            "type": fhir.coding(AUDIT_TYPE, "rest"),
            "subtype": [fhir.coding(fhir.INTERACTION, "search"), fhir.event(event)],
            "action": "E",
            # BALP: the client is the source of the query, the server its destination.
            "agent": [
                parts.agent(said, DCM, "110153", parts.requester(said), network=parts.requester_uri(said)),
                parts.agent(said, DCM, "110152", parts.observer(said)),
                *parts.user(said),
            ],
            "entity": [*patients, query],
        }
    return {
        "type": fhir.coding(DCM, "110101"),
        "subtype": [fhir.event(event)],
        "action": "E" if event == "log-searched" else "R",
        "agent": parts.parties(said),
        "entity": [*patients, *parts.places(said)],
    }


def _activity(said: Said) -> dict[str, Any]:
    """Anything else: a change of what decisions read, a state of a request, an entry that nothing opens."""
    return {
        "type": fhir.coding(DCM, "110100"),
        "subtype": [fhir.event(said.fact("event") or "entry")],
        "action": "E",
        "agent": parts.parties(said),
        "entity": [
            *parts.patients(said),
            *parts.places(said),
            *parts.incident(said),
            *parts.request(said),
        ],
    }


def _evidence(said: Said) -> dict[str, Any]:
    row = said.row
    texts = {
        "log": said.origin,
        "index": str(row.index),
        "agency": row.agency,
        "audience": row.audience,
        "event": said.fact("event"),
    }
    data = {"leaf": said.leaf, "entry": row.entry, "opening": row.opening, "checkpoint": row.checkpoint}
    return {
        "url": fhir.LOG_ENTRY,
        "extension": [
            *({"url": name, "valueString": text} for name, text in texts.items() if text),
            *({"url": name, "valueBase64Binary": fhir.b64(each)} for name, each in data.items() if each),
            *({"url": "proof", "valueBase64Binary": fhir.b64(each)} for each in row.proof),
        ],
    }


def _outcome(said: Said) -> str:
    if not said.view:
        return ""
    if said.fact("event") in _FAILED:
        return "4"
    return _OUTCOMES.get(said.fact("outcome"), "0")


def _described(said: Said) -> str:
    outcome, code = said.fact("outcome"), said.fact("code")
    if outcome == "refer":
        return "referred to a named human of the provider"
    return f"refused: {code}" if outcome == "refuse" and code else ""
