"""`fsck` with the key folder: a key that a retention ended answers for what it ended, and for nothing else."""

from __future__ import annotations

from tests.keeping.conftest import asks, entry_of, full_of, holds_person
from tests.keeping.test_fsck_says import index_of, said
from tests.keeping.test_retention import HOLDER, OLD, PERSON, applied, put
from tests.support.postgres import ask
from tests.support.stage import Stage

ENDED = "select id from view_key where wrapped is null"
AWAY = "update view set key = ({ended}), views = '\\x00', words = null where idx = {n}"


async def away(stage: Stage, entry: str) -> int:
    """Put an entry's views by hand under the key that was ended; its index."""
    n = await index_of(stage, entry)
    await ask(stage.dsn, AWAY.format(ended=ENDED, n=n), "select 1")
    return n


async def test_a_key_of_which_all_was_set_aside_swallows_nothing(durable_stage: Stage) -> None:
    """A retention that says that nobody lost anything: views put under its key are named, each."""
    stage = durable_stage
    await put(stage, OLD)
    await holds_person(stage, HOLDER, PERSON)
    (done,) = await applied(stage)
    assert (await full_of(stage, done.entry))["detail"]["entries"] == 0
    kept = [await entry_of(stage, await asks(stage, stage.person())) for _ in range(3)]
    assert await said(stage) == []
    places = [await away(stage, each) for each in kept]
    found = await said(stage)
    assert [index for index, _ in found] == places
    assert all("under the ended key of 2020-01, standard, and the entry is of" in text for _, text in found)


async def test_what_was_set_aside_is_named_where_it_is_put_back_under_the_ended_key(
    durable_stage: Stage,
) -> None:
    """Of the key's own month: the retention's entry says how many it took, and this is one more."""
    stage = durable_stage
    held = await put(stage, OLD)
    await holds_person(stage, HOLDER, PERSON)
    await applied(stage)
    await ask(stage.dsn, "alter table view disable trigger user", "select 1")
    n = await away(stage, held.id)
    ((index, text),) = await said(stage)
    assert index == n
    assert "of whose end the log says 0 entries" in text


async def test_the_entry_itself_is_named_and_not_one_that_a_retention_took(durable_stage: Stage) -> None:
    """Where the retention did take some: views of another month, and one of its own month's other classes."""
    stage = durable_stage
    await put(stage, OLD)
    await put(stage, OLD)
    longer = await put(stage, OLD, retention="long")
    await applied(stage)
    kept = await entry_of(stage, await asks(stage, stage.person()))
    assert await said(stage) == []
    places = [await away(stage, longer.id), await away(stage, kept)]
    assert [index for index, _ in await said(stage)] == places
