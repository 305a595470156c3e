"""The fire adapter against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from adapters.fire.source import RiskSystem, load_demo, risk_system
from adapters.sdk import (
    Found,
    InvalidRequest,
    NotFound,
    ProviderTimeout,
    ProviderUnavailable,
    Provides,
    SubjectRef,
)
from adapters.sdk.conformance import Case, check, leaves
from records.fire.v1 import premises_risk_pb2 as fire
from records.shared.v1 import fact_pb2 as shared
from tests.adapters.conftest import Asking

RISK = "records.fire.v1.PremisesRisk"
ALL = leaves(fire.PremisesRisk)
HOME = "100062990001"


@pytest.fixture
async def database(fire_server: str) -> AsyncIterator[str]:
    """A database with the synthetic premises, loaded as the command loads them."""
    owner = await asyncpg.connect(fire_server)
    await owner.execute("CREATE DATABASE risk_system")
    dsn = urlsplit(fire_server)._replace(path="/risk_system").geturl()
    await load_demo(dsn)
    yield dsn
    await owner.execute("DROP DATABASE IF EXISTS risk_system WITH (FORCE)")
    await owner.close()


@pytest.fixture
async def source(database: str) -> AsyncIterator[RiskSystem]:
    """The adapter's source on that database."""
    async with risk_system(database, connections=4) as one:
        yield one


async def found(source: RiskSystem, ask: Asking, uprn: str = HOME) -> fire.PremisesRisk:
    """The record of one premises, all leaves permitted."""
    answer = await source.answer(ask("uprn", uprn, ALL))
    assert isinstance(answer, Found)
    assert isinstance(answer.record, fire.PremisesRisk)
    return answer.record


async def test_a_premises_comes_with_everything_known_of_it(source: RiskSystem, ask: Asking) -> None:
    """Facts, hazards, occupier and notes of one UPRN, read in one statement."""
    record = await found(source, ask)
    assert record.oxygen.kind == fire.OXYGEN_KIND_CONCENTRATOR
    assert record.hoarding.clutter_rating == 6
    assert record.access.key_safe_code == "2468X"
    assert (record.sprinklers.state, record.sprinklers.fitted) == (shared.FACT_STATE_VALUE, False)
    assert record.evacuation.need == fire.EVACUATION_NEED_CARRIED
    assert record.hazards.state == shared.FACT_STATE_NONE_RECORDED
    assert record.occupier.name == "Edith Exampleton"
    farm = await found(source, ask, "100062990002")
    assert [h.code for h in farm.hazards.items] == ["LPG", "SLURRY"]
    assert farm.oxygen.state == shared.FACT_STATE_NONE_RECORDED
    flat = await found(source, ask, "100062990003")
    assert flat.evacuation.state == shared.FACT_STATE_WITHHELD


async def test_a_change_in_the_risk_system_shows_in_the_next_answer(
    source: RiskSystem, ask: Asking, database: str
) -> None:
    """Nothing is kept between questions."""
    owner = await asyncpg.connect(database)
    await owner.execute("UPDATE risk.fact SET superseded_at = now() WHERE uprn = $1 AND kind = 'oxygen'", HOME)
    assert (await found(source, ask)).oxygen.state == shared.FACT_STATE_NONE_RECORDED
    await owner.execute(
        "INSERT INTO risk.fact (uprn, kind, code, source, nature, confidence, recorded_on) "
        "VALUES ($1, 'oxygen', 'LIQUID', 'supplier', 'FACT', 'CONFIRMED', '2026-11-20')",
        HOME,
    )
    assert (await found(source, ask)).oxygen.kind == fire.OXYGEN_KIND_LIQUID
    await owner.close()


async def test_an_unknown_or_removed_premises_is_not_found(
    source: RiskSystem, ask: Asking, database: str
) -> None:
    """Not found is an answer; it names the identifier asked."""
    assert await source.answer(ask("uprn", "7", ALL)) == NotFound((SubjectRef("uprn", "7"),))
    owner = await asyncpg.connect(database)
    await owner.execute("UPDATE risk.premises SET removed_on = '2026-01-01' WHERE uprn = $1", HOME)
    await owner.close()
    assert isinstance(await source.answer(ask("uprn", HOME, ALL)), NotFound)


async def test_a_uprn_that_is_not_canonical_is_refused(source: RiskSystem, ask: Asking) -> None:
    """The adapter checks for itself what the broker has checked."""
    with pytest.raises(InvalidRequest):
        await source.answer(ask("uprn", f"0{HOME}", ALL))


async def test_the_adapter_cannot_write(source: RiskSystem, database: str) -> None:
    """Its sessions are read-only, whatever its role may do."""
    async with source._pool.acquire() as connection:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("DELETE FROM risk.fact")


async def test_a_database_that_hangs_is_given_up_inside_the_time(
    source: RiskSystem, ask: Asking, database: str
) -> None:
    """A locked table costs the asker its time and no more, and the connection is free again after."""
    owner = await asyncpg.connect(database)
    async with owner.transaction():
        await owner.execute("LOCK TABLE risk.fact IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        results = await asyncio.gather(
            *(source.answer(ask("uprn", HOME, ALL, within=0.3)) for _ in range(6)), return_exceptions=True
        )
        took = time.monotonic() - started
    assert [type(r) for r in results] == [ProviderTimeout] * 6
    assert took < 4
    await found(source, ask)
    await owner.close()


async def test_a_database_that_is_not_there_is_unavailable(ask: Asking) -> None:
    """Refused connections are said as such, at once."""
    async with risk_system("postgresql://nobody@127.0.0.1:1/none") as source:
        with pytest.raises(ProviderUnavailable, match="cannot be reached"):
            await source.answer(ask("uprn", HOME, ALL))


async def test_what_postgresql_says_of_an_error_stays_inside(
    source: RiskSystem, ask: Asking, database: str
) -> None:
    """An error's detail may quote a row: only its SQLSTATE goes further."""
    owner = await asyncpg.connect(database)
    await owner.execute("ALTER TABLE risk.occupier RENAME COLUMN until TO ended")
    await owner.close()
    with pytest.raises(ProviderUnavailable) as e:
        await source.answer(ask("uprn", HOME, ALL))
    assert str(e.value) == "the risk system answers with SQLSTATE 42703"


async def test_loading_the_demonstration_twice_changes_nothing(
    source: RiskSystem, ask: Asking, database: str
) -> None:
    """The command can be run again."""
    before = await found(source, ask)
    await load_demo(database)
    after = await found(source, ask)
    for record in (before, after):
        for part in ("oxygen", "hoarding", "access", "hazards", "sprinklers", "evacuation"):
            getattr(record, part).as_at = ""
    assert before == after


async def test_the_fire_adapter_keeps_every_promise_of_the_kit(source: RiskSystem, database: str) -> None:
    """The kit that every adapter author runs."""

    async def take_away() -> None:
        owner = await asyncpg.connect(urlsplit(database)._replace(path="/postgres").geturl())
        await owner.execute("DROP DATABASE risk_system WITH (FORCE)")
        await owner.close()

    case = Case(Provides(RISK, ("uprn",)), SubjectRef("uprn", HOME), SubjectRef("uprn", "7"))
    verdicts = await check(source.answer, case, take_away=take_away)
    assert [v for v in verdicts if not v.kept] == []
    assert len(verdicts) == 9
