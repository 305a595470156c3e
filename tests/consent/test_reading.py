"""FHIR R4 Consent as directives: what is understood, and by which element the rest is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.consent.element import Element, parse
from broker.consent.names import BASE, KIND, MATTER, STANDING
from broker.consent.reading import Understood, policies, read
from broker.core.model import SubjectRef
from broker.errors import InvalidRequest
from tests.consent.conftest import (
    HERE,
    HL7,
    NHS,
    NUMBER,
    POLICY,
    actor,
    concept,
    organisation,
    purpose,
)
from tests.support.values import replace

FILES = Path(__file__).parent
Change = Callable[[dict[str, Any]], object]
EXTRAS = f"{BASE}/StructureDefinition/directive"


def only(resource: dict[str, Any]) -> Understood:
    """The one directive that a resource is."""
    (understood,) = read(resource, HERE)
    return understood


def test_a_permit_for_treatment_is_a_consent(consent: dict[str, Any]) -> None:
    """With its day as a day here, its keeper as recorder, and the emergency room with the treatment."""
    subject, directive = only(consent)
    assert subject == SubjectRef("nhs-number", NUMBER)
    assert (directive.kind, directive.standing, directive.matter) == ("consent", "self", "sharing")
    assert (directive.recorder, directive.manner) == ("ncic", "written")
    assert directive.said_at == datetime(2026, 6, 12, 23, tzinfo=UTC)
    assert directive.purposes == {"direct-care", "emergency-response"}
    assert (directive.requesters, directive.providers, directive.valid_until) == (
        frozenset(),
        frozenset(),
        None,
    )


def test_who_receives_who_holds_and_until_when(consent: dict[str, Any]) -> None:
    """Receivers are requesters, custodians are providers; an end includes the whole of its day."""
    consent["provision"] |= {
        "actor": [actor("IRCP", "RX7"), actor("CST", "RNN")],
        "period": {"start": "2026-06-13", "end": "2027-01-31"},
        "action": [concept(f"{HL7}consentaction", code) for code in ("access", "disclose")],
        "class": [{"system": f"{BASE}/CodeSystem/record-type", "code": "records.nhs.v1.PatientSummary"}],
    }
    directive = only(consent).directive
    assert (directive.requesters, directive.providers) == ({"nwas"}, {"ncic"})
    assert directive.valid_until == datetime(2027, 2, 1, tzinfo=UTC)
    assert directive.record_types == {"records.nhs.v1.PatientSummary"}


@pytest.mark.parametrize(
    ("end", "until"),
    [
        ("2027", "2028-01-01T00:00:00+00:00"),
        ("2026-12", "2027-01-01T00:00:00+00:00"),
        ("2027-06", "2027-06-30T23:00:00+00:00"),
        ("2027-06-30", "2027-06-30T23:00:00+00:00"),
        ("2027-01-01T10:00:00+01:00", "2027-01-01T09:00:01+00:00"),
        ("2027-01-01T10:00:00.5Z", "2027-01-01T10:00:00.600000+00:00"),
        ("2027-01-01T10:00:00.000001Z", "2027-01-01T10:00:00.000002+00:00"),
    ],
)
def test_an_end_includes_whatever_matches_it(consent: dict[str, Any], end: str, until: str) -> None:
    """To the unit that was written (FHIR R4, Period.end)."""
    consent["provision"]["period"] = {"end": end}
    assert only(consent).directive.valid_until == datetime.fromisoformat(until)


@pytest.mark.parametrize(
    ("code", "permit", "deny"),
    [
        ("TREAT", {"direct-care", "emergency-response"}, {"mental-health-crisis", "service-transition"}),
        ("ETREAT", {"emergency-response", "mental-health-crisis"}, set()),
        ("ERTREAT", {"emergency-response"}, set()),
        ("COC", {"service-transition"}, set()),
        ("DISASTER", {"emergency-planning"}, set()),
        ("PATRQT", {"subject-access"}, set()),
        ("HCOMPL", {"audit"}, set()),
        (
            "THREAT",
            {"safeguarding-adult", "safeguarding-child", "missing-person", "domestic-abuse-marac"},
            set(),
        ),
    ],
)
def test_purposes_of_use(consent: dict[str, Any], code: str, permit: set[str], deny: set[str]) -> None:
    """What each of HL7's codes permits here, and denies beyond that; in either spelling of its system."""
    for system in (f"{HL7}v3-ActReason", "http://terminology.hl7.org/CodeSystem/v3-ActReason"):
        consent["provision"]["purpose"] = [{"system": system, "code": code}]
        assert only(consent).directive.purposes == permit
        denied = {**consent, "provision": {**consent["provision"], "type": "deny"}}
        assert only(denied).directive.purposes == permit | deny


