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
from broker.errors import AuditUnavailable, BrokerError
from broker.scraped import AnchorCounts

EVERY = 3600.0  # seconds
POLL = 2.0  # seconds between looks at whether it is time
LEASE = 60.0  # seconds after which another worker takes over from one that says nothing
AGAIN = 60.0  # seconds until the second try; then twice as long each time, up to `EVERY`

_diagnostics = structlog.get_logger("broker.anchor")
# The newest published checkpoint of a log: its name, its size and its note.
Published = tuple[str, int, bytes]
# Of each log, the current one last.
Newest = Callable[[], Awaitable[Sequence[Published]]]


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

    async def run(self) -> None:
        """For as long as the worker lives."""
        while True:
            try:
                await self.look()
            except AuditUnavailable:
                pass  # readiness says why
            except BrokerError as e:
                _diagnostics.error("no time stamp", why=str(e))
            except Exception as e:  # noqa: BLE001 - what a stranger answered must not be the last we ask for
                _diagnostics.error("a flaw as a time stamp was asked for", kind=type(e).__name__)
            await asyncio.sleep(min(POLL, self._every))

    async def look(self) -> None:
        """Anchor if it is time and our turn; see how it stands. Raises AuditUnavailable, IntegrityError."""
        tries = await self._table.claim(self._own, LEASE)
        if tries is not None:
            await self._anchor(tries)
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
        wanting = [each for each in await self._published() if await self._grown(each)]
        if not wanting:
            await self._table.keep(None, self._every)
            return
        # A log that was closed first: nothing else says of its last entries when they stood.
        log, size, note = wanting[0]
        try:
            response, stamp = await self._authority.stamp(note)
        except NotStamped as e:
            self._count(stamped=False)
            _diagnostics.warning("no time stamp", why=str(e), tries=tries + 1)
            await self._table.failed(str(e)[:200], min(AGAIN * 2 ** min(tries, 10), self._every))
            return
        self._count(stamped=True)
        pause = self._every if len(wanting) == 1 else 0.0
        await self._table.keep(Anchor(log, size, note, response, stamp.at), pause)

    async def _grown(self, published: Published) -> bool:
        log, size, _ = published
        return size > (await self._table.standing(log)).size
