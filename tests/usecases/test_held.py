"""What records take of a worker's memory: bounded, shared between agencies, with room kept for emergencies."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from broker.errors import Saturated
from broker.held import UNSEEN, Held, Holding
from broker.link import Link
from broker.links import Links
from broker.ports import Found, ProviderFailed, Question
from tests.support.values import replace
from tests.support.world import RISK, ask, record_of

KIND = ("cfrs", RISK)
MIB = 1024 * 1024


def soon(seconds: float = 5) -> float:
    """A deadline in event-loop time."""
    return asyncio.get_running_loop().time() + seconds


def learnt(holding: Holding, size: int) -> None:
    """A record of this size has been seen."""
    with suppress(Saturated):
        holding.arrived(Held(holding, "x", KIND, size, False), size)


async def filled(holding: Holding, agency: str, *, urgent: bool = False) -> list[Held]:
    """As much as an agency gets at once."""
    taken = []
    with suppress(Saturated):
        while True:
            taken.append(await holding.room(agency, KIND, soon(0), urgent=urgent))
    return taken


@pytest.mark.parametrize(("agencies", "each"), [(1, 21), (2, 16), (6, 8)])
async def test_each_agency_may_hold_as_much_as_is_left_free(agencies: int, each: int) -> None:
    """One alone holds a third; of several that take in turn all hold the same, and as much stays free."""
    holding = Holding(64 * MIB)
    learnt(holding, MIB)
    names = [f"agency-{n}" for n in range(agencies)]
    taken = dict.fromkeys(names, 0)
    for _ in range(64):
        for name in names:
            with suppress(Saturated):
                await holding.room(name, KIND, soon(0), urgent=False)
                taken[name] += 1
    assert all(abs(count - each) <= 1 for count in taken.values())
    assert holding.total <= 64 * MIB
    assert await filled(holding, "newcomer")


async def test_an_emergency_finds_room_where_its_own_agency_has_none_left() -> None:
    """An eighth more is kept for it, whoever fills the rest."""
    holding = Holding(64 * MIB)
    learnt(holding, MIB)
    assert await filled(holding, "nwas")
    assert not await filled(holding, "nwas")
    assert len(await filled(holding, "nwas", urgent=True)) >= 2


async def test_whoever_waits_is_served_in_turn_as_room_comes_free() -> None:
    """One of each agency, what is urgent first; nothing is lost and nothing is taken twice."""
    holding = Holding(8 * MIB)
    learnt(holding, MIB)
    held = await filled(holding, "many")
    order: list[str] = []

    async def wait(agency: str, *, urgent: bool = False) -> None:
        room = await holding.room(agency, KIND, soon(), urgent=urgent)
        order.append(f"{agency}{'!' * urgent}")
        room.release()

    held += await filled(holding, "few")
    waiting = [asyncio.create_task(wait("many")) for _ in range(3)]
    waiting += [asyncio.create_task(wait("few")) for _ in range(2)]
    await asyncio.sleep(0)
    assert order == []
    for each in held:
        each.release()
        each.release()
    await asyncio.gather(*waiting)
    assert sorted(order) == ["few", "few", "many", "many", "many"]
    assert order.index("few") < 3
    assert holding.total == 0


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    """Late or cancelled: what it waited for is somebody else's."""
    holding = Holding(4 * MIB)
    learnt(holding, MIB)
    held = await filled(holding, "nwas")
    with pytest.raises(Saturated):
        await holding.room("nwas", KIND, soon(0.01), urgent=False)
    given_up = asyncio.create_task(holding.room("nwas", KIND, soon(), urgent=False))
    kept = asyncio.create_task(holding.room("nwas", KIND, soon(), urgent=False))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    for each in held:
        each.release()
    (await kept).release()
    assert holding.total == 0


async def test_what_is_expected_follows_what_comes() -> None:
    """Small records take little, one large one is remembered for a while, and then forgotten."""
    holding = Holding(64 * MIB)

    async def seen(size: int) -> int:
        held = await holding.room("nwas", KIND, soon(0), urgent=False)
        expected = held.size
        held.arrived(size)
        held.release()
        return expected

    assert await seen(300) == UNSEEN
    assert [await seen(300) for _ in range(200)][-1] < 2048
    await seen(MIB)
    assert await seen(300) == MIB
    assert [await seen(300) for _ in range(300)][-1] < 2048


def question(agency: str = "nwas") -> Question:
    """One of a requester's."""
    return Question(ask(requester=agency), "f" * 64, "a", 1, ("uprn",))


async def test_a_record_for_which_there_is_no_room_is_dropped_and_said_to_be() -> None:
    """It was taken for small: the requester may ask again, the bytes are gone, and so is its room."""
    holding = Holding(MIB)
    for _ in range(300):
        learnt(holding, 300)
    links = Links(holding)
    link = Link("cfrs", "risk", [(RISK, "f" * 64)], 8)
    links.attach(link)
    task = asyncio.create_task(links.ask(question(), soon()))
    await asyncio.sleep(0)
    ask_id, asked, _ = link.outbox.asks.popleft()
    found = Found(replace(record_of(), value=bytes(MIB // 2)), "f" * 64, (asked.request.subject,))  # type: ignore[arg-type]
    assert link.answer(ask_id, found)
    answer = await task
    assert isinstance(answer, ProviderFailed)
    assert isinstance(answer.error, Saturated)
    assert holding.total == 0


async def test_a_record_is_held_until_its_request_has_ended() -> None:
    """Released by whoever has it, and where nobody waits for it any more at once."""
    holding = Holding()
    links = Links(holding)
    link = Link("cfrs", "risk", [(RISK, "f" * 64)], 8)
    links.attach(link)
    tasks = [asyncio.create_task(links.ask(question(), soon())) for _ in range(2)]
    await asyncio.sleep(0)
    assert holding.total == 2 * UNSEEN
    tasks[1].cancel()
    await asyncio.gather(tasks[1], return_exceptions=True)
    ask_id, asked, _ = link.outbox.asks.popleft()
    found = Found(record_of(), "f" * 64, (asked.request.subject,))  # type: ignore[arg-type]
    assert link.answer(ask_id, found)
    answer = await tasks[0]
    assert isinstance(answer, Found)
    assert holding.total == len(found.record.value)
    assert answer.held is not None
    answer.held.release()
    assert holding.total == 0
