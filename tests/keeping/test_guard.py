"""The database itself goes past no hold: whatever tries, by hand or by another part of the product."""

from __future__ import annotations

import json
import time
from typing import Any

import asyncpg
import pytest

from broker.core.model import Reason
from tests.human.test_overrides import breaks_glass, objected
from tests.human.test_referrals import NO, judged, refer
from tests.keeping.conftest import (
    AUDITOR,
    CFRS,
    COUNCIL,
    OFFICER,
    asks,
    caught_up,
    entry_of,
    full_of,
    holds_person,
    opening_of,
)
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


async def test_a_hold_and_what_it_rests_on_stand_by_hand_too(durable_stage: Stage) -> None:
    """The hold itself, the terms that it is found by, the key of what it holds; none is emptied as a whole, nor
    put away under another key."""
    stage = durable_stage
    subject = stage.person()
    used = await entry_of(stage, await asks(stage, subject))
    hold = await holds_person(stage, AUDITOR, subject)
    await asks(stage, stage.person(), purpose="emergency-planning")  # a view key of another class
    view = _VIEW.format(used)
    for sql in (
        f"delete from hold where id = '{hold}'",
        f"update hold set everything = false, parties = '{{}}', agencies = '{{}}' where id = '{hold}'",
        f"update search set terms = '{{}}', rare = '{{}}' where {view}",
        f"update search set rare = '{{1}}' where {view}",
        f"update view set key = (select max(id) from view_key), views = '' where {view}",
        f"update view set key = 999 where {view}",
        "update view_key set wrapped = null",
        "delete from view_key",
        *(f"truncate {each}" for each in ("view", "hold", "view_key", "claim", "directive", "referral")),
    ):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await ask(stage.dsn, sql, "select 1")
        assert refused.value.sqlstate == "BL005", sql
    assert await opening_of(stage, used, "requester") is not None


async def test_many_holds_cost_a_look_little(durable_stage: Stage) -> None:
    """Five hundred of each of ten agencies: what is held is told well within a statement."""
    stage = durable_stage
    requests = [await asks(stage, stage.person()) for _ in range(3)]
    subject = requests[1].subject
    assert subject is not None
    await holds_person(stage, AUDITOR, subject)
    entries = [await entry_of(stage, each) for each in requests]
    many = " union all ".join([f"select entry_under_hold('{each}') as held" for each in entries] * 100)

    async def took() -> float:
        begun = time.monotonic()
        assert await ask(stage.dsn, f"select count(*) filter (where held) from ({many}) x") == 100
        return time.monotonic() - begun

    few = min([await took() for _ in range(3)])
    more = (
        "insert into hold select gen_random_uuid(), 'a' || n % 10, true, '{}', '{}', 'person', '{}',"
        " array[n + 4294960000], null, '', 'x', now() from generate_series(1, 5000) n"
    )
    await ask(stage.dsn, more, "select 1")
    # Looked at one by one, 5,000 holds took some hundred times as long as one.
    assert min([await took() for _ in range(3)]) < 10 * few + 0.1


def personal(column: dict[str, Any]) -> bool:
    """Whether it may hold something about somebody: bytes, documents, lists of blind terms."""
    return column["kind"] in ("bytea", "jsonb", "integer[]", "bigint[]")


# Of nobody, or of people as their agency's officers, whom no erasure is about; hashes of entries, which stay.
PUBLIC = {
    *("entry.leaf", "head.range", "head.index_check", "log.final", "tile.hashes", "tile.root"),
    *("agency.detail", "system.detail", "agreement.file", "agreement.pins", "record_type.descriptor"),
    *("agency_key.detail", "agreement_signature.paper", "agreement_signature.signature", "routing.file"),
    *("acting.detail", "agreement_suspension.detail", "anchor.note", "anchor.response"),
    *("witnessed.note", "witnessed.published", "published_month.page"),
}


async def test_no_samples_are_kept_of_what_may_be_erased(durable_stage: Stage) -> None:
    """ANALYZE would copy it to where no erasure and no scrub reaches."""
    rows = await ask(
        durable_stage.dsn,
        "select json_agg(x) from (select c.relname || '.' || a.attname as name,"
        " format_type(a.atttypid, null) as kind from pg_attribute a join pg_class c on c.oid = a.attrelid"
        " where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and a.attnum > 0"
        " and not a.attisdropped and coalesce(a.attstattarget, -1) <> 0) x",
    )
    sampled = {row["name"] for row in json.loads(rows) if personal(row)}
    unlisted = sampled - PUBLIC
    assert unlisted == set()


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
