"""What is refused at the door: counted by the minute, bounded, and found by those who look after the broker."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.core.model import Caller, Reason
from broker.core.searchterms import CALLS_REFUSED, Question, rare
from broker.errors import AuditUnavailable, NotAllowed
from broker.refusals import Refusals
from broker.refused import MOST, OTHER, Refused, RefusedCalls
from tests.support.world import ACTOR, AUDITOR, OPERATOR, World, caller

WHY = Reason("security-review", "")
ASKED = (("event", CALLS_REFUSED),)
FORM = Refused("ExchangeService/Request", "INVALID_ARGUMENT", "InvalidRequest", "nwas/cad")
QUOTA = Refused("ExchangeService/Exchange", "RESOURCE_EXHAUSTED", "QuotaExceeded", "cfrs/cad")


def made() -> tuple[World, RefusedCalls, Refusals]:
    """A world whose door counts."""
    world, calls = World(), RefusedCalls()
    return world, calls, Refusals(world.store.log, calls, world.clock, "worker-1")


async def found(world: World, who: Caller, *facts: tuple[str, str]) -> list[dict[str, Any]]:
    """The full views of what a caller finds."""
    page = await world.searches.page(who, Question((*ASKED, *facts)), ACTOR, WHY)
    return [json.loads(seen.view) for seen in page.found]


async def test_a_minute_is_one_entry() -> None:
    """However many were refused; by method, status, error and system, with the time it is of."""
    world, calls, refusals = made()
    for _ in range(5000):
        calls.add(FORM)
    calls.add(QUOTA, 7)
    world.clock.advance(60)
    await refusals.write()
    (entry,) = [kept for kept in world.store.entries if kept.draft.full["event"] == CALLS_REFUSED]
    detail: Any = entry.draft.full["detail"]
    assert [(c["system"], c["status"], c["count"]) for c in detail["calls"]] == [
        ("cfrs/cad", "RESOURCE_EXHAUSTED", 7),
        ("nwas/cad", "INVALID_ARGUMENT", 5000),
    ]
    assert (detail["count"], detail["worker"]) == (5007, "worker-1")
    assert detail["since"] < detail["until"]


async def test_nothing_is_written_where_nothing_was_refused() -> None:
    """And what was written down once is not written again."""
    world, calls, refusals = made()
    assert await refusals.write() == ""
    calls.add(FORM)
    assert await refusals.write()
    assert await refusals.write() == ""
    assert world.store.events == [CALLS_REFUSED]


async def test_what_could_not_be_written_counts_on() -> None:
    """A database that is away costs no count: the next entry says since when."""
    world, calls, refusals = made()
    since = world.clock.now().isoformat()
    calls.add(FORM, 3)
    world.store.log.fail = 1
    with pytest.raises(AuditUnavailable):
        await refusals.write()
    calls.add(FORM, 4)
    world.clock.advance(60)
    world.store.log.fail = 1
    await refusals.drain()
    await refusals.drain()
    (view,) = await found(world, AUDITOR)
    assert (view["detail"]["count"], view["detail"]["since"]) == (7, since)


async def test_whoever_varies_what_they_send_fills_nothing() -> None:
    """Past so many different ones the rest counts together, and no call is lost."""
    calls = RefusedCalls()
    for n in range(MOST * 3):
        calls.add(FORM._replace(system=f"nwas/{n}"))
    taken = calls.take()
    assert len(taken) <= MOST + 1
    assert sum(taken.values()) == MOST * 3
    assert taken[Refused(OTHER, FORM.status, OTHER, OTHER)] == MOST * 2
    assert not calls.take()


async def test_who_finds_it() -> None:
    """Operators and auditors, by system and agency too; a partner does not, and operators find nothing else."""
    world, calls, refusals = made()
    calls.add(QUOTA)
    await refusals.write()
    calls.add(FORM)
    await refusals.write()
    for who in (OPERATOR, AUDITOR):
        assert len(await found(world, who)) == 2
        (view,) = await found(world, who, ("system", "cfrs/cad"))
        assert view["detail"]["calls"][0]["system"] == "cfrs/cad"
        assert len(await found(world, who, ("agency", "nwas"))) == 1
    assert await found(world, caller("nwas")) == []
    with pytest.raises(NotAllowed):
        await world.searches.page(OPERATOR, Question((("event", "log-searched"),)), ACTOR, WHY)


def test_a_rare_event_is_looked_up() -> None:
    """And is not sought by reading a year of disclosures."""
    assert all(map(rare, Question(ASKED).ways()[0]))
    assert not any(map(rare, Question((("event", "disclosure"),)).ways()[0]))