def test_policies_are_read_or_refused(consent: dict[str, Any]) -> None:
    """One that the reader has read is said in what was understood; its authority changes nothing of it."""
    consent["policy"] = [{"authority": "http://example.org", "uri": POLICY}]
    assert only(consent).directive.kind == "consent"
    assert policies(Element("Consent", consent), HERE.policies) == (POLICY,)
    with pytest.raises(
        InvalidRequest, match=r"^Consent\.policy\[0\]\.uri: is a policy that nobody here has read"
    ):
        read(consent, replace(HERE, policies=frozenset()))


@pytest.mark.parametrize(("rule", "kind"), [("OPTIN", "consent"), ("OPTOUT", "refusal")])
def test_the_base_standard_says_it_by_policy_rule(consent: dict[str, Any], rule: str, kind: str) -> None:
    """A root rule without type (FHIR R4) takes it from there; with one, both must agree."""
    del consent["policy"], consent["provision"]["type"]
    consent["policyRule"] = concept(f"{HL7}v3-ActCode", rule)
    assert only(consent).directive.kind == kind
    consent["provision"]["type"] = "permit" if kind == "consent" else "deny"
    assert only(consent).directive.kind == kind
    del consent["provision"]
    if kind == "refusal":
        assert only(consent).directive.purposes == frozenset(), "of everything"
    else:
        with pytest.raises(InvalidRequest, match=r"^Consent\.provision: is missing"):
            read(consent, HERE)


def test_a_denial_inside_a_permit_is_a_refusal_beside_the_consent(consent: dict[str, Any]) -> None:
    """It outweighs it, has the scope of the rule around it where it has none, and ends with it or before."""
    consent["provision"] |= {
        "period": {"end": "2027-01-31"},
        "actor": [actor("IRCP", "RX7"), actor("IRCP", "RNN")],
        "provision": [
            {"type": "deny", "actor": [actor("IRCP", "RX7")]},
            {"type": "deny", "purpose": [purpose("ERTREAT")], "period": {"end": "2026-12-31"}},
        ],
    }
    asked_again = {"url": "reconsiderAt", "valueDateTime": "2026-12-01T00:00:00Z"}
    consent["extension"] = [{"url": EXTRAS, "extension": [asked_again]}]
    whole, one, two = (each.directive for each in read(consent, HERE))
    assert (whole.reconsider_at, one.reconsider_at) == (datetime(2026, 12, 1, tzinfo=UTC), None)
    assert [each.kind for each in (whole, one, two)] == ["consent", "refusal", "refusal"]
    assert (one.requesters, one.purposes, one.valid_until) == ({"nwas"}, whole.purposes, whole.valid_until)
    assert (two.requesters, two.purposes) == ({"nwas", "ncic"}, {"emergency-response"})
    assert two.valid_until == datetime(2027, 1, 1, tzinfo=UTC)


def related(*codings: tuple[str, str], **changes: Any) -> Change:
    """Somebody else spoke, by this relationship."""
    person = {
        "resourceType": "RelatedPerson",
        "id": "mum",
        "patient": {"identifier": {"system": NHS, "value": NUMBER}},
        "relationship": [{"coding": [{"system": s, "code": c} for s, c in codings]}],
        **changes,
    }
    return lambda c: c.update(performer=[{"reference": "#mum"}], contained=[person])


PARENT = (STANDING, "parental-responsibility")
PROXY = "https://fhir.nhs.uk/England/CodeSystem/England-NHSProxyLegalBasis"


@pytest.mark.parametrize(
    ("coding", "standing", "authority"),
    [
        ((f"{HL7}v3-RoleCode", "HPOWATT"), "attorney", "HPOWATT"),
        ((PROXY, "court-appointed-personal-welfare-deputy"), "deputy", "court-appointed"),
    ],
)
def test_a_right_to_speak_by_code(
    consent: dict[str, Any], coding: tuple[str, str], standing: str, authority: str
) -> None:
    """Codes that say a right and not a kinship; the code is what is on record of it."""
    related(coding, name=[{"family": "Tyson"}])(consent)
    directive = only(consent).directive
    assert directive.standing == standing
    assert authority in directive.authority
    assert "Tyson" not in str(directive)


