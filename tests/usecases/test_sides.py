"""What a party may not see is not even found for it: by the terms of its own side, entry by entry."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import permutations, product
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.audience import seen
from broker.core.canonical import Json
from broker.core.model import Caller, Function, Reason, SubjectRef
from broker.core.receipt import Audience
from broker.core.searchterms import Question, person, term
from broker.core.views import ProviderView, RequesterView
from broker.erasable import Finder
from broker.incidents import Incidents
from broker.ports import Appended, Draft, Shown
from broker.searches import Searches
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.watched import Watched
from tests.support.world import ACTOR, AUDITOR, caller

WHY = Reason("complaint")
AGENCIES = ("nwas", "cfrs", "ncic")
PEOPLE, INCIDENTS, CODES = ("a", "b", "c"), ("nwas/2026-11-21/1", "cfrs/2026-11-21/2"), ("person", "no-answer")


class Made(NamedTuple):
    """An entry: who asked whom about whom, by whom else the provider knew them, whether each is told, what it
    was refused as and what the requester and the provider read of that, whether the provider's human did it,
    and whether the views name the other side."""

    requester: str
    provider: str
    asked: str
    matched: frozenset[str]
    told: tuple[bool, bool]
    incident: str
    override: bool
    code: str
    shown: str
    decided: bool
    held: str = ""
    names: bool = True

    def finds(self, who: str) -> Iterator[tuple[str, str]]:
        """By what this agency finds it, empty: auditors: said once more, as docs/audit.md has it."""
        asked = who == self.requester and self.told[0]
        held = who == self.provider and self.told[1]
        if not (asked or held or not who):
            return
        yield from (("event", self.event), ("agency", self.requester))
        # Nobody's where the provider was not told: then it is no party, and the full view names another.
        known = self.told[1] or self.names or self.decided
        yield from [("agency", self.provider)] * (self.names if asked else known)
        yield from (("purpose", "emergency-response"), ("request", "the same"))
        # What one view alone says is read for auditors too, and not shown.
        yield from [("code", self.shown)] * (asked or (not who and self.told[0]))
        yield from [("code", self.held or self.code)] * (held or (not who and self.told[1]))
        yield from [("code", self.code)] * (not who)
        yield from [("incident", self.incident)] * (not held) + [("person", self.asked)] * (not held)
        yield from [("person", each) for each in self.matched if not asked]
        yield from [("override", "life-at-risk")] * (self.override and not asked)
        yield from [("actor", "x"), ("callsign", "AC1")] * (not asked or not self.decided)
        yield from [("system", f"{self.spoke}/cad")] * (not who or who == self.spoke)
        yield from [("rule", "person.not-against")] * (not who)

    def shows(self, who: str) -> set[tuple[str, str]]:
        """By what it is shown: to auditors by the full view alone."""
        if who:
            return {*self.finds(who)}
        codes = {("code", self.shown), ("code", self.held)} - {("code", self.code)}
        hides = {("agency", self.provider)} if not (self.names or self.decided) else set()
        return {*self.finds("")} - codes - hides

    @property
    def event(self) -> str:
        """What it says happened."""
        return "referral-decided" if self.decided else "refusal"

    @property
    def spoke(self) -> str:
        """Whose human and system it was."""
        return self.provider if self.decided else self.requester


@st.composite
def an_entry(draw: st.DrawFn) -> Made:
    """Of any two agencies."""
    requester, provider = draw(st.permutations(AGENCIES))[:2]
    code = draw(st.sampled_from(CODES))
    return Made(
        requester,
        provider,
        draw(st.sampled_from(PEOPLE)),
        draw(st.frozensets(st.sampled_from(PEOPLE), max_size=2)),
        draw(st.sampled_from([(True, True), (True, True), (True, False), (False, True)])),
        draw(st.sampled_from(INCIDENTS)),
        draw(st.booleans()),
        code,
        draw(st.sampled_from(CODES)),
        draw(st.booleans()),
        draw(st.sampled_from(("", *CODES))),
        draw(st.booleans()),
    )


def drawn(most: int) -> list[list[Made]]:
    """So many logs; what waits for a store cannot be run by hypothesis itself, inside a running loop."""
    every: list[list[Made]] = []

    @settings(max_examples=most, deadline=None, database=None, derandomize=True)
    @given(st.lists(an_entry(), min_size=4, max_size=16))
    def draw(entries: list[Made]) -> None:
        every.append(entries)

    draw()
    return every


def drafted(stage: Stage, made: Made, people: dict[str, SubjectRef], request: str) -> Draft:
    """The entry as it is appended."""
    seen = RequesterView(made.event, request_id=request, code=made.held or made.code, provider=made.provider)
    matched = tuple((people[each].scheme, people[each].value) for each in sorted(made.matched))
    who = {"id": "x", "callsign": "AC1"}
    over = "life-at-risk" if made.override else None
    asker = made.requester if made.names or not made.told[0] else None
    held = ProviderView(seen, who, matched, over, asker, "emergency-response")
    whom = made.provider if made.names else None
    asked = RequesterView(made.event, request_id=request, code=made.shown, provider=whom)
    full: dict[str, Json] = {
        **held.as_json(),
        "code": made.code,
        "requester": made.requester,
        # The parties are those of the entry, whomever its full view names.
        "provider": made.provider if made.names or made.decided else "elsewhere",
        "policy": 0,
        "now": "x",
        "system": "cad",
        "incident": made.incident,
        "rules": ["person.not-against refuse", "identity.enrolled pass"],
        "asked_by": {"scheme": people[made.asked].scheme, "value": people[made.asked].value},
    }
    told: Any = asked if made.shown != made.code or not made.names else Shown.IN_FULL
    return Draft(
        str(uuid.uuid4()),
        stage.clock.now(),
        told if made.told[0] else None,
        (held if made.decided or made.held or not made.names else Shown.IN_FULL) if made.told[1] else None,
        full,
        made.requester if made.told[0] else "",
        made.provider if made.told[1] else "",
    )


async def appended(stage: Stage, entries: list[Made], people: dict[str, SubjectRef], request: str) -> int:
    """All of them, one after the other; the place of the first."""
    start = await stage.size()
    for each in entries:
        assert isinstance(await stage.log.append(drafted(stage, each, people, request)), Appended)
    return start


def named(kind: str, value: str, people: dict[str, SubjectRef], request: str) -> str:
    """A fact as the index has it."""
    if kind == "person":
        return person(people[value])
    return term(kind, request if kind == "request" else value)


async def test_what_is_read_for_a_party_is_what_it_may_find(stage: Stage) -> None:
    """Random entries; every fact alone and with others, looked up or read in order: what comes out of the index
    for a party are the entries that it may find by all of them, and for auditors all that have them."""
    for entries in drawn(8):
        request, people = str(uuid.uuid4()), {each: stage.person() for each in PEOPLE}
        start = await appended(stage, entries, people, request)
        facts = sorted({fact for made in entries for fact in made.finds("")})
        asked = [(fact,) for fact in facts] + [(fact, facts[n // 2]) for n, fact in enumerate(facts)]
        asked += [(fact, facts[0], facts[-1], ("person", "a"), ("incident", INCIDENTS[0])) for fact in facts]
        for who, some in product(("", *AGENCIES), asked):
            wanted = frozenset(named(*fact, people, request) for fact in some)
            found = await stage.search.find(
                wanted, start - 1, 99, newest_first=False, since=None, until=None, party=who
            )
            places = [start + n for n, made in enumerate(entries) if {*some} <= {*made.finds(who)}]
            assert [hit.index for hit in found.found] == places, (who, some)


def question(some: tuple[tuple[str, str], ...], people: dict[str, SubjectRef], request: str) -> Question:
    """The same facts, as somebody asks for them."""
    about = [people[value] for kind, value in some if kind == "person"]
    values = [(kind, request if kind == "request" else value) for kind, value in some if kind != "person"]
    return Question(tuple(values), about[0] if about else None)


async def test_what_comes_out_of_the_index_is_looked_at_again(stage: Stage) -> None:
    """Whatever the index gave, to whomever: a party is shown its own view of what it may find by all that it
    asked for, auditors the full one, and nobody else anything."""
    operator = Caller("ops", "cli", Function.OPERATOR, "")
    for entries in drawn(8):
        request, people = str(uuid.uuid4()), {each: stage.person() for each in PEOPLE}
        start = await appended(stage, entries, people, request)
        every = await stage.search.find(
            frozenset(), start - 1, len(entries), newest_first=False, since=None, until=None
        )
        facts = sorted({fact for made in entries for fact in made.finds("")} | {("rule", "identity.enrolled")})
        asked = [(), *((fact,) for fact in facts), *((facts[0], fact) for fact in facts if fact[0] != "person")]
        for (made, hit), who, some in product(zip(entries, every.found, strict=True), ("", *AGENCIES), asked):
            sees = AUDITOR if not who else caller(who)
            mine = Audience.REQUESTER if who == made.requester else Audience.PROVIDER
            may = not who or (who in (made.requester, made.provider) and made.told[mine is Audience.PROVIDER])
            shown = seen(sees, question(some, people, request), hit)
            if not (may and {*some} <= made.shows(who)):
                assert shown is None, (who, some)
                continue
            assert shown is not None, (who, some)
            assert shown.audience is (mine if who else Audience.FULL)
            assert shown.view == hit.views[shown.audience.value]
            assert seen(operator, question(some, people, request), hit) is None
            assert seen(caller("police"), question(some, people, request), hit) is None


async def test_often_asked_and_never_met(stage: Stage) -> None:
    """Who asks for somebody again and again, and then looks for the number that the provider knows them by:
    nothing is read, nor is anything planned to be erased; the provider and auditors find each."""
    for told in (True, False):
        people = {each: stage.person() for each in PEOPLE}
        made = Made("nwas", "cfrs", "a", frozenset("ab"), (True, told), INCIDENTS[0], True, *CODES, False)
        request = str(uuid.uuid4())
        start = await appended(stage, [made] * 5, people, request)
        watched: Any = Watched(stage.search)
        searches = Searches(stage.administration, watched, stage.heritage)
        who, finder = caller("nwas"), Finder(watched, stage.keeping, stage.holds, stage.clock)
        assert (await finder.find(who, people["b"], False)).entries == ()
        overridden = Question((("override", "life-at-risk"), ("request", request)))
        for question in (Question(person=people["b"]), overridden):
            assert (await searches.page(who, question, ACTOR, WHY)).found == ()
        assert watched.read == []
        for other, finds in ((caller("cfrs"), told), (AUDITOR, True)):
            page = await searches.page(other, Question((("request", request),), people["b"]), ACTOR, WHY)
            places = [seen.hit.index for seen in page.found]
            assert places == list(range(start, start + 5))[::-1] * finds


async def test_who_asked_itself_finds_it_once_and_by_what_it_asked(stage: Stage) -> None:
    """An agency on both sides of an entry reads what it asked: looked up or read in order, a page has it once;
    by what only its provider's side matched there is nothing."""
    request, people = str(uuid.uuid4()), {each: stage.person() for each in PEOPLE}
    made = Made(
        "nwas", "nwas", "a", frozenset("b"), (True, True), INCIDENTS[0], True, "person", "person", False
    )
    start = await appended(stage, [made] * 3, people, request)
    for wanted, places in (
        ({term("request", request)}, [0, 1, 2]),
        ({term("event", "refusal"), term("code", "person")}, [0, 1, 2]),
        ({person(people["a"])}, [0, 1, 2]),
        ({person(people["b"])}, []),
        ({term("override", "life-at-risk")}, []),
    ):
        found = await stage.search.find(
            frozenset(wanted), start - 1, 99, newest_first=False, since=None, until=None, party="nwas"
        )
        assert [hit.index - start for hit in found.found] == places, wanted


