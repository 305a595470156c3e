"""How many may read the log at once, so that reading it never takes the database from those who append.

Owns the bounds; refuses whoever comes on top of them, and names whose bound it was.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.errors import QuotaExceeded, Saturated

AT_ONCE = 3  # of the pool's connections, of which it has eight unless told otherwise
WAITING = 96
OF_ONE_SYSTEM = 24
WAIT_SECONDS = 5.0


class Gate:
    """Lets `at_once` in, the others in order of arrival, and refuses those past its bounds."""

    def __init__(
        self,
        at_once: int = AT_ONCE,
        waiting: int = WAITING,
        of_one: int = OF_ONE_SYSTEM,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._of_one = of_one
        self._wait_seconds = wait_seconds
        self._present: Counter[str] = Counter()

    @asynccontextmanager
    async def admit(self, system: str) -> AsyncIterator[None]:
        """Hold a place for `system` (`agency/system`).

        Raises:
            QuotaExceeded: this system has as many calls here as one may.
            Saturated: all together have, or no place came free in time.
        """
        if self._present[system] >= self._of_one:
            raise QuotaExceeded("this system has too many calls at once; wait for some to be answered")
        if self._present.total() >= self._most:
            raise Saturated("too many calls at once; try again in a second")
        self._present[system] += 1
        try:
            try:
                async with asyncio.timeout(self._wait_seconds):
                    await self._places.acquire()
            except TimeoutError as e:
                raise Saturated("others read the log just now; try again in a second") from e
            try:
                yield
            finally:
                self._places.release()
        finally:
            self._present[system] -= 1
            if not self._present[system]:
                del self._present[system]
