"""A Timestamp's numbers are read as protobuf reads them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from broker.core.stamp import numbers, utc


@given(st.integers(-(1 << 40), 1 << 40), st.integers(-5, 1_000_000_005))
def test_a_stamp_is_read_as_protobuf_reads_it(seconds: int, nanos: int) -> None:
    """The same time, and what is none refused."""
    stamp = Timestamp(seconds=seconds, nanos=nanos)
    try:
        expected = stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        with pytest.raises((ValueError, OverflowError)):
            utc(seconds, nanos)
    else:
        assert utc(seconds, nanos) == expected


@given(st.datetimes(timezones=st.just(UTC)) | st.datetimes(timezones=st.timezones()))
def test_a_time_is_written_as_protobuf_writes_it(at: datetime) -> None:
    """The same two numbers."""
    stamp = Timestamp()
    stamp.FromDatetime(at)
    assert numbers(at) == (stamp.seconds, stamp.nanos)
