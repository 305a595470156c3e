"""A limit on each of many short waits of one task, with one timer for all of them.

`asyncio.timeout` makes and drops a timer for each wait, which costs more than most waits do. Here one timer
runs on from wait to wait, and is set anew only where it goes off and the wait it was set for is over.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Limit:
    """At most so many seconds for the block, as `asyncio.timeout` has it: `with limit: await ...` raises
    TimeoutError. One task enters it, as often as it likes, one block at a time."""

    __slots__ = ("_before", "_due", "_rang", "_seconds", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: float | None = None  # event-loop time; None outside a block
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._rang = False
        self._before = 0

    def __enter__(self) -> None:
        loop, task = asyncio.get_running_loop(), self._task
        if task is None:
            task = self._task = asyncio.current_task()
            if task is None:
                raise RuntimeError("a limit is for a task")
        self._before = task.cancelling()
        self._due = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(self._due, self._ring, loop, task)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._due = None
        if self._rang and self._task is not None:
            self._rang = False
            # Only our own ring is a timeout: whoever else cancels the task means it.
            if self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def _ring(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[object]) -> None:
        self._timer = None
        if self._due is None:
            return
        if loop.time() < self._due:
            self._timer = loop.call_at(self._due, self._ring, loop, task)
            return
        self._rang = True
        task.cancel()
