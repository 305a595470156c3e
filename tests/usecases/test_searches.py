"""Searching the log: who finds what, and that the search itself is an entry."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.administration import Administration
from broker.core.model import Caller, Function, Override, Reason, SubjectRef
from broker.core.receipt import Audience
from broker.core.searchterms import Question, term, together
from broker.errors import BrokerError, InvalidRequest, NotAllowed
from broker.evenly import STEP, evenly
from broker.incidents import EACH, MOST, Incidents
from broker.ports import Hits, LogSearch, NotFound
from broker.searches import Page, Searches
from tests.support.memory import ORIGIN, MemorySearch, MemoryStore
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
    with pytest.raises(InvalidRequest, match="auditors"):
        await look(world, NWAS, ("rule", "person.not-against"))
    assert events(await look(world, CFRS, ("code", "person"))) == []


@pytest.mark.parametrize(
    ("kind", "value", "other"),
    [
        ("event", "disclosure", "refusal"),
        ("agency", "nwas", "nwasx"),
        ("agency", "cfrs", "ncic"),
        ("system", "nwas/cad", "nwas/cadx"),
        ("actor", "a.hill", "a.hillx"),
        ("callsign", "AC412", "AC41"),
        ("record-type", "records.fire.v1.PremisesRisk", "records.fire.v1.Premises"),
        ("purpose", "emergency-response", "emergency"),
        ("agreement", "nwas-cfrs-premises", "another"),
        ("agreement", "nwas-cfrs-premises/1", "nwas-cfrs-premises/2"),
        ("outcome", "permit", "refuse"),
        ("incident", "nwas/2026-11-21/0042", "nwas/2026-11-21/0043"),
        ("trace", "0af7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319d"),
    ],
)
async def test_what_an_entry_is_found_by(kind: str, value: str, other: str) -> None:
    """Each kind, and not under another value."""
    world = await furnished()
    world.agree(id="another", purpose="home-fire-safety")
    await asked(
        world,
        actor=replace(ACTOR, callsign="AC412"),
        incident="nwas/2026-11-21/0042",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    assert "disclosure" in events(await look(world, AUDITOR, (kind, value)))
    assert "disclosure" not in events(await look(world, AUDITOR, (kind, other)))


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


@pytest.mark.parametrize("log", ["", ORIGIN, "2026h2"])
async def test_a_search_does_not_find_itself(log: str) -> None:
    """Nor what has come since, also where the current log is named."""
    world = await furnished()
    question = Question((("event", "log-searched"),))
    first, second = [
        await world.searches.page(AUDITOR, question, ACTOR, Reason("complaint"), log=log) for _ in range(2)
    ]
    assert [seen.hit.id for seen in first.found] == []
    assert [seen.hit.id for seen in second.found] == [first.entry]


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
    """However many come together, requests for records find the others; those of one agency take one."""
    world = await furnished()
    slow = _Slow(MemorySearch(world.store))
    searches = Searches(world.administration, slow, world.heritage)
    question = Question((("event", "disclosure"),))
    for callers, most in ((2 * [NWAS], 1), ([NWAS, CFRS, AUDITOR], 2)):
        slow.most = 0
        looks = (searches.page(who, question, ACTOR, Reason("complaint")) for who in callers * 4)
        await asyncio.gather(*looks)
        assert slow.most == most


async def test_what_may_not_be_seen_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A party's page leaves at a multiple of the bucket, whatever was looked at and thrown away for it."""
    world = await furnished()
    await asked(world)
    waits: list[float] = []
    sleep = asyncio.sleep

    async def slept(seconds: float, *rest: Any) -> None:
        waits.append(seconds)
        await sleep(0 if seconds < STEP else seconds, *rest)

    loop = asyncio.get_running_loop()
    for person in (LINKED, OTHER_HOME):
        begun = loop.time()
        await look(world, NWAS, person=person)
        assert loop.time() - begun >= STEP
    monkeypatch.setattr(asyncio, "sleep", slept)
    for spent in (0.001, 0.024, 0.026):
        await evenly(NWAS, loop.time() - spent)
    assert [round(each / STEP, 1) for each in waits] == [1.0, 0.0, 1.0]
    await look(world, AUDITOR, person=LINKED)
    assert len(waits) == 3, "an auditor may see all, and waits for nothing"


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
FACTS = st.sampled_from(
    [
        *(("event", event) for event in ("disclosure", "refusal", "log-searched")),
        *(("agency", agency) for agency in AGENCIES),
        *(("outcome", "permit"), ("outcome", "refuse"), ("code", "person"), ("code", "role")),
        *(("actor", "a.hill"), ("rule", "person.not-against"), ("rule", "role.named"), ("system", "nwas/cad")),
    ]
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
    except (NotAllowed, InvalidRequest):
        assert function is not Function.AUDITOR
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


class Slow(MemorySearch):
    """An index in which looks of one agency last until they may end."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.may_end = asyncio.Event()

    async def find(self, terms: frozenset[str], *place: Any, **times: Any) -> Hits:
        """As it is, once it may."""
        if term("agency", "nwas") in terms:
            await self.may_end.wait()
        return await super().find(terms, *place, **times)


async def test_one_agencys_slow_looks_hold_up_no_other() -> None:
    """However many it takes at once; each of its own has its turn."""
    world = await furnished()
    await asked(world)
    slow = Slow(world.store)
    searches = Searches(world.administration, slow, world.heritage)
    theirs = [asyncio.create_task(searches.page(NWAS, Question((), HOME), ACTOR, WHY)) for _ in range(6)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        for who in (CFRS, AUDITOR, CFRS):
            assert (await searches.page(who, Question((), HOME), ACTOR, WHY)).found
    slow.may_end.set()
    assert all(page.found for page in await asyncio.gather(*theirs))


OURS, THEIRS, POLICE = "nwas/2026-11-21/0042", "cfrs/2026-11-21/17", "cumbria/2026-11-21/LOG-9"


async def alias(world: World, who: Caller, incident: str, also: str, same: bool = True) -> None:
    """One word of an agency."""
    await world.searches.incidents.say(who, incident, also, same, ACTOR, WHY)


async def test_an_incident_is_found_by_every_number_that_it_is_said_to_have() -> None:
    """Also through a third agency's number; the page says which were looked for, and each entry comes once."""
    world = await furnished()
    for number in (OURS, THEIRS, OURS):
        await asked(world, incident=number)
    await alias(world, CFRS, THEIRS, OURS)
    await alias(world, caller("cumbria"), POLICE, THEIRS)
    page = await look(world, AUDITOR, ("incident", POLICE))
    assert page.question.incidents == (POLICE, THEIRS, OURS)
    assert events(page) == ["incident-alias", "incident-alias", "disclosure", "disclosure", "disclosure"]
    page = await look(world, AUDITOR, ("incident", POLICE), ("event", "disclosure"))
    assert events(page) == ["disclosure"] * 3
    places = [seen.hit.index for seen in page.found]
    assert places == sorted(places, reverse=True)


async def test_a_number_that_was_taken_back_leads_nowhere() -> None:
    """By who said it; the same word of another agency still stands."""
    world = await furnished()
    await alias(world, CFRS, THEIRS, OURS)
    await alias(world, CFRS, THEIRS, OURS, same=False)
    assert (await look(world, AUDITOR, ("incident", OURS))).question.aliases == ()
    await alias(world, NWAS, OURS, THEIRS)
    await alias(world, CFRS, THEIRS, OURS, same=False)
    assert (await look(world, AUDITOR, ("incident", OURS))).question.aliases == (THEIRS,)
    await alias(world, CFRS, THEIRS, OURS)
    await alias(world, NWAS, OURS, THEIRS, same=False)
    assert (await look(world, AUDITOR, ("incident", OURS))).question.aliases == (THEIRS,)


async def test_a_partner_is_led_by_its_own_word_and_by_words_about_its_own_numbers() -> None:
    """And finds no entry for it that it is not party to; what others said among themselves it is not told."""
    world = await furnished()
    await asked(world, incident=THEIRS)
    await alias(world, caller("cumbria"), POLICE, THEIRS)
    assert (await look(world, NWAS, ("incident", POLICE))).question.aliases == ()
    await alias(world, CFRS, THEIRS, OURS)
    page = await look(world, NWAS, ("incident", OURS))
    assert (page.question.aliases, events(page)) == ((THEIRS,), ["disclosure"])
    stranger = await look(world, caller("cumbria"), ("incident", POLICE))
    assert (stranger.question.aliases, events(stranger)) == ((THEIRS,), ["incident-alias"])


@pytest.mark.parametrize(
    ("who", "incident", "also", "field"),
    [
        (NWAS, THEIRS, OURS, "incident"),
        (NWAS, OURS, OURS, "also"),
        (NWAS, "", OURS, "incident"),
        (NWAS, OURS, "", "also"),
    ],
)
async def test_an_agency_speaks_for_numbers_that_it_gave(
    who: Caller, incident: str, also: str, field: str
) -> None:
    """Or anybody could bring another's incident under a name of theirs."""
    world = World()
    with pytest.raises(InvalidRequest) as refused:
        await alias(world, who, incident, also)
    assert refused.value.field == field
    with pytest.raises(NotAllowed):
        await alias(world, AUDITOR, OURS, THEIRS)


async def test_one_incident_is_asked_for_at_a_time() -> None:
    """Two would only find the words that they are one."""
    world = await furnished()
    with pytest.raises(InvalidRequest, match="one incident"):
        await look(world, AUDITOR, ("incident", OURS), ("incident", THEIRS))


@pytest.mark.parametrize("speakers", [1, 5])
async def test_numbers_of_an_incident_are_bounded(speakers: int) -> None:
    """However many one agency says that it has, or several; and it is told where there are more."""
    world = await furnished()
    for who in ("nwas", "cumbria", "ncic", "cumberland", "wf")[:speakers]:
        for n in range(EACH):
            await alias(world, caller(who), f"{who}/2026-11-21/{n:04}", THEIRS)
    asked = (await look(world, AUDITOR, ("incident", THEIRS))).question
    assert (len(asked.incidents), asked.cut) == ((1 + EACH, False) if speakers == 1 else (MOST, True))
    await alias(world, NWAS, "nwas/2026-11-21/9999", THEIRS)
    asked = (await look(world, AUDITOR, ("incident", THEIRS))).question
    assert asked.cut
    assert Counter(each.partition("/")[0] for each in asked.aliases)["nwas"] <= EACH


@pytest.mark.parametrize("numbers", [40, 1])
async def test_nobodys_many_words_hide_the_word_of_whoever_gave_the_number(numbers: int) -> None:
    """Hundreds of another's about it, of many numbers or of one again and again, said afterwards: whoever may
    be led by its own word or a third's still is, from either side, and is told that there is more only where
    there is more for them."""
    world = await furnished()
    await alias(world, NWAS, OURS, POLICE)
    await alias(world, CFRS, THEIRS, OURS)
    flooding = caller("ncic")
    for n in range(240):
        await alias(world, flooding, f"ncic/2026-11-21/{n % numbers}", OURS, same=numbers == 40 or bool(n % 2))
    for who, number, others in (
        (AUDITOR, OURS, {POLICE, THEIRS}),
        (AUDITOR, POLICE, {OURS, THEIRS}),
        (AUDITOR, THEIRS, {OURS, POLICE}),
        (NWAS, OURS, {POLICE, THEIRS}),
        (CFRS, OURS, {THEIRS}),
    ):
        asked = (await look(world, who, ("incident", number))).question
        assert others <= set(asked.aliases), (who, number)
        # Fifty of its words of the number are read, where there are so many.
        assert asked.cut is (who is not CFRS)
        theirs = {each for each in asked.aliases if each.startswith("ncic/")}
        assert len(theirs) == (0 if who is CFRS else EACH if numbers == 40 else 1)


async def test_ones_own_word_is_heard_beside_the_many_of_whoever_gave_the_number() -> None:
    """Said before all of theirs, which are about numbers of one's own, too."""
    world = await furnished()
    await alias(world, CFRS, THEIRS, OURS)
    for n in range(240):
        await alias(world, NWAS, OURS, f"cfrs/2026-11-21/{n % 4:04}", same=bool(n % 2))
    assert THEIRS in (await look(world, CFRS, ("incident", OURS))).question.aliases


async def test_saying_that_an_incident_has_another_number_counts_as_a_look() -> None:
    """Each is an entry of everybody's log."""
    world, counted = World(), list[str]()
    administration = Administration(world.store.log, world.clock, lambda agency, _: counted.append(agency))
    incidents = Incidents(administration, MemorySearch(world.store), frozenset)
    await incidents.say(NWAS, OURS, THEIRS, True, ACTOR, WHY)
    assert counted == ["nwas"]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 60), unique=True, max_size=30), min_size=1, max_size=4),
    st.booleans(),
    st.integers(1, 8),
)
def test_looks_together_give_what_one_look_would(looks: list[list[int]], newest: bool, most: int) -> None:
    """Page after page, each place once and in order: whatever each look gives at a time."""
    ordered = [sorted(each, reverse=newest) for each in looks]
    found: list[int] = []
    while True:
        beyond = found[-1] if found else (100 if newest else -1)
        rest = [[at for at in each if (at < beyond if newest else at > beyond)][:most] for each in ordered]
        page = together(rest, int, most, newest_first=newest)
        found += page
        if not any(len(each) >= most for each in rest):
            break
        assert page
    assert found == sorted({at for each in looks for at in each}, reverse=newest)


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        ("event", "refusl", "refusal"),
        ("outcome", "denied", "permit"),
        ("outcome", "justify", "justified"),
        ("code", "nobody", "no-answer"),
        ("rule", "nonsense", "is no rule"),
        ("rule", "person.consen", "person.consent"),
        ("agreement", "nwas-cfrs-premise", "nwas-cfrs-premises"),
        ("agreement", "nope", "broker agreement list"),
        ("agreement", "nwas-cfrs-premises/one", "nwas-cfrs-premises"),
        ("system", "cad", "agency/system"),
        ("incident", "42", "agency/date/number"),
        ("trace", "xx", "32 hex"),
        ("request", "7", "UUID"),
        ("record-type", "PremisesRisk", "full name"),
    ],
)
async def test_a_word_that_no_entry_can_have_is_refused(kind: str, value: str, says: str) -> None:
    """With what it could be: nothing found would read as if nothing had happened."""
    with pytest.raises(InvalidRequest, match=says) as refused:
        await look(await furnished(), AUDITOR, (kind, value))
    assert refused.value.field == "facts.0.value"
