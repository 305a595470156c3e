"""Logs and links that somebody who may write the database has taken away or put in: named by whoever looks."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime

import pytest

from broker import erasable
from broker.core.checkpoint import Verifier
from broker.core.entry import Entry, Rotation
from broker.core.searchterms import Question
from broker.errors import IndexBehind
from broker.keys import FolderKeys
from broker.looks import Wanted as Report
from broker.store.fsck.check import fsck_database
from broker.store.fsck.index import check_index
from broker.store.fsck.report import StoreReport
from tests.keeping.conftest import AUDITOR, NWAS, OFFICER, WHY, asks
from tests.keeping.test_half_years import AFTER, NEXT, rotate
from tests.support.evidence import ORIGIN
from tests.support.postgres import ask
from tests.support.stage import Stage
from tests.support.world import ACTOR

_TABLES = ("search", "view", "tile", "search_progress", "entry", "witnessed", "anchor")


async def fsck(stage: Stage) -> StoreReport:
    """What fsck says, with the keys of all three half-years and the key folder."""
    assert stage.halves is not None
    vkeys = [stage.signer.vkey, *(stage.halves.prepared(each) for each in (NEXT, AFTER))]
    verifiers = [Verifier.from_vkey(each) for each in vkeys if each]
    return await fsck_database(stage.dsn, verifiers, FolderKeys(stage.folder / "keys"))


async def named(stage: Stage) -> list[str]:
    """What it names of any log, but for the dates, which are the test's."""
    report = await fsck(stage)
    return [
        f"{each.origin}: {one}"
        for each in (*report.earlier, report)
        for one in each.problems
        if one.kind != "time"
    ]


async def delete(stage: Stage, origin: str) -> int:
    """A log goes, with all that is its; how many entries it had."""
    number = await ask(stage.dsn, f"select id from log where origin = '{origin}'")
    size = await ask(stage.dsn, f"select entries from log where id = {number}")
    await ask(
        stage.dsn,
        f"delete from claim c using entry e where c.entry = e.id and e.log = {number}",
        *(f"delete from {each} where log = {number}" for each in _TABLES),
        f"delete from log where id = {number}",
        "select 1",
    )
    return int(size)


@pytest.mark.parametrize("which", [ORIGIN, NEXT], ids=["the first", "the second"])
async def test_a_log_that_was_deleted_whole_is_named(
    durable_stage: Stage, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """By fsck, `index check`, searches, reports, answers and erasures: none says that it is of all there is."""
    monkeypatch.setattr(erasable, "_PATIENCE", 0.05)
    stage, subject = durable_stage, durable_stage.person()
    for old, new in ((ORIGIN, NEXT), (NEXT, AFTER)):
        await asks(stage, subject)
        await rotate(stage, old, new)
    await asks(stage, subject)
    keys = FolderKeys(stage.folder / "keys")
    assert await named(stage) == []
    assert (await check_index(stage.dsn, keys, lambda _, __: None)).good
    size = await delete(stage, which)
    after = {ORIGIN: NEXT, NEXT: AFTER}[which]
    text = f"entry 0: follows {which} with {size} entries, which is not in this database"
    assert f"{after}: {text}" in await named(stage)
    index = await check_index(stage.dsn, keys, lambda _, __: None)
    assert text in [str(one) for each in (*index.before, index) for one in each.problems]
    pages = await stage.searches.reach(AFTER)
    assert [each.log for each in pages] == [AFTER, NEXT, ORIGIN]
    assert [(each.done, each.size) for each in pages if each.log == which] == [(0, size)]
    document, _ = await stage.reports.make(NWAS, Report("agency"), ACTOR, WHY)
    said = [value for name, value in document.facts if name == "Log before" and value.startswith(which)]
    assert said == [f"{which}: 0 of its {size} entries: {size} are not in the index yet, and so not in here"]
    with pytest.raises(IndexBehind, match=which):
        await stage.erasures.erase(NWAS, subject, OFFICER, WHY)
    page = await stage.searches.page(AUDITOR, Question(person=subject), ACTOR, WHY, log=which)
    assert (page.found, page.done, page.size, page.log) == ((), 0, size, which)
    with pytest.raises(KeyError):
        await stage.search.find(
            frozenset(), 0, 1, newest_first=True, since=None, until=None, log="blue-light.test/log/2020h1"
        )


async def test_a_log_that_was_cut_behind_its_end_is_named(durable_stage: Stage) -> None:
    """Fewer entries are said to have been in it than the next one's first entry says."""
    stage = durable_stage
    await asks(stage, stage.person())
    await rotate(stage)
    size = await ask(stage.dsn, f"select entries from log where origin = '{ORIGIN}'")
    await ask(stage.dsn, f"update log set entries = entries - 1 where origin = '{ORIGIN}'", "select 1")
    wanted = f"follows {ORIGIN} with {size} entries, and in this database that has {size - 1}"
    assert any(wanted in each for each in await named(stage))


async def plant(stage: Stage, leaf: bytes, identifier: str) -> int:
    """An entry more, by hand; its place."""
    at = await ask(stage.dsn, "select size from head")
    await ask(
        stage.dsn,
        f"insert into entry (log, idx, id, leaf) select log, size, '{identifier}', '\\x{leaf.hex()}' from head",
        f"update head set size = size + 1, range = log_extend(size, range, array['\\x{leaf.hex()}'::bytea])",
        "select 1",
    )
    return int(at)


async def test_a_link_amid_a_log_is_named(durable_stage: Stage) -> None:
    """A link may be first, or last of a closed log: amid one, or at an open one's end, it was put there."""
    stage, now = durable_stage, datetime.now(UTC).replace(microsecond=0)
    await asks(stage, stage.person())
    link = Rotation(now, str(uuid.uuid4()), stage.signer.vkey)
    at = await plant(stage, link.to_bytes(), link.id)
    wanted = f"{ORIGIN}: entry {at}: links to another log"
    assert [each[: len(wanted)] for each in await named(stage)] == [wanted]
    another = Entry(now, str(uuid.uuid4()), *(os.urandom(32).hex() for _ in range(3)))
    await plant(stage, another.to_bytes(), another.id)
    assert wanted in [each[: len(wanted)] for each in await named(stage)]


async def test_an_entry_that_no_worker_made_is_named(durable_stage: Stage) -> None:
    """Well formed, and committing to what nobody has: it lacks the views that a worker keeps with it."""
    stage, now = durable_stage, datetime.now(UTC).replace(microsecond=0)
    await asks(stage, stage.person())
    made = Entry(now, str(uuid.uuid4()), *(os.urandom(32).hex() for _ in range(3)))
    at = await plant(stage, made.to_bytes(), made.id)
    await asks(stage, stage.person())
    text = f"entry {at}: its views are gone, and nothing says so"
    assert [each for each in await named(stage) if text in each]
