"""Whether this process can serve: the database answers, holds what was signed, our clocks agree, and every
provider that other workers reach can be reached from here. What fails and takes nothing from whoever asks (the
second stage of evidence) is told, and keeps nobody from being served.

Looked at once a second, so that whoever asks waits for nothing and strangers cannot make us look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import structlog

from broker.errors import BrokerError
from broker.ports import Clock
from broker.store.pool import Database

EVERY = 1.0  # seconds
LOOKS = 5  # that do not come to an end before it is told
PATIENCE = 2.0  # seconds; a database that takes longer cannot serve
MAX_SKEW = 0.5  # seconds; log_append refuses beyond it

_diagnostics = structlog.get_logger("broker.readiness")
_UNSEEN = "whether the database holds what was signed could not be seen in time, {} times in a row"


class Readiness:
    """Runs the check and tells its latest result."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        changed: Callable[[bool], Awaitable[None]],
        besides: Callable[[], Sequence[str]],
        look: Callable[[asyncpg.Connection], Awaitable[None]],
        told: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._look_at_log = look
        self._database = database
        self._clock = clock
        self._changed = changed
        self._besides = besides
        self._also = told
        self._unseen = 0  # looks at the log, one after the other, that did not come to an end
        self._told: bool | None = None
        self._reasons: tuple[str, ...] = ("starting",)

    def __call__(self) -> tuple[bool, Sequence[str]]:
        """Whether ready and, in words that anybody may read, why not, and what fails all the same."""
        unseen = (_UNSEEN.format(self._unseen),) if self._unseen >= LOOKS else ()
        return not self._reasons, (*self._reasons, *self._also(), *unseen)

    async def watch(self) -> None:
        """Look for ever; tells `changed` whenever the answer changes."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Look once, and tell `changed` if the answer is another than it was told."""
        found = await self._look() or await self._log()
        reasons = (*found, *self._besides())
        if reasons and reasons != self._reasons:
            _diagnostics.warning("not ready", reasons=reasons)
        self._reasons = reasons
        if self._told is not (not reasons):
            self._told = not reasons
            await self._changed(self._told)

    async def _log(self) -> tuple[str, ...]:
        """Whether the database's log is the one that is signed is said by who signs it (`besides`)."""
        try:
            async with asyncio.timeout(PATIENCE), self._database.connection() as connection:
                await self._look_at_log(connection)
        except BrokerError as e:
            return (str(e),)
        except TimeoutError:  # much was appended, or is made anew: it is tried again
            self._unseen += 1
        else:
            self._unseen = 0
        return ()

    async def _look(self) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(PATIENCE), self._database.connection() as connection:
                before = self._clock.now()
                theirs = await connection.fetchval("select clock_timestamp()")
                after = self._clock.now()
        except BrokerError as e:
            return (str(e),)
        except TimeoutError:
            return ("the evidence store does not answer",)
        behind = (before - theirs).total_seconds()
        ahead = (theirs - after).total_seconds()
        if max(behind, ahead) > MAX_SKEW:
            return (f"this machine's clock is {max(behind, ahead):.1f} s from the database's",)
        return ()
