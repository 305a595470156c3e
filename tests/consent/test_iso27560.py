"""Consent records of ISO/IEC TS 27560 in JSON-LD, as a processor of JSON-LD understands them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyld import jsonld

from broker.consent.iso27560 import PROFILE, document, is_record
from broker.consent.reading import Understood
from broker.core.directive import KINDS
from broker.core.model import SubjectRef
from tests.consent.conftest import DIRECTORY, LAW
from tests.consent.test_writing import spoken
from tests.support.spoken import NOW
from tests.support.world import said

KNOWN = {a.id: a for a in DIRECTORY}
EDITH = SubjectRef("nhs-number", "9000000009")
DPV, DCT, RDF = (
    "https://w3id.org/dpv#",
    "http://purl.org/dc/terms/",
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
)


def expanded(*some: Understood) -> list[dict[str, Any]]:
    """The nodes of the document, with every term written out. Nothing is fetched."""
    made = json.loads(json.dumps(document(some, KNOWN, LAW, NOW)))
    nodes: list[dict[str, Any]] = jsonld.expand(made, {"documentLoader": None})
    return nodes


def test_a_consent_as_a_record() -> None:
    """Who, when, for what by DPV's terms, from whom to whom, until when, and what was explained."""
    consent = said(
        "consent",
        "cumberland",
        purposes=frozenset({"direct-care"}),
        record_types=frozenset({"records.nhs.v1.PatientSummary"}),
        providers=frozenset({"ncic"}),
        requesters=frozenset({"nwas"}),
        standing="parental-responsibility",
        speaker="mother",
        authority="birth certificate seen",
        valid_until=NOW + timedelta(days=1),
        explained="who sees it",
    )
    record, *parties = expanded(Understood(EDITH, consent))
    assert record["@id"] == f"urn:uuid:{consent.id}"
    assert record["@type"] == [f"{DPV}ConsentRecord"]
    assert record[f"{DCT}conformsTo"] == [{"@id": PROFILE}]
    assert record[f"{DPV}hasConsentStatus"] == [{"@id": f"{DPV}ConsentGiven"}]
    (indicated,) = record[f"{DPV}isIndicatedBy"]
    assert indicated["@type"] == [f"{DPV}ParentOfDataSubject"]
    (process,) = record[f"{DPV}hasProcess"]
    (purpose,) = process[f"{DPV}hasPurpose"]
    assert purpose["http://www.w3.org/2004/02/skos/core#broader"] == [{"@id": f"{DPV}ServiceProvision"}]
    assert [
        len(process[f"{DPV}{name}"]) for name in ("hasRecipient", "hasDataController", "hasPersonalData")
    ] == [1] * 3
    (about,) = record[f"{DPV}hasDataSubject"]
    assert about[f"{DCT}identifier"] == [{"@value": "nhs-number:9000000009"}]
    assert [p[f"{DCT}identifier"][0]["@value"] for p in parties] == ["cumberland", "ncic", "nwas"]
    assert "who sees it" in json.dumps(record[f"{DPV}hasNotice"])


@pytest.mark.parametrize(
    ("kind", "changes", "status"),
    [
        ("consent", {}, "ConsentGiven"),
        ("consent", {"valid_until": NOW}, "ConsentExpired"),
        ("refusal", {}, "ConsentRefused"),
    ],
)
def test_the_state_of_a_consent(kind: str, changes: dict[str, Any], status: str) -> None:
    """By DPV's terms, at the time of export. Without a purpose it is for every one there is."""
    record, _ = expanded(Understood(EDITH, said(kind, **changes)))
    assert record[f"{DPV}hasConsentStatus"] == [{"@id": f"{DPV}{status}"}]
    assert len(record[f"{DPV}hasProcess"]) == len(LAW.purposes)


def test_what_is_no_consent_has_no_record() -> None:
    """Nor has a consent to a visit: neither is about processing that somebody agreed to."""
    others = [said(kind) for kind in sorted(KINDS - {"consent", "refusal"})]
    for each in (*others, said("consent", matter="visit")):
        assert not is_record(each)
        assert expanded(Understood(EDITH, each)) == []


@given(st.lists(spoken, max_size=3))
@settings(max_examples=100)
def test_every_term_has_a_meaning(some: list[Understood]) -> None:
    """A processor drops keys that its context does not explain: none of ours is, and RDF can be made of it."""
    made = document(some, KNOWN, LAW, NOW)
    prefixes = made["@context"].keys()

    def keys(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(keys, value.values()))
        return set().union(*map(keys, value)) if isinstance(value, list) else set()

    terms = {key for key in keys(made["@graph"]) if not key.startswith("@")}
    assert {key.partition(":")[0] for key in terms} <= prefixes
    records = [node for node in expanded(*some) if node["@type"] == [f"{DPV}ConsentRecord"]]
    assert len(records) == sum(is_record(each.directive) for each in some)
    assert not records or f"<{RDF}type> <{DPV}ConsentRecord>" in jsonld.to_rdf(
        made, {"format": "application/n-quads", "documentLoader": None}
    )
