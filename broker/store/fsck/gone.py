"""What is gone beside the entries, and whether the log itself says so (`said`).

What is gone and named by no entry is wrong: a part of an entry, all of it, a key, one more of a month than its
retentions say; and what lies under an ended key that is not of its own month, or that ended fewer. An entry of
which an erasure took one party's part went, if it is gone, by the other's or by retention. Where
the entries of changes of a month were themselves ended, what they may have said of that month and those before
is known no more, and that is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg

from broker.core.entry import Entry, parse_entry
from broker.errors import IntegrityError
from broker.offline.problems import MOST
from broker.store.fsck.elsewhere import Elsewhere
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import parts
from broker.store.said import WORDS, Ended, Said

_SOME = 10_000
_MANY = 200_000  # parts of entries that one log may lack before the rest is left unchecked
_NAMED = """
select e.log, e.idx, e.leaf from entry e
where e.id = any ($1::uuid[])
  and not exists (select from view v where v.log = e.log and v.idx = e.idx)
"""
_LACKING = """
select e.idx, e.id, e.leaf from entry e
where e.log = $1 and e.idx >= $2 and e.idx <= $3
  and not exists (select from view v where v.log = e.log and v.idx = e.idx) order by e.idx
"""
_NOTHING = "and nothing says so: no erasure or retention in the log names it"


@dataclass
class Gone:
    """What one log lacks. Months are those of the entries."""

    log: int
    report: StoreReport
    elsewhere: Elsewhere
    # Entries without a row of views: by month how many, and between which places.
    months: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    # Entries of its month whose row stands, under a key that was destroyed: how many, and the first of them.
    ended: dict[Ended, tuple[int, list[int]]] = field(default_factory=dict)
    # Parts that entries gave up, words or a side's, with the month of the entry; "" where nothing here says it.
    parts: list[tuple[int, bytes, str, str]] = field(default_factory=list)
    undated: int = 0
    more: int = 0

    def row(self, index: int, entry: Entry | None) -> None:
        """An entry has no row of views."""
        if entry is None:
            self.undated += 1
            return
        count, first, _ = self.months.get(_month(entry.at), (0, index, index))
        self.months[_month(entry.at)] = count + 1, first, index

    def key(self, index: int, entry: Entry | None, ended: Ended) -> None:
        """An entry's views are sealed under a key that was destroyed: its own month's, or it is named here."""
        month, name = ended
        if entry is not None and _month(entry.at) != month:
            text = f"they lie under the ended key of {month}, {name}, and the entry is of {_month(entry.at)}"
            self.report.wrong("view", index, f"entry {index}", f"its views are gone: {text}")
            return
        self.undated += entry is None
        count, places = self.ended.get(ended, (0, []))
        self.ended[ended] = count + 1, places if len(places) >= MOST else [*places, index]

    def part(self, index: int, entry: str, at: datetime | None, what: Iterable[str]) -> None:
        """Parts of an entry's row are gone."""
        for each in what:
            if len(self.parts) < _MANY:
                self.parts.append((index, UUID(entry).bytes, each, _month(at) if at else ""))
            else:
                self.more += 1

    def month(self, index: int, leaf: bytes | None) -> str:
        """The month of an entry, whose bytes may be kept in an export at hand; "" where nothing says it."""
        return _month_of(bytes(leaf or b"") or self.elsewhere.entry(index))


async def judge(connection: asyncpg.Connection, said: Said, logs: Sequence[Gone]) -> None:
    """Say in each log's report what of it is gone although no entry says so."""
    for each in logs:
        each.elsewhere.judge(said)
        _parts(said, each)
        _keys(said, each)
        if each.undated:
            each.report.unchecked.append(
                f"what became of the views of {each.undated} entries that are kept in an export alone"
            )
    named = await _named(connection, said, {each.log: each for each in logs})
    for month in sorted({month for each in logs for month in (*each.months, *(at for at, _ in each.ended))}):
        lacking = sum(each.months.get(month, (0,))[0] for each in logs) - named[month]
        await _month_of_all(connection, said, logs, month, lacking)


