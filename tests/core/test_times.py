"""The terms that the law sets go by the day on a calendar in the United Kingdom, whatever the clocks do."""

from __future__ import annotations

from datetime import datetime

import pytest

from broker.core.reports.times import COMPLAINT, days_after, month_after, shown


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ("2026-10-01T00:00+01:00", "2026-11-01T00:00+00:00"),  # clocks went back
        ("2026-03-31T00:00+01:00", "2026-04-30T00:00+01:00"),  # which has no 31st
        ("2026-03-01T09:30+00:00", "2026-04-01T09:30+01:00"),  # clocks went forward
        ("2027-01-31T00:00+00:00", "2027-02-28T00:00+00:00"),
        ("2028-01-31T00:00+00:00", "2028-02-29T00:00+00:00"),
        ("2026-12-05T23:59+00:00", "2027-01-05T23:59+00:00"),
        ("2026-02-28T01:30+00:00", "2026-03-28T01:30+00:00"),
    ],
)
def test_a_month_ends_on_the_same_day_of_the_next(received: str, due: str) -> None:
    """Or on its last, at the same time by clocks there."""
    assert shown(month_after(datetime.fromisoformat(received))) == due


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ("2026-10-01T00:00+01:00", "2026-10-31T00:00+00:00"),
        ("2026-03-01T00:00+00:00", "2026-03-31T00:00+01:00"),
        ("2026-06-10T14:00+01:00", "2026-07-10T14:00+01:00"),
    ],
)
def test_thirty_days_end_thirty_dates_later(received: str, due: str) -> None:
    """An hour that a night has more or less moves no day."""
    assert shown(days_after(datetime.fromisoformat(received), COMPLAINT)) == due


def test_an_hour_that_does_not_exist_is_the_moment_after() -> None:
    """Received at half past one a month before clocks go forward then."""
    assert shown(month_after(datetime.fromisoformat("2026-02-28T01:30+00:00"))) == "2026-03-28T01:30+00:00"
    assert shown(days_after(datetime.fromisoformat("2026-02-27T01:30+00:00"), 30)) == "2026-03-29T02:00+01:00"
