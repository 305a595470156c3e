"""What is gone beside the entries, and whether the log itself says so.

An erasure's entry names what it erased by id, a retention's the month and class that it ended and how many
entries lost their views by it; both are opened, and held against what their leaves commit to, as every view
is. Tables say nothing here: they can be written. What is gone and named by no entry is wrong. Where the
entries of changes of a month were themselves ended, what they may have said of that month and those before
is known no more, and that is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg

from broker.core.canonical import Json
from broker.core.entry import Entry, parse_entry
from broker.core.retention import CHANGES
from broker.errors import IntegrityError
from broker.offline.problems import MOST
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import parts

_SOME = 10_000
_MANY = 200_000  # parts of entries that one log may lack before the rest is left unchecked
_NAMED = """
select e.log, e.idx, e.leaf from entry e
where e.id = any ($1::uuid[]) and e.leaf is not null
  and not exists (select from view v where v.log = e.log and v.idx = e.idx)
"""
_LACKING = """
select e.idx, e.id, e.leaf from entry e
where e.log = $1 and e.idx >= $2 and e.idx <= $3 and e.leaf is not null
  and not exists (select from view v where v.log = e.log and v.idx = e.idx) order by e.idx
"""
_NOTHING = "and nothing says so: no erasure or retention in the log names it"
_Ended = tuple[str, str]  # a month and a class


class Said:
    """What the log says was erased or ended."""

    def __init__(self) -> None:
        self.erased = set[bytes]()
        self.words = set[bytes]()
        self.ended: dict[_Ended, int | None] = {}

    def hear(self, full: Mapping[str, Json]) -> None:
        """A full view that has been verified."""
        detail = full.get("detail")
        if not isinstance(detail, dict):
            return
        if full.get("event") == "erasure":
            self.erased |= _ids(detail.get("entries"))
            self.words |= _ids(detail.get("words"))
        elif full.get("event") == "retention":
            month, name, count = detail.get("month"), detail.get("class"), detail.get("entries")
            if isinstance(month, str) and isinstance(name, str):
                self.ended[month, name] = count if isinstance(count, int) else None

    def silent(self, month: str) -> bool:
        """Whether what was said of this month may have ended itself."""
        return any(name == CHANGES and month <= ended for ended, name in self.ended)

    def allowed(self, month: str) -> int | None:
        """How many entries of a month lost their views by retention; None: it is not said."""
        counts = [count for (ended, _), count in self.ended.items() if ended == month]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None


@dataclass
class Gone:
    """What one log lacks. Months are those of the entries."""

    log: int
    report: StoreReport
    # Entries without a row of views: by month how many, and between which places.
    months: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    # Entries whose row stands, under a key that was destroyed: how many, and the first.
    ended: dict[_Ended, tuple[int, int]] = field(default_factory=dict)
    # Parts that entries gave up: words, or whose it was.
    parts: list[tuple[int, bytes, str]] = field(default_factory=list)
    elsewhere: int = 0
    more: int = 0

    def row(self, index: int, entry: Entry | None) -> None:
        """An entry has no row of views."""
        if entry is None:
            self.elsewhere += 1
            return
        count, first, _ = self.months.get(_month(entry.at), (0, index, index))
        self.months[_month(entry.at)] = count + 1, first, index

    def key(self, index: int, ended: _Ended) -> None:
        """An entry's views are sealed under a key that was destroyed."""
        count, first = self.ended.get(ended, (0, index))
        self.ended[ended] = count + 1, first

    def part(self, index: int, entry: str, what: Iterable[str]) -> None:
        """Parts of an entry's row are gone."""
        for each in what:
            if len(self.parts) < _MANY:
                self.parts.append((index, UUID(entry).bytes, each))
            else:
                self.more += 1


async def judge(connection: asyncpg.Connection, said: Said, logs: Sequence[Gone]) -> None:
    """Say in each log's report what of it is gone although no entry says so."""
    for each in logs:
        _parts(said, each)
        _keys(said, each)
        if each.elsewhere:
            each.report.unchecked.append(
                f"what became of the views of {each.elsewhere} entries that are kept in an export alone"
            )
    named = await _named(connection, said)
    for month in sorted({month for each in logs for month in each.months}):
        lacking = sum(each.months.get(month, (0,))[0] for each in logs) - named[month]
        ended = sum(n for each in logs for (at, _), (n, _) in each.ended.items() if at == month)
        allowed = said.allowed(month)
        if lacking <= 0 or allowed is None or lacking + ended <= allowed:
            continue
        if said.silent(month):
            _unknown(logs[-1], f"{lacking} entries of {month}")
            continue
        text = f"its views are gone, {_NOTHING}"
        if allowed:
            text = (
                f"or another of {month} lost its views although nothing says so: {lacking + ended} are gone, "
                f"and the log's retentions name {allowed}"
            )
        for each in logs:
            if month in each.months and not await _name(
                connection, said, each, month, text, 1 if allowed else MOST
            ):
                break


async def _name(
    connection: asyncpg.Connection, said: Said, gone: Gone, month: str, text: str, most: int
) -> bool:
    """Name the entries of a month without views that no erasure names; whether another log's are to be too."""
    _, first, last = gone.months[month]
    told = 0
    async for rows in parts(connection, _LACKING, gone.log, first, last):
        for row in rows:
            if row["id"].bytes in said.erased or _month_of(row["leaf"]) != month:
                continue
            if told == most:
                return False
            told += 1
            gone.report.wrong("view", row["idx"], f"entry {row['idx']}", text)
    return told < most


async def _named(connection: asyncpg.Connection, said: Said) -> Counter[str]:
    """Of how many entries of each month that have no views an erasure says so."""
    found, ids = Counter[str](), [UUID(bytes=each) for each in said.erased]
    for start in range(0, len(ids), _SOME):
        for row in await connection.fetch(_NAMED, ids[start : start + _SOME]):
            found[_month_of(row["leaf"])] += 1
    return found


def _parts(said: Said, gone: Gone) -> None:
    for index, entry, what in gone.parts:
        if entry in said.erased or (what == "words" and entry in said.words):
            continue
        if any(name == CHANGES for _, name in said.ended):
            _unknown(gone, f"the {what} of entry {index}")
        else:
            gone.report.wrong("view", index, f"entry {index}", f"its {what} is gone, {_NOTHING}")
    if gone.more:
        gone.report.unchecked.append(f"of {gone.more} more parts that are gone, whether the log says so")


def _keys(said: Said, gone: Gone) -> None:
    for (month, name), (count, first) in gone.ended.items():
        if (month, name) in said.ended:
            continue
        text = f"the key of {month}, {name} was destroyed, with the views of {count} entries"
        if said.silent(month):
            _unknown(gone, text)
        else:
            gone.report.wrong("view", first, f"entry {first}", f"{text}, {_NOTHING}")


def _unknown(gone: Gone, what: str) -> None:
    if len(gone.report.unchecked) < MOST:
        gone.report.unchecked.append(
            f"whether the log said that {what} went: what may have said so has ended itself"
        )


def _ids(listed: Json) -> set[bytes]:
    found = set[bytes]()
    for each in listed if isinstance(listed, list) else ():
        try:
            found.add(UUID(str(each)).bytes)
        except ValueError:
            continue
    return found


def _month(at: datetime) -> str:
    return f"{at:%Y-%m}"


def _month_of(leaf: bytes) -> str:
    try:
        entry = parse_entry(bytes(leaf))
    except IntegrityError:
        return ""
    return _month(entry.at) if isinstance(entry, Entry) else ""
