"""Clock time in the United Kingdom, computed from the rule and not from a machine's files.

Summer time runs from 01:00 UTC on the last Sunday of March to 01:00 UTC on the last Sunday of October
(Summer Time Act 1972 s.1, as amended in 2002).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone

GMT = timezone(timedelta(0), "GMT")
BST = timezone(timedelta(hours=1), "BST")
_SUNDAY = 6


def local(at: datetime) -> datetime:
    """The same moment on a clock in the United Kingdom, with its offset."""
    year = at.astimezone(UTC).year
    summer = _last_sunday(year, 3) <= at < _last_sunday(year, 10)
    return at.astimezone(BST if summer else GMT)


def moment(day: date, clock: time) -> datetime:
    """The moment (UTC) at which clocks show this on that day.

    In the hour that happens twice, the first time; in the hour that never happens, the moment after it.
    """
    naive = datetime.combine(day, clock)
    early = naive.replace(tzinfo=BST).astimezone(UTC)
    if local(early).replace(tzinfo=None) == naive:
        return early
    late = naive.replace(tzinfo=GMT).astimezone(UTC)
    if local(late).replace(tzinfo=None) == naive:
        return late
    return _last_sunday(day.year, 3)


def _last_sunday(year: int, month: int) -> datetime:
    """01:00 UTC on the last Sunday of a month of 31 days."""
    last = datetime(year, month, 31, 1, tzinfo=UTC)
    return last - timedelta(days=(last.weekday() - _SUNDAY) % 7)
