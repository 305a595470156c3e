"""`fsck` of what was erased and is there again: written back by hand, or out of an old copy of a table."""

from __future__ import annotations

import pytest

from broker.store.fsck.check import fsck_database
from broker.store.fsck.notes import Kept
from tests.keeping.conftest import CFRS, NWAS, asks, entry_of
from tests.keeping.test_fsck_says import erases, index_of, look, said
from tests.keeping.test_retention import OLD, applied, put
from tests.support.postgres import ask
from tests.support.stage import Stage

KEPT = """
create table kept_view as select * from view;
create table kept_search as select * from search;
create table kept_key as select * from view_key
"""


async def without_keys(stage: Stage) -> list[tuple[int, str]]:
    """What fsck names for whoever has no key folder."""
    _, note = await stage.view.head()
    report = await fsck_database(stage.dsn, [stage.signer.verifier], None, Kept((("head", note),)))
    return [(each.index, each.text) for each in report.problems]


async def copied(stage: Stage) -> None:
    """A copy of the tables, as a backup of them has it."""
    await ask(stage.dsn, *KEPT.split(";"), "select 1")


@pytest.mark.parametrize(
    ("who", "side", "agency"),
    [(NWAS, "requester", "nwas"), (CFRS, "provider", "cfrs")],
    ids=["requester", "provider"],
)
async def test_a_part_that_was_given_up_and_is_there_again_is_named(
    durable_stage: Stage, who: object, side: str, agency: str
) -> None:
    """By the entry, and the erasure that it undoes."""
    stage, subject = durable_stage, durable_stage.person()
    kept = await entry_of(stage, await asks(stage, subject))
    by = await erases(stage, who, subject)
    assert await said(stage) == []
    n = await index_of(stage, kept)
    await ask(stage.dsn, f"update view set {side}_agency = '{agency}' where idx = {n}", "select 1")
    assert await said(stage) == [(n, f"its {side}'s part was erased by {by} and there again")]


async def test_words_that_were_erased_and_are_there_again_are_named(durable_stage: Stage) -> None:
    """Out of a copy of the row, from before."""
    stage = durable_stage
    kept = await entry_of(stage, await asks(stage, stage.person()))
    await copied(stage)
    by = await erases(stage, NWAS, (kept,), words_only=True)
    assert await said(stage) == []
    n = await index_of(stage, kept)
    back = f"update view v set words = k.words from kept_view k where v.idx = {n} and k.idx = {n}"
    await ask(stage.dsn, back, "select 1")
    assert await said(stage) == [(n, f"its words were erased by {by} and there again")]


@pytest.mark.parametrize("tables", [("view", "search"), ("view",), ("search",)], ids=["both", "view", "search"])
async def test_an_entry_that_was_erased_whole_and_is_there_again_is_named(
    durable_stage: Stage, tables: tuple[str, ...]
) -> None:
    """Both parties gave it up; somebody puts back what a copy of the tables had."""
    stage, subject = durable_stage, durable_stage.person()
    kept = await entry_of(stage, await asks(stage, subject))
    await copied(stage)
    one, other = await erases(stage, NWAS, subject), await erases(stage, CFRS, subject)
    assert await said(stage) == []
    n = await index_of(stage, kept)
    if "view" in tables:
        await ask(stage.dsn, f"insert into view select * from kept_view where idx = {n}", "select 1")
    if "search" in tables:
        back = "update search s set terms = k.terms, rare = k.rare from kept_search k"
        await ask(stage.dsn, f"{back} where s.idx = {n} and k.idx = {n}", "select 1")
    ((index, text),) = await said(stage)
    assert index == n
    if "view" in tables:
        assert text == f"erased by {one} and {other} and there again"
        # The table that lists erasures has the last of them; without keys it is all there is to ask.
        ((index, text),) = await without_keys(stage)
        assert (index, f"erased by {other} and there again, as the table" in text) == (n, True)
    else:
        assert "is still found by what stood in its views" in text
        assert [index for index, _ in await without_keys(stage)] == [n]


async def test_a_key_that_a_retention_ended_and_that_is_there_again_is_named(durable_stage: Stage) -> None:
    """With its file in the key folder and its views in their table all of the month would open again."""
    stage = durable_stage
    old = await put(stage, OLD)
    await copied(stage)
    path = stage.folder / "keys" / "views" / "2020-01.standard.key"
    secret = path.read_bytes()
    (done,) = await applied(stage)
    assert await said(stage) == []
    path.write_bytes(secret)
    path.chmod(0o600)
    await ask(
        stage.dsn,
        "alter table view_key disable trigger user",
        "update view_key v set wrapped = k.wrapped from kept_key k where v.id = k.id and v.month = '2020-01'",
        f"insert into view select * from kept_view where idx = {await index_of(stage, old.id)}",
        "select 1",
    )
    ((index, text),) = await said(stage)
    assert (index, text) == (-1, f"ended by {done.entry} and there again")
    assert (await look(stage)).first is not None


async def test_a_whole_table_out_of_a_backup_is_told_by_every_erasure_since(durable_stage: Stage) -> None:
    """The log is the new one, its views are the old ones."""
    stage = durable_stage
    people = [stage.person() for _ in range(3)]
    gone = [await index_of(stage, await entry_of(stage, await asks(stage, each))) for each in people]
    await copied(stage)
    for each in people:
        await erases(stage, NWAS, each)
    back = "update view v set requester_agency = k.requester_agency from kept_view k where v.idx = k.idx"
    await ask(stage.dsn, back, "select 1")
    assert [index for index, _ in await said(stage)] == gone
