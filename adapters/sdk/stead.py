"""In whose place, or for whom, an adapter answers: the copies of other agencies that count beside its own.

Owns which signatures count for which question. A predecessor's agreements hold for its successor's own records,
a controller's for the controller's records alone, and both only where the adapter's settings say so: the
broker's word is not enough.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from adapters.sdk.agreed import Agreed
from adapters.sdk.copies import Copies
from adapters.sdk.question import Question
from broker.errors import NotAgreed


@dataclass(frozen=True, slots=True)
class Agreements:
    """What counts now. `successors` are partners' new names, by the name that they signed under."""

    own: Agreed
    predecessors: tuple[Agreed, ...] = ()
    controllers: Mapping[str, Agreed] | None = None
    successors: Mapping[str, frozenset[str]] | None = None

    def check(self, question: Question, now: datetime) -> None:
        """Raises NotAgreed unless a copy of whoever's record is asked for names all of the question."""
        signed = self._signed(question)
        requesters = {question.requester} | {
            old for old, new in (self.successors or {}).items() if question.requester in new
        }
        heir = self.own if any(signed is each for each in self.predecessors) else None
        signed.check(question, now, frozenset(requesters), heir)

    def _signed(self, question: Question) -> Agreed:
        """The copies to hold it against: of those that may count, the first that has the agreement."""
        provider = question.provider or self.own.agency
        if provider == self.own.agency:
            return next((each for each in (self.own, *self.predecessors) if each.has(question)), self.own)
        if self.controllers and provider in self.controllers:
            return self.controllers[provider]
        raise NotAgreed(f"{self.own.agency} answers for itself, and is not set to act for {provider[:63]!r}")


class Shelf:
    """The copies of one adapter, each folder followed as it changes."""

    def __init__(
        self,
        own: Copies,
        predecessors: Mapping[str, Copies],
        controllers: Mapping[str, Copies],
        successors: Mapping[str, frozenset[str]],
    ) -> None:
        self._own = own
        self._predecessors = dict(predecessors)
        self._controllers = dict(controllers)
        self._successors = dict(successors)

    async def current(self, within: float) -> Agreements:
        """What counts, as of at most a second ago. Raises ProviderTimeout, as `Copies.current`."""
        every = (self._own, *self._predecessors.values(), *self._controllers.values())
        at_hand = [agreed for each in every if (agreed := each.at_hand()) is not None]
        if len(at_hand) < len(every):
            at_hand = await asyncio.gather(*(each.current(within) for each in every))
        own, *others = at_hand
        split = len(self._predecessors)
        controllers = dict(zip(self._controllers, others[split:], strict=True))
        return Agreements(own, tuple(others[:split]), controllers, self._successors)
