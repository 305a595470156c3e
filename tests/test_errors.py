"""What a log may say about a defect: its kind and its place, never its text."""

from __future__ import annotations

import asyncio
import logging
from unittest.mock import Mock

import pytest

from broker.client.stream import Stream
from broker.errors import frames_of

SECRET = "9434765919"


def _raises() -> None:
    raise ValueError(SECRET)


def test_frames_name_places_and_never_quote() -> None:
    """A frame names module, function and line."""
    with pytest.raises(ValueError, match=SECRET) as caught:
        _raises()
    *_, outer, last = frames_of(caught.value)
    assert outer.startswith(f"{__name__}.test_frames_name_places_and_never_quote:")
    assert last.startswith(f"{__name__}._raises:")
    assert SECRET not in f"{frames_of(caught.value)}"


def test_an_error_never_raised_has_no_frames() -> None:
    """No traceback, no places: not an error of its own."""
    assert frames_of(ValueError(SECRET)) == []


async def test_a_client_that_fails_says_so_and_logs_no_value(caplog: pytest.LogCaptureFixture) -> None:
    """An exception's text may quote a record; the log gets kind and place."""

    async def fail() -> None:
        _raises()

    flights = Mock()
    stream = Stream(Mock(), Mock(), Mock(), flights)
    task = asyncio.create_task(fail())
    await asyncio.wait([task], timeout=5)
    with caplog.at_level(logging.ERROR):
        stream._ended(task)
    assert "failed with ValueError" in caplog.text
    assert f"{__name__}._raises:" in caplog.text
    assert SECRET not in caplog.text
    flights.fail_all.assert_called_once()
