"""What a party may not see is not even found for it: by the terms of its own side, entry by entry."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import permutations, product
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.canonical import Json
from broker.core.model import Caller, Function, Reason, SubjectRef
from broker.core.searchterms import Question, person, term
from broker.core.views import ProviderView, RequesterView
from broker.erasable import Finder
from broker.incidents import Incidents
from broker.ports import Appended, Draft, Shown
from broker.searches import Searches
from tests.support.stage import Stage
from tests.support.watched import Watched
from tests.support.world import ACTOR, AUDITOR, caller

WHY = Reason("complaint")
AGENCIES = ("nwas", "cfrs", "ncic")
PEOPLE, INCIDENTS, CODES = ("a", "b", "c"), ("nwas/2026-11-21/1", "cfrs/2026-11-21/2"), ("person", "no-answer")


class Made(NamedTuple):
    """An entry: who asked whom about whom, by whom else the provider knew them, whether each is told, what it
    was refused as and what the requester reads of that, and whether the provider's human did it."""

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

    def finds(self, who: str) -> Iterator[tuple[str, str]]:
        """By what this agency finds it, empty: auditors: said once more, as docs/audit.md has it."""
        asked = who == self.requester and self.told[0]
        held = who == self.provider and self.told[1]
        if not (asked or held or not who):
            return
        yield from (("event", self.event), ("agency", self.requester), ("agency", self.provider))
        yield from (("purpose", "emergency-response"), ("request", "the same"))
        # What one view alone says is read for auditors too, and not shown.
        yield from [("code", self.shown)] * (asked or (not who and self.told[0]))
        yield from [("code", self.code)] * (held or not who)
        yield from [("incident", self.incident)] * (not held) + [("person", self.asked)] * (not held)
        yield from [("person", each) for each in self.matched if not asked]
        yield from [("override", "life-at-risk")] * (self.override and not asked)
        yield from [("actor", "x"), ("callsign", "AC1")] * (not asked or not self.decided)
        yield from [("system", f"{self.spoke}/cad")] * (not who or who == self.spoke)
        yield from [("rule", "person.not-against")] * (not who)

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
    seen = RequesterView(made.event, request_id=request, code=made.code, provider=made.provider)
    matched = tuple((people[each].scheme, people[each].value) for each in sorted(made.matched))
    who = {"id": "x", "callsign": "AC1"}
    over = "life-at-risk" if made.override else None
    held = ProviderView(seen, who, matched, over, made.requester, "emergency-response")
    asked = RequesterView(made.event, request_id=request, code=made.shown, provider=made.provider)
    full: dict[str, Json] = {
        **held.as_json(),
        "policy": 0,
        "now": "x",
        "system": "cad",
        "incident": made.incident,
        "rules": ["person.not-against refuse", "identity.enrolled pass"],
        "asked_by": {"scheme": people[made.asked].scheme, "value": people[made.asked].value},
    }
    told: Any = asked if made.shown != made.code else Shown.IN_FULL
    return Draft(
        str(uuid.uuid4()),
        stage.clock.now(),
        told if made.told[0] else None,
        (held if made.decided else Shown.IN_FULL) if made.told[1] else None,
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
