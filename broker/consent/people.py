"""Who consented or refused: the person, or somebody whose right to speak for them the resource says.

Being a parent is not having parental responsibility, and being next of kin gives no right to decide: a kinship
is refused, by name, until a right stands beside it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from broker.consent import subjects
from broker.consent.element import Code, Element
from broker.consent.names import NHS_PROXY_BASIS, ROLE_CODE, STANDING
from broker.core.directive import FOR_ANOTHER
from broker.core.subject import SubjectRef
from broker.errors import InvalidRequest

SPEAKER = "speaker"
_DEPUTY = Code(NHS_PROXY_BASIS, "court-appointed-personal-welfare-deputy")
_HEALTH_ATTORNEY = Code(ROLE_CODE, "HPOWATT")
RIGHTS = {
    **{Code(STANDING, standing): standing for standing in FOR_ANOTHER},
    _HEALTH_ATTORNEY: "attorney",
    _DEPUTY: "deputy",
}
# Where a code alone says by what right, and nothing else does.
_BY_CODE = {"attorney": "health-care power of attorney (HPOWATT)", "deputy": f"NHS England: {_DEPUTY.code}"}


class Spoke(NamedTuple):
    """In what standing somebody spoke, and by what right as far as a code says it."""

    standing: str
    authority: str = ""


def write(subject: SubjectRef, standing: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The performer, and what is contained for it."""
    patient = subjects.write(subject)
    if standing not in FOR_ANOTHER:
        return patient, []
    concept = {"coding": [{"system": STANDING, "code": standing}]}
    related = {"resourceType": "RelatedPerson", "id": SPEAKER, "patient": patient, "relationship": [concept]}
    return {"reference": f"#{SPEAKER}", "type": "RelatedPerson"}, [related]


def read(consent: Element, subject: SubjectRef, contained: dict[str, Element], *, permit: bool) -> Spoke:
    """Who spoke. A denial that says nothing of it is taken as the person's own; a permit never is."""
    performers = consent.each("performer")
    if not performers:
        if permit:
            raise consent.missing("performer")
        return Spoke("self")
    if len(performers) > 1:
        raise performers[1].refuse("is another who spoke; record the word of each by itself")
    performer = performers[0].only("reference", "type", "identifier", "display")
    target = contained.get(str(performer.value.get("reference")))
    if target is not None and target.value.get("resourceType") == "RelatedPerson":
        return _related(target, subject)
    if _is_patient(performer, consent.value.get("patient"), subject):
        return Spoke("self")
    raise performer.refuse(
        "is not the patient, and nothing says by what right they speak; give a contained RelatedPerson whose "
        "relationship does"
    )


def _is_patient(performer: Element, patient: Any, subject: SubjectRef) -> bool:
    """Whether all that it says of who spoke says that it was the patient."""
    *_, kind, _ = ["Patient", *str(performer.value.get("reference", "")).split("/")]
    if kind != "Patient" or performer.value.get("type", "Patient") != "Patient":
        return False
    if performer.has("identifier") or performer.has("extension"):
        return _names(performer, subject)
    return _same(performer.value, patient)


def _same(performer: dict[str, Any], patient: Any) -> bool:
    reference = performer.get("reference")
    return isinstance(patient, dict) and bool(reference) and reference == patient.get("reference")


def _names(performer: Element, subject: SubjectRef) -> bool:
    try:
        return subjects.read(performer) == subject
    except InvalidRequest:
        return False


def _related(person: Element, subject: SubjectRef) -> Spoke:
    # Who they are (name, telecom ...) is nobody's here; whether they may speak is.
    person.only(
        *("resourceType", "active", "patient", "relationship", "identifier", "name", "telecom", "gender"),
        *("birthDate", "address"),
    )
    if person.value.get("active", True) is not True:
        raise person.child("active").refuse("is not true")
    if subjects.read(person.child("patient")) != subject:
        raise person.child("patient").refuse("is somebody else")
    relationships = person.each("relationship")
    if len(relationships) != 1:
        raise InvalidRequest(
            f"{person.path}.relationship", "says by no one right that somebody speaks for another"
        )
    standing = relationships[0].meaning(RIGHTS)
    own = any(c.code().system == STANDING for c in relationships[0].each("coding"))
    return Spoke(standing, "" if own else _BY_CODE[standing])
