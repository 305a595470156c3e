"""Entries to take away, over the memory store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from broker.core.merkle import EMPTY_RANGE, extend_with_proofs, leaf_hash
from broker.entryrows import EntryRow, Half, Looked, Wanted
from broker.ports import Hit
from tests.support.memory import ORIGIN, Kept, MemoryStore


class MemoryRows:
    """Implements `EntryRows`, `at_once` entries at a time. Entries whose index is in `gone` have no views."""

    def __init__(self, store: MemoryStore, at_once: int = 3) -> None:
        self._store = store
        self._at_once = at_once
        self.gone: set[int] = set()

    async def halves(self) -> tuple[Half, ...]:
        return (Half(ORIGIN, len(self._store.entries), datetime(2026, 7, 1, tzinfo=UTC)),)

    async def span(self, log: str, wanted: Wanted, start: int, end: int) -> tuple[int, int]:
        self._check(log)
        return start, end

    async def rows(self, log: str, wanted: Wanted, start: int, end: int) -> Looked:
        self._check(log)
        upper = min(end, start + self._at_once)
        return Looked(tuple(self._row(kept) for kept in self._store.entries[start:upper]), upper)

    async def proofs(self, log: str, indices: Sequence[int], size: int) -> list[tuple[bytes, ...]]:
        self._check(log)
        leaves = [leaf_hash(kept.sealed.entry) for kept in self._store.entries[:size]]
        _, proofs = extend_with_proofs(EMPTY_RANGE, leaves)
        return [proofs[index] for index in indices]

    def _check(self, log: str) -> None:
        if log != ORIGIN:
            raise KeyError(log)

    def _row(self, kept: Kept) -> EntryRow:
        sealed, draft = kept.sealed, kept.draft
        openings = {"requester": sealed.requester, "provider": sealed.provider, "full": sealed.full}
        found = {} if kept.index in self.gone else {n: o for n, o in openings.items() if o is not None}
        at = draft.at.replace(microsecond=0)
        views = {name: each.view for name, each in found.items()}
        sides = draft.requester_agency, draft.provider_agency
        hit = Hit(kept.index, draft.id, at, *sides, views, draft.full, ORIGIN)
        return EntryRow(hit, sealed.entry, found)
