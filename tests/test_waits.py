"""One limit over many waits does to each what `asyncio.timeout` would."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broker.waits import Limit


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


async def test_a_wait_that_is_too_long_ends() -> None:
    """At its limit, counted from its own beginning; and the task goes on."""
    loop, limit = asyncio.get_running_loop(), Limit(0.1)
    for _ in range(2):
        with limit:
            await asyncio.sleep(0.06)
        began = loop.time()
        with pytest.raises(TimeoutError), limit:
            await _never()
        assert 0.09 <= loop.time() - began < 1
    await asyncio.sleep(0)


async def test_short_waits_are_left_alone() -> None:
    """However many there are, longer together than the limit, and whatever lies between them."""
    limit = Limit(0.1)
    for _ in range(8):
        with limit:
            await asyncio.sleep(0.03)
    await asyncio.sleep(0.2)
    with limit:
        await asyncio.sleep(0.05)


async def test_what_fails_inside_fails_as_it_is() -> None:
    """An error of the wait's own is no timeout."""
    with pytest.raises(KeyError), Limit(5):
        raise KeyError


async def test_who_cancels_the_task_is_heard() -> None:
    """A cancellation from outside stays one, also where the limit rings in the same moment."""

    async def waiting(seconds: float) -> None:
        with Limit(seconds):
            await _never()

    for seconds in (5.0, 0.05):
        task = asyncio.create_task(waiting(seconds))
        await asyncio.sleep(0.02)
        if seconds < 1:
            asyncio.get_running_loop().call_later(0.03, task.cancel)
            await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await task
        assert seconds < 1 or task.cancelled()


async def test_one_timer_serves_many_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made with the first of them and stands until it goes off."""
    loop = asyncio.get_running_loop()
    made: list[float] = []
    call_at = loop.call_at

    def counted(when: float, *args: Any, **more: Any) -> asyncio.TimerHandle:
        made.append(when)
        return call_at(when, *args, **more)

    monkeypatch.setattr(loop, "call_at", counted)
    limit = Limit(5)
    for _ in range(100):
        with limit:
            pass
    assert len(made) == 1
