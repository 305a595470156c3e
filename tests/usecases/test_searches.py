"""Searching the log: who finds what, and that the search itself is an entry."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.model import Caller, Function, Override, Reason, SubjectRef
from broker.core.receipt import Audience
from broker.core.searchterms import KINDS, Question
from broker.errors import BrokerError, InvalidRequest, NotAllowed
from broker.ports import LogSearch, NotFound
from broker.searches import Page, Searches
from tests.support.memory import MemorySearch
from tests.support.values import replace
from tests.support.world import ACTOR, AUDITOR, HOME, OPERATOR, OTHER_HOME, World, ask, caller, flow, said

NWAS, CFRS = caller("nwas"), caller("cfrs")
WHY = Reason("complaint", "somebody asked")
LINKED = SubjectRef("nhs-number", "9434765919")


async def furnished() -> World:
    """A world in which the provider knows HOME's person by a number as well."""
    world = World()
    world.agree()
    await world.ready()
    world.providers.answers(world.found("records.fire.v1.PremisesRisk", LINKED))
    return world


async def asked(world: World, **changes: Any) -> str:
    """One request, whatever comes of it; its id."""
    request = ask(**changes)
    with suppress(BrokerError):
        await world.exchange.answer(request)
    return request.request_id


async def look(world: World, who: Caller, *facts: tuple[str, str], person: SubjectRef | None = None) -> Page:
    """One search."""
    return await world.searches.page(who, Question(facts, person), ACTOR, WHY)


def events(page: Page) -> list[str]:
    """What was found, in its order."""
    return [json.loads(seen.view)["event"] for seen in page.found]


async def test_whether_an_override_was_used_is_the_auditors_to_find() -> None:
    """Under neither confirm nor deny it would tell the requester that somebody had objected."""
    world = World()
    world.agree(ncnd=True, flows=[flow(override=["uprn"])], override={"codes": ["life-at-risk"]})
    world.say(HOME, said("objection"))
    await world.ready()
    world.providers.answers(NotFound())
    await asked(world, override=Override("life-at-risk", "a reason"))
    assert events(await look(world, AUDITOR, ("override", "life-at-risk"))) == ["refusal"]
    assert events(await look(world, NWAS, ("override", "life-at-risk"))) == []


async def test_a_person_is_found_by_any_identifier_that_was_matched() -> None:
    """By an auditor under each number; the search for them is an entry too, and found in its turn."""
    world = await furnished()
    await asked(world)
    world.providers.answers(world.found())
    await asked(world, subject=OTHER_HOME)
    assert events(await look(world, AUDITOR, person=LINKED)) == ["disclosure"]
    assert events(await look(world, AUDITOR, person=LINKED)) == ["log-searched", "disclosure"]
    assert events(await look(world, AUDITOR, person=OTHER_HOME)) == ["disclosure"]


async def test_a_requester_finds_what_it_asked_and_no_identifier_that_was_matched() -> None:
    """By the identifier it gave; under another it finds nothing, or it would learn whose number that is."""
    world = await furnished()
    await asked(world)
    assert events(await look(world, NWAS, person=HOME)) == ["disclosure"]
    assert "disclosure" not in events(await look(world, NWAS, person=LINKED))
    (found, *_) = (await look(world, NWAS, ("event", "disclosure"))).found
    assert found.audience is Audience.REQUESTER
    assert "identifiers" not in json.loads(found.view)


async def test_a_provider_finds_what_it_was_asked_in_its_own_view() -> None:
    """By either number, with the actor; a refusal before it was asked is not its to see."""
    world = await furnished()
    await asked(world)
    await asked(world, actor=replace(ACTOR, role="visitor"))
    page = await look(world, CFRS, ("agency", "nwas"))
    assert events(page) == ["disclosure"]
    assert page.found[0].audience is Audience.PROVIDER
    assert events(await look(world, CFRS, person=LINKED)) == ["disclosure"]
    assert events(await look(world, CFRS, ("actor", ACTOR.id), ("purpose", "emergency-response"))) == [
        "disclosure"
    ]


