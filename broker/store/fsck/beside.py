"""What stands beside the entries: ids, claims, orphaned views, tiles of no tree, the search index's coverage.

Each is one statement with a bound on what it may name; none reads a view.
"""

from __future__ import annotations

import asyncpg

from broker.offline.problems import MOST
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import has

# What must see a whole table at once may take longer than a part of one; in seconds.
WHOLE = 1800
ANY_PLAN = (
    f"set local enable_sort = on; set local enable_hashjoin = on; set local statement_timeout = '{WHOLE}s'"
)
IN_ORDER = "set local enable_sort = off; set local enable_hashjoin = off; set local statement_timeout = '60s'"

# Sorted by the server, not by an index: an index that was changed would say that all is well.
_IDS = """
select id::text, min(idx) as first, max(idx) as other, count(*) as times from entry
group by id having count(*) > 1 order by 2 limit $1
"""
_CLAIMS = """
select c.entry::text as entry from claim c
where not exists (select from entry e where e.id = c.entry) limit $1
"""
_ORPHANS = """
select v.idx from view v
where v.log = $1 and not exists (select from entry e where e.log = v.log and e.idx = v.idx)
order by v.idx limit $2
"""
_TILES = """
select level, n from tile t where log = $1
  and (level > 6 or n >= case when level > 6 then 0 else $2 >> (8 * (level + 1)) end)
order by level, n limit $3
"""
_UNINDEXED = """
select e.idx from entry e
where e.log = $1 and e.idx < $2 and exists (select from view v where v.log = e.log and v.idx = e.idx)
  and not exists (select from search s where s.log = e.log and s.idx = e.idx) order by e.idx limit $3
"""
_FOREIGN = """
select s.idx from search s
where s.log = $1 and not exists (select from entry e where e.log = s.log and e.idx = s.idx)
order by s.idx limit $2
"""


async def check(connection: asyncpg.Connection, log: int, size: int, report: StoreReport) -> None:
    """Everything that is to be said of them."""
    await connection.execute(ANY_PLAN)
    for row in await connection.fetch(_ORPHANS, log, MOST, timeout=WHOLE):
        report.wrong("view", row["idx"], f"view {row['idx']}", "belongs to no entry")
    for row in await connection.fetch(_TILES, log, size, MOST, timeout=WHOLE):
        first = row["n"] << 8 * (row["level"] + 1)
        report.wrong("tile", first, f"tile/{row['level']}/{row['n']}", f"is of no tree of {size} entries")
    if await has(connection, "search"):
        await _index(connection, log, size, report)
    else:
        report.unchecked.append("the search index: this database has none")
    await connection.execute(IN_ORDER)  # another log may follow


async def check_all(connection: asyncpg.Connection, report: StoreReport) -> None:
    """What is of no single log: ids, and the claims that lead to them."""
    await connection.execute(ANY_PLAN)
    await _ids(connection, report)
    report.claims = await connection.fetchval("select count(*) from claim", timeout=WHOLE) or 0
    for row in await connection.fetch(_CLAIMS, MOST, timeout=WHOLE):
        report.wrong("claim", report.size, "claim", f"leads to entry {row['entry']}, which there is not")


async def _ids(connection: asyncpg.Connection, report: StoreReport) -> None:
    await connection.execute("set local enable_indexscan = off; set local enable_indexonlyscan = off")
    await connection.execute("set local enable_bitmapscan = off")
    for row in await connection.fetch(_IDS, MOST, timeout=WHOLE):
        text = f"has the id of entry {row['first']}"
        report.wrong("entry", row["other"], "entry", text)
    await connection.execute("set local enable_indexscan = on; set local enable_indexonlyscan = on")
    await connection.execute("set local enable_bitmapscan = on")


async def _index(connection: asyncpg.Connection, log: int, size: int, report: StoreReport) -> None:
    done = await connection.fetchval("select done from search_progress where log = $1", log) or 0
    report.indexed = done
    if done > size:
        report.wrong("index", size, "search index", f"says that it reaches {done}, beyond the log's {size}")
    for row in await connection.fetch(_UNINDEXED, log, done, MOST, timeout=WHOLE):
        text = "is not in it although it says that it reaches further; run `broker audit index rebuild`"
        report.wrong("index", row["idx"], f"search index: entry {row['idx']}", text)
    for row in await connection.fetch(_FOREIGN, log, MOST, timeout=WHOLE):
        report.wrong("index", row["idx"], f"search index: row {row['idx']}", "belongs to no entry")
