"""Use case of planning: what applying agreements would change, tried on decisions that were really made.

Each recorded decision of a flow that is touched is made twice: by the agreements of today and by the planned
ones, both as if they had been in force then. The directory, the keys, what people had said and the hour are
those of the decision, so that nothing flips but by the agreements. Nothing is stored but the entry of the look.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from broker.administration import Administration, why
from broker.agreements import Agreements
from broker.core import agreement as files
from broker.core.agreement import Agreement
from broker.core.canonical import Json
from broker.core.entry import parse_entry
from broker.core.flow import FlowKey
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.planned import (
    Flip,
    FlowChange,
    as_planned,
    came_out_as,
    flip,
    flow_changes,
    of_today,
    swapped,
)
from broker.core.recorded import Recorded, is_decision
from broker.core.reference import Reference
from broker.errors import IntegrityError, InvalidRequest, KeptElsewhere
from broker.past import Leaf, Past
from broker.ports import Clock, ReferenceSource
from broker.registry import require
from broker.replays import PAGE, STEP
from broker.seats import Seats
from broker.verdicts import Opened, Said, again, opened

ENTRIES, MOST_ENTRIES = 10_000, 100_000
DAYS, MOST_DAYS = 30, 3660
MOST_FILES = 100
_PAIRS = 8


class Planned(Struct, frozen=True):
    """How far a plan has come; `flips` are those found since the last, by entry."""

    event_id: str
    changes: tuple[FlowChange, ...]
    size: int
    read: int = 0
    decisions: int = 0
    moved: int = 0
    unread: int = 0
    counts: Mapping[str, int] = {}
    flips: tuple[tuple[str, Flip], ...] = ()
    done: bool = False


class Sample(Struct, frozen=True):
    """What to try it on: the newest `entries` of the log (0: 10,000), none older than `days` (0: 30)."""

    entries: int = 0
    days: int = 0

    def bounded(self) -> Sample:
        """With what was left out filled in. Raises InvalidRequest past the bounds."""
        if self.entries > MOST_ENTRIES:
            raise InvalidRequest("entries", f"at most {MOST_ENTRIES}")
        if self.days > MOST_DAYS:
            raise InvalidRequest("days", f"at most {MOST_DAYS}")
        return Sample(self.entries or ENTRIES, self.days or DAYS)


class _Trial:
    """Today's agreements and the planned ones, beside the directory of any day."""

    def __init__(
        self,
        now: Reference,
        planned: Sequence[Agreement],
        at: datetime,
        labels: Mapping[str, Mapping[str, frozenset[str]]],
    ) -> None:
        ids = {a.id for a in planned}
        ids |= {a.supersedes for a in planned if a.supersedes}
        known = now.agreements
        self.changes = tuple(
            c for a in planned for c in flow_changes(known.get(a.id), a, known.get(a.supersedes or ""))
        )
        self.touched = frozenset(c.key for c in self.changes)
        near = [a for a in now.agreements.values() if a.id in ids or self._touches(a)]
        self._today = of_today(near, at)
        self._planned = as_planned(planned, self._today, at)
        self._now, self._labels = now, labels
        self._pairs: OrderedDict[int, tuple[Reference, Reference]] = OrderedDict()

    def _touches(self, agreement: Agreement) -> bool:
        flows = agreement.flows
        keys = (FlowKey(f.requester, f.provider, f.record_type, agreement.purpose) for f in flows)
        return any(key in self.touched for key in keys)

    def beside(self, then: Reference) -> tuple[Reference, Reference]:
        """What a decision of then would read today, and by the plan."""
        pair = self._pairs.get(then.policy)
        if pair is None:
            today, planned = (
                swapped(then, self._now, each, self._labels) for each in (self._today, self._planned)
            )
            pair = self._pairs[then.policy] = today, planned
            if len(self._pairs) > _PAIRS:
                self._pairs.popitem(last=False)
        return pair


