"""The search index made anew, and looked through: while searches go on, by several, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.core.searchterms import term
from broker.errors import IntegrityError
from broker.keys import FolderKeys
from broker.store.fsck.index import IndexReport, check_index
from broker.store.indexing import Reach
from broker.store.search import SearchIndex
from tests.store.test_search import filled, find, index_of
from tests.support.evidence import Node
from tests.support.postgres import ask


async def checked(worker: Node, dsn: str) -> IndexReport:
    """What the coverage check says."""
    return await check_index(dsn, worker.ring, lambda _done, _of: None)


async def texts(worker: Node, dsn: str) -> dict[int, str]:
    """What it says is wrong, by index."""
    return {each.index: each.text for each in (await checked(worker, dsn)).problems}


async def step(index: SearchIndex, batch: int = 8) -> None:
    """One small step of it."""
    await index.filling.step(batch)


async def again(index: SearchIndex) -> None:
    """Everything anew, to the end."""
    await index.filling.begin_again()
    while (await index.filling.reach()).again is not None:
        await step(index)


async def test_an_index_that_is_whole_is_good(local: Node, local_dsn: str) -> None:
    """Every entry that it says it holds was compared."""
    await local.grow(30)
    await filled(local)
    await local.grow(5)
    report = await checked(local, local_dsn)
    assert report.good, [str(each) for each in report.problems]
    assert (report.looked, report.opened, report.reach, report.size) == (35, 35, Reach(35), 35)


TAMPERED = {
    "missed": ("delete from search where idx = 4", "is missed: it is not in the index"),
    "a-term": ("update search set terms = terms[2:] where idx = 4", "is missed by 1 of its"),
    "no-terms": ("update search set terms = '{}' where idx = 4", "is missed by"),
    "of-another": ("update search set terms = terms || 77 where idx = 4", "terms that are not its own"),
    "time": ("update search set at = at - interval '1 day' where idx = 4", "under another time"),
    "views-gone": ("delete from view where idx = 4", "although its views are gone"),
    "view": ("update view set views = '' where idx = 4", "see broker audit fsck"),
}


@pytest.mark.parametrize("how", TAMPERED)
async def test_what_it_has_wrong_is_named_by_index(local: Node, local_dsn: str, how: str) -> None:
    """Missed whole or by a term, found by what it is not, or still found although it was erased."""
    await local.grow(9)
    await filled(local)
    change, said = TAMPERED[how]
    await ask(local_dsn, change, "select 1")
    wrong = await texts(local, local_dsn)
    assert list(wrong) == [4]
    assert said in wrong[4]


async def test_rows_of_no_entry_are_named(local: Node, local_dsn: str) -> None:
    """Beyond what the index says, and beyond the log."""
    await local.grow(9)
    await filled(local)
    await ask(
        local_dsn, "insert into search select 20, at, log, terms, rare from search where idx = 4", "select 1"
    )
    assert list(await texts(local, local_dsn)) == [20]


async def test_erased_entries_are_no_fault_of_the_index(local: Node, local_dsn: str) -> None:
    """With their row of the index or, once made anew, with one without terms."""
    await local.grow(9)
    index = await filled(local)
    await ask(local_dsn, "delete from view where idx in (3, 4)", "delete from search where idx = 3", "select 1")
    assert list(await texts(local, local_dsn)) == [4]
    await again(index)
    report = await checked(local, local_dsn)
    assert (report.good, report.erased, report.stretches) == (True, 2, [(3, 4)])


async def test_another_key_folder_is_refused(local: Node, local_dsn: str, tmp_path: Path) -> None:
    """Under it every term would seem wrong."""
    await local.grow(2)
    with pytest.raises(IntegrityError, match="is not the one"):
        await check_index(local_dsn, FolderKeys(tmp_path / "other"), lambda _done, _of: None)


async def test_searches_go_on_while_it_is_made_anew_and_say_how_far(local: Node, local_dsn: str) -> None:
    """What stood there is found all the time; what is promised is what has been made anew."""
    await local.grow(30)
    index = await filled(local)
    await ask(local_dsn, "delete from search where idx in (1, 25)", "select 1")
    await index.filling.begin_again()
    reached = []
    while (await index.filling.reach()).again is not None:
        hits = await find(index, term("event", "disclosure"))
        reached.append(hits.done)
        assert 28 <= len(hits.found) <= 30
        await step(index)
    assert reached == [0, 8, 16, 24]
    hits = await find(index, term("event", "disclosure"))
    assert (hits.done, len(hits.found)) == (30, 30)
    assert (await checked(local, local_dsn)).good


async def test_what_comes_meanwhile_is_taken_in_first(local: Node) -> None:
    """A rebuild holds up nobody who follows the log: what is appended is in the index with its entry."""
    await local.grow(20)
    index = await filled(local)
    await index.filling.begin_again()
    await step(index)
    await local.grow(3)
    await step(index)
    assert await index.filling.reach() == Reach(23, 16)


async def test_rows_of_no_entry_go(local: Node, local_dsn: str) -> None:
    """Also beyond the end."""
    await local.grow(9)
    index = await filled(local)
    await ask(
        local_dsn, "insert into search select 20, at, log, terms, rare from search where idx = 4", "select 1"
    )
    await again(index)
    assert (await checked(local, local_dsn)).good
    assert await ask(local_dsn, "select count(*) from search") == 9


async def test_several_workers_make_it_anew_together(worker: Node, other: Node, dsn: str) -> None:
    """Each step is one worker's, whichever comes first; nothing is left out or done forever."""
    await worker.grow(60)
    first, second = await filled(worker), index_of(other)
    await ask(dsn, "update search set terms = '{}' where idx % 7 = 0", "select 1")
    await first.filling.begin_again()

    async def until_done(index: SearchIndex) -> None:
        while (await index.filling.reach()).again is not None:
            await step(index)

    await asyncio.wait_for(asyncio.gather(until_done(first), until_done(second)), 30)
    report = await checked(worker, dsn)
    assert report.good, [str(each) for each in report.problems]


