"""When a parent's consent is asked for again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.ages import attained, reconsider
from broker.core.london import local


@pytest.mark.parametrize(
    ("born", "age", "at"),
    [
        (date(2012, 1, 10), 16, "2028-01-10T00:00:00+00:00"),
        (date(2012, 7, 10), 16, "2028-07-09T23:00:00+00:00"),  # midnight in summer
        (date(2012, 2, 29), 16, "2028-02-29T00:00:00+00:00"),
        (date(2012, 2, 29), 18, "2030-03-01T00:00:00+00:00"),  # a year that has no 29 February
    ],
)
def test_an_age_is_reached_as_the_day_begins(born: date, age: int, at: str) -> None:
    """On clocks in the United Kingdom."""
    assert attained(born, age) == datetime.fromisoformat(at)


@pytest.mark.parametrize(
    ("said_at", "at"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 10, tzinfo=UTC)),
        (datetime(2028, 1, 9, 23, 59, tzinfo=UTC), datetime(2028, 1, 10, tzinfo=UTC)),
        (datetime(2028, 1, 10, tzinfo=UTC), datetime(2030, 1, 10, tzinfo=UTC)),
        (datetime(2030, 1, 10, tzinfo=UTC), None),
    ],
)
def test_it_is_asked_for_again_at_16_and_at_18(said_at: datetime, at: datetime | None) -> None:
    """And never for an adult, for whom no parent speaks."""
    assert reconsider(date(2012, 1, 10), said_at) == at


days = st.dates(date(1990, 1, 1), date(2030, 1, 1))


@given(days, st.timedeltas(timedelta(0), timedelta(days=9000)))
def test_no_consent_outlives_the_next_of_these_birthdays(born: date, later: timedelta) -> None:
    """It is the first to come, on a local midnight."""
    said_at = datetime.combine(born, datetime.min.time(), UTC) + later
    at = reconsider(born, said_at)
    if at is None:
        assert attained(born, 18) <= said_at
    else:
        assert at > said_at
        assert local(at).time() == datetime.min.time()
        assert all(not said_at < attained(born, age) < at for age in (16, 18))
