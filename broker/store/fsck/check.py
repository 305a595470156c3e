"""`fsck` of a database: the order of the checks, and what was signed that the derived tree must agree with.

Believes nothing that stands in the database by itself. What decides are checkpoints that the log's key signed,
and the guard's memory of the last one, wherever they come from; without any, the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import asyncpg

from broker.core.checkpoint import Verifier, open_checkpoint
from broker.core.merkle import CompactRange
from broker.errors import IntegrityError
from broker.keys import KeyRing
from broker.offline.marks import Judgement, Mark, unlike
from broker.offline.source import Unreadable
from broker.store.blind import Blind
from broker.store.fsck import beside
from broker.store.fsck.entries import Entries
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import has, place, snapshot
from broker.store.fsck.views import Views

_VIEW_KEYS = "select id, month, class, wrapped from view_key"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept outside the database: signed notes by the name of their file, and a guard's last head."""

    notes: tuple[tuple[str, bytes], ...] = ()
    guard: tuple[str, int, bytes] | None = None
    """Origin, size and root."""


async def fsck_database(
    dsn: str,
    verifiers: Sequence[Verifier],
    ring: KeyRing | None = None,
    kept: Kept | None = None,
    progress: Progress = lambda _done, _of: None,
) -> StoreReport:
    """Check the current log of a database. Raises Unreadable where it cannot be read to the end."""
    async with snapshot(dsn) as connection:
        return await _Fsck(connection, place(dsn), verifiers, kept or Kept()).run(ring, progress)


class _Fsck:
    def __init__(
        self, connection: asyncpg.Connection, name: str, verifiers: Sequence[Verifier], kept: Kept
    ) -> None:
        self._connection = connection
        self._name = name
        self._verifiers = verifiers
        self._kept = kept
        self._report = StoreReport()

    async def run(self, ring: KeyRing | None, progress: Progress) -> StoreReport:
        report = self._report
        log = await self._connection.fetchrow(
            "select id, origin, vkey, clock_timestamp() as now from log where closed_at is null"
        )
        head = await self._connection.fetchrow("select log, size, range from head")
        if log is None or head is None:
            raise Unreadable(self._name, "holds no log yet")
        report.origin, report.size = log["origin"], head["size"]
        self._key(log["vkey"])
        compact = self._head(head, log["id"])
        marks = [*await self._signed(log["id"]), *self._guarded()]
        if not any(mark.size for mark in marks):
            report.unchecked.append(
                "that these are the entries that were signed: no signed checkpoint is at hand; give "
                "--checkpoint (what /log/checkpoint serves) or --guard"
            )
        if compact is not None:
            report.root = compact.root()
            marks.append(Mark(compact.size, compact.root(), "the database's head", vouched=False))
        entries = await self._entries(log, ring, marks, progress)
        await self._judge(entries, marks, compact)
        await beside.check(self._connection, log["id"], report.size, report)
        report.problems.sort(key=lambda each: (each.index, each.kind))
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
        made = Entries(self._connection, log["id"], self._report.size, self._report, views, sizes, log["now"])
        try:
            await made.read(progress)
        except IntegrityError as e:
            self._report.unchecked.append(str(e))
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

    def _head(self, head: asyncpg.Record, log: int) -> CompactRange | None:
        if head["log"] != log:
            self._report.wrong("head", -1, "head", "is that of another log")
            return None
        try:
            return CompactRange(head["size"], tuple(bytes(each) for each in head["range"]))
        except IntegrityError as e:
            self._report.wrong("head", -1, "head", str(e))
            return None

    async def _signed(self, log: int) -> list[Mark]:
        """Every signed note at hand: those in the database, and those that were kept elsewhere."""
        notes = list(self._kept.notes)
        if await has(self._connection, "witnessed"):
            row = await self._connection.fetchrow("select note, published from witnessed where log = $1", log)
            named = ("the cosigned checkpoint", "the published checkpoint")
            notes += [(name, bytes(note)) for name, note in zip(named, row or (), strict=False) if note]
        if await has(self._connection, "anchor"):
            rows = await self._connection.fetch(
                "select size, note from anchor where log = $1 order by size", log
            )
            notes += [(f"the time-stamped checkpoint of {row['size']}", bytes(row["note"])) for row in rows]
        return [mark for name, note in notes if (mark := self._opened(name, note)) is not None]

    def _opened(self, name: str, note: bytes) -> Mark | None:
        try:
            checkpoint = open_checkpoint(note, self._verifiers)
        except IntegrityError as e:
            self._report.wrong("checkpoint", -1, name, str(e).removeprefix("checkpoint: "))
            return None
        if checkpoint.origin != self._report.origin:
            text = f"is of {checkpoint.origin}, and this log is {self._report.origin}"
            self._report.wrong("checkpoint", -1, name, text)
            return None
        self._report.signed += 1
        return self._within(Mark(checkpoint.size, checkpoint.root, name))

    def _guarded(self) -> list[Mark]:
        if self._kept.guard is None:
            return []
        origin, size, root = self._kept.guard
        if origin != self._report.origin:
            text = f"remembers {origin}, and this log is {self._report.origin}"
            self._report.wrong("checkpoint", -1, "the guard", text)
            return []
        return [self._within(Mark(size, root, "the guard"))]

    def _within(self, mark: Mark) -> Mark:
        size = self._report.size
        if mark.size > size:
            text = f"{mark.who} says {mark.size} entries, the head {size}: the log was cut or set back"
            self._report.wrong("entry", size, "entry", f"is not there: {text}")
        return mark


def _said(report: StoreReport, index: int, kind: str) -> bool:
    return any(each.index == index and each.kind == kind for each in report.problems)
