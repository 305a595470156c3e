"""How a person, premises or incident is named: schemes, and the one canonical form of each.

Refuses anything that is not canonical. A directive is found by its subject's exact identifier, so a second
spelling of the same number (spaces, leading zeros) would be a way round what the person said.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

from msgspec import Struct
from nhs_number.validate import is_valid

from broker.errors import InvalidRequest


class SubjectRef(Struct, frozen=True, order=True):
    """One identifier of a person or premises, in canonical form."""

    scheme: str
    value: str


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: compiled.fullmatch(value) is not None


_TEN_DIGITS = _matches(r"[0-9]{10}")
# Scottish CHI numbers begin with a date of birth, DDMMYY. No NHS number is issued in their range, so that one
# number never has two schemes (NHS Data Dictionary, NHS NUMBER and CHI NUMBER).
_CHI = _matches(r"(?:0[1-9]|[12][0-9]|3[01])(?:0[1-9]|1[0-2])[0-9]{6}")


def _nhs(value: str) -> bool:
    """Ten digits outside the CHI range, with a valid modulus 11 check digit."""
    return _TEN_DIGITS(value) and value >= "3200000000" and is_valid(value)


_INCIDENT = re.compile(r"[a-z0-9-]{1,63}/([0-9]{4}-[0-9]{2}-[0-9]{2})/[A-Z0-9-]{1,32}", re.ASCII)


def _incident(value: str) -> bool:
    """An agency's id, a date that exists, and its number for that day."""
    matched = _INCIDENT.fullmatch(value)
    if matched is None:
        return False
    try:
        date.fromisoformat(matched[1])
    except ValueError:
        return False
    return True


# Each scheme: what its canonical form is, in words a caller can act on, and the test of it.
SCHEMES: dict[str, tuple[str, Callable[[str], bool]]] = {
    "nhs-number": ("ten digits without spaces and with a valid check digit", _nhs),
    "chi-number": ("ten digits without spaces, of which the first six are a date of birth", _CHI),
    "uprn": ("1 to 12 digits without leading zeros", _matches(r"[1-9][0-9]{0,11}")),
    "police-nominal": ("2 to 32 upper-case letters, digits or hyphens", _matches(r"[A-Z0-9][A-Z0-9-]{1,31}")),
    "social-care-id": ("2 to 32 upper-case letters, digits or hyphens", _matches(r"[A-Z0-9][A-Z0-9-]{1,31}")),
    "local-patient-id": (
        "ODS code, a colon, and 1 to 32 upper-case letters, digits or hyphens",
        _matches(r"[A-Z0-9]{3,6}:[A-Z0-9-]{1,32}"),
    ),
    # Places without an address have no other name than what happened there.
    "incident": (
        "agency id, date and number with slashes between, the number in upper-case letters, digits or hyphens",
        _incident,
    ),
}


def parse_subject(scheme: str, value: str, field: str = "subject") -> SubjectRef:
    """The reference, or InvalidRequest naming `field.scheme` or `field.value`, never repeating the value."""
    known = SCHEMES.get(scheme)
    if known is None:
        raise InvalidRequest(f"{field}.scheme", f"unknown scheme; one of {', '.join(sorted(SCHEMES))}")
    form, is_canonical = known
    if not is_canonical(value):
        raise InvalidRequest(f"{field}.value", f"not a canonical {scheme}: {form}")
    return SubjectRef(scheme, value)
