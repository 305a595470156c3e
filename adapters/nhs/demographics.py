"""FHIR R4 Patient -> who the patient is, how to reach them, and every identifier they are known by. Pure.

Refuses what has ended: a name or address whose period is over may be a former identity or a home somebody
fled. A patient marked restricted has neither address, telephone nor practice: each says where they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from nhs_number.validate import is_valid

from adapters.nhs import codes
from adapters.nhs.codes import Json, items
from adapters.sdk import InvalidRequest, MappingError, SubjectRef
from records.nhs.v1 import patient_summary_pb2 as nhs
from records.shared.v1 import fact_pb2 as shared

SCHEME = "nhs-number"
LOCAL_SCHEME = "local-patient-id"
NHS_NUMBER = "https://fhir.nhs.uk/Id/nhs-number"
_ODS = re.compile(r"https://fhir\.nhs\.uk/Id/ods-(organization|site)-code")
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2}(T.*)?)?)?")

# Scotland's number is written under several systems in use.
_NATIONAL = {
    NHS_NUMBER: SCHEME,
    "https://fhir.nhs.uk/Id/chi-number": "chi-number",
    "https://fhir.hl7.org.uk/Id/chi-number": "chi-number",
    "urn:oid:2.16.840.1.113883.2.1.3.2.4.16.53": "chi-number",
}


def canonical(number: str) -> bool:
    """Whether this is an NHS number as it must be written: ten digits, check digit valid."""
    return re.fullmatch(r"[0-9]{10}", number, re.ASCII) is not None and is_valid(number)


_CANONICAL: Mapping[str, Callable[[str], object]] = {
    SCHEME: canonical,
    "chi-number": re.compile(r"[0-9]{10}", re.ASCII).fullmatch,
    # ODS code, colon, the number within that trust.
    LOCAL_SCHEME: re.compile(r"[A-Z0-9]{3,6}:[A-Z0-9-]{1,32}", re.ASCII).fullmatch,
}
_FORMER_NAMES = {"old", "maiden", "nickname", "anonymous", "temp"}
_PHONES = ("mobile", "home", "", "work", "temp")
_HOMES = ("home", "temp", "")


def nhs_number_of(value: str) -> str:
    """`value` if it is canonical; else raises InvalidRequest, without quoting it."""
    if not canonical(value):
        raise InvalidRequest("subject.value", "is not an NHS number of ten digits with a valid check digit")
    return value


def identifiers(patient: Json, local: Mapping[str, str]) -> tuple[SubjectRef, ...]:
    """Every identifier of the patient, superseded ones included, sorted.

    `local` maps identifier systems to the ODS code of the trust whose own numbers they hold. A value that has
    no canonical form in its scheme is left out: the broker could not look it up.
    """
    known = set()
    for identifier in items(patient, "identifier"):
        system, value = str(identifier.get("system")), str(identifier.get("value") or "").strip()
        if system in local:
            scheme, value = LOCAL_SCHEME, f"{local[system]}:{value.upper()}"
        elif system in _NATIONAL:
            scheme, value = _NATIONAL[system], re.sub(r"[ -]", "", value)
        else:
            continue
        if _CANONICAL[scheme](value):
            known.add(SubjectRef(scheme, value))
    return tuple(sorted(known))


def current_number(patient: Json, asked: str, as_at: datetime) -> str:
    """The NHS number the patient has now: not the old one that may have been asked for.

    Raises MappingError when several are current and the asked one is not among them.
    """
    current = {
        re.sub(r"[ -]", "", str(i.get("value") or ""))
        for i in items(patient, "identifier")
        if i.get("system") == NHS_NUMBER and i.get("use") != "old" and lasting(i, as_at)
    }
    current = {number for number in current if canonical(number)}
    if len(current) == 1:
        return current.pop()
    if not current or asked in current:
        return asked
    raise MappingError("Patient.identifier: more than one current NHS number")


def name(patient: Json, as_at: datetime) -> nhs.Name | None:
    """The name in use now, official before usual; None where every name is a former one."""
    order = {"official": 0, "usual": 1}
    now = [n for n in items(patient, "name") if n.get("use") not in _FORMER_NAMES and lasting(n, as_at)]
    if not now:
        return None
    best = min(now, key=lambda n: order.get(str(n.get("use")), 2))
    given = best.get("given")
    return nhs.Name(
        family=str(best.get("family") or ""), given=[str(g) for g in given] if isinstance(given, list) else []
    )


def gender(patient: Json) -> nhs.Gender.ValueType:
    """Administrative gender; unspecified where it is absent. Raises MappingError for any other code."""
    if "gender" not in patient:
        return nhs.GENDER_UNSPECIFIED
    return codes.required(codes.GENDER, patient["gender"], "Patient.gender")


def contact(patient: Json, as_at: datetime) -> nhs.Contact:
    """Address and telephone, or that they are withheld."""
    made = nhs.Contact(as_at=rfc3339(as_at))
    if codes.restricted(patient):
        made.state = shared.FACT_STATE_WITHHELD
        return made
    address = _best(items(patient, "address"), _HOMES, as_at)
    phone = _best([t for t in items(patient, "telecom") if t.get("system") == "phone"], _PHONES, as_at)
    if address is not None:
        lines = address.get("line")
        made.address.lines.extend(str(x) for x in lines or [] if x)
        made.address.lines.extend(str(address[k]) for k in ("city", "district") if address.get(k))
        made.address.postcode = str(address.get("postalCode") or "")
    if phone is not None:
        made.phone = str(phone.get("value") or "")
    there = address is not None or phone is not None
    made.state = shared.FACT_STATE_VALUE if there else shared.FACT_STATE_NONE_RECORDED
    return made


def practice(patient: Json, as_at: datetime) -> nhs.Practice | None:
    """The general practice by ODS code; None where unknown, or where the patient is restricted."""
    if codes.restricted(patient):
        return None
    for reference in items(patient, "generalPractitioner"):
        identifier = reference.get("identifier")
        if (
            isinstance(identifier, Mapping)
            and _ODS.fullmatch(str(identifier.get("system")))
            and lasting(identifier, as_at)
        ):
            return nhs.Practice(
                ods_code=str(identifier.get("value") or ""), name=str(reference.get("display") or "")
            )
    return None


def day(value: object, element: str) -> str:
    """An ISO 8601 date (FHIR allows year and month alone) of a date or dateTime; empty where absent."""
    if value is None:
        return ""
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise MappingError(f"{element}: not a FHIR date")
    return value[:10]


def lasting(element: Json, as_at: datetime) -> bool:
    """Whether `element.period` covers the day of `as_at`; without a period it does."""
    period = element.get("period")
    if not isinstance(period, Mapping):
        return True
    today = as_at.astimezone(UTC).date().isoformat()
    start, end = (str(period.get(k) or "")[:10] for k in ("start", "end"))
    # A partial date covers all of its year or month.
    return (not start or start <= today[: len(start)]) and (not end or end >= today[: len(end)])


def rfc3339(moment: datetime) -> str:
    """`moment` in UTC, whole seconds, with Z. RFC 3339 section 5.6."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _best(elements: Sequence[Json], uses: tuple[str, ...], as_at: datetime) -> Json | None:
    now = [e for e in elements if str(e.get("use") or "") in uses and lasting(e, as_at)]
    return min(now, key=lambda e: uses.index(str(e.get("use") or "")), default=None)
