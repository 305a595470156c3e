"""What an agency may not see shows in nothing that it gets: not in what is shown, where it ends, or when."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from itertools import permutations
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.canonical import Json
from broker.core.model import Caller, Function, Reason, SubjectRef
from broker.core.searchterms import Question, term
from broker.core.searchterms import person as person_term
from broker.core.views import ProviderView, RequesterView
from broker.evenly import STEP
from broker.exports import Exports, Head, Part
from broker.ports import Appended, Draft
from broker.ranges import Range
from broker.searches import Searches
from tests.support.stage import Stage
from tests.support.watched import Watched
from tests.support.world import ACTOR, caller

WHY = Reason("complaint")
AGENCIES = ("nwas", "cfrs", "ncic")
ROWS, WINDOW = 3, 8


class Made(NamedTuple):
    """An entry: who asked whom, by the person's own number or by another's, whether the provider was asked at
    all, and whether it knew them by the person's."""

    requester: str
    provider: str
    asked: bool
    told: bool
    matched: bool

    def shows(self, who: Caller) -> bool:
        """Whether this caller may find it by the person: said once more, as docs/audit.md has it."""
        if who.function is Function.AUDITOR:
            return self.asked or self.matched
        if who.agency == self.requester:
            return self.asked
        return who.agency == self.provider and self.told and self.matched


@st.composite
def an_entry(draw: st.DrawFn) -> Made:
    """Of any two agencies."""
    requester, provider = draw(st.permutations(AGENCIES))[:2]
    return Made(requester, provider, *(draw(st.booleans()) for _ in range(3)))


class Lived(NamedTuple):
    """What stands in the log, who looks, and in pages of how many."""

    entries: list[Made]
    agency: str
    function: Function
    limit: int


LIVED = st.builds(
    Lived,
    st.lists(an_entry(), min_size=5, max_size=30),
    st.sampled_from(AGENCIES),
    st.sampled_from([Function.PARTNER, Function.PARTNER, Function.PARTNER, Function.AUDITOR]),
    st.integers(1, 4),
)


def drawn(most: int) -> list[Lived]:
    """So many of them; what waits for a store cannot be run by hypothesis itself, inside a running loop."""
    every: list[Lived] = []

    @settings(max_examples=most, deadline=None, database=None, derandomize=True)
    @given(LIVED)
    def draw(lived: Lived) -> None:
        every.append(lived)

    draw()
    return every


def drafted(stage: Stage, made: Made, person: SubjectRef) -> Draft:
    """The entry as it is appended; of whom it is otherwise, nobody knows."""
    other = stage.person()
    asked, known = (person if made.asked else other), (person if made.matched else other)
    view = RequesterView("disclosure", request_id=str(uuid.uuid4()), outcome="permit", provider=made.provider)
    provider = ProviderView(view, {"id": "x"}, ((known.scheme, known.value),))
    whole: dict[str, Json] = {
        **provider.as_json(),
        "policy": 0,
        "now": "x",
        "requester": made.requester,
        "asked_by": {"scheme": asked.scheme, "value": asked.value},
    }
    told = (provider, made.provider) if made.told else (None, "")
    return Draft(str(uuid.uuid4()), stage.clock.now(), view, told[0], whole, made.requester, told[1])


async def appended(stage: Stage, entries: Sequence[Made], person: SubjectRef) -> int:
    """All of them, one after the other; the place of the first."""
    start = await stage.size()
    for each in entries:
        assert isinstance(await stage.log.append(drafted(stage, each, person)), Appended)
    while await stage.indexed():
        pass
    return start


def exports_of(stage: Stage) -> Exports:
    """As a broker has them."""
    return Exports(stage.administration, stage.view, stage.entries, stage.searches, stage.heritage, stage.clock)


