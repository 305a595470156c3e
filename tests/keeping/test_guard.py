"""The database itself goes past no hold: whatever tries, by hand or by another part of the product."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from broker.core.model import Reason
from tests.human.test_overrides import breaks_glass, objected
from tests.human.test_referrals import NO, judged, refer
from tests.keeping.conftest import AUDITOR, CFRS, COUNCIL, OFFICER, caught_up, entry_of, full_of, holds_person
from tests.support.postgres import ask
from tests.support.stage import Stage
from tests.support.values import replace

CLAIM = Reason("litigation", "a claim was made")
_VIEW = "(log, idx) = (select log, idx from entry where id = '{}')"


async def test_no_destroying_path_goes_past_a_hold(durable_stage: Stage) -> None:
    """Views, words, parties, claims, rows of both queues and directives; once it is released, they go."""
    stage = durable_stage
    referred = judged(stage)
    row = await refer(stage, referred)
    await stage.referrals.decide(CFRS, row.id, NO, OFFICER)
    overridden = await objected(stage, replace(breaks_glass(stage), subject=referred.subject))
    stage.finds(overridden)
    await stage.exchange.answer(overridden)
    subject = referred.subject
    assert subject is not None
    used = await entry_of(stage, overridden)
    full: Any = await full_of(stage, used)
    (directive,) = full["directives"]
    await stage.said.withdraw_one(COUNCIL, directive, OFFICER)
    hold = await holds_person(stage, AUDITOR, subject)
    view = _VIEW.format(used)
    tries = [
        f"delete from directive where id = '{directive}'",
        f"delete from override_use where id = '{used}'",
        f"delete from referral where id = '{row.id}'",
        f"delete from claim where entry = '{used}'",
        f"update view set words = null where {view}",
        f"update view set requester_agency = null where {view}",
        f"update view set views = '' where {view}",
        f"delete from view where {view}",
    ]
    for sql in tries:
        with pytest.raises(asyncpg.PostgresError) as refused:
            await ask(stage.dsn, sql, "select 1")
        assert refused.value.sqlstate == "BL005", sql
    await stage.holds.release(AUDITOR, hold, OFFICER, CLAIM)
    for sql in tries:
        assert await ask(stage.dsn, f"with done as ({sql} returning 1) select count(*) from done") == 1, sql


async def test_what_is_not_indexed_yet_is_held(durable_stage: Stage) -> None:
    """Nobody can tell whom it is about before the index has seen it."""
    stage = durable_stage
    await holds_person(stage, AUDITOR, stage.person())
    request = stage.asks()
    stage.finds(request)
    await stage.exchange.answer(request)
    await ask(stage.dsn, "delete from search where idx = (select max(idx) from search)", "select 1")
    held = f"select entry_under_hold('{await entry_of(stage, request)}')"
    assert await ask(stage.dsn, held)
    await caught_up(stage)
    assert not await ask(stage.dsn, held)
