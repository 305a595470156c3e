"""What became of an answer after it was committed: received and verified, or delivered to nobody.

`received` is gathered into one entry per system and second; its absence proves nothing. `undelivered` is an
entry of its own, since a release that nobody got must not look like one that somebody did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from broker.administration import Administration
from broker.core.model import Caller, Function, Request
from broker.errors import BrokerError
from broker.ports import Asked, Disclosed, FactsSource

PART = 256
GATHER = 1.0  # seconds
MAX_GATHERED = 10_000  # ids waiting to be written down, of one system; more are dropped


class Acknowledgements:
    """Gathers acknowledgements and writes them down, off every request's path."""

    def __init__(self, administration: Administration, facts: FactsSource) -> None:
        self._administration = administration
        self._facts = facts
        self._waiting: dict[str, tuple[Caller, set[str]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.failed = 0

    def received(self, caller: Caller, request_ids: list[str]) -> None:
        """Remember that these arrived; written down within a second or so."""
        waiting = self._waiting.get(caller.name)
        if waiting is None:
            waiting = self._waiting[caller.name] = (caller, set())
            self._start(self._write_received(caller.name))
        waiting[1].update(request_ids[: MAX_GATHERED - len(waiting[1])])

    def undelivered(self, request: Request, task: asyncio.Task[Disclosed]) -> None:
        """Once `task` ends: note a release that found nobody."""
        self._start(self._write_undelivered(request, task))

    async def drain(self) -> None:
        """Write down what is waiting; bounded by the log's own bounds."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failed += 1

    async def _write_received(self, name: str) -> None:
        await asyncio.sleep(GATHER)
        caller, ids = self._waiting.pop(name)
        # Only ids of this system's own that came to an end; anything else is not its to acknowledge.
        own: list[str] = []
        asked = sorted(ids)
        # In parts, or who sends many would keep everybody waiting.
        for start in range(0, len(asked), PART):
            facts = await self._facts.read(Asked((), name, tuple(asked[start : start + PART])))
            own += sorted(r for r, claim in facts.claims.items() if claim.settled)
        if own:
            await self._administration.note(caller, "received", {"request_ids": [*own]})

    async def _write_undelivered(self, request: Request, task: asyncio.Task[Disclosed]) -> None:
        try:
            disclosed = await task
        except (BrokerError, asyncio.CancelledError):
            return  # nothing was released
        if disclosed.record is not None:
            who = Caller(request.requester, request.system, Function.PARTNER, request.key_digest)
            await self._administration.note(
                who, "undelivered", {"request_id": request.request_id}, request_id=request.request_id
            )
