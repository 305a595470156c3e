"""The requests that are being answered at this worker: each once, however many wait for it.

A client whose stream broke asks again under the same id, often before the first asking has ended: both wait for
one answer, the provider is asked once and there is one entry. Refuses the same id with other words, and more of
one agency than may be under way. What nobody waits for any more is stopped, where it can be; a release that was
written to none of those who waited is noted as undelivered.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine

from msgspec.structs import replace

from broker.core.model import Request
from broker.errors import InvalidRequest, Saturated
from broker.ports import Disclosed
from broker.rpc.door import room

# Requests of one agency at one worker, over all its streams: one agency must not take every other's time.
MAX_OF_AGENCY = 2048

_SLACK = 0.5  # seconds by which who joins may be willing to wait longer

Task = asyncio.Task[Disclosed]


class Answering:
    """One request on its way, and how many wait for its end."""

    __slots__ = ("asked", "delivered", "ends", "hears", "task", "waiting")

    def __init__(self, asked: Request, task: Task) -> None:
        self.asked = asked
        self.task = task
        self.ends = asyncio.get_running_loop().time() + asked.timeout
        self.waiting = 1
        self.delivered = False
        self.hears: list[Callable[[Answering], None]] = []

    def on_end(self, hear: Callable[[Answering], None]) -> None:
        """Call this once the task has ended. For who has just joined: nobody joins what was told already."""
        self.hears.append(hear)

    @property
    def shared(self) -> bool:
        """Whether somebody else waits for it too."""
        return self.waiting > 1


class UnderWay:
    """Starts what is asked, or joins what is asked already. Whoever has joined leaves once, whatever happened.

    `undelivered` is told of a request that ended unheard.
    """

    def __init__(
        self,
        answer: Callable[[Request], Coroutine[None, None, Disclosed]],
        undelivered: Callable[[Request, Task], None],
    ) -> None:
        self._answer = answer
        self._undelivered = undelivered
        self._running: dict[tuple[str, str], Answering] = {}
        self._of_agency: Counter[str] = Counter()

    def join(self, asked: Request) -> Answering:
        """Wait for this request, from now on. Raises InvalidRequest, Saturated."""
        known = self._running.get((asked.caller, asked.request_id))
        if known is None:
            return self._start(asked)
        if _content(known.asked) != _content(asked):
            raise InvalidRequest("request_id", "is in flight already, and asked something else")
        # Who gives more time must not be told the first one's timeout; there is one entry all the same.
        if asyncio.get_running_loop().time() + asked.timeout > known.ends + _SLACK:
            return self._start(asked)
        known.waiting += 1
        return known

    def cancel(self, answering: Answering) -> None:
        """Stop a request that nobody else waits for; its task says how it ended. It has still to be left."""
        self._forget(answering)
        answering.task.cancel()

    def leave(self, answering: Answering, *, delivered: bool) -> None:
        """Wait no longer; `delivered` says whether its end was written to who had waited."""
        answering.waiting -= 1
        answering.delivered |= delivered
        if not answering.waiting:
            self.cancel(answering)
            if not answering.delivered:
                self._undelivered(answering.asked, answering.task)
            _let_go(answering)

    def _start(self, asked: Request) -> Answering:
        agency = asked.requester
        if self._of_agency[agency] >= room(MAX_OF_AGENCY, asked):
            raise Saturated(f"{MAX_OF_AGENCY} requests of {agency} are under way already")
        self._of_agency[agency] += 1
        task = asyncio.get_running_loop().create_task(self._answer(asked))
        answering = self._running[asked.caller, asked.request_id] = Answering(asked, task)
        task.add_done_callback(lambda _: self._ended(answering))
        return answering

    def _ended(self, answering: Answering) -> None:
        self._forget(answering)
        agency = answering.asked.requester
        self._of_agency[agency] -= 1
        if not self._of_agency[agency]:
            del self._of_agency[agency]
        for hear in answering.hears:
            hear(answering)
        _let_go(answering)

    def _forget(self, answering: Answering) -> None:
        key = (answering.asked.caller, answering.asked.request_id)
        # Another may have been started since under this id.
        if self._running.get(key) is answering:
            del self._running[key]


def _let_go(answering: Answering) -> None:
    """Once it has ended and nobody waits for it any more, its record is not held any longer."""
    task = answering.task
    if answering.waiting or not task.done() or task.cancelled() or task.exception() is not None:
        return
    if (held := task.result().held) is not None:
        held.release()


def _content(asked: Request) -> Request:
    """What was asked, without how long its answer is waited for, by which key and in which lane it came."""
    return replace(asked, timeout=0.0, traceparent="", key_digest="", urgent=False)
