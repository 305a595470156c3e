"""Recorded decisions made again, on what was true when they were made: does the log say what the rules say?

Owns how much of a log is read and decided at a time; the verdict on each is for `verdicts`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from broker.administration import Administration, why
from broker.core.canonical import Json
from broker.core.merkle import EMPTY_RANGE, CompactRange, leaf_hash
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.recorded import Recorded
from broker.errors import IntegrityError, InvalidRequest, KeptElsewhere
from broker.past import MOST, Leaf, Past
from broker.registry import require
from broker.seats import Seats
from broker.verdicts import (
    MISMATCHES,
    Opened,
    Replayed,
    Said,
    Verdict,
    judged,
    opened,
    recorded_at,
    recorded_in,
    said_so,
)

PAGE = 200
# Decisions made between two looks at whether somebody waits for a record.
STEP = 8


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


class Replays:
    """Makes decisions of the past again."""

    def __init__(self, administration: Administration, past: Past) -> None:
        self._administration = administration
        self._past = past
        self._seats = Seats(1, "replays")

    async def one(self, full: dict[str, Json]) -> Replayed:
        """The decision of a full view that has been verified."""
        recorded = recorded_in(full)
        if isinstance(recorded, Replayed):
            return recorded
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
        parsed: list[tuple[Opened, Recorded | Replayed]] = [(each, recorded_at(each)) for each in pages]
        asked = [(s, made.policy) for _, made in parsed if isinstance(made, Recorded) for s in made.subjects]
        said = await self._past.directives(asked) if asked else {}
        for n, (each, made) in enumerate(parsed):
            if n % STEP == 0:
                await asyncio.sleep(0)
            replayed = made if isinstance(made, Replayed) else await self._again(made, said)
            yield each, await self._named(replayed, each)

    async def _named(self, replayed: Replayed, each: Opened | None = None) -> Replayed:
        """With the entries that say that what is gone was erased; what none says is no erasure."""
        if not replayed.erased:
            return replayed
        items: list[tuple[str, datetime | None]] = [(said, None) for said in replayed.erased_directives]
        if each is not None and not replayed.known:
            items.append((each.entry, each.at))
        by = await self._past.erased_by(items)
        return said_so(replayed, by, each.entry if each is not None else "")

    async def _again(self, recorded: Recorded, said: Said) -> Replayed:
        try:
            reference = await self._past.reference(recorded.reference)
        except InvalidRequest as e:
            # An agreement was parsed when it was applied: only our law files can have changed since.
            return Replayed(Verdict.LAW_DIFFERS, (f"an agreement of then: {e}",), law_differs=True)
        return judged(recorded, reference, said)


def _not_the_tree(progress: Progress) -> Progress:
    """An entry's own bytes were changed: which one, only its receipt or a copy of the log can say."""
    why = Replayed(Verdict.TAMPERED, ("the entries from the first to the last do not make the log's root",))
    found = Found(progress.size, "", why)
    return replace(progress, mismatches=progress.mismatches + 1, found=(*progress.found, found))
