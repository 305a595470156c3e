"""What the log says is gone, and is there again: an erasure undone by hand, or by an old copy of a table.

Of an erasure: the view of an entry that nobody keeps, the name of a party that gave up its part, words. Of a
retention: the key that it ended. What an entry without a view is still found by shows without the key folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import asyncpg

from broker.offline.problems import MOST
from broker.store.fsck.beside import ANY_PLAN, IN_ORDER, WHOLE
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import has
from broker.store.said import SIDES, WORDS, Said

_SOME = 10_000
_THERE = """
select e.log, e.idx, e.id, v.requester_agency, v.provider_agency, v.words is not null as words
from entry e join view v on v.log = e.log and v.idx = e.idx where e.id = any ($1::uuid[])
order by e.log, e.idx
"""
_DESTROYED = """
select d.id::text as id, d.month, d.class, d.at, (k.month, k.class) = (d.month, d.class) as own
from destroyed d left join view_key k on k.id = d.key order by d.at
"""
_KEYS = "select month, class from view_key where wrapped is not null order by month, class"
_FOUND = """
select s.log, s.idx from search s
where (cardinality(s.terms) > 0 or cardinality(s.rare) > 0)
  and not exists (select from view v where v.log = s.log and v.idx = s.idx)
order by s.log, s.idx limit $1
"""
# What tables say of each other, for whoever has no keys: each was written with the other's end.
_SAID_BY_TABLE = """
select e.log, e.idx, x.by::text as by
from erased x join entry e on e.id = x.item join view v on v.log = e.log and v.idx = e.idx
order by e.log, e.idx limit $1
"""
_AGAIN = "and there again"


async def check(connection: asyncpg.Connection, said: Said | None, reports: Mapping[int, StoreReport]) -> None:
    """Name it in its log's report. `said` is None where the keys were not given: then a table says it."""
    if said is None:
        await _by_table(connection, reports)
    else:
        await _entries(connection, said, reports)
        await _keys(connection, said, reports)
        await _ended(connection, said, reports)
    if await has(connection, "search"):
        await _found(connection, reports)


async def _entries(connection: asyncpg.Connection, said: Said, reports: Mapping[int, StoreReport]) -> None:
    ids = [UUID(bytes=each) for each in sorted(said.named())]
    for start in range(0, len(ids), _SOME):
        for row in await connection.fetch(_THERE, ids[start : start + _SOME]):
            if row["log"] in reports and (why := _there(said, row)):
                report = reports[row["log"]]
                report.wrong("view", row["idx"], f"entry {row['idx']}", f"{why} {_AGAIN}")


def _there(said: Said, row: asyncpg.Record) -> str:
    """Of a row of `view`: which part of it an erasure took; empty where none took what stands."""
    entry = row["id"].bytes
    if said.is_erased(entry):
        return f"erased by {' and '.join(dict.fromkeys(said.by(entry, side) for side in SIDES))}"
    for side in SIDES:
        if row[f"{side}_agency"] is not None and said.gave_up(entry, side):
            return f"its {side}'s part was erased by {said.by(entry, side)}"
    if row[WORDS] and said.gave_up(entry, WORDS):
        return f"its words were erased by {said.by(entry, WORDS)}"
    return ""


async def _keys(connection: asyncpg.Connection, said: Said, reports: Mapping[int, StoreReport]) -> None:
    report = reports[max(reports)]
    for row in await connection.fetch(_KEYS):
        if (row["month"], row["class"]) in said.ended:
            by = said.ended_by[row["month"], row["class"]]
            path = f"view key of {row['month']}, {row['class']}"
            report.wrong("key", -1, path, f"ended by {by} {_AGAIN}")


async def _ended(connection: asyncpg.Connection, said: Said, reports: Mapping[int, StoreReport]) -> None:
    """What lists the ends of months, by which what is left of one is destroyed: against what the log says."""
    if not await has(connection, "destroyed"):
        return
    report, ended = reports[max(reports)], dict(said.ended_by)
    for row in await connection.fetch(_DESTROYED):
        month, name = row["month"], row["class"]
        path = f"end of {month}, {name}"
        if ended.pop((month, name), "") == row["id"]:
            if not row["own"]:
                report.wrong("key", -1, path, "is listed with the key of another month or class")
            continue
        if said.silent(f"{row['at']:%Y-%m}"):
            report.unchecked.append(f"whether the log said that {month}, {name} was ended by {row['id']}")
        else:
            report.wrong("key", -1, path, f"is listed as said by {row['id']}, and no entry of the log says so")
    for (month, name), by in ended.items():
        report.wrong("key", -1, f"end of {month}, {name}", f"is not listed as {by} says that it was ended")


async def _found(connection: asyncpg.Connection, reports: Mapping[int, StoreReport]) -> None:
    await connection.execute(ANY_PLAN)
    rows = await connection.fetch(_FOUND, MOST, timeout=WHOLE)
    await connection.execute(IN_ORDER)
    for row in rows:
        report = reports.get(row["log"])
        if report is not None and not any(each.index == row["idx"] for each in report.problems):
            text = "is still found by what stood in its views, and these are gone"
            report.wrong("index", row["idx"], f"search index: entry {row['idx']}", text)


async def _by_table(connection: asyncpg.Connection, reports: Mapping[int, StoreReport]) -> None:
    if not await has(connection, "erased"):
        return
    await connection.execute(ANY_PLAN)
    rows = await connection.fetch(_SAID_BY_TABLE, MOST, timeout=WHOLE)
    await connection.execute(IN_ORDER)
    for row in rows:
        if row["log"] in reports:
            text = f"erased by {row['by']} {_AGAIN}, as the table `erased` has it; --keys asks the log itself"
            reports[row["log"]].wrong("view", row["idx"], f"entry {row['idx']}", text)
