"""What an erasure must leave of the evidence: of open matters, of findings, and in other people's words."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from broker import erasures
from broker.accesswanted import Wanted
from broker.core.late import Late, Side
from broker.core.model import Caller, Reason, SubjectRef
from broker.core.searchterms import Question
from broker.errors import InvalidRequest, NotAllowed
from broker.late import LateRecords
from tests.human.conftest import OWNER
from tests.human.test_overrides import breaks_glass, objected
from tests.human.test_referrals import NO, judged, refer
from tests.keeping.conftest import (
    AUDITOR,
    CFRS,
    NWAS,
    OFFICER,
    WHY,
    asks,
    caught_up,
    entry_of,
    full_of,
    holds_person,
    opening_of,
)
from tests.keeping.test_erasure_plans import GROUND, RECORDS, confirms, planned
from tests.keeping.test_left_alone import overrides
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR, RISK, caller

OWNER_RECORDS = caller("cfrs", "records")
THIRD = replace(OFFICER, id="c.reid")
REASONS = "they looked up their neighbour: no life was at risk"


async def gives_up(stage: Stage, who: Caller, second: Caller, what: SubjectRef | tuple[str, ...]) -> Any:
    """What two people of an agency, who had no part in it, have erased."""
    plan, _, _ = await stage.erasing.plan(who, what, GROUND, THIRD, WHY)
    await caught_up(stage)
    subject = what if isinstance(what, SubjectRef) else None
    done, _ = await confirms(stage, plan.id, subject, second)
    return done


async def reviewed(stage: Stage, verdict: str) -> tuple[SubjectRef, str, str]:
    """An override that was reviewed: whom it was about, its entry, and that of the review."""
    subject, entry = await overrides(stage)
    made = await stage.overrides.review(OWNER, entry, verdict, REASONS, OFFICER)
    await caught_up(stage)
    return subject, entry, made.event_id


async def words_of(stage: Stage, entry: str) -> bool:
    """Whether an entry still has its words."""
    async with stage.past._database.connection() as connection:  # type: ignore[attr-defined]
        sql = "select words is not null from view join entry using (log, idx) where id = $1"
        return bool(await connection.fetchval(sql, entry))


@pytest.mark.parametrize("matter", ["complaint", "access"])
async def test_an_open_matter_stops_every_identifier_of_its_evidence(stage: Stage, matter: str) -> None:
    """A provider that knows the person by two numbers erases by neither what is disputed by one; whoever asked
    by the other is not stopped, or it would learn that both are one person's."""
    subject, other = stage.person(), stage.person()
    entry = await entry_of(stage, await asks(stage, subject, other))
    before = await planned(stage, subject, CFRS)
    if matter == "complaint":
        ids = [(await stage.complaints.add(who, "C-1", None, "why?", ACTOR, other))[0] for who in (CFRS, NWAS)]
    else:
        access, _, _ = await stage.access.start(CFRS, Wanted((other,)), ACTOR, WHY)
    await caught_up(stage)
    for refused in (
        planned(stage, other, CFRS, THIRD),
        planned(stage, subject, CFRS, THIRD),
        stage.erasing.plan(CFRS, (entry,), GROUND, THIRD, WHY),
        confirms(stage, before, subject, OWNER_RECORDS),
    ):
        with pytest.raises(InvalidRequest):
            await refused
    assert await opening_of(stage, entry, "provider") is not None
    assert (await gives_up(stage, NWAS, RECORDS, (entry,))).entries == 1
    if matter == "complaint":
        for who, each in zip((CFRS, NWAS), ids, strict=True):
            await stage.complaints.acknowledge(who, each, ACTOR)
            await stage.complaints.close(who, each, "upheld", "we told them", ACTOR)
    else:
        await stage.access.issue(CFRS, access, ACTOR, WHY)
    await caught_up(stage)
    assert (await confirms(stage, before, subject, OWNER_RECORDS))[0].entries == 1


