"""The entries of one log, in order: each by itself, its views, and the leaves of the tree that they make.

Owns the one pass over the entry table. Of an entry whose bytes were dropped after an export the hash that was
kept counts, or what the export's folder has, where that is at hand. Named are entries that are not there, that
stand beyond the head, that are no entries, under another id than their own, or out of their time, and links to
other logs anywhere but at the ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import asyncpg

from broker.core.entry import Entry, Rotation, parse_entry
from broker.core.merkle import leaf_hash
from broker.core.retention import CHANGES, is_held
from broker.core.tiles import TILE_HEIGHT, TILE_WIDTH
from broker.errors import IntegrityError
from broker.offline.derive import Derivation, KeptTile
from broker.offline.problems import MISPLACED
from broker.store.fsck.compare import Compare
from broker.store.fsck.elsewhere import Elsewhere
from broker.store.fsck.gone import Gone
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import PART, parts
from broker.store.fsck.told import Told
from broker.store.fsck.views import Checked, Of, Views
from broker.store.said import WORDS, Said

# An entry carries the time of its decision, and the order of the log counts: decisions that were made at the
# same time may be committed a while apart, and a clock that was put right goes back a little.
BACK = timedelta(minutes=5)
AHEAD = timedelta(seconds=2)
_GAP = 1 << 20  # entries in a row that may be missing before the rest is given up

_ROWS = """
select e.idx, e.id::text as id, e.leaf, v.key {sealed}
from entry e left join view v on v.log = e.log and v.idx = e.idx
where e.log = $1 order by e.log, e.idx
"""
_SEALED = ", v.views, v.words, v.requester_agency, v.provider_agency"
_TILES = """
select t.level, t.n, t.hashes, t.root
from unnest($2::smallint[], $3::bigint[], $4::bigint[]) w(level, low, high)
join tile t on t.log = $1 and t.level = w.level and t.n >= w.low and t.n < w.high
"""


class Entries:
    """One pass; `derived` and the report are complete after `read`."""

    def __init__(
        self,
        connection: asyncpg.Connection,
        log: int,
        size: int,
        report: StoreReport,
        views: Views | None,
        marks: Sequence[int],
        now: datetime,
        elsewhere: Elsewhere,
        said: Said,
        told: Told | None,
        compare: Compare | None,
        *,
        closed: bool = False,
    ) -> None:
        self._closed = closed
        self.derived = Derivation()
        self._connection = connection
        self._log = log
        self._size = size
        self._report = report
        self._views = views
        self._marks = sorted({*marks, size})
        self._now = now
        self._elsewhere = elsewhere
        self._said = said
        self._told = told
        self._compare = compare
        self.gone = Gone(log, report, elsewhere)
        self._newest: datetime | None = None
        self._waiting: list[bytes | None] = []
        self._next = 0

    async def read(self, told: Callable[[int, int], None]) -> None:
        """The pass. `told` hears of entries done and to do."""
        sql = _ROWS.format(sealed=_SEALED if self._views else "")
        beyond = None
        async for rows in parts(self._connection, sql, self._log):
            for row in rows:
                if row["idx"] >= self._size:
                    beyond = row["idx"] if beyond is None else beyond
                    continue
                self._fill(row["idx"])
                await self._row(row)
            if self._compare is not None:
                await self._compare.flush()
            await self._give(whole=False)
            told(min(self._next, self._size), self._size)
        self._fill(self._size)
        await self._give(whole=True)
        if beyond is not None:
            self._report.wrong("entry", beyond, "entry", f"stands beyond the head, which ends at {self._size}")

    async def _row(self, row: asyncpg.Record) -> None:
        self._next += 1
        index = row["idx"]
        leaf = bytes(row["leaf"] or b"") or self._elsewhere.entry(index)
        if not leaf:
            self._waiting.append(await self._elsewhere.hash(index))
            self._view(index, None, row)
            return
        self._waiting.append(leaf_hash(leaf))
        self._report.entries += 1
        try:
            entry = parse_entry(leaf)
        except IntegrityError as e:
            self._report.wrong("entry", index, "entry", str(e).removeprefix("entry: "))
            return
        if entry.id != row["id"]:
            self._report.wrong("entry", index, "entry", "stands under another id than its own")
        self._time(index, entry.at)
        if isinstance(entry, Rotation):
            self._report.rotations += 1
            if index and not (self._closed and index == self._size - 1):
                self._report.wrong("entry", index, "entry", MISPLACED)
        else:
            self._view(index, entry, row)

    def _view(self, index: int, entry: Entry | None, row: asyncpg.Record) -> None:
        if self._views is None:
            if row["key"] is None:
                self._report.gone(index)
            return
        checked = self._views.check(entry, row)
        if self._told is not None:
            self._tell(self._told, index, entry, checked)
        if self._compare is not None:
            self._compare.hear(self._report, row, entry.at if entry else None, checked)
        if checked.of is Of.GONE:
            self._report.gone(index)
            if checked.ended is None:
                self.gone.row(index, entry)
            else:
                self.gone.key(index, entry, checked.ended)
        elif checked.of is Of.UNOPENED:
            self._report.unopened += 1
        elif checked.of is Of.WRONG:
            text = f"entry {index}"
            self._report.wrong("view", index, text, f"{checked.why}; the entry or its views were changed")
        else:
            self._report.opened += 1
            self._report.words_erased += WORDS in checked.parts
            self.gone.part(index, row["id"], entry.at if entry else None, checked.parts)
            if entry is not None and checked.full is not None:
                self._said.hear(checked.full, entry.id)

    def _tell(self, told: Told, index: int, entry: Entry | None, checked: Checked) -> None:
        """What it says of the tables that decisions read; or that it may have said something of them."""
        if checked.of is Of.GOOD and entry is not None and checked.full is not None:
            told.hear(checked.full, self._log, index, checked.words)
        elif checked.of is not Of.GONE or (
            checked.ended is not None and (checked.ended[1] == CHANGES or is_held(checked.ended[1]))
        ):
            told.not_heard(self._log, index)

    def _time(self, index: int, at: datetime) -> None:
        if self._newest is not None and at < self._newest - BACK:
            before = self._newest - at
            self._report.wrong(
                "time", index, f"entry {index}", f"is dated {before} before one that precedes it"
            )
        elif at > self._now + AHEAD:
            self._report.wrong("time", index, f"entry {index}", "is dated after now, by the database's clock")
        if self._newest is None or at > self._newest:
            self._newest = at

    def _fill(self, index: int) -> None:
        """Say of entries before this one that they are not there."""
        missing = index - self._next
        if missing <= 0:
            return
        text = "is not there" if missing == 1 else f"is not there, and so all up to {index - 1}"
        self._report.wrong("entry", self._next, "entry", text)
        if missing > _GAP:
            raise IntegrityError(f"{missing} entries in a row are not there: the rest was not looked at")
        self._waiting += [None] * missing
        self._next = index

    async def _give(self, *, whole: bool) -> None:
        """Hand over whole tiles' worth of leaves; at the end what is left."""
        while len(self._waiting) >= PART or (whole and self._waiting):
            count = min(len(self._waiting), PART)
            if not whole or count == PART:
                count -= count % TILE_WIDTH
            leaves, self._waiting = self._waiting[:count], self._waiting[count:]
            self.derived.take(leaves, await self._kept(len(leaves)), self._marks)

    async def _kept(self, count: int) -> dict[tuple[int, int], KeptTile]:
        """The kept tiles that the next leaves complete."""
        levels, lows, highs = [], [], []
        start, end, level = self.derived.size, self.derived.size + count, 0
        while (end >> TILE_HEIGHT * (level + 1)) > 0:
            low, high = start >> TILE_HEIGHT * (level + 1), end >> TILE_HEIGHT * (level + 1)
            if high > low:
                levels.append(level)
                lows.append(low)
                highs.append(high)
            level += 1
        if not levels:
            return {}
        rows = await self._connection.fetch(_TILES, self._log, levels, lows, highs)
        return {(row["level"], row["n"]): KeptTile(bytes(row["hashes"]), bytes(row["root"])) for row in rows}
