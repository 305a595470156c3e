"""`broker directive import` and `export` against a real broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fhirkit
import pytest
from pyld import jsonld

from tests.cli.conftest import ACTOR, Parties, Run

NHS = "https://fhir.nhs.uk/Id/nhs-number"
HL7 = "https://terminology.hl7.org/CodeSystem/"


# What the broker would refuse is refused before anything is recorded.
WITH_BELL = {
    "url": "https://blue-light.test/fhir/StructureDefinition/directive",
    "extension": [{"url": "speaker", "valueString": "ding\x07"}],
}

KNOWN = ("--policy", "http://example.org/policy")


def concept(system: str, code: str) -> dict[str, Any]:
    """A CodeableConcept of one coding."""
    return {"coding": [{"system": system, "code": code}]}


def consent(number: str, kind: str = "permit", **changes: Any) -> dict[str, Any]:
    """A Consent of somebody's own."""
    person = {"identifier": {"system": NHS, "value": number}}
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": concept(f"{HL7}consentscope", "patient-privacy"),
        "category": [concept("http://loinc.org", "59284-0")],
        "patient": person,
        "performer": [person],
        "dateTime": "2026-06-13",
        "policy": [{"uri": "http://example.org/policy"}],
        "provision": {"type": kind, "purpose": [{"system": f"{HL7}v3-ActReason", "code": "TREAT"}]},
        **changes,
    }


def bundle(*resources: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A searchset of them."""
    entries = [{"resource": each, "search": {"mode": "match"}} for each in resources]
    return {"resourceType": "Bundle", "type": "searchset", "entry": entries, **changes}


def written(file: Path, value: object) -> Path:
    """The file, with this as its JSON."""
    file.write_text(json.dumps(value))
    return file


def test_consents_are_recorded_and_written_again(broker: Run, parties: Parties, tmp_path: Path) -> None:
    """In from FHIR, out as FHIR that another agency could take, and as ISO/IEC TS 27560 records."""
    number = "9912003934"
    us, about = ("--as", parties.requester, *ACTOR), ("--subject", f"nhs-number:{number}")
    file = written(tmp_path / "in.json", bundle(consent(number), consent(number, "deny")))
    stranger = broker("directive", "import", file, *us, "--check")
    assert (stranger.code, "Consent.policy[0].uri: is a policy that nobody here has read" in stranger.err) == (
        1,
        True,
    )
    checked = broker("directive", "import", file, *us, *KNOWN, "--check", "--json")
    assert checked.code == 0, checked.err
    assert [row["kind"] for row in checked.rows] == ["consent", "refusal"]
    assert broker("directive", "list", "--reason", "to-check", *about, *us, "--json").rows == []

    done = broker("directive", "import", file, *us, *KNOWN, "--json")
    assert done.code == 0, done.err
    assert number not in done.out + done.err
    assert done.rows[0]["purposes"] == ["direct-care", "emergency-response"]
    assert done.rows[0]["verified"] is True
    assert {tuple(row["policies"]) for row in done.rows} == {("http://example.org/policy",)}
    assert "warning: no agreement in force requires this consent" in done.err
    listed = broker("directive", "list", "--reason", "to-check", *about, *us, "--json").rows
    assert [each["id"] for each in listed] == [each["directive"] for each in done.rows]

    out = tmp_path / "out.json"
    assert broker("directive", "export", "--reason", "to-check", *about, *us, "-o", out).code == 0
    assert out.stat().st_mode & 0o777 == 0o600
    made = json.loads(out.read_text())
    assert fhirkit.validate(made) == []
    again = broker("directive", "import", out, *us, "--check", "--json").rows
    same = ("kind", "standing", "purposes", "requesters", "providers", "valid_until")
    assert [[row[name] for name in same] for row in again] == [
        [row[name] for name in same] for row in done.rows
    ]
    theirs = broker("directive", "import", out, "--as", parties.provider, *ACTOR)
    assert theirs.code == 1
    assert "Consent.organization[0]: is clifire, whose it is to import; you are clinhs" in theirs.err

    broker("directive", "add", "objection", *about, *us)
    iso = broker("directive", "export", "--reason", "to-check", *about, *us, "--format", "iso27560", "-o", "-")
    assert "warning: 1 left out" in iso.err
    nodes = jsonld.expand(json.loads(iso.out), {"documentLoader": None})
    kinds = [node["@type"][0].rpartition("#")[2] for node in nodes]
    assert kinds == ["ConsentRecord", "ConsentRecord", "LegalEntity"]
    assert broker("directive", "export", "--reason", "to-check", *about, *us, "-o", out).code == 1, (
        "never overwritten"
    )


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ({"status": "inactive"}, "Bundle.entry[1].resource: Consent.status: is inactive"),
        ({"resourceType": "Patient"}, "Bundle.entry[1].resource: Consent: is no Consent"),
        ({"performer": [{"reference": "Practitioner/1"}]}, "Consent.performer[0]: is not the patient"),
        ({"extension": [WITH_BELL]}, "directive.speaker: has control characters"),
    ],
)
def test_nothing_is_recorded_unless_all_is_understood(
    broker: Run, parties: Parties, tmp_path: Path, spoil: dict[str, Any], says: str
) -> None:
    """The element is named; with --partly the rest is recorded, and it is a failure still."""
    number = "9912003942"
    us, about = ("--as", parties.requester, *ACTOR), ("--subject", f"nhs-number:{number}")
    file = written(tmp_path / "in.json", bundle(consent(number, "deny"), consent(number, **spoil)))
    result = broker("directive", "import", file, *us, *KNOWN)
    assert result.code == 1
    assert says in result.err
    assert "nothing was recorded" in result.out
    assert broker("directive", "list", "--reason", "to-check", *about, *us, "--json").rows == []
    partly = broker("directive", "import", file, *us, *KNOWN, "--partly", "--json")
    assert partly.code == 1
    assert [row["kind"] for row in partly.rows] == ["refusal"]
    broker("directive", "withdraw", partly.rows[0]["directive"], *us)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (
            bundle(link=[{"relation": "next", "url": "https://x"}]),
            "Bundle.link[0]: says that there are more pages",
        ),
        (bundle(type="transaction"), "Bundle.type: one of collection, searchset"),
        (bundle(secret=1), "Bundle.secret: cannot be expressed"),
        ([], "Consent: is no Consent"),
    ],
)
def test_files_that_are_not_whole(
    broker: Run, parties: Parties, tmp_path: Path, value: object, says: str
) -> None:
    """One page of several, another kind of bundle, or no FHIR at all."""
    us = ("--as", parties.requester, *ACTOR)
    result = broker("directive", "import", written(tmp_path / "in.json", value), *us, *KNOWN)
    assert (result.code, says in result.err) == (1, True), result.err
    missing = broker("directive", "import", tmp_path / "none.json", *us)
    assert (missing.code, "cannot read" in missing.err) == (1, True)
    empty = broker("directive", "import", written(tmp_path / "empty.json", bundle()), *us)
    assert empty.code == 1, "an empty list is no FHIR"
