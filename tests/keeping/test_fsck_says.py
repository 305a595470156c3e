"""`fsck` with the key folder: what is gone is erased where the log says so, and where it does not it is a
loss."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from broker.keys import FolderKeys
from broker.store.fsck.check import fsck_database
from broker.store.fsck.index import check_index
from broker.store.fsck.notes import Kept
from broker.store.fsck.report import StoreReport
from tests.keeping.conftest import NWAS, OFFICER, WHY, asks, caught_up, entry_of, full_of, holds_person
from tests.keeping.test_retention import HOLDER, OLD, PERSON, applied, put, retention
from tests.support.postgres import ask
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR, OPERATOR

GONE = "and nothing says so"


async def look(stage: Stage) -> StoreReport:
    """What fsck says."""
    _, note = await stage.view.head()
    keys, kept = FolderKeys(stage.folder / "keys"), Kept((("head", note),))
    return await fsck_database(stage.dsn, [stage.signer.verifier], keys, kept)


async def said(stage: Stage) -> list[tuple[int, str]]:
    """What it names, by index; that an entry of another year stands among these is ours."""
    return [(each.index, each.text) for each in (await look(stage)).problems if each.kind != "time"]


async def erases(stage: Stage, who: Any, what: Any, **more: bool) -> str:
    """An erasure's entry."""
    _, made = await stage.erasures.erase(who, what, OFFICER, WHY, **more)
    await caught_up(stage)
    return str(made[0].event_id)


async def index_of(stage: Stage, entry: str) -> int:
    """An entry's place."""
    return int(await ask(stage.dsn, f"select idx from entry where id = '{entry}'"))


async def test_what_the_log_says_was_erased_is_no_fault(durable_stage: Stage) -> None:
    """A person's erasure by one party and by the other, words alone, and a month that ended, some of it set
    aside for a hold: all of it is named, and good."""
    stage = durable_stage
    subject = stage.person()
    await put(stage, OLD)
    await put(stage, OLD, requester=None, requester_agency="")
    await holds_person(stage, HOLDER, PERSON)
    await put(stage, OLD.replace(day=2), full={"incident": "x"})
    request = await asks(stage, subject)
    await erases(stage, NWAS, subject)
    other = await asks(stage, stage.person(), actor=replace(ACTOR, role="visitor"))
    await erases(stage, NWAS, (await entry_of(stage, other),), words_only=True)
    await applied(stage)
    assert await said(stage) == []
    assert (await look(stage)).words_erased
    assert await ask(stage.dsn, "select count(*) from view where requester_agency is null") > 0
    assert (await entry_of(stage, request)) is not None


@pytest.mark.parametrize(
    ("done", "text"),
    [
        ("delete from view where idx = {n}", f"its views are gone, {GONE}"),
        ("update view set key = 999 where idx = {n}", "it is sealed under key 999, which there is not"),
        (
            "update view set requester_agency = 'evil' where idx = {n}",
            "its requester is not the one that asked",
        ),
        ("update view set requester_agency = null where idx = {n}", f"its requester's part is gone, {GONE}"),
        ("update view set provider_agency = null where idx = {n}", f"its provider's part is gone, {GONE}"),
        (
            "update view set provider_agency = 'evil' where idx = {n}",
            "its provider is not the one that was asked",
        ),
        ("update view set words = null where idx = {n}", f"its words are gone, {GONE}"),
    ],
    ids=["row", "key", "requester", "no-requester", "no-provider", "provider", "words"],
)
async def test_what_nobody_said_was_erased_is_named(durable_stage: Stage, done: str, text: str) -> None:
    """By its index, although another erasure and a month's end are in the log, and whatever tables say."""
    stage = durable_stage
    await put(stage, OLD)
    await applied(stage)
    subject = stage.person()
    await asks(stage, subject)
    by = await erases(stage, NWAS, subject)
    kept = await entry_of(stage, await asks(stage, stage.person()))
    assert await said(stage) == []
    n = await index_of(stage, kept)
    lied = f"insert into erased (item, by) values ('{kept}', '{by}') on conflict do nothing"
    await ask(stage.dsn, done.format(n=n), lied, "select 1")
    (found,) = [each for each in await said(stage) if each[0] == n]
    assert text in found[1]


