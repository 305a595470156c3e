"""Holds and erasures in memory: one suite runs over these and over PostgreSQL's."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from broker.core.model import SubjectRef
from broker.core.sights import terms_of
from broker.keeping import Attached, Hold
from broker.ports import Change
from tests.support.values import replace

if TYPE_CHECKING:
    from tests.support.memory import Kept, MemoryStore


class MemoryKeeping:
    """Implements `keeping.Keeping`, and does what migration 0012 does."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._holds: dict[str, tuple[Hold, dict[str, Any], SubjectRef | None]] = {}
        self.erased: dict[str, str] = {}

    def blind(self, terms: frozenset[str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """As `Keeping.blind`."""
        return tuple(int(hashlib.sha256(t.encode()).hexdigest()[:12], 16) for t in sorted(terms)), ()

    async def holds(self, hold: str = "") -> list[Hold]:
        """As `Keeping.holds`."""
        found = [each for each, _, _ in self._holds.values()]
        if hold:
            return [each for each in found if each.id == hold]
        return [each for each in found if each.released_at is None]

    async def waiting(self) -> float:
        """As `Keeping.waiting`: nothing ends a month of this store."""
        return 0.0

    async def attached(
        self, entries: Sequence[str], subject: SubjectRef | None, agencies: frozenset[str], now: datetime
    ) -> Attached:
        """As `Keeping.attached`."""
        store = self._store
        queues, wanted = store.queues, set(entries)
        referrals = [r for r in queues.referrals.rows.values() if r.id in wanted]
        used = [r for r in queues.overrides.rows.values() if r.id in wanted]
        own = [
            (i, d) for i, (about, d) in store.directives.items() if about == subject and d.recorder in agencies
        ]
        over = [
            (i, d)
            for i, d in own
            if i in store.withdrawn or (d.valid_until is not None and d.valid_until <= now)
        ]
        held = {i for i, d in over if subject and self._said_held(subject, d.recorder)}
        running = {r.id for r in referrals if r.status == "granted" and r.until is not None and r.until > now}
        return Attached(
            held=frozenset(k.draft.id for k in store.entries if k.draft.id in wanted and self.held(k)),
            waiting=frozenset(
                {r.id for r in (*referrals, *used) if r.status == "open" and r.provider in agencies}
                | {r.id for r in referrals if r.id in running and r.provider in agencies}
                | {
                    a.id
                    for a in store.cases.accesses.rows.values()
                    if a.id in wanted and a.issued_at is None and a.agency in agencies
                }
                | {
                    c.id
                    for c in store.cases.complaints.rows.values()
                    if c.id in wanted and c.closed_at is None and c.agency in agencies
                }
            ),
            rulings=frozenset((r.system, r.request) for r in referrals),
            directives=tuple(i for i, _ in over if i not in held),
            standing=tuple(i for i, _ in own if i not in {each for each, _ in over}),
            held_directives=tuple(sorted(held)),
            worded=frozenset(k.draft.id for k in store.entries if k.draft.id in wanted and k.draft.words),
        )

    async def missed(self) -> tuple[str, int] | None:
        """As `Keeping.missed`: what stands is found."""
        return None

    def held(self, kept: Kept) -> bool:
        """Whether a hold covers it."""
        terms = set(self.blind(terms_of(kept.draft.full))[0]) if kept.draft.full else set()
        named = {str(kept.draft.full.get(side)) for side in ("requester", "provider")}
        return any(
            hold.released_at is None
            and (hold.everything or named & set(detail["agencies"]))
            and terms & {int(each) for each in detail["terms"]}
            for hold, detail, _ in self._holds.values()
        )

    def _said_held(self, subject: SubjectRef, recorder: str) -> bool:
        return any(
            hold.released_at is None
            and about == subject
            and (hold.everything or recorder in detail["agencies"])
            for hold, detail, about in self._holds.values()
        )

    def apply(self, change: Change) -> None:
        """A hold placed or released, or an erasure."""
        detail: dict[str, Any] = dict(change.detail)
        if change.kind == "hold":
            made = Hold(
                detail["id"],
                detail["agency"],
                detail["everything"],
                detail["what"],
                detail["agreement"],
                detail["reference"],
                datetime.fromisoformat(detail["at"]),
            )
            self._holds[made.id] = (made, detail, change.subject)
        elif change.kind == "hold-released":
            hold, about, subject = self._holds[detail["id"]]
            ended = replace(hold, released_at=datetime.fromisoformat(detail["at"]))
            self._holds[hold.id] = (ended, about, subject)
        elif change.kind == "erasure":
            self._erase(detail)
        elif not change.kind.startswith("erasure-plan"):
            raise ValueError(change.kind)

    def _erase(self, detail: dict[str, Any]) -> None:
        store, own = self._store, set(detail["agencies"])
        referrals, used = store.queues.referrals.rows, store.queues.overrides.rows
        for kept in store.entries:
            entry, draft = kept.draft.id, kept.draft
            if entry in detail["words"]:
                draft = replace(draft, words="")
                for rows in (referrals, used):
                    if entry in rows and rows[entry].status != "open":  # type: ignore[attr-defined]
                        rows[entry] = replace(rows[entry], words="")  # type: ignore[index,type-var]
            if entry in detail["entries"]:
                if self.held(kept):
                    raise AssertionError("under legal hold")
                if entry in referrals and referrals[entry].provider in own:
                    del referrals[entry]
                if entry in used and used[entry].provider in own:
                    used[entry] = replace(used[entry], used={}, words="", review={})
                for cases in (store.cases.accesses.rows, store.cases.complaints.rows):
                    if entry in cases and cases[entry].agency in own:  # type: ignore[attr-defined]
                        del cases[entry]  # type: ignore[attr-defined]
                left = [
                    "" if agency in own else agency
                    for agency in (draft.requester_agency, draft.provider_agency)
                ]
                draft = replace(draft, requester_agency=left[0], provider_agency=left[1])
                if not any(left):
                    draft = replace(draft, requester=None, provider=None, full={})
                    gone: Any = dataclasses.replace(kept.sealed, requester=None, provider=None)
                    object.__setattr__(gone, "full", None)
                    kept.sealed = gone
                    self.erased[entry] = detail["id"]
                    used.pop(entry, None)
            kept.draft = draft
        for each in detail["directives"]:
            del store.directives[each]
            self.erased[each] = detail["id"]
