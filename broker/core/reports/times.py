"""Times in reports: how they are shown, and the terms that the law sets."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime, timedelta

from broker.core.london import local, moment

# UK GDPR Art. 33(1), DPA 2018 s.67(1): to the Commissioner, from becoming aware.
BREACH = timedelta(hours=72)
# DPA 2018 s.164A(3), as inserted by the Data (Use and Access) Act 2025 s.103.
COMPLAINT = 30  # days


def shown(at: datetime) -> str:
    """To the minute on a clock in the United Kingdom, with its offset."""
    return local(at).isoformat(timespec="minutes")


def in_words(at: datetime) -> str:
    """The same as people write it: `20 November 2026, 03:00 GMT`."""
    clock = local(at)
    return f"{day(clock.date())}, {clock:%H:%M %Z}"


def day(of: date) -> str:
    """`20 November 2026`."""
    return f"{of.day} {of:%B %Y}"


def month_after(at: datetime) -> datetime:
    """The same day a month later, or that month's last (UK GDPR Art. 12(3), DPA 2018 s.45(3), s.54), at the
    same time by clocks in the United Kingdom (UTC)."""
    clock = local(at)
    year, month = (clock.year + 1, 1) if clock.month == 12 else (clock.year, clock.month + 1)
    return _at(date(year, month, min(clock.day, monthrange(year, month)[1])), at)


def days_after(at: datetime, days: int) -> datetime:
    """So many days later, at the same time by clocks in the United Kingdom (UTC)."""
    return _at(local(at).date() + timedelta(days=days), at)


def _at(of: date, clock: datetime) -> datetime:
    return moment(of, local(clock).time())
