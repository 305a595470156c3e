"""`fsck` of a database: the order of the checks, and what was signed that the derived tree must agree with.

Believes nothing that stands in the database by itself. What decides are checkpoints that the log's key signed,
and the guard's memory of the last one, wherever they come from; without any, the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import asyncpg

from broker.core.checkpoint import Verifier
from broker.core.merkle import CompactRange
from broker.errors import IntegrityError
from broker.keys import KeyRing
from broker.offline.archive import Archive
from broker.offline.marks import Judgement, Mark, unlike
from broker.offline.source import Unreadable
from broker.store.blind import Blind
from broker.store.fsck import again, beside, links
from broker.store.fsck.compare import Compare
from broker.store.fsck.elsewhere import Elsewhere
from broker.store.fsck.entries import Entries
from broker.store.fsck.gone import Gone, judge
from broker.store.fsck.notes import Kept, Notes
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import place, snapshot
from broker.store.fsck.state import Judge, Lost
from broker.store.fsck.told import Told
from broker.store.fsck.views import Views
from broker.store.said import Said

_VIEW_KEYS = "select id, month, class, wrapped from view_key"
NOT_COMPARED = (
    "whether claims lead to the entries of what was asked, whether anything was destroyed past a legal hold, "
    "and whether the rows of humans' work are what their entries say: the key folder of this database was not "
    "given (--keys)"
)
Progress = Callable[[int, int], None]


async def fsck_database(
    dsn: str,
    verifiers: Sequence[Verifier],
    ring: KeyRing | None = None,
    kept: Kept | None = None,
    progress: Progress = lambda _done, _of: None,
    archives: Sequence[Archive] = (),
) -> StoreReport:
    """Check every log of a database: the report is the current one's, and has those of `earlier` logs.
    `archives` are folders that closed logs were exported to.

    Raises Unreadable where it cannot be read to the end.
    """
    async with snapshot(dsn) as connection:
        logs = await connection.fetch("select *, clock_timestamp() as now from log order by id")
        if not logs:
            raise Unreadable(place(dsn), "holds no log yet")
        marks = Notes(connection, verifiers, kept or Kept(), frozenset(log["origin"] for log in logs))
        said, told, compare = Said(), await _told(connection, ring), await _compare(connection, ring)
        made = [_Fsck(connection, log, verifiers, marks, archives, said, told, compare) for log in logs]
        reports = [await each.run(ring, progress) for each in made]
        by_log = {log["id"]: report for log, report in zip(logs, reports, strict=True)}
        if ring is not None:
            # What an entry says of another may stand in a later log.
            gone = [each.gone for each in made if each.gone is not None]
            await judge(connection, said, gone)
            # Before it is known what is there again: that was heard like any other.
            lost = Lost(connection, told, said, gone) if told is not None else None
            await again.check(connection, said, by_log)
            if told is not None and lost is not None:
                await Judge(connection, told, said, lost, by_log).run()
            if compare is not None:
                await compare.judge(said, Views(ring, await connection.fetch(_VIEW_KEYS)), by_log)
        else:
            await again.check(connection, None, by_log)
        await links.judge(connection, logs, reports)
        if told is None:
            reports[-1].unchecked.append(
                "whether what decisions read (systems, agreements, directives, holds ...) is what the log "
                "says: the key ring of this database was not given (--keys)"
            )
        if compare is None:
            reports[-1].unchecked.append(NOT_COMPARED)
        for report in reports:
            report.problems.sort(key=lambda each: (each.index, each.kind))
        *earlier, current = reports
        await beside.check_all(connection, current)
        current.earlier = earlier
        return current


async def _compare(connection: asyncpg.Connection, ring: KeyRing | None) -> Compare | None:
    """What hears the entries; None without the ring whose blind keys stand in the tables."""
    if ring is None:
        return None
    blind, known = Blind(ring.index_key()), await connection.fetchval("select index_check from head")
    return Compare(connection, blind) if known is None or known == blind.key("check") else None


async def _told(connection: asyncpg.Connection, ring: KeyRing | None) -> Told | None:
    """What is to hear of tables; None without the ring that the database was written with, whose blind keys
    stand in them."""
    if ring is None:
        return None
    blind, known = Blind(ring.index_key()), await connection.fetchval("select index_check from head")
    return Told(blind) if known is None or known == blind.key("check") else None


class _Fsck:
    """Checks one log."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        log: asyncpg.Record,
        verifiers: Sequence[Verifier],
        notes: Notes,
        archives: Sequence[Archive],
        said: Said,
        told: Told | None,
        compare: Compare | None,
    ) -> None:
        self.gone: Gone | None = None
        self._closing = False  # its last entry stands, and the next log is about to be opened
        self._said = said
        self._told = told
        self._compare = compare
        self._connection = connection
        self._log = log
        self._verifiers = verifiers
        self._notes = notes
        self._report = StoreReport(log["origin"])
        self._elsewhere = Elsewhere(connection, log["id"], self._report, archives)

    async def run(self, ring: KeyRing | None, progress: Progress) -> StoreReport:
        report, log = self._report, self._log["id"]
        self._key(self._log["vkey"])
        compact = await self._head(log)
        marks = await self._notes.of(self._log, report)
        if not any(mark.size for mark in marks):
            report.unchecked.append(
                "that these are the entries that were signed: no signed checkpoint is at hand; give "
                "--checkpoint (what /log/checkpoint serves) or --guard"
            )
        if compact is not None:
            report.root = compact.root()
            marks.append(Mark(compact.size, compact.root(), "the database's head", vouched=False))
        entries = await self._entries(self._log, ring, marks, progress)
        await self._judge(entries, marks, compact)
        await beside.check(self._connection, log, report.size, report)
        return report

    async def _entries(
        self, log: asyncpg.Record, ring: KeyRing | None, marks: Sequence[Mark], progress: Progress
    ) -> Entries:
        views = None
        if ring is None:
            self._report.unchecked.append(
                "what the views say, and whose they are: the key ring was not given (--keys)"
            )
        else:
            known = await self._connection.fetchval("select index_check from head")
            if known is not None and known != Blind(ring.index_key()).key("check"):
                # Or every view whose key such a folder has not would pass for erased.
                self._report.wrong(
                    "key", -1, "key folder", "is not the one that this database was written with"
                )
            views = Views(ring, await self._connection.fetch(_VIEW_KEYS))
            for why in views.wrong_keys():
                self._report.wrong("key", -1, "view key", why)
        sizes = [mark.size for mark in marks]
        await self._elsewhere.open()
        if ring is None and self._report.dropped:
            self._report.unchecked.append(
                "whether the log itself says what was dropped: the key ring was not given (--keys)"
            )
        made = Entries(
            self._connection,
            log["id"],
            self._report.size,
            self._report,
            views,
            sizes,
            log["now"],
            self._elsewhere,
            self._said,
            self._told,
            self._compare,
            closed=log["closed_at"] is not None or bool(self._closing),
        )
        self.gone = made.gone
        try:
            await made.read(progress)
        except IntegrityError as e:
            self._report.unchecked.append(str(e))
        if self._elsewhere.unproven:
            self._report.unchecked.append(
                f"the bytes of {self._elsewhere.unproven} entries, and whether their views are those that "
                "they commit to: they are kept in an export alone, and only their hashes were at hand; give a "
                "copy of its folder with --archive DIR"
            )
        if self._report.unopened:
            self._report.unchecked.append(
                f"the views of {self._report.unopened} entries: their key is not in the key folder"
            )
        self._report.tiles = made.derived.tiles
        return made

    async def _judge(self, entries: Entries, marks: Sequence[Mark], compact: CompactRange | None) -> None:
        report, derived = self._report, entries.derived
        for problem in Judgement(derived, marks).problems():
            if not (problem.kind == "entry" and _said(report, problem.index, "entry")):
                report.add(problem)
        report.more += derived.more
        if compact is not None and (span := unlike(derived, compact)) is not None:
            text = f"its range has another hash for the entries {span[0]} to {span[1]}"
            report.wrong("head", span[0], "head", text)

    def _key(self, vkey: str | None) -> None:
        if vkey is None:
            self._report.unchecked.append("the log's key: the database does not name one")
        elif vkey not in {each.vkey for each in self._verifiers}:
            text = f"the database names another key than was given: {vkey[:200]}"
            self._report.wrong("key", -1, "log", text)

    async def _head(self, log: int) -> CompactRange | None:
        """The head where it is this log's; of one that is closed only how long it was."""
        head = await self._connection.fetchrow("select * from head where log = $1", log)
        if head is None:
            size = dict(self._log).get("entries")
            if size is None:
                size = await self._connection.fetchval(
                    "select coalesce(max(idx) + 1, 0) from entry where log = $1", log
                )
            self._report.size = size
            if self._log["closed_at"] is None:
                self._report.wrong("head", -1, "head", "is that of another log")
            return None
        self._report.size, self._closing = head["size"], dict(head).get("closed", False)
        try:
            return CompactRange(head["size"], tuple(bytes(each) for each in head["range"]))
        except IntegrityError as e:
            self._report.wrong("head", -1, "head", str(e))
            return None


def _said(report: StoreReport, index: int, kind: str) -> bool:
    return any(each.index == index and each.kind == kind for each in report.problems)