async def test_a_finer_rule_is_an_auditors_to_search_by() -> None:
    """A requester that could would learn that somebody had objected."""
    world = await furnished()
    world.say(HOME, said("objection"))
    await asked(world)
    assert events(await look(world, AUDITOR, ("rule", "person.not-against"))) == ["refusal"]
    assert events(await look(world, NWAS, ("code", "person"))) == ["refusal"]
    assert events(await look(world, NWAS, ("rule", "person.not-against"))) == []
    assert events(await look(world, CFRS, ("code", "person"))) == []


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("event", "disclosure"),
        ("agency", "nwas"),
        ("agency", "cfrs"),
        ("system", "nwas/cad"),
        ("actor", "a.hill"),
        ("callsign", "AC412"),
        ("record-type", "records.fire.v1.PremisesRisk"),
        ("purpose", "emergency-response"),
        ("agreement", "nwas-cfrs-premises"),
        ("agreement", "nwas-cfrs-premises/1"),
        ("outcome", "permit"),
        ("incident", "nwas/2026-11-21/0042"),
        ("trace", "0af7651916cd43dd8448eb211c80319c"),
    ],
)
async def test_what_an_entry_is_found_by(kind: str, value: str) -> None:
    """Each kind, and not under another value."""
    world = await furnished()
    await asked(
        world,
        actor=replace(ACTOR, callsign="AC412"),
        incident="nwas/2026-11-21/0042",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    assert "disclosure" in events(await look(world, AUDITOR, (kind, value)))
    assert "disclosure" not in events(await look(world, AUDITOR, (kind, value + "x")))


async def test_a_request_is_found_by_its_id() -> None:
    """Whatever became of it."""
    world = await furnished()
    mine = await asked(world, actor=replace(ACTOR, role="visitor"))
    assert events(await look(world, NWAS, ("request", mine))) == ["refusal"]


async def test_facts_hold_together() -> None:
    """All of them, in one entry."""
    world = await furnished()
    await asked(world)
    await asked(world, actor=replace(ACTOR, role="visitor"))
    assert events(await look(world, AUDITOR, ("outcome", "refuse"), ("purpose", "emergency-response"))) == [
        "refusal"
    ]
    assert events(await look(world, AUDITOR, ("outcome", "refuse"), ("event", "disclosure"))) == []


async def test_pages_are_stable_while_entries_come() -> None:
    """Going on below the last index finds each entry once, whatever was appended meanwhile."""
    world = await furnished()
    ids = [await asked(world) for _ in range(7)]
    found: list[str] = []
    beyond: int | None = None
    question = Question((("event", "disclosure"),))
    while True:
        page = await world.searches.page(AUDITOR, question, ACTOR, WHY, limit=3, beyond=beyond)
        found += [json.loads(seen.view)["request_id"] for seen in page.found]
        await asked(world)
        if page.beyond is None:
            break
        beyond = page.beyond
    assert found == ids[::-1]


async def test_the_look_is_an_entry_with_who_why_and_what() -> None:
    """Committed before anything is read; also where nothing is found."""
    world = await furnished()
    assert (await look(world, NWAS, ("purpose", "audit"), person=HOME)).found == ()
    full = world.store.entries[-1].draft.full
    assert (full["event"], full["requester"], full["actor"]) == (
        "log-searched",
        "nwas",
        {"id": "a.hill", "role": "ambulance-crew"},
    )
    detail: Any = full["detail"]
    assert detail["facts"] == ["purpose audit"]
    assert detail["subject"] == {"scheme": "uprn", "value": HOME.value}
    assert detail["reason"] == "complaint"
    assert (detail["limit"], detail["follow"]) == (200, False)


async def test_the_entry_says_how_much_was_wanted_and_who_stayed() -> None:
    """One entry stands for all that such a look will show: it says so before anything is shown."""
    world = await furnished()
    question = Question((("event", "disclosure"),))
    await world.searches.page(NWAS, question, ACTOR, Reason("complaint"), wanted=9000, follow=True)
    detail: Any = world.store.entries[-1].draft.full["detail"]
    assert (detail["limit"], detail["follow"]) == (9000, True)


class _Slow:
    """The index, slowly; how many looks there were at a time."""

    def __init__(self, index: LogSearch) -> None:
        self._index = index
        self.now = self.most = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    async def find(self, *args: Any, **named: Any) -> Any:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return await self._index.find(*args, **named)


async def test_searches_take_two_of_the_stores_connections_at_most() -> None:
    """However many come together, requests for records find the others."""
    world = await furnished()
    slow = _Slow(MemorySearch(world.store))
    searches = Searches(world.administration, slow)
    question = Question((("event", "disclosure"),))
    await asyncio.gather(
        *(searches.page(NWAS, question, ACTOR, Reason("complaint")) for _ in range(8)),
    )
    assert slow.most == 2


async def test_a_look_that_cannot_be_written_down_does_not_happen() -> None:
    """No evidence, no search."""
    world = await furnished()
    await asked(world)
    world.store.log.fail = 1
    with pytest.raises(BrokerError):
        await look(world, AUDITOR)


@pytest.mark.parametrize(
    ("who", "facts", "reason", "error"),
    [
        (OPERATOR, (), WHY, NotAllowed),
        (AUDITOR, (), Reason(), InvalidRequest),
        (AUDITOR, (("colour", "blue"),), WHY, InvalidRequest),
        (AUDITOR, (("event", ""),), WHY, InvalidRequest),
    ],
    ids=["an operator", "no reason", "no such kind", "no value"],
)
async def test_who_may_not_and_what_cannot_be_asked(
    who: Caller, facts: tuple[tuple[str, str], ...], reason: Reason, error: type[BrokerError]
) -> None:
    """Refused before it is written down."""
    world = await furnished()
    with pytest.raises(error):
        await world.searches.page(who, Question(facts), ACTOR, reason)
    assert world.store.entries == []


AGENCIES = ("nwas", "cfrs", "cumberland", "ncic")
FACTS = st.tuples(
    st.sampled_from(KINDS),
    st.sampled_from(
        ["nwas", "cfrs", "disclosure", "refusal", "permit", "refuse", "a.hill", "person", "role", "no"]
    ),
)


@given(
    requests=st.lists(
        st.tuples(st.sampled_from(["ambulance-crew", "visitor"]), st.sampled_from([HOME, OTHER_HOME])),
        max_size=5,
    ),
    objects=st.booleans(),
    ncnd=st.booleans(),
    facts=st.lists(FACTS, max_size=2),
    person=st.sampled_from([None, HOME, OTHER_HOME, LINKED]),
    who=st.sampled_from(AGENCIES),
    function=st.sampled_from(list(Function)),
)
@settings(max_examples=60, deadline=None)
async def test_nobody_finds_a_view_that_is_not_theirs(
    requests: list[tuple[str, SubjectRef]],
    objects: bool,
    ncnd: bool,
    facts: list[tuple[str, str]],
    person: SubjectRef | None,
    who: str,
    function: Function,
) -> None:
    """Whoever asks for whatever: a party sees its own view of its own entries, an auditor all, others none."""
    world = World()
    world.agree(ncnd=ncnd)
    await world.ready()
    world.providers.answers(world.found("records.fire.v1.PremisesRisk", LINKED))
    if objects:
        world.say(HOME, said("objection"))
    for role, subject in requests:
        await asked(world, actor=replace(ACTOR, role=role), subject=subject)
    try:
        page = await look(world, caller(who, "cad", function), *facts, person=person)
    except NotAllowed:
        assert function is Function.OPERATOR
        return
    for seen in page.found:
        party = {Audience.REQUESTER: seen.hit.requester, Audience.PROVIDER: seen.hit.provider}
        if function is Function.AUDITOR:
            assert seen.audience is Audience.FULL
        else:
            assert party[seen.audience] == who
        kept = world.store.entries[seen.hit.index].sealed
        opening = {
            Audience.REQUESTER: kept.requester,
            Audience.PROVIDER: kept.provider,
            Audience.FULL: kept.full,
        }[seen.audience]
        assert opening is not None
        assert seen.view == opening.view
