"""A succession that is planned: what is refused, what is warned of, how it is put right or taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace as dated
from datetime import datetime, timedelta

import pytest

from broker.core.directory import Agency, Successor
from broker.core.model import Function, Place
from broker.errors import Denied, InvalidRequest, NotAllowed
from tests.support.cumbria import CARLISLE, CHANGE, EDEN, fire_routes
from tests.support.memory import FakeClock
from tests.support.stage import SINCE, Stage, stage_of
from tests.support.world import OPERATOR, World, caller, key_of

WEST, EAST = Successor("west-fire", frozenset({CARLISLE})), Successor("east-fire", frozenset({EDEN}))


@pytest.fixture(params=["memory", "postgres"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Each store in turn, with routes to the fire service and two that are to take its place."""
    async with stage_of(request) as one:
        await one.route_book.apply(OPERATOR, fire_routes())
        for name in ("west-fire", "east-fire", "north-fire"):
            await one.registry.add_agency(OPERATOR, Agency(name, name, "fire", "england", CHANGE))
        yield one


def tomorrow(stage: Stage, days: int = 1) -> datetime:
    """A day that has not come."""
    return stage.clock.now() + timedelta(days)


async def released_by(stage: Stage, provider: str) -> str:
    """Who answers a request for a record in Carlisle, or of this provider."""
    where = {"provider": provider} if provider else {"provider": "", "place": Place(district=CARLISLE)}
    request = stage.asks(**where)
    stage.finds(request)
    return (await stage.exchange.answer(request)).request.provider


@pytest.mark.parametrize(
    ("district", "why"),
    [
        ("E10000006", "'E10000006' is not the ONS code of a district"),
        ("E0700002", "'E0700002' is not the ONS code of a district"),
        ("S12000006", "S12000006 is in scotland, and west-fire is under the law of england"),
    ],
)
async def test_a_mistaken_district_is_refused_by_name(stage: Stage, district: str, why: str) -> None:
    """One that is none by its form, and one in another nation than its successor's."""
    into = (dated(WEST, districts=WEST.districts | {district}), EAST)
    with pytest.raises(InvalidRequest, match=why) as caught:
        await stage.standing.succession(OPERATOR, "cfrs", into, tomorrow(stage))
    assert caught.value.field == "into.0"


async def test_a_district_that_no_route_mentions_is_warned_of(stage: Stage) -> None:
    """It may be right, and is carried out; the plan says to look again."""
    into = (dated(WEST, districts=WEST.districts | {"E06000063"}), EAST)
    plan = await stage.standing.succession(OPERATOR, "cfrs", into, tomorrow(stage))
    assert plan.warnings == ("E06000063 of west-fire: no route to cfrs mentions it; is the code right?",)
    assert (await stage.standing.succession(OPERATOR, "cfrs", (WEST, EAST), tomorrow(stage))).warnings == ()


async def test_until_its_day_a_succession_is_put_right(stage: Stage) -> None:
    """Another day and others in its place, as if nothing had been planned; with an entry of its own."""
    with pytest.raises(InvalidRequest, match="nobody is to take its place"):
        await stage.standing.succeed(OPERATOR, "cfrs", (WEST, EAST), tomorrow(stage), correct=True)
    await stage.standing.succeed(OPERATOR, "cfrs", (WEST, EAST), tomorrow(stage))
    with pytest.raises(InvalidRequest, match="was replaced by west-fire, east-fire already"):
        await stage.standing.succeed(OPERATOR, "cfrs", (WEST,), tomorrow(stage))
    other, at = (dated(EAST, districts=frozenset()),), tomorrow(stage, 2)
    plan = await stage.standing.succession(OPERATOR, "cfrs", other, at, correct=True)
    assert plan.routes == ("premises of fire/1: east-fire in E07000028, E07000030",)
    start = await stage.size()
    await stage.standing.succeed(OPERATOR, "cfrs", other, at, correct=True)
    (full,) = await stage.since(start)
    assert full["event"] == "agency-succession-corrected"
    assert [s["agency"] for s in full["detail"]["before"]["successors"]] == ["west-fire", "east-fire"]
    reference = await stage.reference.refresh()
    agency = reference.agencies["cfrs"]
    assert (agency.valid_until, agency.successors, agency.own_end) == (at, other, None)
    assert reference.systems["cfrs/cad"].valid_until == at
    assert await released_by(stage, "cfrs") == "cfrs"
    # To a day that is here it happens at once, and then it is done.
    await stage.standing.succeed(OPERATOR, "cfrs", other, stage.clock.now(), correct=True)
    assert await released_by(stage, "") == "east-fire"
    with pytest.raises(InvalidRequest, match="can neither be corrected nor taken back"):
        await stage.standing.succeed(OPERATOR, "cfrs", (WEST, EAST), tomorrow(stage), correct=True)
    with pytest.raises(InvalidRequest, match="can neither be corrected nor taken back"):
        await stage.standing.take_back(OPERATOR, "cfrs")


