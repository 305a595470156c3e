"""Clock time in the United Kingdom: both changes, to the second, held to the time zone database."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.london import local, moment

LONDON = ZoneInfo("Europe/London")
# Since the rule was made, whole seconds.
SECONDS = st.integers(820_454_400, 2_145_916_800).map(lambda second: datetime.fromtimestamp(second, UTC))


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC), "2026-03-29T00:59:59+00:00"),
        (datetime(2026, 3, 29, 1, 0, 0, tzinfo=UTC), "2026-03-29T02:00:00+01:00"),
        (datetime(2026, 10, 25, 0, 59, 59, tzinfo=UTC), "2026-10-25T01:59:59+01:00"),
        (datetime(2026, 10, 25, 1, 0, 0, tzinfo=UTC), "2026-10-25T01:00:00+00:00"),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), "2026-12-31T23:59:59+00:00"),
    ],
)
def test_both_clock_changes_to_the_second(at: datetime, shown: str) -> None:
    """Summer time begins and ends at 01:00 UTC on the last Sundays of March and October."""
    assert local(at).isoformat() == shown


@given(SECONDS)
def test_it_agrees_with_the_time_zone_database(at: datetime) -> None:
    """Since the rule was made, at any moment."""
    assert local(at).isoformat() == at.astimezone(LONDON).isoformat()
    assert local(at) == at


@pytest.mark.parametrize(
    ("day", "clock", "at"),
    [
        (date(2026, 6, 1), time(9), datetime(2026, 6, 1, 8, tzinfo=UTC)),
        (date(2026, 12, 1), time(9), datetime(2026, 12, 1, 9, tzinfo=UTC)),
        (date(2026, 3, 29), time(1, 30), datetime(2026, 3, 29, 1, tzinfo=UTC)),
        (date(2026, 10, 25), time(1, 30), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (date(2026, 10, 25), time(2), datetime(2026, 10, 25, 2, tzinfo=UTC)),
    ],
    ids=["summer", "winter", "an hour that never happens", "an hour that happens twice", "after it"],
)
def test_a_clock_time_is_one_moment(day: date, clock: time, at: datetime) -> None:
    """The first of two, and the moment after what never happens."""
    assert moment(day, clock) == at


@given(SECONDS)
def test_the_moment_of_what_a_clock_shows_is_that_moment(at: datetime) -> None:
    """There and back, but for the hour that happens twice, whose first time is given."""
    shown = local(at)
    back = moment(shown.date(), shown.time())
    assert back in (at, at - timedelta(hours=1))
    assert local(back).replace(tzinfo=None) == shown.replace(tzinfo=None)
