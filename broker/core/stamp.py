"""A protobuf Timestamp's two numbers as a time: what the generated code gives, for less."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def numbers(at: datetime) -> tuple[int, int]:
    """Seconds and nanoseconds of an aware time."""
    since = at - _EPOCH
    return since.days * 86400 + since.seconds, since.microseconds * 1000


def utc(seconds: int, nanos: int) -> datetime:
    """The time in UTC, nanoseconds cut to microseconds. Raises ValueError or OverflowError for what is none."""
    if not 0 <= nanos < 1_000_000_000:
        raise ValueError("nanoseconds of more than a second")
    return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