class Plans:
    """Says what a change of agreements would do."""

    def __init__(
        self,
        administration: Administration,
        agreements: Agreements,
        reference: ReferenceSource,
        past: Past,
        clock: Clock,
    ) -> None:
        self._administration = administration
        self._agreements = agreements
        self._reference = reference
        self._past = past
        self._clock = clock
        self._seats = Seats(1, "plans")

    async def plan(
        self, caller: Caller, data: Sequence[bytes], sample: Sample, actor: Actor, reason: Reason
    ) -> AsyncIterator[Planned]:
        """What applying these files together would change, page by page of the log, newest first.

        Operators and auditors. Raises InvalidRequest naming the file and its key where one could not be
        applied but for its signatures.
        """
        require(caller, Function.OPERATOR, Function.AUDITOR)
        sample = sample.bounded()
        why(reason)
        now, at = await self._reference.refresh(), self._clock.now()
        planned = self._parsed(data, now)
        with self._seats.one(caller.name):
            trial = _Trial(now, planned, at, self._reference.catalogue.labels)
            ranges = await self._newest(sample.entries)
            detail: dict[str, Json] = {
                "files": [
                    {"agreement": a.label, "digest": files.digest(d)}
                    for a, d in zip(planned, data, strict=True)
                ],
                "entries": sample.entries,
                "days": sample.days,
            }
            made = await self._administration.note_look(caller, "agreement-planned", detail, actor, reason)
            progress = Planned(made.event_id, trial.changes, sum(end - start for _, start, end in ranges))
            yield progress
            oldest = at - timedelta(days=sample.days)
            for log, start, end in ranges:
                while end > start and trial.touched and not progress.done:
                    begin = max(start, end - PAGE)
                    leaves = await self._leaves(begin, end, log)
                    progress = await self._page(progress, trial, leaves, oldest)
                    end = begin
                    if end > start and not progress.done:
                        yield progress
            yield _ended(progress)

    async def _leaves(self, begin: int, end: int, log: str) -> Sequence[Leaf]:
        try:
            return await self._past.leaves(begin, end, log)
        except KeptElsewhere as e:
            raise e.asked_as("sample_entries", "reach back to what was dropped, so ask for fewer: ") from e

    async def _newest(self, entries: int) -> list[tuple[str, int, int]]:
        """Where the newest so many entries are: log, first, and the one after the last; newest log first."""
        found: list[tuple[str, int, int]] = []
        for log in await self._past.chain():
            end, _ = await self._past.head(log)
            found.append((log, max(0, end - entries), end))
            entries -= end
            if entries <= 0:
                break
        return found

    def _parsed(self, data: Sequence[bytes], reference: Reference) -> list[Agreement]:
        """The files, each checked beside those before it."""
        if not data:
            raise InvalidRequest("files", "is required")
        if len(data) > MOST_FILES:
            raise InvalidRequest("files", f"more than {MOST_FILES}")
        planned: list[Agreement] = []
        labels = self._reference.catalogue.labels
        for n, file in enumerate(data):
            try:
                agreement = files.parse(file, reference.law)
                self._agreements.check(agreement, reference)
            except InvalidRequest as e:
                raise InvalidRequest(f"files.{n}.{e.field}", e.problem) from e
            planned.append(agreement)
            others = (a for a in reference.agreements.values() if a.id != agreement.id)
            reference = swapped(reference, reference, (*others, agreement), labels)
        return planned

    async def _page(
        self, progress: Planned, trial: _Trial, leaves: Sequence[Leaf], oldest: datetime
    ) -> Planned:
        young = [leaf for leaf in leaves if parse_entry(leaf.entry).at >= oldest]
        unread = 0
        chosen: list[tuple[Opened, Recorded]] = []
        for each in map(opened, reversed(young)):
            if each.full is None:
                unread += 1
            elif _touched(each.full, trial.touched):
                try:
                    chosen.append((each, Recorded.of(each.full)))
                except IntegrityError:
                    unread += 1
        said = await self._past.directives([(s, r.policy) for _, r in chosen for s in r.subjects])
        counts, flips, moved = Counter(progress.counts), [], 0
        for n, (each, recorded) in enumerate(chosen):
            if n % STEP == 0:
                await asyncio.sleep(0)
            try:
                then = await self._past.reference(recorded.reference)
            except InvalidRequest:  # an agreement of then, by law files that are gone
                unread += 1
                continue
            found, was_moved = _tried(recorded, trial.beside(then), said)
            moved += was_moved
            if found is not None:
                counts[found.kind] += 1
                flips.append((each.entry, found))
        return Planned(
            progress.event_id,
            progress.changes,
            progress.size,
            progress.read + len(young),
            progress.decisions + len(chosen),
            progress.moved + moved,
            progress.unread + unread,
            dict(counts),
            tuple(flips),
            done=len(young) < len(leaves),
        )


def _touched(full: Mapping[str, Json], touched: frozenset[FlowKey]) -> bool:
    """Whether this is how a request of one of these flows ended; its intent comes before that."""
    if not is_decision(full) or full.get("event") == "intent":
        return False
    names = (full.get("requester"), full.get("provider"), full.get("record_type"), full.get("purpose"))
    return FlowKey(*(str(name) for name in names)) in touched


def _tried(recorded: Recorded, pair: tuple[Reference, Reference], said: Said) -> tuple[Flip | None, bool]:
    """How it would flip; and whether already today it would come out otherwise than it did."""
    heard = {s: said.get((s, recorded.policy), ()) for s in recorded.subjects}
    today, planned = (again(recorded, reference, heard) for reference in pair)
    return flip(today, planned), not came_out_as(today, recorded.ruling)


def _ended(progress: Planned) -> Planned:
    return Planned(
        progress.event_id,
        progress.changes,
        progress.size,
        progress.read,
        progress.decisions,
        progress.moved,
        progress.unread,
        progress.counts,
        progress.flips,
        done=True,
    )
