"""Holds the log to what it has shown: every checkpoint must extend, or be a prefix of, the proven one.

What can be told at once (a signature, two roots for one size) is told at once. The rest is asked of the broker
off the record's path, at most once a second. A log that contradicts itself is never believed again; one that
puts off proving itself for `PROOF_WITHIN` seconds is not believed until it does, or silence would be a way out.
Where the log was rotated, nothing of the new one is believed before the link has been followed: from what was
proven of the old log, over its last entry, to the new log's key, and back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from broker.client import memory as memories
from broker.client.believed import Believed, Learnt
from broker.client.memory import Memory
from broker.client.trail import Contradiction, Proof, Seen, Trail, Unlinked
from broker.core.checkpoint import Checkpoint, open_checkpoint
from broker.core.keys import Verifier
from broker.core.merkle import EMPTY_ROOT
from broker.core.rotation import Link, follow
from broker.errors import AuditUnavailable, BrokerError, IntegrityError, InvalidRequest, SetupError

log = logging.getLogger(__name__)

ASK_EVERY: Final = 1.0
PROOF_WITHIN: Final = 60.0
_MOST_LINKS = 16
_OPENED = 64  # notes opened lately: several receipts of one reply, and replies between two commits, share one


Ask = Callable[[str, int, int], Awaitable[Proof]]
"""Asks for the proof between two sizes of a log. Raises BrokerError; InvalidRequest where a size is denied."""

AskLink = Callable[[str, int], Awaitable[Link]]
"""Asks how the log after this one is reached from that size. Raises a BrokerError."""


class Watch:
    """Believes the keys given and, of what they sign, only what fits together."""

    def __init__(
        self,
        verifiers: Sequence[Verifier],
        ask: Ask,
        ask_link: AskLink,
        *,
        state: Path | None = None,
        distrusted: Callable[[IntegrityError], None],
        ask_every: float = ASK_EVERY,
        proof_within: float = PROOF_WITHIN,
    ) -> None:
        self._believed = Believed(verifiers)
        self._ask = ask
        self._ask_link = ask_link
        self._linking = asyncio.Lock()
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
            self._memory = await asyncio.to_thread(memories.load, self._state, self._seen, self._believed.learn)
            self._memory.learnt = self._believed.learnt
        self._behind()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="client-watch")

    def open(self, note: bytes) -> Checkpoint:
        """Verify a checkpoint and hold it against what is known.

        Raises IntegrityError; Unlinked where it is of a log that has to be followed to first.
        """
        seen = self._opened.get(note)
        if seen is None:
            origin = _origin(note)
            if self._unlinked(origin) and self._believed.may_lead_to(origin, self._memory.trails):
                raise Unlinked(note)
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

    async def link(self, note: bytes) -> None:
        """Follow the log to the one that this checkpoint is of, so that it can be opened.

        Those who come together share one walk. Raises IntegrityError where a link does not hold, and from then
        on nothing is believed; another BrokerError where it cannot be had.
        """
        origin = _origin(note)
        async with self._linking:
            for _ in range(_MOST_LINKS):
                if self._memory.contradiction is not None:
                    raise self._memory.again()
                if not self._unlinked(origin):
                    return
                await self._step(origin, note)
        raise IntegrityError("checkpoint: of a log that the one that is known does not lead to")

    async def _step(self, origin: str, note: bytes) -> None:
        """One link: forward from the newest log known, or from an older one that this checkpoint is of."""
        trail = self._memory.current
        if trail is not None and origin > trail.proven.checkpoint.origin:
            start = trail.proven
        elif trail is not None or self._believed.has(origin):
            start, trail = self._seen(note), None
        else:
            # Nothing at all of the newest log whose key we were given, if that is an earlier one.
            start = Seen(Checkpoint(self._believed.before(origin), 0, EMPTY_ROOT), b"")
        known = start.checkpoint
        try:
            link = await self._ask_link(known.origin, known.size)
        except InvalidRequest as error:
            raise IntegrityError(f"checkpoint: {known.origin} does not lead to the log it names") from error
        try:
            followed = follow(link, known, self._believed.verifiers)
            self._believed.learn(Learnt(link.final, link.last, link.last_proof))
            self._took(start, Seen(followed.final, link.final), Seen(followed.head, link.head))
        except IntegrityError as error:
            if not start.note:
                raise
            why = error if isinstance(error, Contradiction) else None
            why = why or Contradiction(f"its link does not hold: {error}", start, start)
            self._distrust(why)
            raise why from error
        log.info("the log goes on as %s", followed.head.origin)

    def _took(self, start: Seen, final: Seen, head: Seen) -> None:
        """Remember a link that holds. Raises Contradiction."""
        self._memory.learnt = self._believed.learnt
        if start.note:
            trail = self._memory.trails.setdefault(
                start.checkpoint.origin, Trail(start, choose=secrets.randbelow)
            )
            trail.extend(start, final)
        self._memory.observe(head)
        self._memory.changed = True
        self._latest = None
        self._behind()

    def _unlinked(self, origin: str) -> bool:
        """Whether this log has to be followed to: what is seen first of all is taken as it is."""
        trails = self._memory.trails
        return origin not in trails and (bool(trails) or not self._believed.has(origin))

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
        await self._memory.persist(self._state)
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
        trail = self._memory.behind
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
            await self._memory.persist(self._state)
        except SetupError as error:
            self._asked = True  # a disk that is full is not tried more often than the log is asked
            log.error("what the log has shown is not remembered: %s", error)  # noqa: TRY400 - a sentence says it

    async def _prove(self, trail: Trail, first: Seen, second: Seen) -> None:
        try:
            proof = await self._ask(second.checkpoint.origin, first.size, second.size)
        except InvalidRequest as error:
            raise Contradiction("it denies a size that it signed", first, second) from error
        except IntegrityError as error:
            raise Contradiction(str(error), first, second) from error
        if proof.note:
            newest = self._signed(proof.note, first, second)
            if newest.checkpoint.origin != second.checkpoint.origin:
                raise Contradiction("it answers for another log", second, newest)
            if newest.size < second.size:
                raise Contradiction("it is smaller than it was", second, newest)
            self._memory.observe(newest)
            self._latest = None
        trail.settle(first, second, proof.hashes)
        self._memory.changed = True
        self._behind_since = None
        self._behind()

    def _question(self) -> tuple[Seen, Seen] | None:
        trail = self._memory.behind
        return None if trail is None or self._memory.contradiction is not None else trail.question()

    def _pending(self) -> bool:
        """Whether a round would do something; a log found out is asked nothing more."""
        memory = self._memory
        if memory.contradiction is not None:
            return memory.changed
        return memory.changed or memory.behind is not None

    def _behind(self) -> None:
        """Note since when something has waited to be proven, and wake the one who asks."""
        if self._pending():
            self._wake.set()
        trail = self._memory.behind
        if trail is None:
            self._behind_since = None
        elif self._behind_since is None or self._behind_at is not trail:
            self._behind_since, self._behind_at = _now(), trail

    def _signed(self, note: bytes, first: Seen, second: Seen) -> Seen:
        try:
            return self._seen(note)
        except IntegrityError as error:
            raise Contradiction(f"beside a proof, {error}", first, second) from error

    def _seen(self, note: bytes) -> Seen:
        return Seen(open_checkpoint(note, self._believed.verifiers), note)

    def _distrust(self, error: Contradiction) -> None:
        if self._memory.contradiction is None or self._memory.contradiction is error:
            self._memory.contradict(error)
            log.critical("%s", error)
        self._wake.set()
        self._distrusted(error)


def _origin(note: bytes) -> str:
    """The log that a checkpoint says it is of."""
    return note.partition(b"\n")[0].decode("utf-8", "replace")


def _now() -> float:
    return asyncio.get_running_loop().time()
