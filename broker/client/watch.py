"""Holds the log to what it has shown: every checkpoint must extend, or be a prefix of, the proven one.

What can be told at once (a signature, two roots for one size) is told at once. The rest is asked of the broker
off the record's path, at most once a second. A log that contradicts itself is never believed again; one that
puts off proving itself for `PROOF_WITHIN` seconds is not believed until it does, or silence would be a way out.
Logs before the last rotation can no longer be asked about; what they showed is remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.client import memory as memories
from broker.client.memory import Memory
from broker.client.trail import Contradiction, Seen, Trail
from broker.core.checkpoint import Checkpoint, open_checkpoint
from broker.core.keys import Verifier
from broker.errors import AuditUnavailable, BrokerError, IntegrityError, InvalidRequest, SetupError

log = logging.getLogger(__name__)

ASK_EVERY: Final = 1.0
PROOF_WITHIN: Final = 60.0
_OPENED = 64  # notes opened lately: several receipts of one reply, and replies between two commits, share one


@dataclass(frozen=True, slots=True)
class Proof:
    """A consistency proof between the two sizes asked for, and the note of a checkpoint, empty if none came."""

    hashes: tuple[bytes, ...]
    note: bytes


Ask = Callable[[int, int], Awaitable[Proof]]
"""Asks for the proof between two sizes. Raises a BrokerError; InvalidRequest where a size is denied."""


class Watch:
    """Believes the keys given and, of what they sign, only what fits together."""

    def __init__(
        self,
        verifiers: Sequence[Verifier],
        ask: Ask,
        *,
        state: Path | None = None,
        distrusted: Callable[[IntegrityError], None],
        ask_every: float = ASK_EVERY,
        proof_within: float = PROOF_WITHIN,
    ) -> None:
        self._verifiers = tuple(verifiers)
        self._ask = ask
        self._state = state
        self._distrusted = distrusted
        self._ask_every = ask_every
        self._proof_within = proof_within
        self._opened: OrderedDict[bytes, Seen] = OrderedDict()
        self._latest: Seen | None = None  # observed last: nothing is new in it
        self._memory = Memory()
        self._behind_since: float | None = None
        self._behind_at: Trail | None = None
        self._asked = False
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the state file and begin. Raises SetupError, IntegrityError."""
        if self._state is not None:
            self._memory = await asyncio.to_thread(memories.load, self._state, self._seen)
        self._behind()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="client-watch")

    def open(self, note: bytes) -> Checkpoint:
        """Verify a checkpoint and hold it against what is known. Raises IntegrityError."""
        seen = self._opened.get(note)
        if seen is None:
            seen = self._seen(note)
            self._opened[note] = seen
            if len(self._opened) > _OPENED:
                self._opened.popitem(last=False)
        if seen is not self._latest or self._memory.contradiction is not None:
            try:
                self._memory.observe(seen)
            except Contradiction as error:
                self._distrust(error)
                raise
            self._behind()
            self._latest = seen
        return seen.checkpoint

    def require_trust(self) -> None:
        """Raise IntegrityError if a log contradicted itself, AuditUnavailable if it will not prove itself."""
        if self._memory.contradiction is not None:
            raise self._memory.again()
        since = self._behind_since
        if since is not None and _now() - since > self._proof_within:
            raise AuditUnavailable(
                f"the log has not proven for {self._proof_within:.0f} seconds that it only grew; nothing is "
                "believed until it has"
            )

    async def close(self) -> None:
        """One last question, if one is open, and the state written. Raises IntegrityError, SetupError.

        Waits as long as two questions may take.
        """
        self._stopping.set()
        self._wake.set()
        if self._task is not None:
            await self._task
        if self._question() is not None:
            await self._round()
        await self._persist()
        if self._memory.contradiction is not None:
            raise self._memory.again()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._stopping.is_set():
                return
            await self._round()
            if self._asked:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), self._ask_every)
            if self._pending():
                self._wake.set()

    async def _round(self) -> None:
        trail = self._memory.current
        question = self._question()
        self._asked = question is not None
        if trail is not None and question is not None:
            try:
                await self._prove(trail, *question)
            except Contradiction as error:
                self._distrust(error)
            except BrokerError as error:
                log.warning("the log's consistency could not be asked for: %s", error)
        try:
            await self._persist()
        except SetupError as error:
            self._asked = True  # a disk that is full is not tried more often than the log is asked
            log.error("what the log has shown is not remembered: %s", error)  # noqa: TRY400 - a sentence says it

    async def _prove(self, trail: Trail, first: Seen, second: Seen) -> None:
        try:
            proof = await self._ask(first.size, second.size)
        except InvalidRequest as error:
            raise Contradiction("it denies a size that it signed", first, second) from error
        except IntegrityError as error:
            raise Contradiction(str(error), first, second) from error
        if proof.note:
            newest = self._signed(proof.note, first, second)
            rotated = newest.checkpoint.origin != second.checkpoint.origin
            if not rotated and newest.size < second.size:
                raise Contradiction("it is smaller than it was", second, newest)
            self._memory.observe(newest)
            self._latest = None
            if rotated:
                return  # the old log can no longer be asked about; the next round asks about the new one
        trail.settle(first, second, proof.hashes)
        self._memory.changed = True
        self._behind_since = None
        self._behind()

    def _question(self) -> tuple[Seen, Seen] | None:
        trail = self._memory.current
        return None if trail is None or self._memory.contradiction is not None else trail.question()

    def _pending(self) -> bool:
        """Whether a round would do something; a log found out is asked nothing more."""
        memory = self._memory
        if memory.contradiction is not None or memory.current is None:
            return memory.changed
        return memory.changed or memory.current.behind

    def _behind(self) -> None:
        """Note since when something has waited to be proven, and wake the one who asks."""
        if self._pending():
            self._wake.set()
        trail = self._memory.current
        if trail is None or not trail.behind:
            self._behind_since = None
        elif self._behind_since is None or self._behind_at is not trail:
            self._behind_since, self._behind_at = _now(), trail

    def _signed(self, note: bytes, first: Seen, second: Seen) -> Seen:
        try:
            return self._seen(note)
        except IntegrityError as error:
            raise Contradiction(f"beside a proof, {error}", first, second) from error

    def _seen(self, note: bytes) -> Seen:
        return Seen(open_checkpoint(note, self._verifiers), note)

    def _distrust(self, error: Contradiction) -> None:
        if self._memory.contradiction is None or self._memory.contradiction is error:
            self._memory.contradict(error)
            log.critical("%s", error)
        self._wake.set()
        self._distrusted(error)

    async def _persist(self) -> None:
        if self._state is not None and self._memory.changed:
            data = self._memory.to_bytes()
            self._memory.changed = False
            try:
                await asyncio.to_thread(memories.save, self._state, data)
            except SetupError:
                self._memory.changed = True
                raise
        elif self._state is None:
            self._memory.changed = False


def _now() -> float:
    return asyncio.get_running_loop().time()