async def test_what_came_since_about_others_stops_no_plan(stage: Stage) -> None:
    """A complaint about somebody whom only a later entry names says nothing of what was planned."""
    home, resident, later = stage.person(), stage.person(), stage.person()
    await asks(stage, home, resident)
    plan = await planned(stage, home, CFRS)
    await asks(stage, home, later)
    complaint, _, _ = await stage.complaints.add(CFRS, "C-1", None, "why?", ACTOR, later)
    await caught_up(stage)
    with pytest.raises(InvalidRequest):
        await planned(stage, home, CFRS)
    assert (await confirms(stage, plan, home, OWNER_RECORDS))[0].entries == 1
    await stage.complaints.acknowledge(CFRS, complaint, ACTOR)
    await stage.complaints.close(CFRS, complaint, "upheld", "we told them", ACTOR)
    await caught_up(stage)


@pytest.mark.parametrize("verdict", ["not-justified", "justified"])
async def test_a_finding_outlives_its_owners_part(stage: Stage, verdict: str) -> None:
    """The owner has given up what it knew of the person: whoever was found at fault still cannot erase its use,
    and whoever was not can."""
    subject, entry, _ = await reviewed(stage, verdict)
    assert (await gives_up(stage, OWNER, OWNER_RECORDS, subject)).entries == 2, "the use, and its review"
    assert await opening_of(stage, entry, "provider") is None
    if verdict == "justified":
        assert (await gives_up(stage, NWAS, RECORDS, subject)).entries == 2
        assert await stage.overridden.by_id(entry) is None, "with the last part the row goes"
        return
    for what in (subject, (entry,)):
        with pytest.raises(InvalidRequest, match="overrides of your agency that were found at fault"):
            await gives_up(stage, NWAS, RECORDS, what)
    assert (await full_of(stage, entry))["override"] == "life-at-risk"


async def test_a_breach_outlives_its_owners_queue(stage: Stage) -> None:
    """What began one stays with both, also where the owner's row has nothing of the person any more."""
    subject, entry, _ = await reviewed(stage, "wrong-person")
    for who in (OWNER, NWAS):
        with pytest.raises(InvalidRequest):
            await planned(stage, subject, who, THIRD)
    await stage.erasures.erase(OWNER, (entry,), OFFICER, WHY)
    await caught_up(stage)
    with pytest.raises(InvalidRequest, match="at fault"):
        await planned(stage, subject, actor=THIRD)


async def test_nobody_wipes_a_reviewers_words(durable_stage: Stage) -> None:
    """Why an override was not justified is in the words of its owner's human: whoever used it does not erase
    them, alone or with its part; the owner does."""
    stage = durable_stage
    subject, _, review = await reviewed(stage, "not-justified")
    plan, told, _ = await stage.erasing.plan(NWAS, (review,), GROUND, THIRD, WHY, words_only=True)
    await caught_up(stage)
    assert told.words == 0
    _, (made,) = await confirms(stage, plan.id, None)
    assert (await full_of(stage, made.event_id))["detail"]["words"] == []
    await stage.erasures.erase(NWAS, subject, OFFICER, WHY)
    assert await words_of(stage, review)
    plan, told, _ = await stage.erasing.plan(OWNER, (review,), GROUND, THIRD, WHY, words_only=True)
    await caught_up(stage)
    assert told.words == 1
    await confirms(stage, plan.id, None, OWNER_RECORDS)
    assert not await words_of(stage, review)


async def test_whoever_wrote_down_what_was_shared_erases_those_words(durable_stage: Stage) -> None:
    """The giver recorded it: the taker, whose entry it is as requester, has no say over the giver's words."""
    stage = durable_stage
    subject, now = stage.person(), stage.clock.now()
    records = LateRecords(stage.log, stage.facts, stage.reference, stage.clock, lambda what: bytes(32))
    gave, took = Side("cfrs", "duty-officer", "J. Smith"), Side("nwas", "dispatcher", "")
    about = (subject, RISK, ("oxygen.kind",), "emergency-response", "they were at the door")
    late = Late(str(uuid.uuid4()), now, "telephone", gave, took, *about)
    (recorded,) = await records.record(CFRS, [late], ACTOR)
    await caught_up(stage)
    assert (await gives_up(stage, NWAS, RECORDS, subject)).words == 0
    assert await words_of(stage, recorded.event_id)
    assert (await gives_up(stage, CFRS, OWNER_RECORDS, subject)).words == 1


