"""Every hour the published checkpoint is time-stamped, by one worker, off every request's path.

Owns the pace: whose turn it is and when stand in the database, so that a worker that dies leaves it to another;
an authority that fails is asked again after a minute, then ever less often. What came of it all workers see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from broker.anchor.authority import NotStamped
from broker.anchor.token import Stamp
from broker.core.receipt import Receipt
from broker.errors import AuditUnavailable, BrokerError, IntegrityError
from broker.scraped import AnchorCounts
from broker.upkeep import Troubles

EVERY = 3600.0  # seconds
POLL = 2.0  # seconds between looks at whether it is time
LEASE = 60.0  # seconds after which another worker takes over from one that says nothing
AGAIN = 60.0  # seconds until the second try; then twice as long each time, up to `EVERY`
# What the workers share begins so where evidence does not hold, and not where an authority gave nothing.
OURS = "the evidence does not hold: "

_ALL = "all"  # of which log it is, the words say

_diagnostics = structlog.get_logger("broker.anchor")
# The newest published checkpoint of a log: its name, its size and its note.
Published = tuple[str, int, bytes]
# Of each log, the current one last; of one that cannot be believed, why.
Newest = Callable[[], Awaitable[Sequence[Published | IntegrityError]]]


@dataclass(frozen=True, slots=True)
class Anchor:
    """A checkpoint of so many entries of a log, and the authority's response over its bytes."""

    log: str
    size: int
    note: bytes
    response: bytes
    stamped_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """The size of a log's newest anchor, the time of the newest there is of any log (None: there is none), and
    why the last try failed, if it did."""

    size: int = 0
    stamped_at: datetime | None = None
    problem: str = ""


class AnchorTable(Protocol):
    """What the workers share. Each raises AuditUnavailable."""

    async def claim(self, worker: str, seconds: float) -> int | None:
        """Whether it is time and this worker's turn: the tries that failed before; None: not now."""

    async def keep(self, anchor: Anchor | None, every: float) -> None:
        """Keep an anchor (None: there is nothing new to anchor); the next is due then."""

    async def failed(self, problem: str, pause: float) -> None:
        """Write down why there is none; the next try is due then."""

    async def standing(self, log: str = "") -> Standing:
        """How it stands with the log of this name; empty: the current one."""

    async def covering(self, log: str, index: int) -> Anchor | None:
        """The first anchor of a checkpoint of the log of this name with this entry in it."""


class Stamps(Protocol):
    """Gives time stamps."""

    async def stamp(self, data: bytes) -> tuple[bytes, Stamp]:
        """The response over these bytes, and what it says. Raises NotStamped."""


class ProvableLog(Protocol):
    """What is needed of the log."""

    async def proof_at(self, index: int, size: int, log: str = "") -> tuple[bytes, ...]:
        """Inclusion proof of an entry in the first `size` of the log of that name; empty: the current one.
        Raises AuditUnavailable."""


class Anchoring:
    """One worker's part."""

    def __init__(
        self,
        own: str,
        table: AnchorTable,
        published: Newest,
        log: ProvableLog,
        authority: Stamps,
        every: float = EVERY,
        count: Callable[..., None] = lambda **_: None,
    ) -> None:
        self._own = own
        self._table = table
        self._published = published
        self._log = log
        self._authority = authority
        self._every = every
        self._count = count
        self._standing = Standing()
        self._troubles = Troubles("no time stamp")

    async def run(self) -> None:
        """For as long as the worker lives."""
        while True:
            try:
                await self.look()
            except AuditUnavailable:
                pass  # readiness says why
            except BrokerError as e:
                self._troubles.fails(_ALL, _ours(e))
            except Exception as e:  # noqa: BLE001 - what a stranger answered must not be the last we ask for
                self._troubles.fails(_ALL, f"a flaw as one was asked for ({type(e).__name__})")
            else:
                # Whichever worker met it, all tell it, until a turn has gone well.
                if self._standing.problem.startswith(OURS):
                    self._troubles.fails(_ALL, self._standing.problem)
                elif not self._standing.problem:
                    self._troubles.well(_ALL)
            await asyncio.sleep(min(POLL, self._every))

    def reasons(self) -> tuple[str, ...]:
        """Why evidence is not time-stamped where that is no authority's fault, for readiness to tell."""
        return self._troubles.reasons()

    async def look(self) -> None:
        """Anchor if it is time and our turn; see how it stands. Raises AuditUnavailable, IntegrityError."""
        tries = await self._table.claim(self._own, LEASE)
        if tries is not None:
            try:
                await self._anchor(tries)
            except IntegrityError as e:
                await self._table.failed(_ours(e), self._pause(tries))
                self._standing = await self._table.standing()
                raise
        self._standing = await self._table.standing()

    def counts(self) -> AnchorCounts:
        """How it stands, as this worker saw it last."""
        at = self._standing.stamped_at
        return AnchorCounts(self._standing.size, at.timestamp() if at else 0.0, not self._standing.problem)

    async def timestamped(self, receipt: Receipt) -> tuple[Receipt, bytes] | None:
        """The receipt, proven to the first checkpoint with it that was time-stamped, and the response."""
        log = receipt.checkpoint.partition(b"\n")[0].decode()
        anchor = await self._table.covering(log, receipt.index)
        if anchor is None:
            return None
        proof = await self._log.proof_at(receipt.index, anchor.size, log)
        return Receipt(receipt.entry, receipt.index, proof, anchor.note, receipt.opening), anchor.response

    async def _anchor(self, tries: int) -> None:
        """One turn. A log that cannot be believed holds up no other; it is raised at the end."""
        found = await self._published()
        wrong = [each for each in found if isinstance(each, IntegrityError)]
        wanting = [each for each in found if not isinstance(each, IntegrityError) and await self._grown(each)]
        if wanting:
            # A log that was closed first: nothing else says of its last entries when they stood.
            log, size, note = wanting[0]
            try:
                response, stamp = await self._authority.stamp(note)
            except NotStamped as e:
                self._count(stamped=False)
                _diagnostics.warning("no time stamp", why=str(e), tries=tries + 1)
                await self._table.failed(str(e)[:200], self._pause(tries))
                return
            self._count(stamped=True)
            pause = self._every if len(wanting) == 1 else 0.0
            await self._table.keep(Anchor(log, size, note, response, stamp.at), pause)
        elif not wrong:
            await self._table.keep(None, self._every)
        if wrong and len(wanting) <= 1:
            raise wrong[0]

    def _pause(self, tries: int) -> float:
        return min(AGAIN * 2.0 ** min(tries, 10), self._every)

    async def _grown(self, published: Published) -> bool:
        log, size, _ = published
        return size > (await self._table.standing(log)).size


def _ours(error: BrokerError) -> str:
    return f"{OURS}{error}"[:200]
