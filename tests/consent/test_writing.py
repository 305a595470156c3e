"""Directives as FHIR R4 Consent: read again they are the same, and other people's software takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fhirkit
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.consent import Consent
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.consent.names import MATTER, PURPOSE_OF_USE
from broker.consent.reading import Understood, read
from broker.consent.writing import bundle, write
from broker.core.model import SubjectRef
from broker.errors import InvalidRequest
from tests.consent.conftest import AGENCIES, DIRECTORY, HERE, HL7, LAW, actor, purpose
from tests.support.certificates import Authority
from tests.support.fhir import real_server
from tests.support.spoken import NOW, directives
from tests.support.values import replace
from tests.support.world import said

PURPOSES = st.sampled_from(sorted(LAW.purposes))
TYPES = st.sampled_from(["records.fire.v1.PremisesRisk", "records.nhs.v1.PatientSummary"])
SUBJECTS = st.sampled_from(
    [
        SubjectRef("nhs-number", "9000000009"),
        SubjectRef("uprn", "100062990001"),
        SubjectRef("chi-number", "0101011234"),
        SubjectRef("police-nominal", "PN-12"),
        SubjectRef("incident", "nwas/2026-11-21/0042"),
    ]
)
spoken = st.builds(
    Understood, SUBJECTS, directives(PURPOSES, TYPES, st.sampled_from([a.id for a in DIRECTORY]))
)


@given(spoken)
@settings(max_examples=120)
def test_what_is_written_is_read_as_what_it_was(one: Understood) -> None:
    """Every directive there can be, whole, through JSON: kind, scope, times to the microsecond, who spoke."""
    assert read(json.loads(json.dumps(write(one, AGENCIES, LAW))), HERE) == [one]


@given(spoken)
@settings(max_examples=120)
def test_what_is_written_is_fhir(one: Understood) -> None:
    """By a validator of R4, and by the models of R4B, which knows the same Consent."""
    resource = write(one, AGENCIES, LAW)
    assert [str(issue) for issue in fhirkit.validate(resource)] == []
    Consent.model_validate(resource)
    assert resource["status"] == "active"
    assert resource["provision"]["type"] in ("permit", "deny")


CONSENTS: list[dict[str, Any]] = [
    {"type": "permit", "purpose": [purpose("TREAT")]},
    {"type": "deny", "purpose": [purpose("TREAT")]},
    {"type": "deny", "actor": [actor("PRCP", "RX7")], "period": {"end": "2027"}},
    {
        "type": "permit",
        "purpose": [purpose("THREAT")],
        "provision": [
            {"type": "deny", "actor": [actor("IRCP", "RNN")]},
            {"type": "deny", "period": {"end": "2027"}},
        ],
    },
]


@pytest.mark.parametrize("provision", CONSENTS)
def test_what_was_understood_of_others_is_what_is_written(
    consent: dict[str, Any], provision: dict[str, Any]
) -> None:
    """Each directive that another's Consent was taken for is that one still."""
    consent["provision"] = provision
    for understood in read(consent, HERE):
        assert read(write(understood, AGENCIES, LAW), HERE) == [understood]


@given(spoken)
def test_no_code_of_hl7_says_more_than_was_said(one: Understood) -> None:
    """Whoever knows only PurposeOfUse reads no wider consent, and never one to break the glass."""
    resource = write(one, AGENCIES, LAW)
    codings = resource["provision"].get("purpose", [])
    theirs = [c for c in codings if c["system"] == PURPOSE_OF_USE]
    assert "BTG" not in [c["code"] for c in theirs]
    if theirs:
        resource["provision"]["purpose"] = theirs
        ((_, narrowed),) = read(resource, HERE)
        assert narrowed.purposes <= one.directive.purposes


def test_a_consent_to_a_visit_is_none_to_share() -> None:
    """Of another scope: who looks for privacy consents passes it over, or refuses it."""
    resource = write(Understood(SubjectRef("uprn", "1"), said("consent", matter="visit")), AGENCIES, LAW)
    assert resource["scope"]["coding"] == [{"system": MATTER, "code": "visit"}]
    assert "action" not in resource["provision"]
    resource["scope"] = {"coding": [{"system": f"{HL7}consentscope", "code": "treatment"}]}
    with pytest.raises(InvalidRequest):
        read(resource, HERE)


def test_a_bundle_of_them_is_fhir_too() -> None:
    """Also of none."""
    some = [Understood(SubjectRef("uprn", "1"), said(kind)) for kind in ("consent", "objection")]
    for each in ([], some):
        made = bundle(each, AGENCIES, LAW, NOW)
        assert [str(issue) for issue in fhirkit.validate(made)] == []
        Bundle.model_validate(made)
        assert len(made.get("entry", [])) == len(each)


async def test_a_real_server_keeps_them(tmp_path: Path) -> None:
    """A FHIR R4 server takes each kind by PUT, and gives back what is read as the same directive."""
    subject = SubjectRef("nhs-number", "9000000009")
    mother = said(
        "consent", standing="parental-responsibility", speaker="mother", authority="birth certificate seen"
    )
    some = [mother, said("objection"), said("staff-conflict", actors=frozenset({"a.hill"}))]
    authority = Authority(tmp_path / "ca")
    (tmp_path / "fhir").mkdir()
    with real_server(tmp_path / "fhir", authority.server(), authority.client("ncic", "ed")) as server:
        for directive in some:
            one = Understood(subject, replace(directive, purposes=frozenset({"direct-care"})))
            await server.put(write(one, AGENCIES, LAW))
            kept = await server.get("Consent", directive.id)
            assert read({**kept, "meta": {}}, HERE) == [one]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


@given(spoken, st.data())
@settings(max_examples=150)
def test_a_damaged_consent_is_refused_or_means_no_more(one: Understood, data: st.DataObject) -> None:
    """Anything in any place: never another error, and never a consent where somebody stood against a use."""
    resource = json.loads(json.dumps(write(one, AGENCIES, LAW)))
    *way, last = data.draw(st.sampled_from(places(resource)[1:]))
    inner = resource
    for key in way:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[last] = data.draw(anything)
    else:
        del inner[last]
    try:
        understood = read(resource, HERE)
    except InvalidRequest:
        return
    for each in understood:
        assert (each.directive.kind == "consent") == (one.directive.kind == "consent")


@pytest.mark.parametrize("kind", [[], {}, 1, None], ids=["list", "object", "number", "null"])
def test_who_spoke_is_of_a_type_that_is_a_word(kind: Any) -> None:
    """Else nobody knows that it was the patient: refused by the field."""
    one = Understood(SubjectRef("uprn", "1"), said("objection"))
    resource = json.loads(json.dumps(write(one, AGENCIES, LAW)))
    resource["performer"][0]["type"] = kind
    with pytest.raises(InvalidRequest) as caught:
        read(resource, HERE)
    assert caught.value.field == "Consent.performer[0]"
