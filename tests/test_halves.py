"""What an entry says of its own reads as the standard library would have it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import example, given
from hypothesis import strategies as st

from broker.halves import iso

zones = st.just(UTC) | st.builds(lambda n: timezone(timedelta(minutes=n)), st.integers(-1439, 1439))


@given(st.datetimes(timezones=zones))
@example(datetime(2026, 11, 21, 10, 4, 5, tzinfo=UTC))
@example(datetime(2026, 11, 21, 10, 4, 5, 120, tzinfo=UTC))
def test_a_time_is_written_as_by_isoformat(at: datetime) -> None:
    """In UTC and elsewhere, with parts of a second and without: evidence has one spelling."""
    assert iso(at) == at.isoformat()
