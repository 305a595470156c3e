"""Recorded decisions made again, on what was true when they were made: does the log say what the rules say?

Owns the verdict on each. Refuses to pretend: where law files have changed, or what a decision read has lawfully
been erased since, it says so, and calls nothing a mismatch that it cannot judge.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from broker.administration import Administration, why
from broker.core import canonical
from broker.core.canonical import Json
from broker.core.decision import decide
from broker.core.directive import Directive
from broker.core.entry import Rotation, parse_entry
from broker.core.merkle import EMPTY_RANGE, CompactRange, leaf_hash
from broker.core.model import Actor, Caller, Decision, Function, Reason, SubjectRef
from broker.core.recorded import Recorded, Ruling, is_decision
from broker.core.reference import Reference
from broker.errors import IntegrityError, InvalidRequest, KeptElsewhere
from broker.past import MOST, Leaf, Past
from broker.registry import require
from broker.seats import Seats

PAGE = 200
# Decisions made between two looks at whether somebody waits for a record.
STEP = 8
_DIRECTIVE = "directive "
_VIEWS = "what the entry says"


class Verdict(StrEnum):
    """What came of making a decision again."""

    SAME = "same"
    DIFFERS = "differs"
    # The law files are others than those it was made under, and it would be made otherwise under ours.
    LAW_DIFFERS = "law-differs"
    # Something that it read has been erased since.
    ERASED = "erased"
    # The stored view is not the one that the entry commits to.
    TAMPERED = "tampered"
    # No decision: a change, a look, an acknowledgement.
    NONE = "none"


MISMATCHES = frozenset({Verdict.DIFFERS, Verdict.TAMPERED})


class Replayed(Struct, frozen=True):
    """One entry's replay. `differences` name what differs, recorded first; `erased` what is gone since, and
    `erased_by` the entries that say so; `law_differs` that our law files are others than those it was decided
    under, whatever came of it."""

    verdict: Verdict
    differences: tuple[str, ...] = ()
    erased: tuple[str, ...] = ()
    law_differs: bool = False
    decision: Decision | None = None
    reference: Reference | None = None
    said: tuple[Directive, ...] = ()
    erased_by: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether it can be told that this is a decision, or is none: not where its views are gone."""
        return _VIEWS not in self.erased

    @property
    def erased_directives(self) -> tuple[str, ...]:
        """The ids of directives among what was erased."""
        return tuple(each.removeprefix(_DIRECTIVE) for each in self.erased if each.startswith(_DIRECTIVE))


class Found(Struct, frozen=True):
    """One entry that is worth naming."""

    index: int
    entry: str
    replayed: Replayed


class Progress(Struct, frozen=True):
    """How far a replay of the log has come: `index` is where to go on, `size` where it ends. Entries whose
    views are gone are among the `erased` and not the `decisions`: nobody can say any more what they were."""

    index: int
    size: int
    decisions: int
    same: int
    law_differs: int
    erased: int
    mismatches: int
    found: tuple[Found, ...]


class Opened(Struct, frozen=True):
    """A leaf, its id, and its full view: None where that was erased, or is `wrong`."""

    index: int
    entry: str
    full: dict[str, Json] | None
    wrong: str = ""
    at: datetime | None = None


def opened(leaf: Leaf) -> Opened:
    """The full view of a leaf, held against what the entry commits to."""
    try:
        entry = parse_entry(leaf.entry)
    except IntegrityError as e:
        return Opened(leaf.index, "", None, str(e))
    if isinstance(entry, Rotation):
        return Opened(leaf.index, entry.id, {})
    if leaf.wrong or leaf.opening is None:
        return Opened(leaf.index, entry.id, None, leaf.wrong, entry.at)
    if not leaf.opening.opens(entry.full):
        return Opened(
            leaf.index, entry.id, None, "the stored full view is not the one that the entry commits to"
        )
    try:
        return Opened(leaf.index, entry.id, canonical.decode_object(leaf.opening.view))
    except IntegrityError as e:
        return Opened(leaf.index, entry.id, None, str(e))


