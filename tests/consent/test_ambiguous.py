"""FHIR R4 Consents that are half there, or whose elements name two: each is refused, by its element."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from broker.consent.bundles import consents
from broker.consent.reading import read
from broker.errors import InvalidRequest
from tests.consent.conftest import HERE, HL7, NHS, NUMBER, actor

OTHER = "9434765919"


def tagged(code: str) -> dict[str, Any]:
    """A resource's tags."""
    return {"tag": [{"system": f"{HL7}v3-ObservationValue", "code": code}]}


def number(value: str, **more: str) -> dict[str, Any]:
    """An NHS number."""
    return {"system": NHS, "value": value, **more}


def named(consent: dict[str, Any], **organisation: Any) -> None:
    """Let an organisation that is contained receive, and be named by its code as well."""
    code = actor("IRCP", "RX7")["reference"]["identifier"]
    own = {"resourceType": "Organization", "id": "o", "identifier": [code]}
    consent["contained"] = [{**own, **organisation}]
    receives = actor("IRCP", "RNN" if "name" in organisation else "RX7")
    receives["reference"]["reference"] = "#o"
    consent["provision"]["actor"] = [receives]


CASES: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("Consent.meta.tag[0]", lambda c: c.update(meta=tagged("SUBSETTED"))),
    ("Consent.meta.tag[0]", lambda c: c.update(meta=tagged("HTEST"))),
    (
        "Consent.performer[0]",
        lambda c: (
            c["patient"].update(reference="Patient/1"),
            c.update(performer=[{"reference": "Patient/1", "identifier": number(OTHER)}]),
        ),
    ),
    (
        "Consent.performer[0]",
        lambda c: (
            c["patient"].update(reference="RelatedPerson/1"),
            c.update(performer=[{"reference": "RelatedPerson/1"}]),
        ),
    ),
    (
        "Consent.performer[0]",
        lambda c: c.update(performer=[{"type": "Practitioner", "identifier": number(NUMBER)}]),
    ),
    (
        "Consent.contained[0].identifier[0]",
        lambda c: (
            c["patient"].update(reference="#p"),
            c.update(contained=[{"resourceType": "Patient", "id": "p", "identifier": [number(OTHER)]}]),
        ),
    ),
    ("Consent.patient.type", lambda c: c["patient"].update(type="Group")),
    ("Consent.patient.identifier.use", lambda c: c["patient"].update(identifier=number(NUMBER, use="old"))),
    ("Consent.contained[0].active", lambda c: named(c, active=False)),
    ("Consent.contained[0].modifierExtension", lambda c: named(c, modifierExtension=[{"url": "x"}])),
    ("Consent.provision.actor[0].reference", lambda c: named(c, name="Somebody else's name")),
    (
        "Consent.provision.period.end",
        lambda c: c["provision"].update(period={"start": "2026-06-20", "end": "2026-06-14"}),
    ),
]


@pytest.mark.parametrize(("element", "change"), CASES, ids=[f"{n}" for n in range(len(CASES))])
def test_what_is_half_there_or_names_two_is_refused(
    consent: dict[str, Any], element: str, change: Callable[[dict[str, Any]], object]
) -> None:
    """By the element that says so."""
    change(consent)
    with pytest.raises(InvalidRequest) as refused:
        read(consent, HERE)
    assert refused.value.field == element


@pytest.mark.parametrize("reference", ["Patient/1", "https://example.org/fhir/Patient/1", "#p", "urn:uuid:1"])
def test_whoever_is_the_patient_by_reference_still_speaks_for_themselves(
    consent: dict[str, Any], reference: str
) -> None:
    """However the patient is referred to."""
    consent["patient"]["reference"] = reference
    consent["performer"] = [{"reference": reference, "type": "Patient"}]
    (understood,) = read(consent, HERE)
    assert understood.directive.standing == "self"


@pytest.mark.parametrize(
    ("element", "more"),
    [
        ("Bundle.total", {"total": 2}),
        ("Bundle.link[0]", {"link": [{"relation": "previous", "url": "x"}]}),
        ("Bundle.link[1]", {"link": [{"relation": "self", "url": "x"}, {"relation": "prev", "url": "x"}]}),
        ("Bundle.link[0]", {"link": [{"relation": "Next", "url": "x"}]}),
        ("Bundle.meta.tag[0]", {"meta": tagged("SUBSETTED")}),
    ],
)
def test_one_page_of_several_is_refused(consent: dict[str, Any], element: str, more: dict[str, Any]) -> None:
    """What is not there may be the denial."""
    bundle = {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": consent}], **more}
    with pytest.raises(InvalidRequest) as refused:
        consents(json.dumps(bundle).encode())
    assert refused.value.field == element