async def test_what_was_found_goes_with_the_person_and_never_by_itself(stage: Stage) -> None:
    """A review, and that a hold was released, are erased by nobody for their own sake; a hold on the person
    covers the review, and what a human decided on their request."""
    subject, _, review = await reviewed(stage, "justified")
    hold = await holds_person(stage, AUDITOR, subject)
    told, _ = await stage.erasures.planned(NWAS, subject, OFFICER, WHY)
    assert (told.entries, told.held) == (0, 2)
    released = await stage.holds.release(AUDITOR, hold, OFFICER, WHY)
    own = await stage.holds.release(NWAS, await holds_person(stage, NWAS, subject), OFFICER, WHY)
    await caught_up(stage)
    for who, entry, event in (
        (NWAS, review, "override-reviewed"),
        (OWNER, review, "override-reviewed"),
        (NWAS, own.event_id, "hold-released"),
        (replace(AUDITOR, agency="ncic"), released.event_id, "hold-released"),
    ):
        with pytest.raises(InvalidRequest, match=rf"says what was done here \({event}\): by itself it stays"):
            await stage.erasing.plan(who, (entry,), GROUND, THIRD, WHY)
    request = judged(stage)
    row = await refer(stage, request)
    await stage.referrals.decide(OWNER, row.id, NO, OFFICER)
    await caught_up(stage)
    assert request.subject is not None
    hold = await holds_person(stage, AUDITOR, request.subject)
    told, _ = await stage.erasures.planned(OWNER, request.subject, OFFICER, WHY)
    assert (told.entries, told.held) == (0, 2), "the request, and what was decided of it"
    await stage.holds.release(AUDITOR, hold, OFFICER, WHY)


@pytest.mark.parametrize("what", ["incident", "agreement"])
async def test_a_hold_covers_the_review_with_what_it_is_of(stage: Stage, what: str) -> None:
    """By incident or agreement too: its full view has of the request what holds go by."""
    incident = f"nwas/2026-11-22/{uuid.uuid4().int % 10**6}"
    request = await objected(stage, breaks_glass(stage, incident=incident))
    stage.finds(request)
    await stage.exchange.answer(request)
    entry = await entry_of(stage, request)
    review = (await stage.overrides.review(OWNER, entry, "justified", REASONS, OFFICER)).event_id
    used, found = await full_of(stage, entry), await full_of(stage, review)
    for key in ("asked_by", "identifiers", "incident", "agreement"):
        assert (key, found[key]) == (key, used[key])
    hold, _ = await stage.holds.place(NWAS, (what, str(used[what])), "CASE-7", OFFICER, Reason("litigation"))
    await caught_up(stage)
    assert request.subject is not None
    told, _ = await stage.erasures.planned(NWAS, request.subject, OFFICER, WHY)
    assert (told.entries, told.held) == (0, 2)
    await stage.holds.release(NWAS, hold, OFFICER, WHY)


async def test_nobody_erases_the_trace_of_their_own_look(stage: Stage) -> None:
    """Whoever said why they searched for somebody neither plans nor confirms the end of those words."""
    subject = stage.person()
    await searched(stage, subject, "his mother rang")
    with pytest.raises(InvalidRequest, match="you made some of these entries yourself"):
        await planned(stage, subject, actor=THIRD)
    plan = await planned(stage, subject)
    with pytest.raises(InvalidRequest, match="you made some of these entries yourself"):
        await confirms(stage, plan, subject, actor=THIRD)
    done, _ = await confirms(stage, plan, subject)
    assert (done.entries, done.words, done.looks) == (0, 1, 1)


