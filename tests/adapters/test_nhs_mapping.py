"""FHIR R4 resources -> PatientSummary: the tables, and what must never come through."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.nhs import clinical, codes, demo, demographics
from adapters.nhs.demo import EDITH, EDITH_BEFORE, LOCAL_NUMBER, ROWAN, allergy
from adapters.nhs.demographics import NHS_NUMBER
from adapters.nhs.mapping import Held, Summary, patient_summary
from adapters.sdk import MappingError, SubjectRef
from adapters.sdk.conformance import leaves
from adapters.sdk.soundness import faults
from records.nhs.v1 import patient_summary_pb2 as nhs
from records.shared.v1 import fact_pb2 as shared

AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
HL7 = "http://terminology.hl7.org/CodeSystem"
VALUE, NONE = shared.FACT_STATE_VALUE, shared.FACT_STATE_NONE_RECORDED
WITHHELD, UNAVAILABLE = shared.FACT_STATE_WITHHELD, shared.FACT_STATE_UNAVAILABLE
RESTRICTED = {"security": [{"system": f"{HL7}/v3-Confidentiality", "code": "R"}]}
EXAMPLES = Path(__file__).parent


def example(name: str) -> dict[str, Any]:
    """A published example of the Personal Demographics Service."""
    loaded: dict[str, Any] = json.loads((EXAMPLES / name).read_text("utf-8"))
    return loaded


def everything(_: str) -> bool:
    """Wants every part."""
    return True


def made(patient: dict[str, Any], at: datetime = AT, number: str = EDITH, **parts: Any) -> Summary:
    """The summary of a patient; parts not given hold nothing."""
    held = {part: [] for part in ("allergies", "medications", "conditions", "alerts")} | parts
    asked = SubjectRef("nhs-number", number)
    return patient_summary(Held(patient, held, at), asked, everything, {LOCAL_NUMBER: "RZZ"})


def patient(**more: Any) -> dict[str, Any]:
    """A minimal patient."""
    return {"resourceType": "Patient", "identifier": [{"system": NHS_NUMBER, "value": EDITH}], **more}


def coded(system: str, code: str) -> dict[str, Any]:
    """A concept with one coding of an HL7 code system."""
    return {"coding": [{"system": f"{HL7}/{system}", "code": code}]}


def latex(**more: Any) -> dict[str, Any]:
    """An allergy that stands, changed."""
    return allergy("a", "p", "300916003", "Allergy to latex") | more


def medicine(status: str = "active", **more: Any) -> dict[str, Any]:
    """A medicine that is taken, changed."""
    return {
        "resourceType": "MedicationStatement",
        "status": status,
        "medicationCodeableConcept": {"text": "Example tablets"},
        **more,
    }


def condition(**more: Any) -> dict[str, Any]:
    """A confirmed condition, changed."""
    return {
        "resourceType": "Condition",
        "clinicalStatus": coded("condition-clinical", "active"),
        "verificationStatus": coded("condition-ver-status", "confirmed"),
        "code": {"text": "Example condition"},
        **more,
    }


def flag(status: str = "active", **more: Any) -> dict[str, Any]:
    """A flag in force, changed."""
    return {"resourceType": "Flag", "status": status, "code": {"text": "Example flag"}, **more}


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("female", nhs.GENDER_FEMALE),
        ("male", nhs.GENDER_MALE),
        ("other", nhs.GENDER_OTHER),
        ("unknown", nhs.GENDER_UNKNOWN),
    ],
)
def test_gender_codes(code: str, value: int) -> None:
    """FHIR's four codes, and only they."""
    assert made(patient(gender=code)).record.gender == value


@pytest.mark.parametrize("wrong", ["xx", "Female", "", None, 1, ["female"]])
def test_an_unknown_gender_fails_the_record_by_name(wrong: Any) -> None:
    """Validators accept gender=xx; our table does not, and absent is not unknown."""
    with pytest.raises(MappingError, match=r"Patient\.gender"):
        made(patient(gender=wrong))
    assert made(patient()).record.gender == nhs.GENDER_UNSPECIFIED


ALLERGY_STATES = [
    ("active", "confirmed", True),
    ("active", "unconfirmed", True),
    ("active", "refuted", False),
    ("active", "entered-in-error", False),
    ("inactive", "confirmed", False),
    ("resolved", "confirmed", False),
    (None, "confirmed", True),
    ("active", None, True),
    (None, "entered-in-error", False),
]


