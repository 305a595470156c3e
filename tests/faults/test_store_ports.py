"""Every call of the store's ports, on every implementation: it succeeds, fails, and fails but has persisted."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broker.errors import AuditUnavailable
from tests.support import escalated_suite, kept_suite, store_suite
from tests.support.cutting_proxy import CuttingProxy, cutting_proxy
from tests.support.faults import Plan
from tests.support.postgres import Server, open_folder
from tests.support.stage import Stage, stage_of, stage_on
from tests.support.store_suite import Row, methods, protocols

STORE = (*store_suite.STORE, *kept_suite.STORE)
OTHERS = (*store_suite.OTHERS, *kept_suite.OTHERS)
ROWS = {**store_suite.ROWS, **kept_suite.ROWS, **escalated_suite.ROWS}
IMPLEMENTATIONS = ["memory", "postgres", pytest.param("external_postgres", marks=pytest.mark.long)]


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Each implementation in turn, furnished; every test asks about people of its own."""
    async with stage_of(request) as made:
        yield made


def test_every_method_has_a_row() -> None:
    """A Protocol, or a method of one, that nobody has put here is missed."""
    assert protocols() == {*STORE, *OTHERS}
    asked = {name for protocol in STORE for name in methods(protocol)}
    assert set(ROWS) == asked - kept_suite.RECKONED
    assert asked > kept_suite.RECKONED


async def test_a_protocol_without_rows_would_be_missed() -> None:
    """What the test before this one looks with sees a method that is new."""
    from typing import Protocol

    class Fresh(Protocol):
        async def vacuum(self) -> None: ...

    assert list(methods(Fresh)) == ["Fresh.vacuum"]


async def _outcome(stage: Stage, row: Row, made: Any, plan: Plan | None) -> tuple[Any, list[str]]:
    """The call's result, or its error where that is AuditUnavailable; and the steps it took."""
    stage.faults.arm(plan)
    try:
        result = await row.call(stage, made)
    except AuditUnavailable as e:
        result = e
    finally:
        steps = stage.faults.heal()
    return result, steps


@pytest.mark.parametrize("name", ROWS)
async def test_a_call_that_succeeds(stage: Stage, name: str) -> None:
    """It gives what it should, and its effect is there once; a repeat changes nothing."""
    row = ROWS[name]
    made = await row.made(stage)
    if row.stands is not None:
        assert await row.stands(stage, made) == 0
    row.good(stage, made, await row.call(stage, made), False)
    for _ in range(2):
        if row.stands is not None:
            assert await row.stands(stage, made) == 1
        row.good(stage, made, await row.call(stage, made), True)


@pytest.mark.parametrize("name", ROWS)
async def test_a_call_that_fails(stage: Stage, name: str) -> None:
    """At each of its steps, before or after that has had its effect, for once or for good: AuditUnavailable or
    a good result, the effect there once or not at all, and the same call good as soon as the store is back."""
    row = ROWS[name]
    made = await row.made(stage)
    _, steps = await _outcome(stage, row, made, None)
    assert steps, "nothing was asked of the store"
    persisted_and_failed = 0
    for step, persisted, lasting in itertools.product(range(len(steps)), (False, True), (False, True)):
        plan = Plan(step, persisted, lasting)
        made = await row.made(stage)
        result, _ = await _outcome(stage, row, made, plan)
        if stage.faults.missed:
            continue
        stands = await row.stands(stage, made) if row.stands is not None else 0
        if isinstance(result, AuditUnavailable):
            assert stands in (0, 1), plan
            persisted_and_failed += stands
            assert not (stands and step == 0 and not persisted and lasting), plan
        else:
            assert not lasting, f"{plan}: a good result although the store was away"
            row.good(stage, made, result, False)
            assert row.stands is None or stands == 1, plan
        row.good(stage, made, await row.call(stage, made), bool(stands))
        assert row.stands is None or await row.stands(stage, made) == 1, plan
    assert row.stands is None or persisted_and_failed, "no failure had persisted"


@pytest.fixture(scope="module", params=["postgres", "external_postgres"])
async def cut(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Stage, CuttingProxy]]:
    """A store behind a proxy that loses what it is told to, on each kind of server."""
    server: Server = request.getfixturevalue(request.param)
    with open_folder() as folder:
        (folder / "proxy").mkdir()
        async with (
            server.fresh() as dsn,
            cutting_proxy(dsn, folder / "proxy") as proxy,
            stage_on(proxy.dsn, tmp_path_factory.mktemp("cut")) as made,
        ):
            yield made, proxy


async def _while_cut(stage: Stage, proxy: CuttingProxy, row: Row, made: Any, loses: str) -> Any:
    """What came of a call whose first words, or their answer, were lost with the connection, for good."""
    setattr(proxy, loses, True)
    call = asyncio.ensure_future(row.call(stage, made))
    try:
        await asyncio.wait_for(proxy.lost.wait(), 10)
        proxy.refuse = True
        proxy.cut()
        return await call
    except AuditUnavailable as e:
        return e
    finally:
        proxy.refuse = False


@pytest.mark.long
@pytest.mark.parametrize("loses", ["lose_requests", "lose_replies"])
@pytest.mark.parametrize("name", ROWS)
async def test_a_call_whose_connection_is_cut(cut: tuple[Stage, CuttingProxy], name: str, loses: str) -> None:
    """The real thing: the statement never arrives, or it does and its reply does not, and nobody can be
    reached: AuditUnavailable; what had arrived stands, once; and with the connection back the call is good."""
    (stage, proxy), row = cut, ROWS[name]
    row.good(stage, warm := await row.made(stage), await row.call(stage, warm), False)
    made = await row.made(stage)
    assert isinstance(await _while_cut(stage, proxy, row, made, loses), AuditUnavailable)
    if row.stands is not None:
        async with asyncio.timeout(10):  # what had arrived may still be at work
            while loses == "lose_replies" and not await row.stands(stage, made):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert await row.stands(stage, made) == (loses == "lose_replies")
    stands = row.stands is not None and loses == "lose_replies"
    row.good(stage, made, await row.call(stage, made), stands)
    assert row.stands is None or await row.stands(stage, made) == 1
