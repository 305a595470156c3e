"""FHIR dates and times, which may be a year, a month, a day or a moment, and include all of it.

A day here is a day on clocks in the United Kingdom. The end of a Period includes whatever matches it (FHIR R4,
Period.end), while a directive ends before a moment; so the one is the other and one unit of what was written.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from broker.consent.element import Element
from broker.core.london import moment

# FHIR R4 dateTime; a leap second is nobody's word.
_FORM = re.compile(
    r"(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2})"
    r"(?P<clock>T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.(?P<fraction>[0-9]{1,6}))?(?:Z|[+-][0-9]{2}:[0-9]{2}))?)?)?",
    re.ASCII,
)
_MICROSECOND = timedelta(microseconds=1)


def span(element: Element) -> tuple[datetime, datetime]:
    """The first moment that a date or time names, and the first after it (UTC)."""
    match = _FORM.fullmatch(element.text())
    try:
        if match is None:
            raise ValueError("form")
        if match["clock"]:
            at = datetime.fromisoformat(element.value).astimezone(UTC)
            return at, at + timedelta(microseconds=10 ** (6 - len(match["fraction"] or "")))
        year, month, day = (int(match[name] or 0) for name in ("year", "month", "day"))
        first = date(year, month or 1, day or 1)
        if day:
            last = first + timedelta(days=1)
        else:
            last = date(year + (month in (0, 12)), month % 12 + 1 if month else 1, 1)
        return moment(first, time.min), moment(last, time.min)
    except (ValueError, OverflowError) as error:
        raise element.refuse("is not a date or time of FHIR, with its offset where there is a time") from error


def day(element: Element) -> date:
    """A whole date."""
    match = _FORM.fullmatch(element.text())
    if match is None or not match["day"] or match["clock"]:
        raise element.refuse("is not YYYY-MM-DD")
    try:
        return date.fromisoformat(element.value)
    except ValueError as error:
        raise element.refuse("is not YYYY-MM-DD") from error


def written(at: datetime) -> str:
    """A moment, to the microsecond."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def last(until: datetime) -> str:
    """The end of a Period that ends before a moment."""
    return written(until - _MICROSECOND)