class Replays:
    """Makes decisions of the past again."""

    def __init__(self, administration: Administration, past: Past) -> None:
        self._administration = administration
        self._past = past
        self._seats = Seats(1, "replays")

    async def one(self, full: dict[str, Json]) -> Replayed:
        """The decision of a full view that has been verified."""
        if not is_decision(full):
            return Replayed(Verdict.NONE)
        try:
            recorded = Recorded.of(full)
        except IntegrityError as e:
            return Replayed(Verdict.DIFFERS, (str(e),))
        said = await self._past.directives([(s, recorded.policy) for s in recorded.subjects])
        return await self._named(await self._again(recorded, said))

    async def log(
        self, caller: Caller, since: int, until: int, actor: Actor, reason: Reason, log: str = ""
    ) -> AsyncIterator[Progress]:
        """Every decision of a log from the place `since` on (`until` 0: to its end), page by page. `log` is its
        origin or half-year; empty: the current one.

        Auditors only. That somebody looked, and at which range, is committed before anything is shown. What is
        replayed from the first entry to the last is held against the root of the tree as well.
        """
        require(caller, Function.AUDITOR)
        why(reason)
        log = log or (await self._past.chain())[0]
        try:
            size, _ = await self._past.head(log)
        except KeyError as e:
            raise InvalidRequest("log", "is no log of this broker") from e
        end = min(until or size, size)
        if since > end:
            raise InvalidRequest("since", f"the log has {size} entries; places are counted from 0")
        with self._seats.one(caller.name):
            detail: dict[str, Json] = {"log": log, "since": since, "until": end}
            await self._administration.note_look(caller, "log-replayed", detail, actor, reason)
            progress = Progress(since, end, 0, 0, 0, 0, 0, ())
            yield progress
            tree = EMPTY_RANGE
            while progress.index < end:
                leaves = await self._leaves(progress.index, min(progress.index + PAGE, end), log)
                if not leaves or leaves[0].index != progress.index:
                    raise IntegrityError(f"the log has no entry {progress.index}, and it has {size}")
                progress = await self._page(progress, leaves)
                tree = tree.extend(leaf_hash(leaf.entry) for leaf in leaves) if since == 0 else tree
                if progress.index == size and since == 0 and not await self._makes_the_tree(tree, log):
                    progress = _not_the_tree(progress)
                yield progress

    async def _leaves(self, start: int, end: int, log: str) -> Sequence[Leaf]:
        try:
            return await self._past.leaves(start, end, log)
        except KeptElsewhere as e:
            raise e.asked_as("since", "begin after what was dropped, or end before it: ") from e

    async def _makes_the_tree(self, tree: CompactRange, log: str) -> bool:
        """Whether these entries, with those that have come since, make the root of the log."""
        size, root = await self._past.head(log)
        while tree.size < size:
            leaves = await self._leaves(tree.size, min(tree.size + MOST, size), log)
            if not leaves:
                return False
            tree = tree.extend(leaf_hash(leaf.entry) for leaf in leaves)
        return tree.root() == root

    async def _page(self, progress: Progress, leaves: Sequence[Leaf]) -> Progress:
        pages = [opened(leaf) for leaf in leaves]
        counts: dict[Verdict, int] = dict.fromkeys(Verdict, 0)
        unknown = 0
        found: list[Found] = []
        async for each, replayed in self._replayed(pages):
            counts[replayed.verdict] += 1
            unknown += not replayed.known
            if replayed.verdict not in (Verdict.SAME, Verdict.NONE):
                slim = replace(replayed, decision=None, reference=None, said=())
                found.append(Found(each.index, each.entry, slim))
        return Progress(
            leaves[-1].index + 1,
            progress.size,
            progress.decisions + sum(counts.values()) - counts[Verdict.NONE] - unknown,
            progress.same + counts[Verdict.SAME],
            progress.law_differs + counts[Verdict.LAW_DIFFERS],
            progress.erased + counts[Verdict.ERASED],
            progress.mismatches + sum(counts[v] for v in MISMATCHES),
            tuple(found),
        )

    async def _replayed(self, pages: Sequence[Opened]) -> AsyncIterator[tuple[Opened, Replayed]]:
        """Each entry's replay; what had been said is read for all of them together."""
        parsed: list[tuple[Opened, Recorded | Replayed]] = [(each, _parsed(each)) for each in pages]
        asked = [(s, made.policy) for _, made in parsed if isinstance(made, Recorded) for s in made.subjects]
        said = await self._past.directives(asked) if asked else {}
        for n, (each, made) in enumerate(parsed):
            if n % STEP == 0:
                await asyncio.sleep(0)
            replayed = made if isinstance(made, Replayed) else await self._again(made, said)
            yield each, await self._named(replayed, each)

    async def _named(self, replayed: Replayed, each: Opened | None = None) -> Replayed:
        """With the entries that say that what is gone was erased."""
        if not replayed.erased:
            return replayed
        items: list[tuple[str, datetime | None]] = [(said, None) for said in replayed.erased_directives]
        if each is not None and each.full is None:
            items.append((each.entry, each.at))
        by = await self._past.erased_by(items)
        return replace(replayed, erased_by=tuple(sorted(set(by.values()))))

    async def _again(self, recorded: Recorded, said: Said) -> Replayed:
        try:
            reference = await self._past.reference(recorded.reference)
        except InvalidRequest as e:
            # An agreement was parsed when it was applied: only our law files can have changed since.
            return Replayed(Verdict.LAW_DIFFERS, (f"an agreement of then: {e}",), law_differs=True)
        heard = {s: said.get((s, recorded.policy), ()) for s in recorded.subjects}
        decision = again(recorded, reference, heard)
        known = {d.id for each in heard.values() for d in each}
        erased = tuple(f"{_DIRECTIVE}{each}" for each in sorted(recorded.said - known))
        added = tuple(f"{_DIRECTIVE}{each}: was not there then" for each in sorted(known - recorded.said))
        differences = recorded.ruling.differs_from(Ruling.of(decision)) + added
        law_differs = recorded.law != reference.law.digest
        if added:
            verdict = Verdict.DIFFERS
        elif erased:
            verdict = Verdict.ERASED
        elif not differences:
            verdict = Verdict.SAME
        else:
            verdict = Verdict.LAW_DIFFERS if law_differs else Verdict.DIFFERS
        heard_all = tuple(d for each in heard.values() for d in each)
        return Replayed(verdict, differences, erased, law_differs, decision, reference, heard_all)