def extended(*parts: dict[str, Any]) -> Change:
    """With our own extension."""
    return lambda c: c.update(extension=[{"url": EXTRAS, "extension": list(parts)}])


def test_a_holder_of_parental_responsibility(consent: dict[str, Any]) -> None:
    """By our own coding, with the evidence of it in our extension."""
    related(PARENT)(consent)
    extended({"url": "authority", "valueString": "birth certificate"})(consent)
    directive = only(consent).directive
    assert (directive.standing, directive.authority) == ("parental-responsibility", "birth certificate")


def test_a_denial_needs_nobody_who_is_named(consent: dict[str, Any]) -> None:
    """A refusal without performer is the person's own: left out, it would protect nobody."""
    del consent["performer"]
    consent["provision"]["type"] = "deny"
    assert (only(consent).directive.kind, only(consent).directive.standing) == ("refusal", "self")


@pytest.mark.parametrize(("written", "uprn"), [("100062990001", "100062990001"), ("000012345678", "12345678")])
def test_premises_by_the_uk_core_extension(consent: dict[str, Any], written: str, uprn: str) -> None:
    """A UPRN that is filled up with zeros is the same number."""
    key = [
        {
            "url": "type",
            "valueCoding": {
                "system": "https://fhir.hl7.org.uk/CodeSystem/UKCore-AddressKeyType",
                "code": "UPRN",
            },
        },
        {"url": "value", "valueString": written},
    ]
    url = "https://fhir.hl7.org.uk/StructureDefinition/Extension-UKCore-AddressKey"
    consent["patient"] = {"extension": [{"url": url, "extension": key}], "display": "the household"}
    consent["performer"] = [consent["patient"]]
    assert only(consent).subject == SubjectRef("uprn", uprn)
    consent["patient"]["identifier"] = {"system": NHS, "value": NUMBER}
    with pytest.raises(InvalidRequest, match="more than one"):
        read(consent, HERE)


def provision(**changes: Any) -> Change:
    """With these elements of the root rule."""
    return lambda c: c["provision"].update(changes)


def deny(**changes: Any) -> Change:
    """With an exception."""
    return provision(provision=[{"type": "deny", **changes}])


def without(*names: str) -> Change:
    """Without these elements."""
    return lambda c: [c.pop(name) for name in names]


def top(**changes: Any) -> Change:
    """With these elements of the resource."""
    return lambda c: c.update(changes)


