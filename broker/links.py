"""The adapters that are attached now, and how a request finds one.

Owns what is outstanding on each link and nothing of the wire: `rpc/adapter.py` moves messages in and out.
A request goes to the least busy link of the provider that serves its record type; where it has none, to one of
an agency that acts for it. When that link is lost before it answers, to another, inside the same deadline.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from broker.answered import checked, failed, room_for
from broker.errors import ProviderTimeout, Saturated
from broker.held import Held, Holding
from broker.lanes import Lanes, reserve
from broker.ports import Answer, Found, ProviderFailed, Question
from broker.waitingroom import Kind, WaitingRoom
from broker.workers import Worker

MAX_OUTBOX = 8192


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
        self.outbox = Outbox()
        self.ended = asyncio.Event()
        self._ids = itertools.count(1)
        self._owed: dict[int, tuple[Question, asyncio.Future[Answer | None], Held]] = {}

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

    async def ask(self, question: Question, deadline: float, held: Held) -> Answer | None:
        """The answer; None when the link was lost first. TimeoutError at `deadline` (event-loop time)."""
        ask_id, loop = next(self._ids), asyncio.get_running_loop()
        if (digest := self.version(question)) != question.digest:
            question = replace(question, digest=digest)
        future: asyncio.Future[Answer | None] = loop.create_future()
        self._owed[ask_id] = (question, future, held)
        self.outbox.asks.append((ask_id, question, deadline), urgent=question.request.urgent)
        self.outbox.wake.set()
        late = loop.call_at(deadline, _late, future)
        try:
            return await future
        finally:
            late.cancel()
            del self._owed[ask_id]
            if future.cancelled() or not future.done() or future.exception():
                self.outbox.cancels.append(ask_id)
                self.outbox.wake.set()

    def answer(self, ask_id: int, answer: Answer) -> bool:
        """Settle an ask; False where none such is owed: answered twice, late, or never asked."""
        owed = self._owed.get(ask_id)
        if owed is None or owed[1].done():
            return False
        question, future, held = owed
        answer = room_for(checked(question, answer), held)
        if self.agency != question.request.provider and not isinstance(answer, ProviderFailed):
            answer = replace(answer, by=self.agency)
        future.set_result(answer)
        return True

    def owes(self, ask_id: int) -> bool:
        """Whether somebody still waits for this answer."""
        return ask_id in self._owed

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
        for _, future, _ in self._owed.values():
            if not future.done():
                future.set_result(None)


def _late(future: asyncio.Future[Answer | None]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


class Links:
    """All links of this worker. Implements `ports.Providers`."""

    def __init__(self, holding: Holding | None = None) -> None:
        self._holding = holding or Holding()
        self._links: set[Link] = set()
        self._waiting = WaitingRoom()

    def attach(self, link: Link) -> None:
        """Begin to send it requests."""
        self._links.add(link)
        self.credit(link, link.at_once)

    def credit(self, link: Link, at_once: int) -> None:
        """From now on it takes so many requests at once."""
        link.at_once = at_once
        self._waiting.call(link.kinds, at_once)

    def leaving(self, link: Link) -> None:
        """It answers what it was asked, and is asked no more."""
        link.draining = True
        self._waiting.call_all(link.kinds)

    def detach(self, link: Link) -> None:
        """End it; its outstanding requests go elsewhere or fail."""
        self._links.discard(link)
        link.lose()
        self._waiting.call_all(link.kinds)

    def tell(self, live: tuple[Worker, ...]) -> None:
        """Tell every adapter which workers live, so that it attaches to them too."""
        for link in self._links:
            link.outbox.workers = live
            link.outbox.wake.set()

    def drain(self) -> None:
        """Tell every adapter that this worker is going; each still answers what it is asked."""
        for link in self._links:
            link.outbox.going = True
            link.outbox.wake.set()

    @property
    def idle(self) -> bool:
        """Whether nothing is asked and nothing waits to be said."""
        return not any(link.outstanding or len(link.outbox) for link in self._links)

    def end(self) -> None:
        """Hang up on all."""
        for link in self._links:
            link.end()

    def of(self, agency: str) -> tuple[Link, ...]:
        """The links of one agency."""
        return tuple(link for link in self._links if link.agency == agency)

    def attached(self) -> dict[str, int]:
        """How many adapters each agency has here."""
        return Counter(link.agency for link in self._links)

    async def ask(self, question: Question, deadline: float) -> Answer:
        """The provider's answer before `deadline` (event-loop time). Failures are answers too.

        What was found is held: whoever has the answer releases it.
        """
        request = question.request
        kind = (request.provider, request.record_type)
        try:
            held = await self._holding.room(request.requester, kind, deadline, urgent=request.urgent)
        except Saturated as e:
            return ProviderFailed(e, "saturated")
        try:
            answer = await self._ask(question, deadline, held)
        except BaseException:
            held.release()
            raise
        if not isinstance(answer, Found):
            held.release()
        return answer

    async def _ask(self, question: Question, deadline: float, held: Held) -> Answer:
        tried: set[Link] = set()
        try:
            while True:
                link = await self._find(question, tried, deadline)
                if link is None:
                    return failed("no adapter of the provider is attached that serves this record type")
                tried.add(link)
                try:
                    answer = await link.ask(question, deadline, held)
                finally:
                    self._waiting.call(link.kinds)
                if answer is not None:
                    return answer
        except Saturated as e:
            return ProviderFailed(e, "saturated")
        except TimeoutError:
            return ProviderFailed(
                ProviderTimeout("the provider did not answer in the time allowed"), "timed out"
            )

    def settle(self, agency: str, effect_key: str, released: bool) -> None:
        """Tell the agency's adapters what became of a viewing that has effects."""
        for link in self.of(agency):
            link.settle(effect_key, released)

    async def _find(self, question: Question, tried: set[Link], deadline: float) -> Link | None:
        """The least busy link that serves it, once one has room; None where none does. Raises Saturated."""
        request = question.request
        called: tuple[Kind, ...] = ()
        kind = (request.provider, request.record_type)
        while serving := self._serving(question, tried):
            ready = [link for link in serving if link.takes(urgent=request.urgent)]
            # Who comes now does not go before those who wait.
            if ready and (called or request.urgent or kind not in self._waiting):
                return min(ready, key=lambda link: link.outstanding)
            for link in serving:
                link.stand_for(kind)
            called = await self._waiting.wait(kind, request.requester, deadline, urgent=request.urgent)
        if called:  # for a place at a link that this one has tried already: somebody else's, then
            self._waiting.call(called)
        return None

    def _serving(self, question: Question, tried: set[Link]) -> list[Link]:
        """Links that may be asked: the provider's own, or else those of whoever may answer in its stead."""
        for agencies in ((question.request.provider,), question.answered_by):
            serving = [
                link
                for link in self._links
                if link.agency in agencies and link.serves(question) and not link.draining and link not in tried
            ]
            if serving:
                return serving
        return []