def _not_the_tree(progress: Progress) -> Progress:
    """An entry's own bytes were changed: which one, only its receipt or a copy of the log can say."""
    why = Replayed(Verdict.TAMPERED, ("the entries from the first to the last do not make the log's root",))
    found = Found(progress.size, "", why)
    return replace(progress, mismatches=progress.mismatches + 1, found=(*progress.found, found))


Said = Mapping[tuple[SubjectRef, int], tuple[Directive, ...]]


def again(
    recorded: Recorded, reference: Reference, said: Mapping[SubjectRef, tuple[Directive, ...]]
) -> Decision:
    """The recorded request, decided at its own moment on these inputs."""
    subject = recorded.request.subject
    own = said.get(subject, ()) if subject else ()
    linked = [d for s in recorded.learnt for d in said.get(s, ())]
    return decide(recorded.asked, reference, own, recorded.now, linked, recorded.grant, recorded.restricted)


def _parsed(each: Opened) -> Recorded | Replayed:
    """The decision to make again, or why there is none."""
    if each.full is None:
        if each.wrong:
            return Replayed(Verdict.TAMPERED, (each.wrong,))
        return Replayed(Verdict.ERASED, erased=(_VIEWS,))
    if not is_decision(each.full):
        return Replayed(Verdict.NONE)
    try:
        return Recorded.of(each.full)
    except IntegrityError as e:
        return Replayed(Verdict.DIFFERS, (str(e),))