async def searched(stage: Stage, subject: SubjectRef, words: str = "") -> str:
    """Somebody of the ambulance service searches for a person: the entry that says so."""
    page = await stage.searches.page(NWAS, Question((), subject), THIRD, Reason("curious", words))
    await caught_up(stage)
    return page.entry


async def test_who_looked_for_whom_stays(stage: Stage) -> None:
    """However two people of the looking agency would have it erased: the rest goes, and of its words what may
    name the person; auditors find the look by the person and by who looked."""
    subject = stage.person()
    asked = await entry_of(stage, await asks(stage, subject))
    looks = [await searched(stage, subject, words) for words in ("his mother rang", "")]
    for entry in looks:
        with pytest.raises(InvalidRequest, match=r"says what was done here \(log-searched\)"):
            await stage.erasing.plan(NWAS, (entry,), GROUND, OFFICER, WHY)
    seen = await stage.erasures.planned(NWAS, subject, OFFICER, WHY)
    assert (seen[0].entries, seen[0].words, seen[0].looks) == (1, 2, 2)
    done, (made,) = await confirms(stage, await planned(stage, subject), subject)
    await caught_up(stage)
    assert (done.entries, done.words, done.looks) == (1, 2, 2)
    said = (await full_of(stage, made.event_id))["detail"]
    assert (said["entries"], set(said["words"])) == ([asked], {asked, looks[0]})
    by_actor = (("event", "log-searched"), ("actor", THIRD.id))
    for question in (Question((), subject), Question(by_actor, subject)):
        found = await stage.searches.page(AUDITOR, question, replace(OFFICER, role="auditor"), WHY)
        assert {each.hit.id for each in found.found} >= set(looks)
    for entry in looks:
        full = await full_of(stage, entry)
        assert (full["actor"]["id"], full["detail"]["reason"]) == (THIRD.id, "curious")


async def test_looks_do_not_stop_an_erasure_of_many(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by several entries, each thing is named once; nothing more is left to do then."""
    monkeypatch.setattr(erasures, "MOST", 2)
    subject = stage.person()
    entries = {await entry_of(stage, await asks(stage, subject)) for _ in range(2)}
    looks = {await searched(stage, subject, "his mother rang") for _ in range(3)}
    plan = await planned(stage, subject)
    done, made = await confirms(stage, plan, subject)
    assert (done.entries, done.words, done.looks, len(made)) == (2, 5, 3, 3)
    said = [(await full_of(stage, each.event_id))["detail"] for each in made]
    assert sorted(each for one in said for each in one["entries"]) == sorted(entries)
    assert sorted(each for one in said for each in one["words"]) == sorted(entries | looks)
    with pytest.raises(NotAllowed):
        await confirms(stage, plan, subject)


async def test_it_says_what_was_taken_and_keeps_the_plan_of_what_was_held(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hold comes between two entries of one erasure: the rest is counted as held, and confirmed once the hold
    is released."""
    monkeypatch.setattr(erasures, "MOST", 2)
    subject = stage.person()
    entries = [await entry_of(stage, await asks(stage, subject)) for _ in range(5)]
    plan = await planned(stage, subject)
    find, looks, holds = stage.finder.find, list[int](), list[str]()

    async def held_between(*about: Any) -> Any:
        looks.append(1)
        if len(looks) == 2:
            holds.append(await holds_person(stage, CFRS, subject))
        return await find(*about)

    monkeypatch.setattr(stage.finder, "find", held_between)
    told, made = await confirms(stage, plan, subject)
    assert (told.entries, told.words, told.held, told.others) == (2, 2, 3, {"cfrs": 2})
    named = [each for one in made for each in (await full_of(stage, one.event_id))["detail"]["entries"]]
    gone = [each for each in entries if await opening_of(stage, each, "requester") is None]
    assert sorted(named) == sorted(gone)
    await stage.holds.release(CFRS, holds[0], OFFICER, WHY)
    told, _ = await confirms(stage, plan, subject)
    assert (told.entries, told.held) == (3, 0)
    assert await stage.erasure_plans.planned({"nwas"}, plan) == []
