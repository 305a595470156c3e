"""Consents and refusals as consent records of ISO/IEC TS 27560:2023, in JSON-LD with W3C DPV terms.

After the DPVCG's guide (Consent Records and Receipts as per ISO/IEC TS 27560:2023 using DPV, August 2024): a
header, the processing that was consented to, the parties, and the event. One way only. Leaves out what is no
consent record: an objection, a restriction or a shield is nobody's consent, and a consent to a visit is none to
processing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from broker.consent import times
from broker.consent.names import BASE, PURPOSE, RECORD_TYPE
from broker.consent.reading import Understood
from broker.core.directive import Directive
from broker.core.directory import Agency
from broker.law import Law

CONTEXT = {
    "dpv": "https://w3id.org/dpv#",
    "dct": "http://purl.org/dc/terms/",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}
PROFILE = "https://w3id.org/dpv/schema/dpv-27560#record"
_KINDS = frozenset({"consent", "refusal"})
# Who indicated it, by standing.
_SPEAKERS = {
    "self": "dpv:DataSubject",
    "gillick-child": "dpv:Child",
    "parental-responsibility": "dpv:ParentOfDataSubject",
    "attorney": "dpv:GuardianOfDataSubject",
    "deputy": "dpv:GuardianOfDataSubject",
}


def is_record(directive: Directive) -> bool:
    """Whether a directive is what the standard has records of."""
    return directive.kind in _KINDS and directive.matter == "sharing"


def document(
    said: Iterable[Understood], agencies: Mapping[str, Agency], law: Law, now: datetime
) -> dict[str, Any]:
    """One JSON-LD document of the records among these. `now` is when it is made, and says what has run out."""
    records = [_record(each, agencies, law, now) for each in said if is_record(each.directive)]
    named = {name for each in said if is_record(each.directive) for name in _named(each.directive)}
    parties = [_party(name, agencies) for name in sorted(named)]
    return {"@context": CONTEXT, "@graph": [*records, *parties]}


def _record(said: Understood, agencies: Mapping[str, Agency], law: Law, now: datetime) -> dict[str, Any]:
    subject, directive = said
    # Empty is all of them, and the standard wants them named.
    purposes = sorted(directive.purposes or law.purposes)
    record: dict[str, Any] = {
        "@id": f"urn:uuid:{directive.id}",
        "@type": "dpv:ConsentRecord",
        "dct:conformsTo": {"@id": PROFILE},
        "dct:identifier": directive.id,
        "dct:created": _moment(now),
        "dpv:hasDataSubject": {
            "@type": "dpv:DataSubject",
            "dct:identifier": f"{subject.scheme}:{subject.value}",
        },
        "dpv:hasConsentStatus": {"@id": _status(directive, now)},
        "dpv:isIndicatedBy": _speaker(directive),
        "dpv:isIndicatedAtTime": _moment(directive.said_at),
        "dpv:hasIndicationMethod": directive.manner,
        "dpv:hasResponsibleEntity": _agency(directive.recorder),
        "dpv:hasProcess": [_process(code, directive, law) for code in purposes],
    }
    if directive.valid_until is not None:
        record["dct:valid"] = _moment(directive.valid_until)
        record["dpv:hasDuration"] = {
            "@type": "dpv:UntilTimeDuration",
            "dct:date": _moment(directive.valid_until),
        }
    if directive.explained:
        record["dpv:hasNotice"] = {"@type": "dpv:ConsentNotice", "dct:description": directive.explained}
    return record


def _process(code: str, directive: Directive, law: Law) -> dict[str, Any]:
    """What was consented to, for one purpose. Empty scopes are all, and are left out."""
    purpose = law.purposes[code]
    process: dict[str, Any] = {
        "@type": "dpv:Process",
        "dpv:hasPurpose": {
            "@id": f"{PURPOSE}#{code}",
            "@type": "dpv:Purpose",
            "skos:broader": {"@id": purpose.dpv},
            "rdfs:label": purpose.meaning,
        },
        "dpv:hasLegalBasis": {"@id": "dpv:Consent"},
        "dpv:hasProcessing": {"@id": "dpv:Disclose"},
        "dpv:hasDataController": [_agency(name) for name in sorted(directive.providers)],
        "dpv:hasRecipient": [_agency(name) for name in sorted(directive.requesters)],
        "dpv:hasPersonalData": [
            {"@id": f"{RECORD_TYPE}#{name}", "@type": "dpv:PersonalData"}
            for name in sorted(directive.record_types)
        ],
    }
    return {name: value for name, value in process.items() if value != []}


def _status(directive: Directive, now: datetime) -> str:
    if directive.kind == "refusal":
        return "dpv:ConsentRefused"
    return "dpv:ConsentGiven" if directive.in_force(now) else "dpv:ConsentExpired"


def _speaker(directive: Directive) -> dict[str, Any]:
    spoke = {"@type": _SPEAKERS[directive.standing]}
    if directive.speaker:
        spoke["rdfs:label"] = directive.speaker
    if directive.authority:
        spoke["dct:description"] = directive.authority
    return spoke


def _named(directive: Directive) -> frozenset[str]:
    return directive.providers | directive.requesters | {directive.recorder}


def _party(name: str, agencies: Mapping[str, Agency]) -> dict[str, Any]:
    party: dict[str, Any] = {**_agency(name), "@type": "dpv:LegalEntity", "dct:identifier": name}
    if known := agencies.get(name):
        party["dpv:hasName"] = known.name
        party |= {"dpv:hasContact": known.contact} if known.contact else {}
    return party


def _agency(name: str) -> dict[str, Any]:
    return {"@id": f"{BASE}/agency/{name}"}


def _moment(at: datetime) -> dict[str, str]:
    return {"@type": "xsd:dateTime", "@value": times.written(at)}
