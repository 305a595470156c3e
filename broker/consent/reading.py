"""FHIR R4 Consent, and IHE PCF's and NHS England's use of it, as directives.

One Consent is one directive, and one more for each denial inside a permit. Whatever it says beyond that is
refused by its element: a Consent that is half understood is not understood.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from broker.consent import extras, people, subjects
from broker.consent.agencies import Agencies
from broker.consent.element import Code, Element, shown, whole
from broker.consent.names import ACT_CODE, DIRECTIVE_ID, KIND, LOINC, MATTER, SCOPE
from broker.consent.provision import Rule, root_rule
from broker.consent.times import span
from broker.core.directive import KINDS, Directive
from broker.core.directive_form import check
from broker.core.london import local
from broker.core.subject import SubjectRef
from broker.errors import InvalidRequest
from broker.law import Law

_ELEMENTS = (
    *("resourceType", "meta", "language", "text", "contained", "identifier", "status", "scope", "category"),
    *("patient", "dateTime", "performer", "organization", "sourceAttachment", "sourceReference", "policy"),
    *("policyRule", "verification", "provision"),
)
_STATUSES = ("draft", "proposed", "active", "rejected", "inactive", "entered-in-error")
_SCOPES = {Code(SCOPE, "patient-privacy"): "sharing", Code(MATTER, "visit"): "visit"}
# A consent, of whatever kind; or a kind of ours.
_ANY = ""
_CATEGORIES = {
    Code(LOINC, "59284-0"): _ANY,
    Code(LOINC, "64292-6"): _ANY,
    Code(ACT_CODE, "INFA"): _ANY,
    Code(ACT_CODE, "IDSCL"): _ANY,
    **{Code(KIND, kind): kind for kind in KINDS},
}
_POLICY_RULES = {Code(ACT_CODE, "OPTIN"): "permit", Code(ACT_CODE, "OPTOUT"): "deny"}
# Where each field of a directive stands in a Consent.
_PLACES = {
    "valid_until": "Consent.provision.period.end",
    "standing": "Consent.performer",
    "kind": "Consent.category",
}


class Understood(NamedTuple):
    """What a Consent says of somebody."""

    subject: SubjectRef
    directive: Directive


class Here(Struct, frozen=True):
    """What a Consent is read by: who keeps it where it does not say, the directory, the law, and the time."""

    recorder: str
    agencies: Agencies
    law: Law
    now: datetime
    # Of policies that the reader has read, and that add nothing to what a Consent itself says.
    policies: frozenset[str] = frozenset()


def read(resource: object, here: Here) -> list[Understood]:
    """The directives that a Consent is. Raises InvalidRequest whose field is the element's FHIRPath.

    Ids are empty where the resource has none of ours.
    """
    consent = Element("Consent", resource)
    if not isinstance(resource, dict) or resource.get("resourceType") != "Consent":
        raise consent.refuse("is no Consent of FHIR R4")
    whole(consent.only(*_ELEMENTS))
    _is_active(consent)
    policies(consent, here.policies)
    matter = consent.child("scope").meaning(_SCOPES)
    kind, permit = _kind(consent)
    contained = _contained(consent)
    subject = subjects.patient(consent.child("patient"), contained)
    foreign = kind == _ANY
    rules = list(_rules(consent, here, contained, permit=permit, foreign=foreign))
    spoke = people.read(consent, subject, contained, permit=permit)
    _is_verified(consent, permit=permit)
    said_at, _ = span(consent.child("dateTime"))
    if said_at > here.now:
        raise consent.child("dateTime").refuse("lies in the future")
    taken = {"manner": "written" if _has_source(consent) else "verbal", **extras.read(consent)}
    taken.setdefault("authority", spoke.authority)
    if spoke.standing != "self" and "standing" in taken:
        raise consent.child("performer").refuse("speaks for a child that the extension says spoke for itself")
    first = Directive(
        id=_id(consent),
        kind=kind or ("consent" if permit else "refusal"),
        recorder=_recorder(consent, here, contained),
        said_at=said_at,
        matter=matter,
        **{"standing": spoke.standing, **taken, **rules[0].scope},
    )
    found = [first, *(_exception(first, rule) for rule in rules[1:])]
    if len(found) > 1 and matter != "sharing":
        raise consent.child("provision").child("provision").refuse("is of a consent to a visit, which has none")
    for each in found:
        _check(each, here)
    return [Understood(subject, each) for each in found]


def policies(consent: Element, known: frozenset[str]) -> tuple[str, ...]:
    """The policies that it names (FHIR R4 Consent.policy), each one of those that are known: under another it
    may permit less, or more, than it says here."""
    for each in consent.each("policy"):
        uri = each.only("authority", "uri").child("uri")
        if uri.text() not in known:
            raise uri.refuse(
                "is a policy that nobody here has read: it may say what the Consent does not. Read it; where "
                "it adds nothing, import with --policy and its address, else record this by hand"
            )
    return tuple(each.child("uri").text() for each in consent.each("policy"))


def _exception(consent: Directive, rule: Rule) -> Directive:
    """A denial inside a permit, as a refusal of its own: it outweighs the consent, and ends when that does."""
    return replace(consent, id="", kind="refusal", reconsider_at=None, **rule.scope)


def _is_active(consent: Element) -> None:
    status = consent.child("status")
    if status.text() not in _STATUSES:
        raise status.refuse(f"{shown(status.value)} is no status of a Consent")
    if status.value != "active":
        raise status.refuse(
            f"is {status.value}, and only an active consent counts; `broker directive withdraw` lifts what was "
            "recorded of it before"
        )


def _kind(consent: Element) -> tuple[str, bool]:
    """Our kind where a category has one, and whether it permits."""
    categories = consent.each("category")
    if not categories:
        raise consent.missing("category")
    kinds = {each.meaning(_CATEGORIES) for each in categories} - {_ANY}
    if len(kinds) > 1:
        raise consent.child("category").refuse("is of two kinds at once")
    kind = kinds.pop() if kinds else _ANY
    verdicts = dict(_verdicts(consent))
    if not verdicts:
        path = "Consent.provision.type"
        raise InvalidRequest(path, "is missing, and no policyRule of OPTIN or OPTOUT says it: permit or deny?")
    if len(set(verdicts.values())) > 1:
        raise InvalidRequest("Consent.provision.type", "contradicts Consent.policyRule")
    permit = set(verdicts.values()) == {"permit"}
    if kind and permit != (kind == "consent"):
        raise consent.child("category").refuse(f"is {kind}, which cannot {'permit' if permit else 'deny'}")
    return kind, permit


def _verdicts(consent: Element) -> Iterator[tuple[str, str]]:
    if consent.has("policyRule"):
        yield "policyRule", consent.child("policyRule").meaning(_POLICY_RULES)
    elif not consent.each("policy"):
        raise InvalidRequest("Consent.policyRule", "is missing, and so is Consent.policy (FHIR R4, ppc-1)")
    if consent.has("provision") and consent.child("provision").only(*Rule.ELEMENTS).has("type"):
        kind = consent.child("provision").child("type")
        if kind.text() not in ("permit", "deny"):
            raise kind.refuse(f"{shown(kind.value)} is neither permit nor deny")
        yield "provision", kind.value


def _rules(
    consent: Element, here: Here, contained: dict[str, Element], *, permit: bool, foreign: bool
) -> Iterator[Rule]:
    if not consent.has("provision"):
        if permit:
            # What it agrees to would be whatever some policy says, and a consent is specific.
            raise consent.missing("provision")
        yield Rule()
        return
    yield from root_rule(
        consent.child("provision"), here.agencies, here.law, here.now, contained, permit=permit, foreign=foreign
    )


def _contained(consent: Element) -> dict[str, Element]:
    found: dict[str, Element] = {}
    for each in consent.each("contained"):
        if not isinstance(each.value, dict) or not isinstance(each.value.get("id"), str):
            raise each.refuse("has no id")
        if f"#{each.value['id']}" in found:
            raise each.refuse("has another's id")
        found[f"#{each.value['id']}"] = each
    return found


def _recorder(consent: Element, here: Here, contained: dict[str, Element]) -> str:
    """The agency that keeps it: its custodian, or who reads it where it names none."""
    keepers = consent.each("organization")
    if len(keepers) > 1:
        raise keepers[1].refuse("is another who keeps it; a directive has one recorder")
    return here.agencies.read(keepers[0], contained) if keepers else here.recorder


def _is_verified(consent: Element, *, permit: bool) -> None:
    for each in consent.each("verification"):
        verified = each.only("verified", "verifiedWith", "verificationDate").child("verified")
        if permit and verified.value is not True:
            raise verified.refuse("is not true, and an unverified consent permits nothing")


def _has_source(consent: Element) -> bool:
    return consent.has("sourceAttachment") or consent.has("sourceReference")


def _id(consent: Element) -> str:
    for each in consent.each("identifier"):
        if (
            each.only("use", "type", "system", "value", "period", "assigner").value.get("system")
            == DIRECTIVE_ID
        ):
            return each.child("value").text()
    return ""


def _check(directive: Directive, here: Here) -> None:
    try:
        check(directive, local(here.now).date())
    except InvalidRequest as error:
        field = error.field.removeprefix("directive.")
        raise InvalidRequest(_PLACES.get(field, f"Consent.extension ({field})"), error.problem) from error