async def test_a_change_whose_agency_was_changed_is_named(durable_stage: Stage) -> None:
    """Not only requests: agreements, recordings, looks are read by their agency too."""
    stage = durable_stage
    n = int(await ask(stage.dsn, "select max(idx) from entry"))
    await ask(stage.dsn, f"update view set requester_agency = 'evil' where idx = {n}", "select 1")
    assert [index for index, _ in await said(stage)] == [n]


async def test_more_went_of_a_month_than_its_retention_says(durable_stage: Stage) -> None:
    """A view of a class that is kept, deleted by hand in a month of which another class was ended."""
    stage = durable_stage
    await put(stage, OLD)
    longer = await put(stage, OLD, retention="long")
    (done,) = await applied(stage)
    assert (await full_of(stage, done.entry))["detail"]["entries"] == 1
    assert await said(stage) == []
    await ask(stage.dsn, f"delete from view where idx = {await index_of(stage, longer.id)}", "select 1")
    ((_, text),) = await said(stage)
    assert "2 are gone, and the log's retentions name 1" in text


async def test_a_key_that_was_emptied_by_hand_is_named(durable_stage: Stage) -> None:
    """As the retention that nobody made, with how many entries went by it."""
    stage = durable_stage
    old = await put(stage, OLD)
    by_hand = "alter table view_key disable trigger user"
    await ask(stage.dsn, by_hand, "update view_key set wrapped = null where month = '2020-01'", "select 1")
    ((index, text),) = await said(stage)
    assert index == await index_of(stage, old.id)
    assert "the key of 2020-01, standard was destroyed, with the views of 1 entries" in text
    assert GONE in text


async def test_a_key_that_is_missing_is_named_and_its_views_are_not_called_erased(
    durable_stage: Stage,
) -> None:
    """By fsck and by the check of the index, with what to bring back; the run of retention ends none of it."""
    stage = durable_stage
    await put(stage, OLD)
    await holds_person(stage, HOLDER, PERSON)
    path = stage.folder / "keys" / "views" / "2020-01.standard.key"
    whole = path.read_bytes()
    path.unlink()
    report = await look(stage)
    ((_, text),) = await said(stage)
    assert "bring back views/2020-01.standard.key" in text
    assert (report.unopened, report.erased) == (1, 0)
    assert [each for each in report.unchecked if "the views of 1 entries" in each]
    checked = await check_index(stage.dsn, FolderKeys(stage.folder / "keys"), lambda _done, _of: None)
    assert [each.kind for each in checked.problems] == ["key"]
    items = {(i.view.month, i.view.name): i for i in await retention(stage).plan(OPERATOR)}
    assert items["2020-01", "standard"].counted.entries == 1
    path.write_bytes(whole)
    path.chmod(0o600)
    assert await said(stage) == []


async def test_a_replay_believes_no_table(durable_stage: Stage) -> None:
    """That a view went is said by an entry that opens and names it, or by nothing: not by a row of
    `erased`, nor by the end of another class of its month."""
    stage = durable_stage
    old, longer = await put(stage, OLD), await put(stage, OLD, retention="long")
    (done,) = await applied(stage)
    kept = await entry_of(stage, await asks(stage, stage.person()))
    items = [(old.id, OLD), (longer.id, OLD), (kept, stage.clock.now())]
    await ask(
        stage.dsn,
        f"delete from view v using entry e where e.id in ('{longer.id}', '{kept}')"
        " and (v.log, v.idx) = (e.log, e.idx)",
        f"insert into erased (item, by) values ('{kept}', '{done.entry}')",
        f"insert into erased (item, by) values ('{longer.id}', '{uuid.uuid4()}')",
        "select 1",
    )
    assert await stage.past.erased_by(items) == {old.id: done.entry}
