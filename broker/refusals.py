"""What was refused at the door, written down: one entry of a worker a minute, of counts.

An entry for each would let whoever is refused fill the log. Nothing is written where nothing was refused; what
could not be written counts on into the next minute.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime
from typing import NoReturn

from broker.core.canonical import Json
from broker.core.searchterms import CALLS_REFUSED
from broker.core.views import RequesterView
from broker.errors import AuditUnavailable
from broker.ids import entry_id
from broker.ports import Appended, Clock, Draft, Log
from broker.refused import RefusedCalls

EVERY = 60.0  # seconds


class Refusals:
    """Writes down what one worker refused. `worker` is its id."""

    def __init__(self, log: Log, calls: RefusedCalls, clock: Clock, worker: str) -> None:
        self._log = log
        self._calls = calls
        self._clock = clock
        self._worker = worker
        self._since = clock.now()

    async def run(self) -> NoReturn:
        """Once a minute, from now on."""
        while True:
            await asyncio.sleep(EVERY)
            await self.drain()

    async def drain(self) -> None:
        """Write what is there; where that cannot be, it waits. Raises IntegrityError."""
        with suppress(AuditUnavailable):  # readiness says why
            await self.write()

    async def write(self) -> str:
        """The id of the entry; empty where nothing was refused. Raises AuditUnavailable."""
        taken, since, now = self._calls.take(), self._since, self._clock.now()
        self._since = now
        if not taken:
            return ""
        calls: list[Json] = [{**refused._asdict(), "count": count} for refused, count in sorted(taken.items())]
        try:
            draft = _draft(calls, sum(taken.values()), since, now, self._worker)
            if not isinstance(await self._log.append(draft), Appended):
                raise AuditUnavailable("an entry without conditions was given back")
        except BaseException:
            self._since = since
            for refused, count in taken.items():
                self._calls.add(refused, count)
            raise
        return draft.id


def _draft(calls: list[Json], count: int, since: datetime, now: datetime, worker: str) -> Draft:
    full: dict[str, Json] = {
        **RequesterView(CALLS_REFUSED).as_json(),
        "policy": None,
        "now": now.isoformat(),
        "requester": None,
        "system": None,
        "detail": {
            "worker": worker,
            "since": since.isoformat(),
            "until": now.isoformat(),
            "count": count,
            "calls": calls,
        },
    }
    return Draft(id=entry_id(), at=now, requester=None, provider=None, full=full)