async def test_until_its_day_a_succession_is_taken_back(stage: Stage) -> None:
    """Everything ends when it would have ended without it, and the flows of nobody else's are left over."""
    end = tomorrow(stage, 500)
    digest = key_of("cfrs/old")
    await stage.registry.enrol(OPERATOR, "cfrs", "old", Function.PARTNER, digest, SINCE, end)
    await stage.registry.enrol(OPERATOR, "cfrs", "gone", Function.PARTNER, key_of("cfrs/gone"), SINCE, CHANGE)
    before = await stage.reference.refresh()
    await stage.standing.succeed(OPERATOR, "cfrs", (WEST, EAST), tomorrow(stage))
    # What is entered meanwhile is kept, but who takes its place, and a new key prolongs nothing.
    await stage.registry.add_agency(OPERATOR, Agency("cfrs", "Renamed", "fire", "england", SINCE))
    await stage.registry.enrol(OPERATOR, "cfrs", "old", Function.PARTNER, key_of("cfrs/new"), None, None)
    with pytest.raises(NotAllowed):
        await stage.standing.take_back(caller("cfrs"), "cfrs")
    plan = await stage.standing.taking_back(OPERATOR, "cfrs")
    assert [s.name for s in plan.systems] == ["cfrs/cad", "cfrs/old"]
    assert plan.routes == ("premises of fire/1: stays with cfrs",)
    assert plan.agreements == ("nwas-cfrs-premises/1: stays with cfrs",)
    start = await stage.size()
    await stage.standing.take_back(OPERATOR, "cfrs")
    (full,) = await stage.since(start)
    assert full["event"] == "agency-succession-taken-back"
    after = await stage.reference.refresh()
    assert after.agencies["cfrs"] == dated(before.agencies["cfrs"], name="Renamed")
    assert after.systems["cfrs/cad"] == before.systems["cfrs/cad"]
    assert (after.systems["cfrs/old"].valid_until, after.systems["cfrs/gone"].valid_until) == (end, CHANGE)
    assert after.heirs == {}
    with pytest.raises(Denied):
        await released_by(stage, "west-fire")
    assert await released_by(stage, "") == "cfrs"
    with pytest.raises(InvalidRequest, match="nobody is to take its place"):
        await stage.standing.take_back(OPERATOR, "cfrs")


async def test_what_comes_to_pass_meanwhile_is_not_taken_back() -> None:
    """The day begins between the plan and its append: it is looked at again, and refused."""
    world = World(FakeClock(CHANGE - timedelta(seconds=1)))
    await world.ready()
    for name in ("west-fire", "east-fire"):
        world.put_agency(Agency(name, name, "fire", "england", SINCE))
    await world.standing.succeed(OPERATOR, "cfrs", (WEST, EAST), CHANGE)

    async def a_second() -> None:
        world.store.log.gate = None
        world.clock.advance(1)

    world.store.log.gate = a_second
    with pytest.raises(InvalidRequest, match="can neither be corrected nor taken back"):
        await world.standing.take_back(OPERATOR, "cfrs")
    assert len((await world.store.reference.refresh()).agencies["cfrs"].successors) == 2
