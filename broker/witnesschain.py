"""Stage two of the evidence over rotations: the rounds of each log that is not wholly witnessed yet.

The current log has rounds for ever. One that was closed has them until the quorum has cosigned its final
checkpoint: what was appended to it last is witnessed too. Which log a receipt is of, its checkpoint says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from broker.core.receipt import Receipt
from broker.errors import AuditUnavailable, BrokerError, IntegrityError
from broker.scraped import WitnessCounts
from broker.upkeep import Troubles
from broker.witnessing import EVERY, Witnessing


class Half(Protocol):
    """A log of the chain."""

    @property
    def origin(self) -> str:
        """Its name."""

    @property
    def closed(self) -> bool:
        """Whether it has an end."""


class WitnessChain:
    """Implements `ports.Witnesses` over every log. `make` gives the witnessing of one, by its name."""

    def __init__(
        self,
        make: Callable[[str], Witnessing],
        chain: Callable[[], tuple[Half, ...]],
        size: Callable[[str], Awaitable[int]],
    ) -> None:
        self._make = make
        self._chain = chain
        self._size = size
        self._known: dict[str, Witnessing] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._done = set[str]()
        self._troubles = Troubles("a log is not sent to the witnesses")

    def of(self, origin: str) -> Witnessing:
        """The witnessing of the log of this name."""
        if origin not in self._known:
            self._known[origin] = self._make(origin)
        return self._known[origin]

    async def run(self) -> None:
        """Do this worker's part for ever."""
        try:
            while True:
                for half in self._chain():
                    try:
                        await self._keep(half)
                        self._tell(half.origin)
                    except AuditUnavailable:
                        pass  # readiness says why
                    except BrokerError as e:  # of this log; the others are witnessed
                        self._troubles.fails(half.origin, str(e))
                await asyncio.sleep(EVERY)
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    def reasons(self) -> tuple[str, ...]:
        """Which logs are not witnessed although the database answers, for readiness to tell: the second stage
        of their evidence is missing, the first stands."""
        return self._troubles.reasons()

    def _tell(self, origin: str) -> None:
        """What the rounds of a log meet, or that they go well."""
        if origin in self._known and (problem := self._known[origin].problem):
            self._troubles.fails(origin, problem)
        else:
            self._troubles.well(origin)

    async def witnessed(self, receipt: Receipt, until: float) -> Receipt | None:
        """As `ports.Witnesses.witnessed`."""
        origin = receipt.checkpoint.partition(b"\n")[0].decode()
        return await self.of(origin).witnessed(receipt, until)

    async def newest(self, origin: str) -> tuple[int, bytes] | None:
        """The published checkpoint of that log; None before the first. Raises AuditUnavailable."""
        return await self.of(origin).newest()

    def counts(self) -> WitnessCounts:
        """How far all of it is in the current log."""
        return self.of(self._chain()[0].origin).counts()

    async def _keep(self, half: Half) -> None:
        """Have rounds of this log, as long as there is anything to be witnessed."""
        if half.origin in self._done:
            return
        if half.closed:
            await self.of(half.origin).newest()
            if self.of(half.origin).published.size >= await self._size(half.origin):
                self._done.add(half.origin)
                if (task := self._running.pop(half.origin, None)) is not None:
                    task.cancel()
                return
        known = self._running.get(half.origin)
        if known is None or known.done():
            if known is not None and not known.cancelled() and (flaw := known.exception()) is not None:
                del self._running[half.origin]  # begun anew with the next look
                raise IntegrityError(f"its rounds ended by a flaw ({type(flaw).__name__})")
            self._running[half.origin] = asyncio.get_running_loop().create_task(self.of(half.origin).run())
