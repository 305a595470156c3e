"""One damaged row keeps no worker from what stands beside it, and readiness says that it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from broker import escalations as module
from broker import upkeep
from broker.core.searchterms import NEWEST, term
from broker.errors import IntegrityError
from broker.refusals import Refusals
from broker.refused import Refused, RefusedCalls
from broker.upkeep import Upkeep
from tests.keeping.conftest import CFRS, asks, entry_of
from tests.support.fleet import becomes
from tests.support.postgres import ask
from tests.support.stage import Stage
from tests.support.world import ACTOR, World

DAMAGE = "update complaint set detail = set_byte(detail, 20, get_byte(detail, 20) # 1) where id = '{}'"
TOLD_ON = "select array_agg(item::text order by due_at) from escalation"


async def complained(stage: Stage, days: int) -> str:
    """A complaint of so many days ago that nobody has acknowledged."""
    received = stage.clock.now() - timedelta(days=days)
    complaint, _, _ = await stage.complaints.add(CFRS, f"C-{days}", received, "they came twice", ACTOR)
    return complaint


@asynccontextmanager
async def kept_up(
    name: str, step: Callable[[], Awaitable[object]], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Upkeep]:
    """A job beside the requests, whose turns come soon."""
    monkeypatch.setattr(upkeep, "SETTLED", 0.3)
    made = Upkeep()
    task = asyncio.create_task(made.forever(name, step, 0.02))
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_damaged_complaint_keeps_no_later_one_from_being_told_on(
    durable_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many more are damaged than a look takes; readiness says it until they are mended."""
    stage = durable_stage
    monkeypatch.setattr(module, "MOST", 2)
    monkeypatch.setattr(module, "EVERY", 0.02)
    *damaged, first, second = [await complained(stage, days) for days in (50, 45, 40, 35, 34)]
    for each in damaged:
        await ask(stage.dsn, DAMAGE.format(each), "select 1")

    async def told_on(items: list[str]) -> bool:
        return await ask(stage.dsn, TOLD_ON) == items

    async with kept_up("escalations", stage.escalations.run, monkeypatch) as made:
        await becomes(lambda: told_on([first, second]), 30)
        (why,) = made.reasons()
        assert "does not open" in why
        for each in damaged:
            await ask(stage.dsn, DAMAGE.format(each), "select 1")  # the same bit once more: as it was
        await becomes(lambda: told_on([*damaged, first, second]), 30)

        async def well() -> bool:
            return not made.reasons()

        await becomes(well, 30)


async def test_a_damaged_entry_keeps_no_other_out_of_the_search_index(
    durable_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those after it are found; the index says that it reaches no further, and readiness which entry it is."""
    stage = durable_stage
    entries = [await entry_of(stage, await asks(stage, stage.person())) for _ in range(3)]
    place = int(await ask(stage.dsn, f"select idx from entry where id = '{entries[0]}'"))
    await ask(
        stage.dsn,
        f"create table aside as select idx, leaf from entry where idx = {place}",
        f"update entry set leaf = '{{}}' where idx = {place}",
        f"delete from search where idx >= {place}",
        f"update search_progress set done = {place}",
        "select 1",
    )

    async def found() -> tuple[list[str], int]:
        hits = await stage.search.find(
            frozenset({term("event", "disclosure")}), -1, 100, newest_first=False, since=None, until=None
        )
        return [hit.id for hit in hits.found], hits.done

    async def taken_in() -> bool:
        return (await found())[0] == entries[1:]

    async def all_of_it() -> bool:
        return (await found())[0] == entries

    async with kept_up("the search index", stage.search.watch, monkeypatch) as made:
        await becomes(taken_in, 30)
        assert (await found())[1] == place
        (why,) = made.reasons()
        assert f"entry {place} " in why
        await ask(
            stage.dsn, "update entry e set leaf = aside.leaf from aside where e.idx = aside.idx", "select 1"
        )
        await becomes(all_of_it, 30)


async def test_an_index_made_anew_goes_past_a_damaged_entry(durable_stage: Stage) -> None:
    """Its row stays as it was; what comes after it is made anew."""
    stage = durable_stage
    entries = [await entry_of(stage, await asks(stage, stage.person())) for _ in range(2)]
    place = int(await ask(stage.dsn, f"select idx from entry where id = '{entries[0]}'"))
    await ask(
        stage.dsn,
        f"update entry set leaf = '{{}}' where idx = {place}",
        f"update search set terms = '{{}}' where idx > {place}",
        "select 1",
    )
    await stage.search.filling.begin_again()
    with pytest.raises(IntegrityError, match=f"entry {place} "):
        await stage.search.fill()
    while await stage.search.fill():
        pass
    hits = await stage.search.find(
        frozenset({term("event", "disclosure")}), NEWEST, 100, newest_first=True, since=None, until=None
    )
    assert [hit.id for hit in hits.found] == entries[::-1]
    assert (await stage.search.filling.reach()).again is None


async def test_what_does_not_hold_is_said_by_whoever_writes_refusals_down() -> None:
    """A database that is away is waited for; a log that does not hold is another thing. No count is lost."""
    world, calls = World(), RefusedCalls()
    refusals = Refusals(world.store.log, calls, world.clock, "worker-1")
    calls.add(Refused("ExchangeService/Request", "INVALID_ARGUMENT", "InvalidRequest", "nwas/cad"), 3)

    async def broken(_: object) -> None:
        raise IntegrityError("the log is behind the guard")

    real, world.store.log.append = world.store.log.append, broken  # type: ignore[assignment, method-assign]
    with pytest.raises(IntegrityError):
        await refusals.drain()
    world.store.log.append = real  # type: ignore[method-assign]
    await refusals.drain()
    assert calls.take() == {}
    (entry,) = world.store.entries
    assert entry.draft.full["detail"]["count"] == 3  # type: ignore[index, call-overload]
