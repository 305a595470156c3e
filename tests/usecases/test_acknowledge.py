"""What became of an answer: received by its own system, or delivered to nobody."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from broker import acknowledge
from broker.errors import ProviderUnavailable
from broker.ports import Disclosed, ProviderFailed
from tests.support.values import replace
from tests.support.world import World, ask, caller

NWAS = caller("nwas")


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world that writes acknowledgements down almost at once."""
    monkeypatch.setattr(acknowledge, "GATHER", 0.01)
    made = World()
    made.agree()
    await made.ready()
    made.providers.answers(made.found())
    return made


def written(world: World) -> list[object]:
    """The details of what was written of acknowledgements."""
    kinds = ("received", "undelivered")
    return [k.draft.full["detail"] for k in world.store.entries if k.draft.full["event"] in kinds]


async def test_ids_are_gathered_into_one_entry_of_the_systems_own(world: World) -> None:
    """Another system's, unknown ones and repeats count for nothing."""
    mine = [ask() for _ in range(3)]
    theirs = replace(ask(), requester="cfrs", system="cad")
    for request in mine:
        await world.exchange.answer(request)
    ids = sorted(request.request_id for request in mine)
    world.acknowledgements.received(NWAS, [ids[0], ids[1], str(uuid.uuid4())])
    world.acknowledgements.received(NWAS, [ids[1], ids[2], theirs.request_id])
    world.acknowledgements.received(caller("cfrs"), ids)
    await world.acknowledgements.drain()
    assert written(world) == [{"request_ids": ids}]


async def test_a_request_that_has_not_ended_cannot_be_acknowledged(world: World) -> None:
    """An intent is no answer."""
    request = ask()
    world.providers.answers(ProviderFailed(ProviderUnavailable("x"), "x"))
    with pytest.raises(ProviderUnavailable):
        await world.exchange.answer(request)
    world.acknowledgements.received(NWAS, [request.request_id])
    await world.acknowledgements.drain()
    assert written(world) == []


async def test_what_waits_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a system may have waiting is dropped: their absence proves nothing."""
    monkeypatch.setattr(acknowledge, "MAX_GATHERED", 2)
    requests = [ask() for _ in range(4)]
    for request in requests:
        await world.exchange.answer(request)
    world.acknowledgements.received(NWAS, [request.request_id for request in requests])
    await world.acknowledgements.drain()
    (detail,) = written(world)
    assert isinstance(detail, dict)
    assert len(detail["request_ids"]) == 2


async def test_only_a_release_can_be_undelivered(world: World) -> None:
    """A replay without record, a failure and a request given up released nothing."""
    request = ask()

    async def ended() -> Disclosed:
        return await world.exchange.answer(request)

    async def failed() -> Disclosed:
        raise ProviderUnavailable("x")

    for work in (ended, ended, failed):
        world.acknowledgements.undelivered(request, asyncio.create_task(work()))
        await world.acknowledgements.drain()
    given_up = asyncio.create_task(ended())
    given_up.cancel()
    world.acknowledgements.undelivered(request, given_up)
    await world.acknowledgements.drain()
    assert written(world) == [{"request_id": request.request_id}]


async def test_a_log_that_is_away_is_counted(world: World) -> None:
    """Nobody waits for an acknowledgement, so its failure is a number for the operator."""
    request = ask()
    await world.exchange.answer(request)
    world.store.log.fail = 1
    world.acknowledgements.received(NWAS, [request.request_id])
    await world.acknowledgements.drain()
    assert (written(world), world.acknowledgements.failed) == ([], 1)