def parts_of(places: Sequence[int], first: int, before: int) -> list[tuple[list[int], int]]:
    """What an export of these rows is cut into, by them and by nothing else."""
    parts, shown = [], list[int]()
    for place in range(first, before):
        shown += [place] * (place in places)
        full = len(shown) == ROWS
        if full or (shown and ((place + 1) % WINDOW == 0 or place + 1 == before)):
            parts.append((shown, place + 1))
            shown = []
    if not parts or parts[-1][1] != before:
        parts.append(([], before))
    return parts


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is cut after a few, and pages leave at once."""
    for name, value in (
        ("broker.exports.MOST", ROWS),
        ("broker.exports.WINDOW", WINDOW),
        ("broker.store.entryrows.MOST", 2),
        ("broker.searches._CHUNK", 2),
        ("broker.evenly.STEP", 0.0001),
    ):
        monkeypatch.setattr(name, value)


@pytest.mark.usefixtures("small")
async def test_an_export_is_cut_by_what_it_gives_and_nothing_else(stage: Stage) -> None:
    """Random parties and roles: rows, parts and how far each was looked are those of a log in which what the
    caller may not see is not there."""
    for entries, agency, function, _ in drawn(40):
        who, person = caller(agency, "cad", function), stage.person()
        start = await appended(stage, entries, person)
        end = start + len(entries)
        given = [
            each
            async for each in exports_of(stage).export(
                who, Question(person=person), Range(start, end), ACTOR, WHY
            )
        ]
        parts = [each for each in given if isinstance(each, Part)]
        places = [start + n for n, each in enumerate(entries) if each.shows(who)]
        got = [([row.index for row in part.rows], part.looked) for part in parts]
        assert got == parts_of(places, start, end)
        assert not any(part.closed for part in parts)


@pytest.mark.usefixtures("small")
async def test_a_search_ends_its_pages_with_what_it_shows(stage: Stage) -> None:
    """Random parties and roles: every page but the last is full, and goes on below the last that it shows."""
    for entries, agency, function, limit in drawn(40):
        who, person = caller(agency, "cad", function), stage.person()
        start = await appended(stage, entries, person)
        places = [start + n for n, each in enumerate(entries) if each.shows(who)][::-1]
        question, pages = Question(person=person), []
        page = await stage.searches.page(who, question, ACTOR, WHY, limit=limit)
        while True:
            pages.append(([seen.hit.index for seen in page.found], page.beyond))
            if page.beyond is None:
                break
            page = await stage.searches.on(who, question, page.beyond, limit, newest_first=True, log=page.log)
        full = [places[n : n + limit] for n in range(0, len(places) - limit + 1, limit)]
        rest = places[len(full) * limit :]
        assert pages == [*((each, each[-1]) for each in full), (rest, None)]


async def test_more_than_a_part_of_ones_own_hides_nothing_behind_it(stage: Stage) -> None:
    """An export by somebody else's number, behind as many of one's own as make a part: it looks the same where
    others dealt with that person, and where nobody did."""
    who, seen, unseen = caller("nwas"), stage.person(), stage.person()
    mine = Made("nwas", "cfrs", True, False, False)
    theirs = [Made("cfrs", "ncic", True, True, True), Made("cfrs", "nwas", True, False, True)]
    looked: list[list[int]] = []
    for person, others in ((seen, theirs), (unseen, [])):
        blank = [Made("cfrs", "ncic", False, True, False)] * (2 - len(others))
        start = await appended(stage, [mine] * 127 + others + blank, person)
        question = Question(person=person)
        given = exports_of(stage).export(who, question, Range(start, start + 129), ACTOR, WHY)
        parts = [each async for each in given if isinstance(each, Part)]
        assert sum(len(part.rows) for part in parts) == 127
        looked.append([part.looked - start for part in parts])
    assert looked == [[129], [129]]


async def test_what_is_exported_leaves_a_party_at_fixed_moments(stage: Stage) -> None:
    """The head and each part at a multiple of the step after it was asked for."""
    person = stage.person()
    start = await appended(stage, [Made("nwas", "cfrs", True, True, True)], person)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    given = exports_of(stage).export(
        caller("nwas"), Question(person=person), Range(start, start + 1), ACTOR, WHY
    )
    moments = [(loop.time() - begun, each) async for each in given]
    assert [type(each) for _, each in moments] == [Head, Part]
    assert all(at >= STEP * (n + 1) for n, (at, _) in enumerate(moments))


@pytest.mark.parametrize("by", ["person", "event"])
async def test_what_a_party_may_not_open_is_not_even_read_for_it(stage: Stage, by: str) -> None:
    """Looked up by what few entries have, or read in order: neither others' entries, nor those that name it and
    that it was never told of."""
    person = stage.person()
    every = [Made(*pair, True, told, True) for told in (True, False) for pair in permutations(AGENCIES, 2)]
    start = await appended(stage, every, person)
    asked = frozenset({term("event", "disclosure"), *([person_term(person)] if by == "person" else [])})
    places = [
        hit.index
        for hit in (
            await stage.search.find(
                asked, start - 1, 99, newest_first=False, since=None, until=None, party="nwas"
            )
        ).found
    ]
    assert places == [
        start + n
        for n, each in enumerate(every)
        if each.requester == "nwas" or (each.provider == "nwas" and each.told)
    ]


async def test_a_search_reads_for_a_party_what_is_its_own(stage: Stage) -> None:
    """So it takes no longer for what others did."""
    person = stage.person()
    mine = Made("nwas", "cfrs", True, True, True)
    others = [Made("cfrs", "ncic", True, True, True), Made("cfrs", "nwas", True, False, True)]
    start = await appended(stage, [*others, mine, *others], person)
    watched: Any = Watched(stage.search)
    searches = Searches(stage.administration, watched, stage.heritage)
    page = await searches.page(caller("nwas"), Question(person=person), ACTOR, WHY)
    assert [hit.index for hit in watched.read] == [start + 2] == [seen.hit.index for seen in page.found]


async def test_every_page_leaves_a_party_at_fixed_moments(stage: Stage) -> None:
    """The first of a search, those after it, and what comes while it is followed."""
    person, who = stage.person(), caller("nwas")
    start = await appended(stage, [Made("nwas", "cfrs", True, True, True)] * 2, person)
    loop, question = asyncio.get_running_loop(), Question(person=person)
    for page in (
        lambda: stage.searches.page(who, question, ACTOR, WHY, limit=1),
        lambda: stage.searches.on(who, question, start + 1, 1, newest_first=True),
        lambda: stage.searches.on(who, question, start, newest_first=False),
    ):
        begun = loop.time()
        assert (await page()).found
        assert loop.time() - begun >= STEP
