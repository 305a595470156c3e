"""Stage two of the evidence: every published checkpoint goes to the witnesses, and comes back cosigned.

Owns the rounds (one checkpoint at a time, at most one a second), who has cosigned it, and what is said of each
witness. One worker of the deployment sends, by a lease; all see what came of it in the database. Refuses
cosignatures that do not verify, and to publish a smaller checkpoint after a greater one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from broker.core.checkpoint import Note, NoteSignature
from broker.core.quorum import Witness, WitnessPolicy
from broker.core.receipt import Receipt
from broker.core.witness import Submission
from broker.errors import AuditUnavailable, BrokerError, IntegrityError
from broker.ports import Clock
from broker.scraped import WitnessCounts
from broker.witnessed import (
    Asker,
    Cosigned,
    ProvableLog,
    Published,
    Refused,
    WitnessProgress,
    WitnessTable,
    own_line,
)

EVERY = 1.0  # seconds between two checkpoints that are sent
# A sender that says nothing for so many seconds is replaced; two at a time do no harm.
LEASE = 5.0
# A round in which the quorum does not answer ends after so many seconds, and a newer checkpoint goes.
ROUND = 5.0
POLL = 0.1  # seconds between two looks, while somebody waits
_LONGEST_PAUSE = 10.0

_diagnostics = structlog.get_logger("broker.witnessing")


@dataclass
class _Round:
    """One checkpoint on its way around."""

    number: int = 0
    size: int = -1
    note: Note | None = None
    lines: dict[str, NoteSignature] = field(default_factory=dict)
    met: asyncio.Event = field(default_factory=asyncio.Event)


class Witnessing:
    """One worker's part: it sends while it leads, and always knows what is witnessed."""

    def __init__(
        self,
        own: str,
        policy: WitnessPolicy,
        table: WitnessTable,
        log: ProvableLog,
        asker: Asker,
        clock: Clock,
    ) -> None:
        self.policy = policy
        self.published = Published()
        self.progress: Mapping[str, WitnessProgress] = {}
        # Why no round is made, where that is no silence of the database; empty while rounds are made.
        self.problem = ""
        self._said = ""
        self._own = own
        self._table = table
        self._log = log
        self._asker = asker
        self._clock = clock
        self._round = _Round()
        self._changed = asyncio.Condition()
        self._sizes: dict[str, int] = {}
        self._followers: list[asyncio.Task[None]] = []
        self._looking = asyncio.Lock()
        self._looked = float("-inf")

    async def run(self) -> None:
        """Do this worker's part for ever."""
        try:
            while True:
                started = self._clock.loop_time()
                try:
                    if await self._table.lead(self._own, LEASE):
                        await self._send()
                    else:
                        await self._stop()
                    await self._look()
                    self.problem = self._said = ""
                except BrokerError as e:  # readiness says why; rounds begin again with the database
                    self.problem = "" if isinstance(e, AuditUnavailable) else str(e)
                    if self._said != str(e):
                        self._said = str(e)
                        _diagnostics.warning("no checkpoint was sent to the witnesses", why=str(e))
                await self._clock.until(max(started + EVERY, self._clock.loop_time() + POLL))
        finally:
            await self._stop()
            with suppress(BrokerError):  # silence says it too, later
                await self._table.resign(self._own)

    def counts(self) -> WitnessCounts:
        """How far all of it is, as this worker saw it last."""
        progress = {each.name: self.progress.get(each.name) for each in self.policy.witnesses}
        far = {name: (s.size or 0, not s.problem) if s else (0, False) for name, s in progress.items()}
        return WitnessCounts(max(0, self.published.size), max(0, self.published.published_size), far)

    async def newest(self) -> tuple[int, bytes] | None:
        """The published checkpoint, the same in all workers; None before the first. Raises AuditUnavailable."""
        self.published, self.progress = await self._table.read()
        if self.published.published_size < 0:
            return None
        return self.published.published_size, self.published.published

    async def witnessed(self, receipt: Receipt, until: float) -> Receipt | None:
        """The receipt, proven to a witnessed checkpoint; None where there is none by `until` (event loop)."""
        while self.published.size <= receipt.index:
            if self._clock.loop_time() >= until:
                return None
            with suppress(BrokerError):
                await self._look()
            if self.published.size <= receipt.index:
                await self._clock.until(min(until, self._clock.loop_time() + POLL))
        known = self.published
        proof = await self._log.proof_at(receipt.index, known.size)
        return Receipt(receipt.entry, receipt.index, proof, known.note, receipt.opening)

    async def _look(self) -> None:
        """See what is published; those who come together share one look."""
        async with self._looking:
            if self._clock.loop_time() - self._looked >= POLL:
                await self.newest()
                self._looked = self._clock.loop_time()

    async def _send(self) -> None:
        """One round: the newest head to everybody, until the quorum has cosigned it or the time is over."""
        if not self._followers or any(each.done() for each in self._followers):
            await self._stop()  # none ends by itself, unless by a flaw: then all begin anew
            self._round = _Round()
            self._sizes.clear()  # another may have sent meanwhile; each witness says how far it is
            self._followers = [asyncio.create_task(self._follow(each)) for each in self.policy.witnesses]
        size, signed = await self._log.head()
        if size != self._round.size:
            async with self._changed:
                self._round = _Round(self._round.number + 1, size, Note.parse(signed))
                self._changed.notify_all()
        this = self._round
        with suppress(TimeoutError):
            async with asyncio.timeout(ROUND):
                await this.met.wait()
        if not this.met.is_set():
            # Monitors must see the log grow although its witnesses are silent.
            await self._publish(this)

    async def _stop(self) -> None:
        followers, self._followers = self._followers, []
        for each in followers:
            each.cancel()
        for ended in await asyncio.gather(*followers, return_exceptions=True):
            if isinstance(ended, Exception):
                _diagnostics.error("what follows a witness ended", kind=type(ended).__name__)

    async def _follow(self, witness: Witness) -> None:
        """Take one witness from round to round; what it does wrong is its own, and is tried again later."""
        done, pause = 0, EVERY
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._round.number > done)  # noqa: B023 - as it is then
            this = self._round
            try:
                why = await self._ask(witness, this)
            except BrokerError as e:
                why = str(e)
            except KeyError:
                why = "this log has no longer as many entries as it had"
            await self._say(witness, why)
            if not why:
                done, pause = this.number, EVERY
                continue
            await self._clock.until(self._clock.loop_time() + pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _ask(self, witness: Witness, this: _Round) -> str:
        """Why the witness did not cosign; empty where it did."""
        if this.note is None:
            raise AssertionError("a round without a checkpoint")
        for _ in range(3):  # the first may only bring how far the witness is
            old = self._sizes.get(witness.name, 0)
            if old > this.size:
                return await self._ahead(old)
            proof = await self._log.proof_between(old, this.size)
            answer = await self._asker.add_checkpoint(witness, Submission(old, proof, this.note.to_bytes()))
            if isinstance(answer, Cosigned):
                return await self._cosigned(witness, this, answer.lines)
            if isinstance(answer, Refused):
                self._sizes.pop(witness.name, None)
                return answer.why
            if answer.size == old == this.size:
                return "it has cosigned another root for this size: two logs are signed with this key"
            self._sizes[witness.name] = answer.size
        return "it keeps naming another size"

    async def _ahead(self, theirs: int) -> str:
        size, _ = await self._log.head()
        if theirs > size:
            return f"it has cosigned {theirs} entries and this log has {size}: some were taken back"
        return ""  # this log has grown since the round began, and another sender was quicker

    async def _cosigned(self, witness: Witness, this: _Round, lines: bytes) -> str:
        if this.note is None:
            raise AssertionError("a round without a checkpoint")
        try:
            line = own_line(witness, this.note.text, lines)
        except IntegrityError as e:
            return f"its cosignature does not hold: {e}"
        self._sizes[witness.name] = this.size
        this.lines[witness.name] = line
        if len(this.lines) >= self.policy.quorum:
            await self._publish(this)
            this.met.set()
        return ""

    async def _publish(self, this: _Round) -> None:
        if this.note is None:
            return
        lines = [this.lines[each.name] for each in self.policy.witnesses if each.name in this.lines]
        note = this.note.signed_by_also(*lines).to_bytes()
        met = len(lines) >= self.policy.quorum
        await self._table.publish(this.size, note, len(lines), witnessed=met)

    async def _say(self, witness: Witness, why: str) -> None:
        progress = WitnessProgress(self._sizes.get(witness.name), why[:200])
        before = self.progress.get(witness.name)
        if why and (before is None or before.problem != progress.problem):
            _diagnostics.warning("a witness did not cosign", witness=witness.name, why=why)
        with suppress(BrokerError):
            await self._table.say(witness.name, progress)