@pytest.mark.parametrize("who", ["nwas", ""], ids=["a party", "auditors"])
async def test_a_search_keeps_to_the_time_that_it_asked_for(stage: Stage, who: str) -> None:
    """From the moment named on, and before the other: what was at the first is in it, at the second is not."""
    request, people = str(uuid.uuid4()), {each: stage.person() for each in PEOPLE}
    made = Made("nwas", "cfrs", "a", frozenset(), (True, True), INCIDENTS[0], False, "person", "person", False)
    start, day = await stage.size(), datetime(2026, 11, 21, 12 + len(who), tzinfo=UTC)
    for n in range(5):
        draft = replace(drafted(stage, made, people, request), at=day + timedelta(seconds=n))
        assert isinstance(await stage.log.append(draft), Appended)
    for facts in ((("request", request),), (("code", "person"),)):
        asked = Question(facts, None, day + timedelta(seconds=1), day + timedelta(seconds=3))
        page = await stage.searches.page(caller(who) if who else AUDITOR, asked, ACTOR, WHY)
        assert [seen.hit.index - start for seen in page.found] == [2, 1], facts


async def test_many_entries_of_one_number_hide_none_of_another(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An incident with two numbers, of which one has more entries than one look gives: every page goes on."""
    monkeypatch.setattr("broker.searches._CHUNK", 2)
    number = uuid.uuid4().int % 10**9
    ours, theirs = (f"{who}/2026-11-21/{number}" for who in ("nwas", "cfrs"))
    await stage.searches.incidents.say(caller("nwas"), ours, theirs, True, ACTOR, WHY)
    people = {each: stage.person() for each in PEOPLE}
    one = Made("nwas", "cfrs", "a", frozenset(), (True, True), ours, False, "person", "person", False)
    start = await appended(stage, [one._replace(incident=theirs), *[one] * 5], people, str(uuid.uuid4()))
    asked = Question((("incident", ours), ("event", "refusal")))
    page = await stage.searches.page(caller("nwas"), asked, ACTOR, WHY)
    assert [seen.hit.index - start for seen in page.found] == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("by", ["asked", "matched"])
async def test_a_hold_holds_by_every_identifier(stage: Stage, by: str) -> None:
    """Whoever is told: by the one that was asked for, and by one that the provider alone, or nobody, sees."""
    for told in ((True, True), (True, False), (False, True)):
        people = {each: stage.person() for each in PEOPLE}
        made = Made("nwas", "cfrs", "a", frozenset("b"), told, INCIDENTS[0], False, *CODES, False)
        await appended(stage, [made], people, str(uuid.uuid4()))
        question = Question(person=people["a"])
        (seen,) = (await stage.searches.page(AUDITOR, question, ACTOR, WHY, limit=1)).found
        before = await stage.keeping.attached([seen.hit.id], None, frozenset(), stage.clock.now())
        await stage.holds.place(caller("cfrs"), people["a" if by == "asked" else "b"], "case 1", ACTOR, WHY)
        after = await stage.keeping.attached([seen.hit.id], None, frozenset(), stage.clock.now())
        assert (before.held, after.held) == (frozenset(), {seen.hit.id})


async def test_what_others_said_of_an_incident_is_not_read_for_a_party(stage: Stage) -> None:
    """Their words of each other's numbers; its own, and those about a number of its own, are."""
    number = uuid.uuid4().hex[:8]
    at = {who: f"{who}/2026-11-21/{number}" for who in AGENCIES}
    for one, other in permutations(AGENCIES, 2):
        await stage.searches.incidents.say(caller(one), at[one], at[other], True, ACTOR, WHY)
    for asked, who in product(AGENCIES, AGENCIES):
        watched: Any = Watched(stage.search)
        incidents = Incidents(stage.administration, watched, stage.heritage.agencies)
        found = await incidents.widened(caller(who), Question((("incident", at[asked]),)))
        assert set(found.incidents) == set(at.values())
        said: list[Any] = [hit.full["detail"] for hit in watched.read]
        assert said
        assert all(at[who] in each["incidents"] for each in said)
    auditor = Caller("ico", "desk", Function.AUDITOR, "")
    found = await stage.searches.incidents.widened(auditor, Question((("incident", at["nwas"]),)))
    assert set(found.incidents) == set(at.values())
