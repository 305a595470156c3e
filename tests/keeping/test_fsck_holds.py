"""A hold ends by its own entry: by hand it does not, and what was destroyed past it is named."""

from __future__ import annotations

import asyncpg
import pytest

from broker.core.model import Reason
from tests.keeping.conftest import AUDITOR, NWAS, OFFICER, asks, caught_up, entry_of, holds_person
from tests.keeping.test_fsck_says import erases, said
from tests.keeping.test_retention import HOLDER, OLD, PERSON, applied, put
from tests.support.postgres import ask
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR

CLAIM = Reason("litigation", "a claim was made")
OFF, ON = (f"alter table hold {able} trigger user" for able in ("disable", "enable"))
RELEASED = "update hold set released_at = now(), released_by = id"
BACK = "update hold set released_at = null, released_by = null"


async def by_hand(stage: Stage, change: str) -> None:
    """What whoever owns the table can do."""
    await ask(stage.dsn, OFF, change, ON, "select 1")


@pytest.mark.parametrize(
    "change",
    [
        "update hold set released_at = now()",
        "update hold set released_at = now(), released_by = (select id from entry order by idx desc limit 1)",
        "update hold set released_by = (select id from entry order by idx desc limit 1)",
    ],
    ids=["alone", "by-an-entry-that-stood", "by-alone"],
)
async def test_a_hold_is_not_released_by_hand(durable_stage: Stage, change: str) -> None:
    """Only with an entry that the same transaction has put at the head of the log."""
    stage = durable_stage
    hold = await holds_person(stage, AUDITOR, stage.person())
    with pytest.raises(asyncpg.PostgresError) as refused:
        await ask(stage.dsn, change, "select 1")
    assert refused.value.sqlstate == "BL005"
    made = await stage.holds.release(AUDITOR, hold, OFFICER, CLAIM)
    by = await ask(stage.dsn, f"select released_by::text from hold where id = '{hold}'")
    assert by == made.event_id


@pytest.mark.parametrize("role", ["paramedic", "visitor"], ids=["a-part", "all"])
async def test_an_erasure_past_a_hold_that_was_put_out_of_sight_is_named(
    durable_stage: Stage, role: str
) -> None:
    """Released by hand, erased, and set back: whether or not the other party keeps anything of the entry."""
    stage = durable_stage
    subject = stage.person()
    kept = await entry_of(stage, await asks(stage, subject, actor=replace(ACTOR, role=role)))
    await holds_person(stage, AUDITOR, subject)
    assert await said(stage) == []
    await by_hand(stage, RELEASED)
    by = await erases(stage, NWAS, (kept,))
    await by_hand(stage, BACK)
    place = int(await ask(stage.dsn, f"select idx from entry where id = '{by}'"))
    found = await said(stage)
    assert {index for index, _ in found} == {place}
    assert any("which it was not shown" in text for _, text in found)


async def test_an_erasure_past_a_hold_that_was_made_to_cover_nothing_is_named(durable_stage: Stage) -> None:
    """What is left of the entry with its other party says that the hold covers it."""
    stage = durable_stage
    subject = stage.person()
    kept = await entry_of(stage, await asks(stage, subject))
    await holds_person(stage, AUDITOR, subject)
    await by_hand(stage, "create table kept_hold as select * from hold")
    await by_hand(stage, "update hold set terms = '{}', rare = '{}'")
    by = await erases(stage, NWAS, (kept,))
    await by_hand(stage, "update hold h set terms = k.terms, rare = k.rare from kept_hold k where k.id = h.id")
    place = int(await ask(stage.dsn, f"select idx from entry where id = '{by}'"))
    ((index, text),) = await said(stage)
    assert index == place
    assert "covers it and stood" in text


async def test_a_retention_past_a_hold_is_named(durable_stage: Stage) -> None:
    """It sets aside what is held; a hold that it did not see had nothing set aside."""
    stage = durable_stage
    await put(stage, OLD)
    await holds_person(stage, HOLDER, PERSON)
    await by_hand(stage, RELEASED)
    (done,) = await applied(stage)
    await by_hand(stage, BACK)
    place = int(await ask(stage.dsn, f"select idx from entry where id = '{done.entry}'"))
    assert place in [index for index, text in await said(stage) if "which it was not shown" in text]


async def test_what_is_erased_beside_holds_and_after_them_is_no_fault(durable_stage: Stage) -> None:
    """Somebody else's while a hold stands; the same person's once it is released; a party's under another
    party's hold that does not cover it."""
    stage = durable_stage
    subject, other = stage.person(), stage.person()
    await asks(stage, subject)
    await asks(stage, other)
    hold = await holds_person(stage, AUDITOR, subject)
    await holds_person(stage, HOLDER, other)
    await erases(stage, NWAS, stage.person())
    await erases(stage, NWAS, subject)
    await stage.holds.release(AUDITOR, hold, OFFICER, CLAIM)
    await caught_up(stage)
    await erases(stage, NWAS, subject)
    assert await said(stage) == []
