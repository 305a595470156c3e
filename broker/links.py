"""The adapters that are attached now, and how a request finds one.

Owns what is outstanding on each link and nothing of the wire: `rpc/adapter.py` moves messages in and out.
A request goes to the least busy link of the provider that serves its record type; where it has none, to one of
an agency that acts for it. When that link is lost before it answers, to another, inside the same deadline;
where it stays open and answers nothing at all, or what is no answer, to another as well.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from broker.answered import failed, is_garbled
from broker.errors import ProviderTimeout, Saturated
from broker.held import Held, Holding
from broker.link import Expected, Link
from broker.ports import Answer, Found, ProviderFailed, Question
from broker.waitingroom import Kind, WaitingRoom
from broker.workers import Worker


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

    @property
    def waiting(self) -> int:
        """Questions for which no adapter has a place yet."""
        return len(self._waiting)

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
                answer = await self._answer(link, question, deadline, held, tried)
                if answer is not None:
                    return answer
        except Saturated as e:
            return ProviderFailed(e, "saturated")
        except TimeoutError:
            return ProviderFailed(
                ProviderTimeout("the provider did not answer in the time allowed"), "timed out"
            )

    async def _answer(
        self, link: Link, question: Question, deadline: float, held: Held, tried: set[Link]
    ) -> Answer | None:
        """This link's answer; where it is silent, or what it answers is none, that of one more. None where they
        were lost. Raises TimeoutError."""
        fellow: asyncio.Task[Answer | None] | None = None

        def another(expected: Expected | None) -> None:
            nonlocal fellow
            fellows = (each for each in self._serving(question, tried) if each.agency == link.agency)
            other = _free(fellows, urgent=question.request.urgent)
            # What has effects is asked again only where the first adapter has certainly gone; and no agency is
            # asked for what another's adapter would not say.
            if other is not None and not question.effect_key:
                tried.add(other)
                fellow = asyncio.ensure_future(self._fellow(other, question, deadline, held, expected))

        try:
            try:
                answer = await link.ask(question, deadline, held, another)
                if is_garbled(answer) and fellow is None:
                    another(None)
            finally:
                self._waiting.call(link.kinds)
            if fellow is not None and (answer is None or is_garbled(answer)):
                answer = await fellow or answer
                if answer is None and asyncio.get_running_loop().time() >= deadline:
                    raise TimeoutError
            return answer
        finally:
            if fellow is not None:
                fellow.cancel()

    async def _fellow(
        self, link: Link, question: Question, deadline: float, held: Held, expected: Expected | None
    ) -> Answer | None:
        """Its answer, also given to whoever still expects another's; None where it is lost or late too."""
        if not link.takes(urgent=question.request.urgent):  # it has been given to somebody since
            return None
        try:
            answer = await link.ask(question, deadline, held)
        except TimeoutError:
            return None
        finally:
            self._waiting.call(link.kinds)
        good = answer is not None and not isinstance(answer, ProviderFailed)
        if good and expected is not None and not expected.done():
            expected.set_result(answer)
        return answer

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
            ready = _free(serving, urgent=request.urgent)
            # Who comes now does not go before those who wait.
            if ready is not None and (called or request.urgent or kind not in self._waiting):
                return ready
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


def _free(serving: Iterable[Link], *, urgent: bool) -> Link | None:
    """The least busy of those that take another request, one that is in doubt last; None where none does."""
    ready = [link for link in serving if link.takes(urgent=urgent)]
    if len(ready) < 2:
        return ready[0] if ready else None
    now = asyncio.get_running_loop().time()
    return min(ready, key=lambda link: (link.doubted > now, link.outstanding))
