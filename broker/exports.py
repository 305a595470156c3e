"""Use case of taking entries away: what a search would show, with everything that proves it, to one checkpoint.

Who may see what is decided by the search's own rule, entry by entry. Refuses to read before the export itself
is an entry; and it holds every entry of its range that the caller may see, whatever the search index has come
to, or fails. What the caller may not see shows in nothing: parts end after so many rows that are given, or at
fixed places of the log, and leave a party at fixed moments.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from msgspec import Struct
from msgspec.structs import replace

from broker import ranges
from broker.administration import Administration, Made
from broker.audience import seen
from broker.core.canonical import Json
from broker.core.checkpoint import Checkpoint
from broker.core.entry import Entry, Opening, parse_entry
from broker.core.model import Actor, Caller, Function, Reason
from broker.core.note import Note
from broker.core.receipt import Audience
from broker.core.searchterms import Question
from broker.entryrows import SLACK, WINDOW, EntryRow, EntryRows, Half, Wanted
from broker.erased import missing
from broker.errors import IntegrityError
from broker.evenly import asked_at, evenly
from broker.heritage import Heritage
from broker.ports import Clock, LogView, Remains
from broker.questioning import check, check_agreements, question_detail
from broker.ranges import Range
from broker.searches import Searches
from broker.seats import Seats

AT_ONCE = 2  # exports of one system at a worker: a broken one may still be ending when it is resumed
MOST = 128  # rows of a part


class Head(Struct, frozen=True):
    """What is the same for every row. `range` is settled; `whole` says that every entry of it is a row;
    `incidents` are all numbers of the one that was asked for. `others` are the logs that have entries of the
    time asked about as well: none of these is in here. `erased` says in words what has been erased of the
    range, where it does not stand there as rows. The export's own `entry` stands at `index` of `entry_log`."""

    checkpoint: bytes
    range: Range
    entry: str
    index: int
    agency: str
    whole: bool
    incidents: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    entry_log: str = ""
    erased: tuple[str, ...] = ()


class Row(Struct, frozen=True):
    """An entry to take away: no audience and no opening where its views are gone, and no bytes where they are
    kept in an export alone, and whoever takes it has that."""

    index: int
    entry: bytes
    audience: Audience | None
    opening: Opening | None
    proof: tuple[bytes, ...]


class Part(Struct, frozen=True):
    """The next rows. Every entry below `looked` has been looked at; in a whole range `closed` of them could not
    be opened. In any other nobody can say of how many that was asked: the head says what was erased."""

    rows: tuple[Row, ...]
    looked: int
    closed: int = 0


# An entry that is given, in whose view; in none where that cannot be opened.
_Shown = tuple[EntryRow, Audience | None]