OTHER = {"identifier": {"system": NHS, "value": "9000000017"}}
P = "Consent.provision"
REFUSED: list[tuple[str, Change]] = [
    ("Consent", top(resourceType="Contract")),
    ("Consent.decision", top(decision="permit")),  # R5
    ("Consent._dateTime", top(_dateTime={"extension": []})),
    ("Consent.modifierExtension", top(modifierExtension=[{"url": "http://example.org/x"}])),
    ("Consent.implicitRules", top(implicitRules="http://example.org/x")),
    # status and scope
    ("Consent.status", without("status")),
    ("Consent.status", top(status="signed")),
    *(
        ("Consent.status", top(status=s))
        for s in ("draft", "proposed", "rejected", "inactive", "entered-in-error")
    ),
    ("Consent.scope", without("scope")),
    *(
        ("Consent.scope.coding[0]", top(scope=concept(f"{HL7}consentscope", s)))
        for s in ("research", "treatment")
    ),
    ("Consent.scope", top(scope={"text": "privacy"})),
    ("Consent.scope", top(scope=concept("http://example.org", "patient-privacy"))),
    (
        "Consent.scope",
        top(
            scope={
                "coding": [
                    *concept(MATTER, "visit")["coding"],
                    *concept(f"{HL7}consentscope", "patient-privacy")["coding"],
                ]
            }
        ),
    ),
    ("Consent.category", without("category")),
    ("Consent.category[0].coding[0]", top(category=[concept("http://loinc.org", "57016-8")])),
    ("Consent.category[0]", top(category=[concept(f"{HL7}consentcategorycodes", "dnr")])),
    ("Consent.category", top(category=[concept(KIND, "refusal")])),  # and a permit
    ("Consent.category", top(category=[concept(KIND, "consent"), concept(KIND, "refusal")])),
    # who it is about
    ("Consent.patient", without("patient")),
    ("Consent.patient", top(patient={"reference": "Patient/f001"})),
    ("Consent.patient.identifier.system", top(patient={"identifier": {"system": "urn:mrn", "value": "1"}})),
    ("Consent.patient.identifier.value", top(patient={"identifier": {"system": NHS, "value": "900 000 0009"}})),
    ("Consent.patient.identifier.value", top(patient={"identifier": {"system": NHS, "value": "9000000012"}})),
    # who spoke
    ("Consent.performer", without("performer")),
    ("Consent.performer[0]", top(performer=[OTHER])),
    ("Consent.performer[0]", top(performer=[{"reference": "Practitioner/1"}])),
    ("Consent.performer[0]", top(performer=[{"reference": "#nobody"}])),
    ("Consent.performer[1]", lambda c: c["performer"].append(OTHER)),
    ("Consent.contained[0].relationship[0].coding[0]", related((f"{HL7}v3-RoleCode", "MTH"))),
    ("Consent.contained[0].relationship[0]", related(("http://example.org", "mother"))),
    ("Consent.contained[0].relationship", related(PARENT, relationship=[])),
    ("Consent.contained[0].patient", related(PARENT, patient=OTHER)),
    ("Consent.contained[0].active", related(PARENT, active=False)),
    ("Consent.contained[0].period", related(PARENT, period={"end": "2020"})),
    ("Consent.extension (authority)", related(PARENT)),
    ("Consent.verification[0].verified", top(verification=[{"verified": False}])),
    # when
    ("Consent.dateTime", without("dateTime")),
    *(
        ("Consent.dateTime", top(dateTime=t))
        for t in ("2026-11-22", "yesterday", "2026-13", "2026-06-13T10:00:00", 2026)
    ),
    # who keeps it
    ("Consent.organization[0]", top(organization=[{"reference": "Organization/f001"}])),
    ("Consent.organization[0].identifier", top(organization=[organisation("ZZZ")])),
    ("Consent.organization[1]", top(organization=[organisation("RNN"), organisation("RX7")])),
    # the rule
    ("Consent.policyRule", without("policy")),
    ("Consent.policy[0].uri", top(policy=[{"uri": "http://example.org/other"}])),
    ("Consent.policy[0].uri", top(policy=[{"authority": "http://example.org"}])),
    ("Consent.policy[0].uri", top(policy=[{"uri": 7}])),
    ("Consent.policy[1].uri", top(policy=[{"uri": POLICY}, {"uri": f"{POLICY}/v2"}])),
    ("Consent.policy[0].version", top(policy=[{"uri": POLICY, "version": "2"}])),
    ("Consent.policy", top(policy=[])),
    ("Consent.policyRule.coding[0]", top(policyRule=concept(f"{HL7}v3-ActCode", "OPTINR"))),
    ("Consent.policyRule", top(policyRule=concept(PROXY, "court-appointed-personal-welfare-deputy"))),
    (f"{P}.type", top(policyRule=concept(f"{HL7}v3-ActCode", "OPTOUT"))),
    (f"{P}.type", lambda c: c["provision"].pop("type")),
    (f"{P}.type", provision(type="allow")),
    (f"{P}.period.start", provision(period={"start": "2027"})),
    (f"{P}.period.end", provision(period={"end": "2026-06-12"})),
    (f"{P}.period.end", provision(period={"end": "soon"})),
    *((f"{P}.{name}", provision(**{name: [{}]})) for name in ("securityLabel", "code", "data")),
    (f"{P}.dataPeriod", provision(dataPeriod={"end": "2020"})),
    (
        f"{P}.class[0]",
        provision(**{"class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Patient"}]}),
    ),
    (f"{P}.action", provision(action=[concept(f"{HL7}consentaction", "collect")])),
    (f"{P}.action[0].coding[0]", provision(action=[concept(f"{HL7}consentaction", "sell")])),
    (f"{P}.purpose", provision(purpose=[])),
    (f"{P}.purpose[1]", provision(purpose=[purpose("TREAT"), purpose("BTG")])),
    (f"{P}.purpose[0]", lambda c: c["provision"].update(type="deny", purpose=[purpose("BTG")])),
    (f"{P}.purpose[0]", provision(purpose=[purpose("HMARKT")])),
    (f"{P}.purpose[0]", provision(purpose=[{"system": "http://example.org", "code": "TREAT"}])),
    (f"{P}.purpose[0].system", provision(purpose=[{"code": "TREAT"}])),
    (f"{P}.actor[0].role.coding[0]", provision(actor=[actor("AUT", "RX7")])),
    (f"{P}.actor[0].role", provision(actor=[{"reference": organisation("RX7")}])),
    (f"{P}.actor[0].reference.identifier", provision(actor=[actor("IRCP", "RTX")])),  # two agencies have it
    (f"{P}.actor", provision(type="deny", actor=[actor("IRCP", "RX7"), actor("CST", "RNN")])),
    # rules in rules
    (f"{P}.provision[0].type", provision(provision=[{"actor": [actor("IRCP", "RX7")]}])),
    (f"{P}.provision[0].type", provision(provision=[{"type": "permit"}])),
    (f"{P}.provision[0].type", lambda c: c["provision"].update(type="deny", provision=[{"type": "permit"}])),
    (f"{P}.provision[0].provision", deny(provision=[{"type": "permit"}])),
    (f"{P}.provision[0]", deny(purpose=[purpose("PATRQT")])),
    (f"{P}.provision[0].securityLabel", deny(securityLabel=[{}])),
    (f"{P}.provision", lambda c: (top(scope=concept(MATTER, "visit"))(c), deny()(c))),
    # our own extension
    ("Consent.extension[0].extension[0]", extended({"url": "colour", "valueString": "red"})),
    ("Consent.extension[0].extension[0].valueCode", extended({"url": "speaker", "valueCode": "mother"})),
    ("Consent.extension[0].extension[1]", extended(*[{"url": "speaker", "valueString": "x"}] * 2)),
    ("Consent.extension", extended({"url": "standing", "valueCode": "attorney"})),
    ("Consent.extension (assessor)", extended({"url": "standing", "valueCode": "gillick-child"})),
    ("Consent.extension (company)", extended({"url": "company", "valueCode": "crowd"})),
    ("Consent.extension (speaker)", extended({"url": "speaker", "valueString": "x" * 201})),
]


