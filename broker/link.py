"""One attached adapter: what it provides and owes, and what waits to be written to it.

Owns nothing of the wire: `rpc/adapter.py` moves messages in and out. `links` says which link is asked.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from broker.answered import checked, is_garbled, room_for
from broker.held import Held
from broker.lanes import Lanes, reserve
from broker.ports import Answer, ProviderFailed, Question
from broker.workers import Worker

MAX_OUTBOX = 8192
# An adapter that was asked and then answers nobody for this part of a question's time is not waited for alone;
# and for so many seconds it is asked only where no other takes more, as one is whose answer did not hold.
PATIENCE = 0.5
DOUBTED = 5.0

# An answer that somebody waits for; None once the link that owes it is lost.
Expected = asyncio.Future[Answer | None]
Silent = Callable[[Expected], None]


@dataclass(slots=True)
class Outbox:
    """What waits to be written to one adapter. The writer takes all of it at once."""

    asks: Lanes[tuple[int, Question, float]] = field(default_factory=Lanes)
    cancels: deque[int] = field(default_factory=deque)
    settled: deque[tuple[str, bool]] = field(default_factory=deque)
    # All live workers, where they have changed since they were last written.
    workers: tuple[Worker, ...] | None = None
    # This worker is going, and the adapter has not been told.
    going: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def __len__(self) -> int:
        news = (self.workers is not None) + self.going
        return len(self.asks) + len(self.cancels) + len(self.settled) + news


class Link:
    """One attached adapter: what it provides, how much it takes, and what it owes."""

    def __init__(self, agency: str, system: str, provides: Iterable[tuple[str, str]], at_once: int) -> None:
        self.agency = agency
        self.system = system
        self.provides = frozenset(provides)
        self._versions: dict[str, list[str]] = {}
        for record_type, digest in sorted(self.provides):
            self._versions.setdefault(record_type, []).append(digest)
        self.kinds = tuple((agency, record_type) for record_type in self._versions)
        self.at_once = at_once
        self.draining = False
        # When it last answered, and until when it is asked last (event-loop time).
        self.answered = self.doubted = float("-inf")
        self.outbox = Outbox()
        self.ended = asyncio.Event()
        self._ids = itertools.count(1)
        # None: answered, and whoever asked has yet to see it.
        self._owed: dict[int, tuple[Question, Expected, Held] | None] = {}

    @property
    def outstanding(self) -> int:
        """Requests it has not answered."""
        return len(self._owed)

    def takes(self, *, urgent: bool) -> bool:
        """Whether it takes another request; a part of what it takes at once is kept for urgent ones."""
        kept, kept_out = (0, 0) if urgent else (reserve(self.at_once), reserve(MAX_OUTBOX))
        return not self.draining and (
            self.outstanding < self.at_once - kept and len(self.outbox) < MAX_OUTBOX - kept_out
        )

    def stand_for(self, kind: tuple[str, str]) -> None:
        """A place that becomes free here is also for those who wait for this provider's record type."""
        if kind not in self.kinds:
            self.kinds = (*self.kinds, kind)

    def serves(self, question: Question) -> bool:
        """Whether it declared the record type, in whichever approved version."""
        return question.request.record_type in self._versions

    def version(self, question: Question) -> str:
        """The version to ask it for: the one wished for, else the one it has. A new approval must not cut off
        adapters that were made before it; what they answer is redacted by their own version."""
        versions = self._versions[question.request.record_type]
        return question.digest if question.digest in versions else versions[0]

    async def ask(
        self, question: Question, deadline: float, held: Held, silent: Silent | None = None
    ) -> Answer | None:
        """The answer; None when the link was lost first. TimeoutError at `deadline` (event-loop time).

        Where it answers nobody for a good part of that time, `silent` is called with what another's answer may
        be given to.
        """
        ask_id, loop = next(self._ids), asyncio.get_running_loop()
        if (digest := self.version(question)) != question.digest:
            question = replace(question, digest=digest)
        future: Expected = loop.create_future()
        self._owed[ask_id] = (question, future, held)
        self.outbox.asks.append((ask_id, question, deadline), urgent=question.request.urgent)
        self.outbox.wake.set()
        asked = loop.time()
        timer: asyncio.TimerHandle

        def late() -> None:
            if not future.done():
                future.set_exception(TimeoutError())

        def half_way() -> None:
            nonlocal timer
            timer = loop.call_at(deadline, late)
            if not future.done() and self.answered < asked:
                self.doubted = loop.time() + DOUBTED
                if silent is not None:
                    silent(future)

        timer = loop.call_at(asked + (deadline - asked) * PATIENCE, half_way)
        try:
            return await future
        finally:
            timer.cancel()
            if self._owed.pop(ask_id) is not None:
                self.outbox.cancels.append(ask_id)
                self.outbox.wake.set()

    def answer(self, ask_id: int, answer: Answer) -> Answer | None:
        """Settle an ask; what was made of the answer. None where none such is owed: answered twice, late, or
        never asked."""
        owed = self._owed.get(ask_id)
        if owed is None or owed[1].done():
            return None
        question, future, held = owed
        self._owed[ask_id] = None
        self.answered = asyncio.get_running_loop().time()
        answer = room_for(checked(question, answer), held)
        # Or else who answers nonsense at once would be the least busy, and be asked first.
        self.doubted = self.answered + DOUBTED if is_garbled(answer) else float("-inf")
        if self.agency != question.request.provider and not isinstance(answer, ProviderFailed):
            answer = replace(answer, by=self.agency)
        future.set_result(answer)
        return answer

    def owes(self, ask_id: int) -> bool:
        """Whether somebody still waits for this answer."""
        return self._owed.get(ask_id) is not None

    def settle(self, effect_key: str, released: bool) -> None:
        """Tell the adapter what became of a viewing that has effects."""
        self.outbox.settled.append((effect_key, released))
        self.outbox.wake.set()

    def end(self) -> None:
        """Hang up."""
        self.draining = True
        self.ended.set()

    def lose(self) -> None:
        """The link is gone: whoever waits is told, and may try another."""
        self.draining = True
        for owed in self._owed.values():
            if owed is not None and not owed[1].done():
                owed[1].set_result(None)
