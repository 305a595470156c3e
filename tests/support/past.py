"""The past in memory: implements `broker.past.Past` by making every change again up to a count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.administration import Administration
from broker.agreements import Agreements
from broker.audits import Audits
from broker.core.directive import Directive
from broker.core.entry import Opening
from broker.core.merkle import EMPTY_RANGE, leaf_hash
from broker.core.model import SubjectRef
from broker.core.reference import Reference
from broker.explanations import Explanations
from broker.heritage import Heritage
from broker.past import MOST, Leaf, Past
from broker.plans import Plans
from broker.ports import Asked, Clock, FactsSource, LogView, ReferenceSource
from broker.replays import Replays
from tests.support.memory import ORIGIN, MemoryStore


class MemoryPast:
    """Over one memory store. `damage` may change the opening of an entry's full view, by its index."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._kept: dict[int, MemoryStore] = {}
        self.damage: Callable[[int, Opening], Opening | None] = lambda _, opening: opening
        # Ids of directives that were erased since.
        self.erased: set[str] = set()

    def _as_at(self, policy: int) -> MemoryStore:
        """A store in which nothing has happened after this count."""
        if policy not in self._kept:
            store = self._kept[policy] = MemoryStore(self._store.clock)
            for count, change in self._store.journal:
                if count > policy:
                    break
                store.log._apply(change)
        return self._kept[policy]

    async def reference(self, policy: int) -> Reference:
        """As `Past.reference`."""
        return await self._as_at(policy).reference.at_least(policy)

    async def directives(
        self, asked: Sequence[tuple[SubjectRef, int]]
    ) -> Mapping[tuple[SubjectRef, int], tuple[Directive, ...]]:
        """As `Past.directives`."""
        found = {}
        for subject, policy in asked:
            facts = await self._as_at(policy).facts.read(Asked((subject,), "", ()))
            said = facts.directives.get(subject, ())
            gone = self.erased | self._store.keeping.erased.keys()
            if kept := tuple(d for d in said if d.id not in gone):
                found[subject, policy] = kept
        return found

    async def erased_by(self, items: Sequence[tuple[str, datetime | None]]) -> Mapping[str, str]:
        """As `Past.erased_by`."""
        known = self._store.keeping.erased
        return {item: known[item] for item, _ in items if item in known}

    async def chain(self) -> tuple[str, ...]:
        """As `Past.chain`."""
        return (ORIGIN,)

    async def head(self, log: str = "") -> tuple[int, bytes]:
        """As `Past.head`."""
        leaves = [leaf_hash(kept.sealed.entry) for kept in self._store.entries]
        return len(leaves), EMPTY_RANGE.extend(leaves).root()

    async def leaves(self, start: int, end: int, log: str = "") -> list[Leaf]:
        """As `Past.leaves`."""
        if log not in ("", ORIGIN):
            raise KeyError(log)
        return [
            Leaf(
                kept.index,
                kept.sealed.entry,
                self.damage(kept.index, kept.sealed.full) if kept.draft.full else None,
            )
            for kept in self._store.entries[start : min(end, start + MOST)]
        ]


@dataclass(frozen=True)
class Why:
    """The use cases that explain, over whatever implements the ports."""

    replays: Replays
    explanations: Explanations
    plans: Plans

    @classmethod
    def of(
        cls,
        administration: Administration,
        agreements: Agreements,
        log: LogView,
        facts: FactsSource,
        reference: ReferenceSource,
        past: Past,
        clock: Clock,
    ) -> Why:
        """As the composition root puts them together."""
        replays = Replays(administration, past)
        audits = Audits(administration, log, Heritage(reference, clock), clock)
        return cls(
            replays,
            Explanations(administration, audits, log, facts, reference, past, replays, clock),
            Plans(administration, agreements, reference, past, clock),
        )