@pytest.mark.parametrize(("clinical_status", "verification", "there"), ALLERGY_STATES)
def test_which_allergies_stand(clinical_status: str | None, verification: str | None, there: bool) -> None:
    """Refuted, entered in error, resolved: not an allergy. Silence speaks for it."""
    resource = latex()
    for name, system, code in (
        ("clinicalStatus", "allergyintolerance-clinical", clinical_status),
        ("verificationStatus", "allergyintolerance-verification", verification),
    ):
        resource[name] = coded(system, code) if code else None
    part = clinical.allergies([resource], AT)
    assert part.state == (VALUE if there else NONE)
    assert len(part.items) == there
    if there:
        assert part.items[0].verification == (verification or "")


@pytest.mark.parametrize("code", sorted(codes.NO_KNOWN_ALLERGY))
def test_no_known_allergy_is_never_an_allergy(code: str) -> None:
    """Alone it means none recorded; beside a real one it does not show."""
    none = allergy("n", "p", code, "No known allergy")
    assert clinical.allergies([none], AT).state == NONE
    both = clinical.allergies([none, latex()], AT)
    assert [a.substance.code for a in both.items] == ["300916003"]


def wrong(resource: dict[str, Any], make: Callable[..., Any], element: str) -> Any:
    """A case of a required code that is not one."""
    return pytest.param(make, resource, element, id=f"{element}-{len(json.dumps(resource))}")


WRONG_CODES = [
    wrong(
        latex(clinicalStatus=coded("allergyintolerance-clinical", "SECRET")),
        clinical.allergies,
        "clinicalStatus",
    ),
    wrong(latex(clinicalStatus={"coding": [{"code": "active"}]}), clinical.allergies, "clinicalStatus"),
    wrong(latex(clinicalStatus={"text": "active"}), clinical.allergies, "clinicalStatus"),
    wrong(
        latex(verificationStatus=coded("allergyintolerance-verification", "SECRET")),
        clinical.allergies,
        "verificationStatus",
    ),
    wrong(latex(criticality="SECRET"), clinical.allergies, "criticality"),
    wrong(latex(criticality=None), clinical.allergies, "criticality"),
    wrong(latex(reaction=[{"severity": "SECRET"}]), clinical.allergies, "reaction.severity"),
    wrong(latex(code={}), clinical.allergies, "AllergyIntolerance.code"),
    wrong(latex(recordedDate="SECRET"), clinical.allergies, "recordedDate"),
    wrong(medicine("SECRET"), clinical.medications, "MedicationStatement.status"),
    wrong(medicine(status=None), clinical.medications, "MedicationStatement.status"),
    wrong(medicine(medicationCodeableConcept={}), clinical.medications, "medication"),
    wrong(condition(verificationStatus=coded("condition-ver-status", "SECRET")), clinical.conditions, "verif"),
    wrong(condition(clinicalStatus=coded("condition-clinical", "SECRET")), clinical.conditions, "clinical"),
    wrong(condition(code=None), clinical.conditions, "Condition.code"),
    wrong(flag("SECRET"), clinical.alerts, "Flag.status"),
    wrong(flag(code=None), clinical.alerts, "Flag.code"),
]


@pytest.mark.parametrize(("make", "resource", "element"), WRONG_CODES)
def test_an_unknown_code_is_a_named_error_without_its_value(
    make: Callable[..., Any], resource: dict[str, Any], element: str
) -> None:
    """Never a guess; the element is named and the value is not quoted."""
    with pytest.raises(MappingError) as e:
        make([resource], AT)
    assert element in str(e.value)
    assert "SECRET" not in str(e.value)


@pytest.mark.parametrize(
    ("status", "there"),
    [
        ("active", True),
        ("unknown", True),
        ("intended", False),
        ("completed", False),
        ("stopped", False),
        ("on-hold", False),
        ("not-taken", False),
        ("entered-in-error", False),
    ],
)
def test_which_medicines_are_current(status: str, there: bool) -> None:
    """What may be taken now, and nothing that was given up or never was."""
    assert clinical.medications([medicine(status)], AT).state == (VALUE if there else NONE)


@pytest.mark.parametrize(
    ("reference", "extra"),
    [
        ("#m", {"contained": [{"resourceType": "Medication", "id": "m", "code": {"text": "Example drops"}}]}),
        ("Medication/m", {}),
        ("https://fhir.example/r4/Medication/m", {}),
    ],
)
def test_a_medicine_may_be_referred_to(reference: str, extra: dict[str, Any]) -> None:
    """Contained, included, or under an absolute address."""
    statement = medicine(medicationReference={"reference": reference}, **extra)
    del statement["medicationCodeableConcept"]
    stocked = {"resourceType": "Medication", "id": "m", "code": {"text": "Example drops"}}
    part = clinical.medications([statement, stocked], AT)
    assert [m.medicine.display for m in part.items] == ["Example drops"]


