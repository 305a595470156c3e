"""What each party gave up, and what each month lost, counts once: `fsck` and replays excuse nothing more."""

from __future__ import annotations

from typing import Any

import pytest

from broker.core.retention import parse
from broker.errors import NotAllowed
from tests.keeping.conftest import CFRS, NWAS, OFFICER, WHY, asks, caught_up, entry_of, full_of, opening_of
from tests.keeping.test_fsck_says import GONE, erases, index_of, said
from tests.keeping.test_retention import FILE, OLD, applied, put
from tests.support.postgres import ask
from tests.support.stage import Stage
from tests.support.world import caller


async def deletes(stage: Stage, entry: str) -> int:
    """A view is deleted by hand; its place."""
    place = await index_of(stage, entry)
    await ask(stage.dsn, f"delete from view where idx = {place}", "select 1")
    return place


@pytest.mark.parametrize(
    ("done", "text"),
    [
        ("delete from view where idx = {n}", f"its views are gone, {GONE}"),
        ("update view set provider_agency = null where idx = {n}", f"its provider's part is gone, {GONE}"),
    ],
    ids=["view", "part"],
)
async def test_what_one_party_erased_is_still_missed_of_the_other(
    durable_stage: Stage, done: str, text: str
) -> None:
    """The requester gave up its part; the provider's went by hand, or all of it did."""
    stage, subject = durable_stage, durable_stage.person()
    kept = await entry_of(stage, await asks(stage, subject))
    by = await erases(stage, NWAS, subject)
    assert await opening_of(stage, kept, "provider") is not None
    detail = (await full_of(stage, by))["detail"]
    assert (detail["agencies"], detail["parts"]) == (["nwas"], {"requester": [kept], "provider": []})
    assert await said(stage) == []
    n = await index_of(stage, kept)
    await ask(stage.dsn, done.format(n=n), "select 1")
    ((index, why),) = await said(stage)
    assert index == n
    assert text in why


async def test_what_both_parties_erased_is_erased(durable_stage: Stage) -> None:
    """Each gave up its part, in either order; a replay names the later one, and never the first alone."""
    stage = durable_stage
    for first, second in ((NWAS, CFRS), (CFRS, NWAS)):
        subject = stage.person()
        entry = await entry_of(stage, await asks(stage, subject))
        item = (entry, stage.clock.now())
        await erases(stage, first, subject)
        assert await stage.past.erased_by([item]) == {}
        by = await erases(stage, second, subject)
        assert (
            await ask(stage.dsn, f"select count(*) from view where idx = {await index_of(stage, entry)}") == 0
        )
        assert await said(stage) == []
        assert await stage.past.erased_by([item]) == {entry: by}


async def test_an_entry_of_one_party_is_erased_whole(durable_stage: Stage) -> None:
    """Nobody else has a part of it, so its erasure names it in none."""
    stage = durable_stage
    only = await put(stage, stage.clock.now(), requester=None, requester_agency="")
    by = await erases(stage, caller(only.provider_agency), (only.id,))
    assert (await full_of(stage, by))["detail"]["parts"] == {"requester": [], "provider": []}
    assert await ask(stage.dsn, f"select count(*) from view where idx = {await index_of(stage, only.id)}") == 0
    assert await said(stage) == []


async def test_a_replay_takes_one_partys_erasure_for_no_more(durable_stage: Stage) -> None:
    """The other's part was deleted by hand, and a row of `erased` written for it."""
    stage, subject = durable_stage, durable_stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    by = await erases(stage, NWAS, subject)
    await deletes(stage, entry)
    await ask(stage.dsn, f"insert into erased (item, by) values ('{entry}', '{by}')", "select 1")
    assert await stage.past.erased_by([(entry, stage.clock.now())]) == {}


async def test_a_replay_takes_no_end_of_changes_for_an_entrys_erasure(durable_stage: Stage) -> None:
    """That the changes of some month were ended says of directives that they went, and of no entry."""
    stage = durable_stage
    old = await put(stage, OLD, retention="changes")
    policy = parse(FILE.replace(b"months = 1200", b"months = 1").replace(b"months = 12\n", b"months = 1200\n"))
    (done,) = await applied(stage, policy)
    assert (done.view.month, done.view.name) == ("2020-01", "changes")
    kept = await entry_of(stage, await asks(stage, stage.person()))
    await deletes(stage, kept)
    rows = ", ".join(f"('{each}', '{done.entry}')" for each in (kept, old.id))
    await ask(stage.dsn, f"insert into erased (item, by) values {rows}", "select 1")
    # Nor is an entry that did go with its month named by a row: no retention writes one.
    assert await stage.past.erased_by([(kept, stage.clock.now()), (old.id, OLD)]) == {}


async def test_an_entry_that_gave_up_a_part_and_ended_with_its_month_is_counted_once(
    durable_stage: Stage,
) -> None:
    """So that nothing else of that month can go for it."""
    stage = durable_stage
    both, longer = await put(stage, OLD), await put(stage, OLD, retention="long")
    await erases(stage, caller(both.provider_agency), (both.id,))
    (done,) = await applied(stage)
    assert (await full_of(stage, done.entry))["detail"]["entries"] == 1
    assert await said(stage) == []
    await deletes(stage, longer.id)
    ((_, text),) = await said(stage)
    assert "2 are gone, and the log's retentions name 1" in text


async def test_an_erasure_while_a_month_is_ended_is_not_counted_with_it(
    durable_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it took after the look and before the end is left out of the end's number."""
    stage = durable_stage
    monkeypatch.setattr("broker.holds.LAST_LOOK", 0.2)  # for so long an erasure waits
    erased, _, longer = await put(stage, OLD), await put(stage, OLD), await put(stage, OLD, retention="long")
    destroying: Any = stage.destroying
    tries = list[int]()

    class Overtaken:
        def __getattr__(self, name: str) -> Any:
            return getattr(destroying, name)

        async def under(self, *about: Any) -> int:
            tries.append(await destroying.under(*about))
            if len(tries) == 1:
                for party in (erased.requester_agency, erased.provider_agency):
                    await erases(stage, caller(party), (erased.id,))
            return tries[-1]

    stage.destroying = Overtaken()  # type: ignore[assignment]
    (done,) = await applied(stage)
    assert tries == [2, 1]
    assert done.entries == (await full_of(stage, done.entry))["detail"]["entries"] == 1
    assert await said(stage) == []
    await deletes(stage, longer.id)
    ((_, text),) = await said(stage)
    assert "2 are gone, and the log's retentions name 1" in text


async def test_a_month_that_ends_while_something_is_erased_is_not_counted_with_it(
    durable_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went with its month after the look and before the erasure is named by no erasure."""
    stage = durable_stage
    old, longer = await put(stage, OLD), await put(stage, OLD, retention="long")
    await erases(stage, caller(old.provider_agency), (old.id,))
    find, ended = stage.finder.find, list[Any]()

    async def overtaken(*about: Any) -> Any:
        found = await find(*about)
        if not ended:
            ended.extend(await applied(stage))
        return found

    monkeypatch.setattr(stage.finder, "find", overtaken)
    with pytest.raises(NotAllowed, match="no such entry"):
        await stage.erasures.erase(caller(old.requester_agency), (old.id,), OFFICER, WHY)
    await caught_up(stage)
    assert (await full_of(stage, ended[0].entry))["detail"]["entries"] == 1
    assert await said(stage) == []
    await deletes(stage, longer.id)
    ((_, text),) = await said(stage)
    assert "2 are gone, and the log's retentions name 1" in text
