"""The broker's own look at its systems: what no entry of the log enrolled is told, and stops nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from broker import vouching
from broker.core.model import Function
from broker.vouching import EVERY, Vouching
from tests.support.postgres import Server, ask, open_folder
from tests.support.stage import SINCE, Stage, postgres_stage, stage_of
from tests.support.values import replace
from tests.support.world import OPERATOR, key_of

GHOST = """
insert into system (name, detail, policy_from)
select 'wf/ghost', detail || '{"agency": "wf", "system": "ghost", "function": "auditor"}', policy_from
from system where name = 'ncic/cad' and policy_until is null
"""
COUNTS = "update head set reference_policy = reference_policy + 1, policy = policy + 1"
NEWER = "update system set policy_from = (select policy from head) where name = '{}' and policy_until is null"


@pytest.fixture(params=["memory", "postgres"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Each store in turn."""
    async with stage_of(request) as made:
        yield made


@pytest.fixture
async def durable(postgres: Server) -> AsyncIterator[Stage]:
    """PostgreSQL alone."""
    with open_folder() as folder:
        async with postgres_stage(postgres, folder) as made:
            yield made


async def looked(stage: Stage) -> Vouching:
    """A look."""
    while await stage.indexed():
        pass
    made = Vouching(stage.search, stage.reference, stage.clock)
    await made.step()
    return made


async def test_what_entries_enrolled_is_good(stage: Stage) -> None:
    """Over everything that changes a system, page after page."""
    who = ("nwas", "desk")
    for n in range(2):
        await stage.registry.enrol(OPERATOR, *who, Function.PARTNER, key_of(f"desk {n}"), SINCE, None)
    for lift in (False, True, False):
        await stage.registry.suspend(OPERATOR, *who, "looked odd", lift=lift)
    await stage.registry.revoke(OPERATOR, *who, key_of("desk 0"), "lost")
    await stage.registry.attached(replace(OPERATOR, agency="ncic", system="cad", function=Function.PARTNER))
    await stage.standing.leave(OPERATOR, "cumberland", stage.clock.now(), "over")
    before = vouching._PAGE
    vouching._PAGE = 2
    try:
        assert (await looked(stage)).reasons() == ()
    finally:
        vouching._PAGE = before


@pytest.mark.parametrize(
    ("name", "done"),
    [
        ("wf/ghost", GHOST),
        (
            "ncic/cad",
            "update system set detail = jsonb_set(detail, '{function}', '\"auditor\"') where name = 'ncic/cad'",
        ),
        (
            "ncic/cad",
            "update system set detail = jsonb_set(detail, '{key_digests}', '[\"00\"]') where name = 'ncic/cad'",
        ),
    ],
    ids=["made", "function", "key"],
)
async def test_what_was_written_by_hand_is_told_without_a_name(durable: Stage, name: str, done: str) -> None:
    """The diagnostics name it, once; it is told until it is as it was, and no reason to be unready."""
    stage = durable
    await ask(
        stage.dsn, "create table kept as select * from system", done, COUNTS, NEWER.format(name), "select 1"
    )
    with capture_logs() as logs:
        made = await looked(stage)
        assert made.reasons() == (
            "the directory is not what the log says: 1 system, which broker audit fsck with --keys names",
        )
        await made.step()  # not due
        made._due -= 2 * EVERY
        await made.step()
    assert [each["systems"] for each in logs if "systems" in each] == [(name,)]


async def test_a_look_waits_for_an_index_that_is_behind(durable: Stage) -> None:
    """What it lacks may be what enrolled somebody."""
    stage = durable
    made = await looked(stage)
    await ask(stage.dsn, GHOST, COUNTS, NEWER.format("wf/ghost"), "select 1")
    await ask(stage.dsn, "update search_progress set done = 3", "delete from search where idx >= 3", "select 1")
    made._due -= 2 * EVERY
    await made.step()
    assert made.reasons() == ()
    while await stage.indexed():
        pass
    await made.step()
    assert made.reasons() != ()
