"""The search index on PostgreSQL: what it finds, how far it says it has come, and what it does not show."""

from __future__ import annotations

import json

import asyncpg
import pytest

from broker.core.model import SubjectRef
from broker.core.receipt import Audience
from broker.core.searchterms import NEWEST, person, term
from broker.ports import Hits
from broker.store import search as module
from broker.store.indexing import BATCH, Reach, reach
from broker.store.keeping import KeepingRows
from broker.store.search import SearchIndex
from tests.support.evidence import ORIGIN, Node

SOMEBODY = SubjectRef("nhs-number", "9434765919")


def index_of(worker: Node) -> SearchIndex:
    """The index as a broker has it."""
    return SearchIndex(worker.database, worker.seals, worker.ring.index_key(), worker.reader.log)


async def filled(worker: Node) -> SearchIndex:
    """The index with everything in it."""
    index = index_of(worker)
    while await index.fill():
        pass
    return index


async def emptied(worker: Node) -> SearchIndex:
    """The index with nothing in it, as of a log that was there before it."""
    async with worker.database.connection() as connection:
        await connection.execute("delete from search_progress")
        await connection.execute("delete from search")
    return index_of(worker)


async def find(index: SearchIndex, *terms: str, beyond: int = NEWEST, limit: int = 100) -> Hits:
    """Newest first."""
    return await index.find(frozenset(terms), beyond, limit, newest_first=True, since=None, until=None)


async def test_an_entry_is_in_it_as_soon_as_it_stands(worker: Node) -> None:
    """Nothing runs behind the log: what is appended is found, and it says so."""
    await worker.grow(BATCH + 6)
    index = index_of(worker)
    assert await index.progress() == (BATCH + 6, BATCH + 6)
    hits = await find(index, term("event", "disclosure"))
    assert (hits.done, [hit.index for hit in hits.found]) == (BATCH + 6, list(range(BATCH + 6))[::-1])
    assert await index.fill() == 0


async def test_it_says_how_far_it_has_come(worker: Node) -> None:
    """While it is made again nothing is found before it is taken in; then all of it, in batches."""
    await worker.grow(BATCH + 6)
    index = await emptied(worker)
    assert await index.progress() == (0, BATCH + 6)
    assert (await find(index, term("event", "disclosure"))).found == ()
    assert await index.fill() == BATCH
    assert await index.progress() == (BATCH, BATCH + 6)
    assert await index.fill() == 6
    assert await index.fill() == 0
    hits = await find(index, term("event", "disclosure"))
    assert (hits.done, [hit.index for hit in hits.found]) == (BATCH + 6, list(range(BATCH + 6))[::-1])