@pytest.mark.parametrize(
    ("verification", "there"),
    [
        ("confirmed", True),
        ("provisional", True),
        ("unconfirmed", True),
        ("differential", False),
        ("refuted", False),
        ("entered-in-error", False),
    ],
)
def test_which_conditions_are_held_to_be_so(verification: str, there: bool) -> None:
    """A differential is one of several guesses, and the record cannot say so."""
    resource = condition(verificationStatus=coded("condition-ver-status", verification))
    assert clinical.conditions([resource], AT).state == (VALUE if there else NONE)


@pytest.mark.parametrize(
    ("status", "period", "there"),
    [
        ("active", {}, True),
        ("inactive", {}, False),
        ("entered-in-error", {}, False),
        ("active", {"end": "2026-11-21"}, True),
        ("active", {"end": "2026-11-20"}, False),
        ("active", {"end": "2026-11"}, True),
        ("active", {"end": "2025"}, False),
        ("active", {"start": "2026-11-22T00:00:00Z"}, False),
    ],
)
def test_which_flags_are_in_force(status: str, period: dict[str, str], there: bool) -> None:
    """Active, and on a day of its period; a partial date covers all of its month or year."""
    assert clinical.alerts([flag(status, period=period)], AT).state == (VALUE if there else NONE)


@pytest.mark.parametrize(
    ("part", "resource"),
    [("allergies", latex()), ("medications", medicine()), ("conditions", condition()), ("alerts", flag())],
)
def test_what_the_trust_restricts_is_withheld_and_never_none(part: str, resource: dict[str, Any]) -> None:
    """Alone: withheld, with nothing of it. The search failed: unavailable. Nothing there: none."""
    hidden = getattr(made(patient(), **{part: [resource | {"meta": RESTRICTED}]}).record, part)
    assert (hidden.state, len(hidden.items)) == (WITHHELD, 0)
    failed = made(patient(), **{part: None})
    assert getattr(failed.record, part).state == UNAVAILABLE
    assert failed.problems == (f"{part}: could not be read",)
    assert getattr(made(patient()).record, part).state == NONE


def test_an_unknown_code_in_one_part_makes_that_part_unavailable_and_leaves_the_rest() -> None:
    """An allergy list that we cannot read must not look empty, nor take the conditions with it."""
    summary = made(patient(), allergies=[latex(), latex(criticality="xx")], conditions=[condition()])
    assert (summary.record.allergies.state, len(summary.record.allergies.items)) == (UNAVAILABLE, 0)
    assert summary.record.conditions.state == VALUE
    assert summary.problems == ("AllergyIntolerance.criticality: a code that is not in FHIR R4's required set",)


def test_the_worst_reaction_is_the_one_shown() -> None:
    """Severe before mild before unsaid; there is room for one."""
    reactions = [
        {"manifestation": [{"text": "Unsaid"}]},
        {"severity": "mild", "manifestation": [{"text": "Rash"}]},
        {"severity": "severe", "manifestation": [{"text": "Collapse"}]},
    ]
    assert clinical.allergies([latex(reaction=reactions)], AT).items[0].reaction.display == "Collapse"


