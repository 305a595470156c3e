"""Plans of erasures in memory: one suite runs over these and over PostgreSQL's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from broker.core.model import SubjectRef
from broker.core.signingkey import Proposal
from broker.erasureplans import Disputed, ErasurePlan
from broker.ports import Change

if TYPE_CHECKING:
    from tests.support.memory import MemoryStore


class MemoryErasurePlans:
    """Implements `erasureplans.ErasurePlanStore`, and does what migration 0015 does."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.rows: dict[str, ErasurePlan] = {}

    def subject(self, subject: SubjectRef) -> bytes:
        """As `ErasurePlanStore.subject`."""
        return f"{subject.scheme}|{subject.value}".encode()

    async def planned(self, agencies: Collection[str], plan: str = "") -> list[ErasurePlan]:
        """As `ErasurePlanStore.planned`."""
        found = [each for each in self.rows.values() if each.agency in agencies and plan in ("", each.id)]
        return sorted(found, key=lambda each: each.proposal.at)

    async def disputed(
        self,
        entries: Mapping[str, Collection[SubjectRef]],
        subjects: Collection[SubjectRef],
        agencies: Collection[str],
        now: datetime,
    ) -> list[Disputed]:
        """As `ErasurePlanStore.disputed`."""
        queues, cases, wanted = self._store.queues, self._store.cases, set(entries)
        return [
            *(
                Disputed("review" if u.status == "open" else "finding", u.id, u.provider, u.requester)
                for u in queues.overrides.rows.values()
                if u.id in wanted
                and (u.status == "open" or (u.status != "justified" and u.requester in agencies))
            ),
            *(
                Disputed("restriction", r.override, r.provider, r.requester)
                for _, r in queues.overrides.restricted.values()
                if r.override in wanted and r.lifted_at is None and (r.until is None or r.until > now)
            ),
            *(
                Disputed("breach", b.id, b.provider, b.requester)
                for b in cases.breaches.rows.values()
                if b.id in wanted
            ),
            *self._open(entries, subjects, agencies),
        ]

    def _open(
        self,
        entries: Mapping[str, Collection[SubjectRef]],
        subjects: Collection[SubjectRef],
        agencies: Collection[str],
    ) -> list[Disputed]:
        cases = self._store.cases
        complained = Counter(
            c.agency
            for c in cases.complaints.rows.values()
            if c.agency in agencies
            and c.closed_at is None
            and cases.complaints.about.get(c.id) in (None, *subjects)
        )
        asked = Counter(
            a.agency
            for a in cases.accesses.rows.values()
            if a.issued_at is None
            and any(
                not set(cases.accesses.about[a.id]).isdisjoint(known)
                and cases.accesses.index_of(entry) < cases.accesses.index_of(a.id)
                for entry, known in entries.items()
            )
        )
        every = (("complaint", complained), ("access", asked))
        return [Disputed(kind, "", of, "", n) for kind, counted in every for of, n in counted.items()]

    def apply(self, change: Change) -> None:
        """A plan made or ended, or an erasure that carries one out."""
        detail: dict[str, Any] = dict(change.detail)
        if change.kind == "erasure-plan":
            at = datetime.fromisoformat(detail["at"])
            before = datetime.fromisoformat(detail["lapsed"])
            self.rows = {
                i: each
                for i, each in self.rows.items()
                if each.agency != detail["agency"] or each.proposal.at >= before
            }
            self.rows[detail["id"]] = ErasurePlan(
                detail["id"],
                detail["agency"],
                Proposal(detail["system"], detail["actor"], detail["key_digest"], at),
                detail["ground"],
                self.subject(change.subject) if change.subject else b"",
                tuple(detail["asked"]),
                detail["words_only"],
                tuple(detail["entries"]),
                tuple(detail["directives"]),
            )
        elif change.kind == "erasure-plan-ended":
            del self.rows[detail["id"]]
        elif change.kind == "erasure" and detail.get("plan_done"):
            del self.rows[detail["plan_done"]]