async def test_no_more_is_promised_than_was_there_when_it_was_looked_for(
    worker: Node, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another worker takes in while a search reads is not said to have been looked through."""
    await worker.grow(5)
    index = await filled(worker)
    connection = await asyncpg.connect(dsn)
    await connection.execute("create table aside as select * from search where idx = 3")
    await connection.execute("delete from search where idx = 3; update search_progress set done = 0")

    async def taken_in(fetched: asyncpg.Connection, log: int) -> Reach:
        told = await reach(fetched, log)
        await connection.execute("insert into search select * from aside on conflict do nothing")
        return told if told.done == 3 else await reach(fetched, log)

    monkeypatch.setattr(module, "reach", taken_in)
    hits = await find(index, term("event", "disclosure"))
    assert (hits.done, len(hits.found), hits.size) == (3, 5, 5)
    await connection.close()


async def missed(one: Node, index: SearchIndex) -> tuple[str, int] | None:
    """The first entry that the index should have and has not."""
    return await KeepingRows(one.database, one.blind, index.terms).missed()


async def test_what_comes_meanwhile_is_found_and_the_gap_is_said(worker: Node) -> None:
    """An entry that is appended while the index is made again is there; how far it reaches ends at the gap."""
    await worker.grow(3)
    index = await emptied(worker)
    await worker.grow(2)
    hits = await find(index, term("event", "disclosure"))
    assert (hits.done, [hit.index for hit in hits.found]) == (0, [4, 3])
    assert await index.fill() == 3
    assert await index.progress() == (5, 5)
    assert await missed(worker, index) is None


async def test_both_ways_to_make_a_row_make_the_same(worker: Node, dsn: str) -> None:
    """As it is appended, or from its sealed views afterwards."""
    await worker.grow(20)
    connection = await asyncpg.connect(dsn)
    before = await connection.fetch("select * from search order by idx")
    index = await emptied(worker)
    while await index.fill():
        pass
    assert await connection.fetch("select * from search order by idx") == before
    await connection.close()


async def test_rare_terms_are_found_through_every_run(worker: Node, dsn: str) -> None:
    """Entries of runs far apart, in either direction, from the middle, and no more than are wanted."""
    await worker.grow(6)
    index = index_of(worker)
    connection = await asyncpg.connect(dsn)
    for table in ("entry", "view", "search"):
        await connection.execute(f"update {table} set idx = idx * 100000")
    (few,) = await connection.fetch("select idx, rare from search where idx = 500000")
    assert [key >> 32 for key in few["rare"]] == [0] * len(few["rare"])
    await connection.execute(
        "update search set rare = search_keys(idx, array(select k & 4294967295 from unnest(rare) k))"
    )
    await connection.close()
    one = term("actor", "x")
    every = [n * 100000 for n in range(6)]
    assert [hit.index for hit in (await find(index, one)).found] == every[::-1]
    assert [hit.index for hit in (await find(index, one, beyond=400000, limit=2)).found] == [300000, 200000]
    later = await index.find(frozenset({one}), 200000, 2, newest_first=False, since=None, until=None)
    assert [hit.index for hit in later.found] == [300000, 400000]
    assert (await find(index, one, term("event", "disclosure"), beyond=1)).found[0].index == 0
    assert (await find(index, one, term("event", "refusal"))).found == ()
    assert (await find(index, one, beyond=0)).found == ()


async def test_an_entry_is_found_opened(worker: Node) -> None:
    """With the views' very bytes, and the parties that decide who may see which."""
    receipt = await worker.append()
    (hit,) = (await find(await filled(worker), term("event", "disclosure"))).found
    assert receipt.opening is not None
    assert hit.views[Audience.REQUESTER.value] == receipt.opening.view
    assert hit.full == json.loads(hit.views[Audience.FULL.value])
    assert (hit.index, hit.requester, hit.provider) == (receipt.index, "cfrs", "ncic")


async def test_order_and_bounds(worker: Node) -> None:
    """Below an index or above it, within a time, so many at most; selective terms and others alike."""
    receipts = await worker.grow(9)
    index = await filled(worker)
    for one in (term("event", "disclosure"), term("purpose", "emergency-response")):
        assert [h.index for h in (await find(index, one, beyond=5, limit=2)).found] in ([4, 3], [])
    later = await index.find(
        frozenset({term("event", "disclosure")}), 5, 2, newest_first=False, since=None, until=None
    )
    assert [h.index for h in later.found] == [6, 7]
    at = later.found[0].at
    none = await index.find(frozenset(), NEWEST, 9, newest_first=True, since=None, until=at)
    assert [h.index for h in none.found if h.at >= at] == []
    assert len(receipts) == 9


async def test_one_worker_fills_it_at_a_time(worker: Node, other: Node) -> None:
    """Two that come together do the work once, and nothing is missed."""
    await worker.grow(20)
    first, second = await emptied(worker), index_of(other)
    while sum([await first.fill(), await second.fill()]):
        pass
    assert await first.progress() == await second.progress() == (20, 20)
    assert await missed(worker, first) is None


async def test_a_row_that_was_lost_is_missed(worker: Node, dsn: str) -> None:
    """The coverage check names it by index."""
    await worker.grow(10)
    index = await filled(worker)
    connection = await asyncpg.connect(dsn)
    await connection.execute("delete from search where idx = 4")
    await connection.close()
    assert await missed(worker, index) == (ORIGIN, 4)


async def test_nothing_in_it_names_anybody(worker: Node, dsn: str) -> None:
    """Neither an identifier nor a word stands in the table, and without the index key no term can be tried."""
    await worker.append()
    await filled(worker)
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("select terms::text || rare::text as terms from search")
    await connection.close()
    assert rows
    told = " ".join(row["terms"] for row in rows)
    assert set(told) <= set("{}-,0123456789 ")
    assert SOMEBODY.value not in told
    stranger = SearchIndex(worker.database, worker.seals, bytes(32), worker.reader.log)
    assert (await find(stranger, term("event", "disclosure"))).found == ()


async def test_views_that_are_gone_are_found_by_nothing_and_stop_nothing(worker: Node, dsn: str) -> None:
    """An erased view leaves a row without terms; a spoilt one too, and the rest is taken in."""
    await worker.grow(3)
    connection = await asyncpg.connect(dsn)
    await connection.execute("delete from view where idx = 0")
    spoil = "update view set views = set_byte(views, 20, get_byte(views, 20) # 1) where idx = 1"
    await connection.execute(spoil)
    await connection.close()
    index = await emptied(worker)
    while await index.fill():
        pass
    assert await index.progress() == (3, 3)
    assert [h.index for h in (await find(index, term("event", "disclosure"))).found] == [2]


@pytest.mark.parametrize("terms", [{person(SOMEBODY)}, {term("purpose", "audit")}])
async def test_what_nobody_did_is_not_found(worker: Node, terms: set[str]) -> None:
    """Nothing, quickly and without error."""
    await worker.grow(3)
    assert (await find(await filled(worker), *terms)).found == ()
