"""Whether an agreement's days make sense today: its end, and the day on which its parties look at it again."""

from __future__ import annotations

from datetime import timedelta

from broker.core.checks.setting import Problems, Setting

# Data sharing code of practice: review regularly. Two years is what information-sharing gateways ask for.
_AT_MOST = timedelta(days=731)


def over(setting: Setting) -> Problems:
    """An agreement whose last day is past lets nothing flow."""
    last = setting.agreement.valid_until
    if last < setting.today:
        yield "valid_until", f"its last day, {last}, is past", "give a next version with later days"


def review_inside(setting: Setting) -> Problems:
    """The review is on a day on which the agreement is in force."""
    agreement = setting.agreement
    if not agreement.valid_from <= agreement.review_on <= agreement.valid_until:
        problem = f"{agreement.review_on} is outside the days in force, so it would never be reviewed in time"
        yield "review_on", problem, f"name a day from {agreement.valid_from} to {agreement.valid_until}"


def review_due(setting: Setting) -> Problems:
    """A review that is overdue."""
    due = setting.agreement.review_on
    if due < setting.today:
        yield (
            "review_on",
            f"the review of {due} is overdue",
            "review it, and name the next day in a new version",
        )


def review_soon(setting: Setting) -> Problems:
    """A review is at most two years away."""
    agreement = setting.agreement
    latest = max(setting.today, agreement.valid_from) + _AT_MOST
    if agreement.review_on > latest:
        yield "review_on", f"{agreement.review_on} is more than two years away", f"name a day up to {latest}"