class Exports:
    """Gives entries to people who take them away."""

    def __init__(
        self,
        administration: Administration,
        log: LogView,
        entries: EntryRows,
        searches: Searches,
        heritage: Heritage,
        clock: Clock,
    ) -> None:
        self._administration = administration
        self._searches = searches
        self._log = log
        self._entries = entries
        self._heritage = heritage
        self._clock = clock
        self._seats = Seats(AT_ONCE, "exports")

    async def export(
        self,
        caller: Caller,
        question: Question,
        within: Range,
        actor: Actor,
        reason: Reason,
        *,
        form: str = "",
        resumes: str = "",
        archived: bool = False,
        in_place_of: str = "",
    ) -> AsyncIterator[Head | Part]:
        """The head, then every row in the log's order, a part at a time. `archived` says that the caller has
        the entries that are kept in an export alone.

        That somebody takes them is committed before anything is read; and how many rows it was, once all have
        been given: without that entry an export does not end well, and one that was cut off has none.

        Raises InvalidRequest, KeptElsewhere, NotAllowed, Saturated, AuditUnavailable.
        """
        check(caller, question, reason)
        if any(kind == "agreement" for kind, _ in question.facts):
            check_agreements(question, await self._heritage.agreements())
        asked = asked_at()
        halves = await self._entries.halves()
        own = ranges.named(halves, within.log)
        ranges.fits(within, own)
        eyes = await self._heritage.eyes(caller, in_place_of)
        with self._seats.one(caller.name):
            noted = await self._note(caller, question, within, actor, reason, form, resumes, in_place_of)
            head = await self._head(caller, question, replace(within, log=own.origin), noted, halves)
            # By what was said before the range ends: the same range is the same export whenever it is made.
            question = await self._searches.incidents.widened(eyes, question, own.origin, head.range.before)
            erased = await self._erased(eyes, caller, question, head, own)
            await evenly(caller, asked)
            yield replace(head, incidents=question.incidents, erased=erased)
            rows = closed = 0
            async for part in self._parts(eyes, question, head, archived):
                await evenly(caller, asked)
                yield part
                rows, closed = rows + len(part.rows), closed + part.closed
            await self._ended(caller, head, rows, closed, actor, reason)

    async def _note(
        self,
        caller: Caller,
        question: Question,
        within: Range,
        actor: Actor,
        reason: Reason,
        form: str,
        resumes: str,
        in_place_of: str,
    ) -> Made:
        detail: dict[str, Json] = {
            **question_detail(question),
            "first": within.first,
            "before": within.before or None,
            "size": within.size or None,
            "log": within.log or None,
            "format": form or None,
            "resumes": resumes or None,
            "in_place_of": in_place_of or None,
        }
        return await self._administration.note_look(caller, "log-exported", detail, actor, reason)

    async def _ended(
        self, caller: Caller, head: Head, rows: int, closed: int, actor: Actor, reason: Reason
    ) -> None:
        """That all was given that the entry of this export asked for, and how much: it names that entry."""
        detail: dict[str, Json] = {
            "ends": head.entry,
            "rows": rows,
            "closed": closed,
            "first": head.range.first,
            "before": head.range.before,
            "log": head.range.log,
        }
        await self._administration.note_look(
            caller, "log-exported", detail, actor, Reason(reason.code), counted=False
        )

    async def _head(
        self, caller: Caller, question: Question, within: Range, made: Made, halves: tuple[Half, ...]
    ) -> Head:
        _, note = await self._log.consistency(within.size, within.size, within.log)
        size = Checkpoint.parse(Note.parse(note).text).size
        if within.size and within.size != size:
            raise ranges.closed(within.log, size)
        end = size
        if made.log == within.log:
            if size <= made.receipt.index and not within.size:
                raise IntegrityError("the log is smaller than the entry that was just made")
            # An export does not hold its own entry, nor what has come since it began.
            end = min(size, made.receipt.index)
        before = min(within.before or end, end)
        return Head(
            note,
            Range(within.first, max(before, within.first), size, within.log),
            made.event_id,
            made.receipt.index,
            caller.agency,
            _whole(caller, question),
            others=ranges.others(halves, question, within),
            entry_log=made.log,
        )

    async def _erased(
        self, eyes: Caller, caller: Caller, question: Question, head: Head, half: Half
    ) -> tuple[str, ...]:
        """What has been erased of the range, as a report says it."""
        if head.whole:
            return ()

        def within(found: Remains) -> bool:
            return found.log == head.range.log and head.range.first <= found.index < head.range.before

        since = max(half.opened_at - SLACK, question.since or half.opened_at - SLACK)
        ended = half.closed_at + SLACK if half.closed_at else None
        until = min((each for each in (ended, question.until) if each is not None), default=None)
        told = await missing(
            self._searches,
            head.entry_log,
            head.index,
            (eyes, caller),
            (since, until),
            within,
            "these places",
        )
        return tuple(f"{name}: {text}" for name, text in told)

    async def _parts(
        self, caller: Caller, question: Question, head: Head, archived: bool
    ) -> AsyncIterator[Part]:
        """Cut after MOST rows, or where a window of places ends: by nothing that is not given."""
        shown, closed, told = list[_Shown](), 0, -1
        async for row, looked in self._looked(caller, question, head):
            if row is not None:
                found, unopened = _shown(caller, question, head.whole, row)
                shown += found
                closed += unopened
            if len(shown) == MOST or (row is None and (shown or closed)):
                yield await self._part(head, shown, looked, closed, archived)
                shown, closed, told = [], 0, looked
        if told != head.range.before:
            yield Part((), head.range.before)

    async def _looked(
        self, caller: Caller, question: Question, head: Head
    ) -> AsyncIterator[tuple[EntryRow | None, int]]:
        """The entries of interest, each with the place after it; and none where a window of places ends."""
        party = caller.agency if caller.function is Function.PARTNER else ""
        wanted = Wanted(question.ways(), party, question.since, question.until)
        log, last = head.range.log, head.range.before
        at, end = await self._entries.span(log, wanted, head.range.first, last)
        while at < end:
            begun = self._clock.loop_time()
            looked = await self._entries.rows(log, wanted, at, min(end, (at // WINDOW + 1) * WINDOW))
            at = looked.up_to
            await self._rest(begun)
            for row in looked.rows:
                yield row, row.hit.index + 1
            if at % WINDOW == 0 or at >= end:
                yield None, at

    async def _rest(self, begun: float) -> None:
        """Requests go first: at most half of a worker's time."""
        now = self._clock.loop_time()
        await self._clock.until(now + now - begun)

    async def _part(self, head: Head, shown: list[_Shown], looked: int, closed: int, archived: bool) -> Part:
        for row, _ in shown:
            if not row.entry and not archived:
                await self._log.receipt(row.hit.id, Audience.FULL.value)  # says where it is
                raise IntegrityError(f"entry {row.hit.index} has no bytes")
        within, begun = head.range, self._clock.loop_time()
        proofs = await self._entries.proofs(within.log, [row.hit.index for row, _ in shown], within.size)
        made = tuple(
            Row(row.hit.index, row.entry, audience, row.openings.get(audience or ""), proof)
            for (row, audience), proof in zip(shown, proofs, strict=True)
        )
        await self._rest(begun)
        return Part(made, looked, closed)


def _shown(caller: Caller, question: Question, whole: bool, row: EntryRow) -> tuple[list[_Shown], int]:
    """The row as it is given, if it is, and whether it is one that could not be opened: of a whole range alone,
    since elsewhere nobody can say whether it was asked for."""
    if not _in_time(question, row):
        return [], 0
    if not row.openings:
        return ([(row, None)], int(_opens(row.entry))) if whole else ([], 0)
    found = seen(caller, question, row.hit)
    return ([(row, found.audience)] if found is not None else []), 0


def _whole(caller: Caller, question: Question) -> bool:
    return caller.function is Function.AUDITOR and question == Question()


def _opens(entry: bytes) -> bool:
    """Whether it ever opened to anything: one that links two half-years is in clear, and never dropped."""
    return not entry or isinstance(parse_entry(entry), Entry)


def _in_time(question: Question, row: EntryRow) -> bool:
    at = row.hit.at
    return (question.since is None or at >= question.since) and (question.until is None or at < question.until)