@pytest.mark.parametrize(("path", "spoil"), REFUSED, ids=[f"{n}-{path}" for n, (path, _) in enumerate(REFUSED)])
def test_what_cannot_be_expressed_is_refused_by_its_element(
    consent: dict[str, Any], path: str, spoil: Change
) -> None:
    """Named by its FHIRPath, and nothing personal in the words."""
    read(consent, HERE)
    spoil(consent)
    with pytest.raises(InvalidRequest) as caught:
        read(consent, HERE)
    assert caught.value.field == path
    assert "900" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        # HL7's own example: its patient is an address on somebody's server.
        ("hl7-consent-basic.json", "Consent.patient"),
        # A relationship of proxies, in which a person may see another's record: no agency is in it.
        ("nhs-proxy-consent.json", "Consent.policyRule"),
    ],
)
def test_published_examples_that_say_something_else(name: str, path: str) -> None:
    """Refused by the element that makes them so."""
    with pytest.raises(InvalidRequest) as caught:
        read(json.loads((FILES / name).read_text()), HERE)
    assert caught.value.field == path


def test_one_purpose_that_is_none_here_refuses_the_whole(consent: dict[str, Any]) -> None:
    """IHE PCF's examples permit treatment, payment and operations in one: what is half understood is not."""
    consent["provision"]["purpose"] = [purpose("TREAT"), purpose("HPAYMT"), purpose("HOPERAT")]
    with pytest.raises(InvalidRequest) as caught:
        read(consent, HERE)
    assert caught.value.field == "Consent.provision.purpose[1]"


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"a": 1, "a": 2}', b"[NaN]", b"\xff", b" " * (1 << 21), b"[" * 9999]
)
def test_what_is_no_json_is_no_consent(data: bytes) -> None:
    """Nor JSON that two readers would read differently."""
    with pytest.raises(InvalidRequest):
        parse(data)


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"resourceType": "Consent"}])
def test_whatever_it_is_it_is_refused_and_not_an_error(value: object) -> None:
    """Anything may stand in a file."""
    with pytest.raises(InvalidRequest):
        read(value, HERE)
