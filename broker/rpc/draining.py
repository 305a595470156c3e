"""How exchange streams end when their worker goes: so that no request which has time left fails.

A stream is served on as long as anything old is in flight on it. Then it takes no more, and ends as soon as
what is left has been answered; the client opens another, which leads to another worker, and sends there what
had no answer, under the same request ids. Only what was in flight for less than `YOUNG` is ever asked twice, so
nobody loses much of their time, but for those still in flight when the time to go is up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

YOUNG = 0.25  # seconds in flight
_LAST = 0.5  # seconds that a stream which takes no more has to answer the young
_LOOK = 0.02


class Stream(Protocol):
    """An open exchange stream."""

    @property
    def in_flight(self) -> Collection[str]:
        """Ids of requests that have no answer yet."""

    def close(self) -> None:
        """Take no more requests."""

    def end(self) -> None:
        """Write what waits, give up what is in flight, end the call so that the client sends again."""


async def finish(streams: Callable[[], Collection[Stream]], deadline: float) -> None:
    """Return once there are no streams; at `deadline` (event-loop time) they are ended as they are."""
    finishing: dict[Stream, asyncio.Task[None]] = {}
    while open_now := streams():
        for stream in open_now:
            if stream not in finishing:
                finishing[stream] = asyncio.create_task(_finish(stream, deadline))
        if _now() > deadline + 2 * _LAST:
            break  # a client that does not read keeps its stream; the server's own bound ends it
        await asyncio.sleep(_LOOK)
    await asyncio.gather(*finishing.values())


async def until(done: Callable[[], bool], deadline: float) -> None:
    """Return once `done()`, or at `deadline` (event-loop time)."""
    while not done():
        if _now() >= deadline:
            return
        await asyncio.sleep(_LOOK)


async def _finish(stream: Stream, deadline: float) -> None:
    # How old these are is not known, so they are waited for.
    seen = dict.fromkeys(stream.in_flight, float("-inf"))
    while seen and _now() < deadline:
        await asyncio.sleep(_LOOK)
        now = _now()
        seen = {request_id: seen.get(request_id, now) for request_id in stream.in_flight}
        if all(now - since < YOUNG for since in seen.values()):
            break
    stream.close()
    await until(lambda: not stream.in_flight, _now() + _LAST)
    stream.end()


def _now() -> float:
    return asyncio.get_running_loop().time()