async def test_a_rebuild_that_is_killed_is_gone_on_with(local: Node, local_dsn: str, tmp_path: Path) -> None:
    """kill -9 at any moment: the index still says how far it is, and a worker or another command ends it."""
    await local.grow(1500)
    index = await filled(local)
    await ask(local_dsn, "update search set terms = '{}'", "select 1")
    command = [sys.executable, "-m", "broker", "audit", "index", "rebuild", local_dsn]
    keys = ["--keys", str(tmp_path / "state" / "keys")]
    child = await asyncio.create_subprocess_exec(*command, *keys, stdout=subprocess.DEVNULL)
    async with asyncio.timeout(60):
        while not (await index.filling.reach()).again:  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0)
    child.send_signal(signal.SIGKILL)
    await child.wait()
    so_far = await index.filling.reach()
    if so_far.again is not None:  # a fast machine may have ended it
        assert 0 < so_far.again < 1500
        wrong = await checked(local, local_dsn)
        assert wrong.problems[0].index == so_far.again
    await step(index)
    done = await asyncio.create_subprocess_exec(*command, *keys, "--resume", stdout=subprocess.DEVNULL)
    assert await asyncio.wait_for(done.wait(), 60) == 0
    report = await checked(local, local_dsn)
    assert (report.good, report.opened, report.reach) == (True, 1500, Reach(1500))


@pytest.mark.parametrize("missing", [False, True], ids=["made anew", "filled"])
async def test_what_is_erased_while_it_is_indexed_is_found_no_more(
    local: Node, local_dsn: str, monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    """An erasure between the reading of a view and the writing of its terms waits, and empties them."""
    await local.grow(6)
    await filled(local)
    if missing:
        await ask(local_dsn, "delete from search", "delete from search_progress", "select 1")
    erase = """
    do $$ begin
        delete from view where idx = 3;
        update search set terms = '{}', rare = '{}' where idx = 3;
    end $$
    """
    erasing: list[asyncio.Task[object]] = []
    index = index_of(local)
    row = index.filling._row

    async def slowly(each: Any) -> Any:
        if not erasing:
            erasing.append(asyncio.create_task(ask(local_dsn, erase, "select 1")))
            await asyncio.sleep(0.3)
        return await row(each)

    monkeypatch.setattr(index.filling, "_row", slowly)
    if missing:
        await step(index)
    else:
        await again(index)
    await asyncio.gather(*erasing)
    assert erasing
    assert await ask(local_dsn, "select terms = '{}' and rare = '{}' from search where idx = 3")
    assert await ask(local_dsn, "select terms <> '{}' from search where idx = 4")


async def test_a_row_that_has_no_entry_yet_stops_nothing(local: Node, local_dsn: str) -> None:
    """What only helps to find is not what an entry waits for: its own row takes the other's place."""
    await local.grow(3)
    await filled(local)
    await ask(
        local_dsn,
        "insert into search (log, idx, at, terms, rare) values (1, 3, now(), '{1}', '{1}')",
        "select 1",
    )
    await local.grow(2)
    await filled(local)
    assert (await checked(local, local_dsn)).good
