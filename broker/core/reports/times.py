"""Times in reports: how they are shown, and the terms that the law sets."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime, timedelta

from broker.core.london import local

# UK GDPR Art. 33(1), DPA 2018 s.67(1): to the Commissioner, from becoming aware.
BREACH = timedelta(hours=72)
# DPA 2018 s.164A(3), as inserted by the Data (Use and Access) Act 2025 s.103.
COMPLAINT = timedelta(days=30)


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
    """The same day a month later, or that month's last (UK GDPR Art. 12(3), DPA 2018 s.45(3), s.54)."""
    year, month = (at.year + 1, 1) if at.month == 12 else (at.year, at.month + 1)
    return at.replace(year=year, month=month, day=min(at.day, monthrange(year, month)[1]))