async def _month_of_all(
    connection: asyncpg.Connection, said: Said, logs: Sequence[Gone], month: str, lacking: int
) -> None:
    """Hold what is gone of one month against what its retentions say. What still stands under an ended key is
    removed with the rest of its class: where there is too much, that comes first."""
    standing = _standing(said, logs, month)
    ended, allowed = sum(count for _, _, count, _ in standing), said.allowed(month)
    too_many = [each for each in standing if each[2] > (said.ended[month, each[1]] or 0)]
    if allowed is None or (lacking + ended <= allowed and not too_many):
        return
    if said.silent(month):
        _unknown(logs[-1], f"{lacking + ended} entries of {month}")
        return
    text = f"its views are gone, {_NOTHING}"
    if allowed:
        text = (
            f"or another of {month} lost its views although nothing says so: {lacking + ended} are gone, "
            f"and the log's retentions name {allowed}"
        )
    for each, name, _, places in too_many or standing:
        told = said.ended[month, name]
        over = f"its views lie under the ended key of {month}, {name}, of whose end the log says {told} entries"
        for place in places[: 1 if told else MOST]:
            each.report.wrong("view", place, f"entry {place}", f"{over}; {text}")
    for each in () if standing else logs:
        if month in each.months and not await _name(
            connection, said, each, month, text, 1 if allowed else MOST
        ):
            break


def _standing(said: Said, logs: Sequence[Gone], month: str) -> list[tuple[Gone, str, int, list[int]]]:
    """What of a month lies under the keys that its retentions ended: log, class, how many, the first."""
    return [
        (each, name, count, places)
        for each in logs
        for (at, name), (count, places) in each.ended.items()
        if at == month and (at, name) in said.ended
    ]


async def _name(
    connection: asyncpg.Connection, said: Said, gone: Gone, month: str, text: str, most: int
) -> bool:
    """Name the entries of a month without views that no erasure names; whether another log's are to be too."""
    _, first, last = gone.months[month]
    told = 0
    async for rows in parts(connection, _LACKING, gone.log, first, last):
        for row in rows:
            if said.is_erased(row["id"].bytes) or gone.month(row["idx"], row["leaf"]) != month:
                continue
            if told == most:
                return False
            told += 1
            gone.report.wrong("view", row["idx"], f"entry {row['idx']}", text)
    return told < most


async def _named(connection: asyncpg.Connection, said: Said, logs: Mapping[int, Gone]) -> Counter[str]:
    """Of how many entries of each month that have no views erasures say so."""
    found, ids = Counter[str](), [UUID(bytes=each) for each in said.erased()]
    for start in range(0, len(ids), _SOME):
        for row in await connection.fetch(_NAMED, ids[start : start + _SOME]):
            found[logs[row["log"]].month(row["idx"], row["leaf"])] += 1
    return found


def _parts(said: Said, gone: Gone) -> None:
    for index, entry, part, month in gone.parts:
        if said.gave_up(entry, part):
            continue
        what = "words" if part == WORDS else f"{part}'s part"
        if said.silent(month):
            _unknown(gone, f"the {what} of entry {index}")
        else:
            are = "are" if part == WORDS else "is"
            gone.report.wrong("view", index, f"entry {index}", f"its {what} {are} gone, {_NOTHING}")
    if gone.more:
        gone.report.unchecked.append(f"of {gone.more} more parts that are gone, whether the log says so")


def _keys(said: Said, gone: Gone) -> None:
    for (month, name), (count, (first, *_)) in gone.ended.items():
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


def _month(at: datetime) -> str:
    return f"{at:%Y-%m}"


def _month_of(leaf: bytes) -> str:
    try:
        entry = parse_entry(bytes(leaf))
    except IntegrityError:
        return ""
    return _month(entry.at) if isinstance(entry, Entry) else ""
