"""Whoever looks is written down before they see: who it was and why, whichever way they look."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broker.core.model import Caller, Reason, SubjectRef
from broker.core.searchterms import Question
from broker.errors import AuditUnavailable
from tests.support.values import replace
from tests.support.world import ACTOR, AUDITOR, HOME, LOOKING, OTHER_HOME, World, ask, caller

NWAS, CFRS = caller("nwas"), caller("cfrs")
WHY = Reason("complaint", "somebody asked")
LINKED = SubjectRef("nhs-number", "9434765919")

Look = Callable[[World], Awaitable[object]]


def first(world: World) -> str:
    """The id of the first entry."""
    return world.store.entries[0].draft.id


async def replayed(world: World) -> None:
    """Every decision made again."""
    async for _ in world.why.replays.log(AUDITOR, 0, 0, ACTOR, WHY):
        pass


LOOKS: dict[str, tuple[Caller, Look]] = {
    "entry-viewed": (CFRS, lambda w: w.audits.open(CFRS, first(w), ACTOR, WHY)),
    "log-searched": (NWAS, lambda w: w.searches.page(NWAS, Question((), HOME), ACTOR, WHY)),
    "explained": (AUDITOR, lambda w: w.why.explanations.of_entry(AUDITOR, first(w), ACTOR, WHY)),
    "log-replayed": (AUDITOR, replayed),
    "referrals-viewed": (CFRS, lambda w: w.referrals.listed(CFRS, ACTOR, LOOKING)),
    "overrides-viewed": (CFRS, lambda w: w.overrides.listed(CFRS, ACTOR, LOOKING)),
    "directives-viewed": (CFRS, lambda w: w.directives.of_own(CFRS, HOME, ACTOR, LOOKING)),
}


async def seen() -> World:
    """A world in which a record was released."""
    world = World()
    world.agree()
    await world.ready()
    world.providers.answers(world.found())
    await world.exchange.answer(ask())
    return world


@pytest.mark.parametrize("kind", sorted(LOOKS))
async def test_a_look_says_who_and_why(kind: str) -> None:
    """Agency, system, key, the person at the keyboard, and a reason, in one entry."""
    who, look = LOOKS[kind]
    world = await seen()
    await look(world)
    (entry,) = [kept.draft.full for kept in world.store.entries if kept.draft.full["event"] == kind]
    detail: Any = entry["detail"]
    assert (entry["requester"], entry["system"], entry["key"]) == (who.agency, who.system, who.key_digest)
    assert entry["actor"] == {"id": ACTOR.id, "role": ACTOR.role}
    assert detail["reason"]


@pytest.mark.parametrize("kind", sorted(LOOKS))
async def test_nothing_is_shown_that_could_not_be_written_down(kind: str) -> None:
    """Where the entry cannot be made there is no answer."""
    world = await seen()
    world.store.log.fail = 1
    with pytest.raises(AuditUnavailable):
        await LOOKS[kind][1](world)


async def found(world: World, who: Caller, *facts: tuple[str, str], person: SubjectRef | None = None) -> int:
    """How many looks at an entry somebody finds by these."""
    page = await world.searches.page(who, Question((("actor", "nosy"), *facts), person), ACTOR, WHY)
    return sum(each.hit.full["event"] in ("entry-viewed", "explained") for each in page.found)


@pytest.mark.parametrize("how", ["opened", "explained"])
@pytest.mark.parametrize("who", [NWAS, CFRS, AUDITOR], ids=["requester", "provider", "auditor"])
async def test_a_look_at_an_entry_is_found_by_whom_it_was_about(who: Caller, how: str) -> None:
    """By the identifiers of the view that was shown, the incident and the request; by the looking agency and
    auditors, and by nobody else. Whoever asked finds its look by no identifier that the provider matched."""
    world = World()
    world.agree()
    await world.ready()
    world.providers.answers(world.found("records.fire.v1.PremisesRisk", LINKED))
    request = ask(incident="nwas/2026-11-21/0042")
    await world.exchange.answer(request)
    nosy = replace(ACTOR, id="nosy")
    if how == "opened":
        await world.audits.open(who, first(world), nosy, WHY)
    else:
        await world.why.explanations.of_entry(who, first(world), nosy, WHY)
    matched = int(who is not NWAS)
    for eyes in {who, AUDITOR}:
        assert await found(world, eyes, person=HOME) == 1
        assert await found(world, eyes, person=LINKED) == matched
        assert await found(world, eyes, ("request", request.request_id)) == 1
        assert await found(world, eyes, ("incident", "nwas/2026-11-21/0042")) == int(who is not CFRS)
        assert await found(world, eyes, person=OTHER_HOME) == 0
    for other in {NWAS, CFRS} - {who}:
        assert await found(world, other, person=HOME) == 0