@pytest.mark.parametrize("code", ["R", "V", "REDACTED", "something-new"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_patient_marked_above_normal_cannot_be_located(code: str, scheme: str) -> None:
    """R, V and any code we do not know, under both spellings of the system: no address, phone or practice."""
    edith = demo.patients()[0]
    label = {"system": f"{scheme}://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": code}
    record = made(edith | {"meta": {"security": [label]}}).record
    assert record.contact == nhs.Contact(state=WITHHELD, as_at="2026-11-21T09:30:00Z")
    assert not record.HasField("practice")
    told = record.SerializeToString()
    assert b"LA12" not in told
    assert b"01632" not in told
    assert b"Y12345" not in told
    assert made(edith).record.contact.state == VALUE


def test_the_published_sensitive_example() -> None:
    """Of the service's own example: name and birth date, and contact withheld."""
    record = made(example("pds-patient-sensitive.json"), datetime(2020, 6, 1, tzinfo=UTC), "9000000025").record
    assert (record.name.family, record.birth_date) == ("Smythe", "2010-10-22")
    assert record.contact.state == WITHHELD


def test_the_published_example_while_it_lasts_and_after() -> None:
    """Names, addresses and practices count within their periods only: after, they may be somebody's past."""
    jane = example("pds-patient.json")
    then = made(jane, datetime(2020, 6, 1, tzinfo=UTC), "9000000009").record
    assert (then.name.family, list(then.name.given)) == ("Smith", ["Jane"])
    assert (then.contact.address.postcode, then.contact.phone) == ("LS1 6AE", "01632960587")
    assert then.practice.ods_code == "Y12345"
    now = made(jane, AT, "9000000009").record
    assert not now.HasField("name")
    assert now.contact.state == NONE
    assert not now.HasField("practice")


@pytest.mark.parametrize("use", ["old", "maiden", "nickname", "anonymous", "temp"])
def test_former_names_are_never_returned(use: str) -> None:
    """A name under which somebody lived before is not who they are, even when it is the only one."""
    former = {"use": use, "family": "Before", "given": ["Then"]}
    assert not made(patient(name=[former])).record.HasField("name")
    now = {"use": "usual", "family": "Now"}
    assert made(patient(name=[former, now])).record.name.family == "Now"


def test_identifiers_learnt() -> None:
    """All numbers the patient is known by, in canonical form; invalid and unknown ones are left out."""
    known = [
        {"system": NHS_NUMBER, "value": EDITH},
        {"system": NHS_NUMBER, "value": "900 000 1013", "use": "old"},
        {"system": NHS_NUMBER, "value": "9000000019"},
        {"system": "https://fhir.nhs.uk/Id/chi-number", "value": "0101410001"},
        {"system": LOCAL_NUMBER, "value": "ex1"},
        {"system": "https://elsewhere.example/Id", "value": "1"},
        {"system": LOCAL_NUMBER},
        {"system": LOCAL_NUMBER, "value": "EX 2"},
        {"system": "https://fhir.nhs.uk/Id/chi-number", "value": "12"},
    ]
    assert [(i.scheme, i.value) for i in made(patient(identifier=known)).identifiers] == [
        ("chi-number", "0101410001"),
        ("local-patient-id", "RZZ:EX1"),
        ("nhs-number", EDITH),
        ("nhs-number", EDITH_BEFORE),
    ]


def test_two_current_numbers_are_not_chosen_between() -> None:
    """Unless the asked one is among them."""
    both = [{"system": NHS_NUMBER, "value": n} for n in (EDITH, ROWAN)]
    assert made(patient(identifier=both)).record.nhs_number == EDITH
    with pytest.raises(MappingError, match=r"Patient\.identifier"):
        made(patient(identifier=both), number=EDITH_BEFORE)


@given(st.integers(4_000_000_000, 9_999_999_999))
def test_nhs_numbers_pass_exactly_when_their_check_digit_holds(number: int) -> None:
    """Modulus 11 over the first nine digits, weights 10 to 2; a remainder that gives 10 is never issued."""
    text = f"{number:010d}"
    digit = (11 - sum(int(d) * w for d, w in zip(text[:9], range(10, 1, -1), strict=True)) % 11) % 11
    assert demographics.canonical(text) == (digit != 10 and digit == int(text[9]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=5) | st.sampled_from(["active", EDITH]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                # The elements that the mapping reads.
                [
                    "identifier",
                    "name",
                    "address",
                    "telecom",
                    "meta",
                    "security",
                    "coding",
                    "code",
                    "period",
                    "system",
                    "value",
                    "use",
                    "family",
                    "given",
                    "line",
                    "start",
                    "end",
                    "gender",
                    "link",
                    "text",
                    "clinicalStatus",
                    "verificationStatus",
                    "reaction",
                    "severity",
                    "manifestation",
                    "status",
                    "dosage",
                    "medicationCodeableConcept",
                    "medicationReference",
                    "contained",
                    "reference",
                    "birthDate",
                    "criticality",
                    "recordedDate",
                    "generalPractitioner",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
OBJECT = JSON.filter(lambda x: isinstance(x, dict))


@given(OBJECT, st.lists(OBJECT, max_size=3))
def test_whatever_a_server_sends_gives_a_sound_record_or_a_named_error(
    person: dict[str, Any], resources: list[dict[str, Any]]
) -> None:
    """No shape of JSON gets past the mapping as anything but these two."""
    typed = {
        "allergies": resources,
        "medications": [r | {"resourceType": "MedicationStatement"} for r in resources],
        "conditions": resources,
        "alerts": resources,
    }
    try:
        summary = made(person, **typed)
    except MappingError:
        return
    assert faults(summary.record, "records.nhs.v1.PatientSummary", leaves(nhs.PatientSummary)) == []
    assert SubjectRef("nhs-number", EDITH) in summary.identifiers
