"""An erasure takes two named humans of the controller, a ground, and nothing in its way."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from broker import erasures
from broker.core.model import Actor, Assurance, Caller, Function, Reason, SubjectRef
from broker.erasing import ErasurePlans
from broker.errors import InvalidRequest, NotAllowed
from tests.human.conftest import OWNER, SILENT_OVERRIDDEN, Later
from tests.human.test_overrides import breaks_glass, objected
from tests.keeping.conftest import (
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
from tests.keeping.test_left_alone import overrides
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR, LOOKING, OPERATOR, caller

RECORDS = caller("nwas", "records")
SECOND = replace(OFFICER, id="a.okafor", name="Ada Okafor")
GROUND = "unlawful"


async def planned(
    stage: Stage, subject: SubjectRef, who: Caller = NWAS, actor: Actor = OFFICER, ground: str = GROUND
) -> str:
    """A plan's id."""
    plan, _, _ = await stage.erasing.plan(who, subject, ground, actor, WHY)
    await caught_up(stage)
    return plan.id


async def confirms(
    stage: Stage, plan: str, subject: SubjectRef | None, who: Caller = RECORDS, actor: Actor = SECOND
) -> Any:
    """A confirmation, and the index at its end."""
    told = await stage.erasing.confirm(who, plan, subject, actor, WHY)
    await caught_up(stage)
    return told


async def test_two_people_erase(stage: Stage) -> None:
    """Nothing goes by a plan; what it names goes when another confirms it; the entries say who both were."""
    subject = stage.person()
    entry = await entry_of(stage, await asks(stage, subject, actor=replace(ACTOR, role="visitor")))
    start = await stage.size()
    plan, told, made = await stage.erasing.plan(NWAS, subject, GROUND, OFFICER, WHY)
    await caught_up(stage)
    assert (told.entries, plan.id) == (1, made.event_id)
    assert await opening_of(stage, entry, "requester") is not None
    done, (end,) = await confirms(stage, plan.id, subject)
    assert done.entries == 1
    assert await full_of(stage, entry) == {}
    first, last = await full_of(stage, plan.id), await full_of(stage, end.event_id)
    assert (first["event"], first["actor"]["id"], first["detail"]["ground"]) == (
        "erasure-planned",
        OFFICER.id,
        GROUND,
    )
    assert (last["event"], last["actor"]["id"], last["system"]) == ("erasure", SECOND.id, "records")
    assert last["detail"]["plan"] == plan.id
    assert last["detail"]["planned_by"] == {"system": "nwas/cad", "actor": OFFICER.id}
    assert last["detail"]["entries"] == [entry]
    assert subject.value not in json.dumps(await stage.since(start))
    with pytest.raises(NotAllowed, match="no such plan"):
        await confirms(stage, plan.id, subject)


@pytest.mark.parametrize(
    ("who", "actor"),
    [
        (NWAS, SECOND),
        (RECORDS, OFFICER),
        (RECORDS, replace(OFFICER, id=" P.Moss")),
        (RECORDS, replace(OFFICER, id="p.moss\u200b")),
        (RECORDS, replace(OFFICER, id="p.m\u043ess")),
        (replace(RECORDS, key_digest=NWAS.key_digest), SECOND),
        (replace(RECORDS, system=NWAS.system), SECOND),
    ],
    ids=[
        "same-system",
        "same-human",
        "same-human-spelt-anew",
        "same-human-hidden",
        "same-human-in-another-script",
        "same-certificate",
        "same-system-other-key",
    ],
)
async def test_one_person_is_not_two(stage: Stage, who: Caller, actor: Actor) -> None:
    """Neither under another name from the same seat, nor from another seat under the same name."""
    subject = stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    plan = await planned(stage, subject)
    with pytest.raises(InvalidRequest, match="takes two people"):
        await confirms(stage, plan, subject, who, actor)
    assert await opening_of(stage, entry, "requester") is not None


async def test_nobody_confirms_by_an_adapters_certificate(stage: Stage) -> None:
    """A program holds it: whoever has the program's machine is no second person of the agency's."""
    subject = stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    plan = await planned(stage, subject)
    with pytest.raises(NotAllowed, match="nwas/records is an adapter's"):
        await confirms(stage, plan, subject, replace(RECORDS, adapter=True))
    assert await opening_of(stage, entry, "requester") is not None


async def test_both_are_named_humans_of_the_agency(stage: Stage) -> None:
    """Nobody who is only said to be there, no operator, nobody of another agency, who is told of no plan."""
    subject = stage.person()
    await asks(stage, subject)
    somebody = replace(OFFICER, assurance=Assurance.ASSERTED)
    with pytest.raises(InvalidRequest, match=r"actor\.assurance"):
        await planned(stage, subject, actor=somebody)
    plan = await planned(stage, subject)
    with pytest.raises(InvalidRequest, match=r"actor\.assurance"):
        await confirms(stage, plan, subject, actor=replace(SECOND, assurance=Assurance.ROSTER))
    for other in (CFRS, caller("cfrs", "audit", Function.AUDITOR)):
        with pytest.raises(NotAllowed, match="no such plan"):
            await confirms(stage, plan, subject, other)
        with pytest.raises(NotAllowed, match="no such plan"):
            await stage.erasing.end(other, plan, "", SECOND, WHY)
        assert plan not in [each.id for each in (await stage.erasing.listed(other, ACTOR, LOOKING))[0]]
    with pytest.raises(NotAllowed, match="only a system enrolled as"):
        await planned(stage, subject, OPERATOR)


async def test_what_came_since_stays(stage: Stage) -> None:
    """The second person confirms what the first one saw: an entry of later needs a plan of its own."""
    subject = stage.person()
    first = await entry_of(stage, await asks(stage, subject))
    plan = await planned(stage, subject)
    later = await entry_of(stage, await asks(stage, subject))
    done, _ = await confirms(stage, plan, subject)
    assert done.entries == 1
    assert await opening_of(stage, first, "requester") is None
    assert await opening_of(stage, later, "requester") is not None


async def test_a_hold_in_between_holds(stage: Stage) -> None:
    """What was planned and is held since stays: a court's order comes when it comes."""
    subject = stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    plan = await planned(stage, subject)
    hold = await holds_person(stage, NWAS, subject)
    done, _ = await confirms(stage, plan, subject)
    assert (done.entries, done.held) == (0, 2), "it, and the placing of the hold"
    assert await opening_of(stage, entry, "requester") is not None
    await stage.holds.release(NWAS, hold, OFFICER, WHY)


async def test_whom_it_is_about_is_named_again(stage: Stage) -> None:
    """The plan holds no identifier; a wrong one, or none, erases nothing, and a guess is an entry."""
    subject, other = stage.person(), stage.person()
    await asks(stage, subject)
    plan = await planned(stage, subject)
    with pytest.raises(InvalidRequest, match="name the person again"):
        await confirms(stage, plan, None)
    start = await stage.size()
    with pytest.raises(InvalidRequest, match="is not whom the plan is about"):
        await confirms(stage, plan, other)
    looked, tried = await stage.since(start)
    assert looked["event"] == "erasure-viewed"
    assert (tried["event"], tried["detail"]) == ("erasure-tried", {"plan": plan})
    await caught_up(stage)
    assert (await confirms(stage, plan, subject))[0].entries == 1


async def test_a_plan_lapses(stage: Stage) -> None:
    """After seven days nobody can confirm it, it is in no list, and the agency's next plan removes its row."""
    subject = stage.person()
    await asks(stage, subject)
    plan = await planned(stage, subject)
    late = Later(timedelta(days=7, minutes=1))
    later = ErasurePlans(
        stage.administration,
        stage.erasures,
        stage.finder,
        stage.holds,
        stage.erasure_plans,
        stage.disputes,
        stage.facts,
        late,
    )
    with pytest.raises(InvalidRequest, match="lapsed"):
        await later.confirm(RECORDS, plan, subject, SECOND, WHY)
    assert plan not in [each.id for each in (await later.listed(NWAS, ACTOR, LOOKING))[0]]
    assert plan in [each.id for each in (await stage.erasing.listed(NWAS, ACTOR, LOOKING))[0]]
    await later.plan(NWAS, stage.person(), GROUND, OFFICER, WHY)
    assert await stage.erasure_plans.planned({"nwas"}, plan) == []


@pytest.mark.parametrize(
    ("exemption", "event"),
    [("", "erasure-withdrawn"), ("legal-claims", "erasure-refused")],
    ids=["", "refused"],
)
async def test_a_plan_is_ended(stage: Stage, exemption: str, event: str) -> None:
    """Withdrawn, or refused to the person under an exemption that the entry names; then nobody confirms it."""
    subject = stage.person()
    await asks(stage, subject)
    plan = await planned(stage, subject)
    made = await stage.erasing.end(RECORDS, plan, exemption, SECOND, WHY)
    said = await full_of(stage, made.event_id)
    assert (said["event"], said["detail"]["exemption"], said["detail"]["plan"]) == (
        event,
        exemption or None,
        plan,
    )
    await caught_up(stage)
    for again in (confirms(stage, plan, subject), stage.erasing.end(NWAS, plan, "", OFFICER, WHY)):
        with pytest.raises(NotAllowed, match="no such plan"):
            await again


async def test_codes_are_the_laws(stage: Stage) -> None:
    """A ground speaks for an erasure and an exemption against it; neither is free words."""
    subject = stage.person()
    for ground in ("", "because", "legal-claims"):
        with pytest.raises(InvalidRequest, match="ground"):
            await planned(stage, subject, ground=ground)
    plan = await planned(stage, subject)
    for exemption in ("because", "unlawful"):
        with pytest.raises(InvalidRequest, match="exemption"):
            await stage.erasing.end(NWAS, plan, exemption, OFFICER, WHY)
    with pytest.raises(InvalidRequest, match=r"reason\.code"):
        await stage.erasing.end(NWAS, plan, "", OFFICER, Reason())


async def test_nobody_erases_what_they_asked_themselves(stage: Stage) -> None:
    """Who asked for one of the records neither plans nor confirms: the trace is of what they did."""
    subject = stage.person()
    await asks(stage, subject, actor=replace(ACTOR, id="p.moss"))
    with pytest.raises(InvalidRequest, match="you asked for some of these records yourself"):
        await planned(stage, subject)
    plan = await planned(stage, subject, actor=replace(OFFICER, id="c.reid"))
    with pytest.raises(InvalidRequest, match="you asked for some of these records yourself"):
        await confirms(stage, plan, subject, actor=OFFICER)
    assert (await confirms(stage, plan, subject))[0].entries == 1


@pytest.mark.parametrize(
    ("outcome", "against"),
    [(None, "wait for their review"), ("not-justified", "at fault"), ("wrong-person", "at fault")],
    ids=["open", "not-justified", "wrong-person"],
)
async def test_an_override_in_question_stays(stage: Stage, outcome: str | None, against: str) -> None:
    """Who used it cannot erase it while it waits for its review, nor ever where it was found at fault."""
    subject, entry = await overrides(stage)
    if outcome is not None:
        await stage.overrides.review(OWNER, entry, outcome, "it was none of theirs", OFFICER)
        await caught_up(stage)
    with pytest.raises(InvalidRequest, match=against):
        await planned(stage, subject)
    assert await opening_of(stage, entry, "requester") is not None


async def test_a_review_that_comes_after_the_plan_counts(stage: Stage) -> None:
    """What speaks against it is looked at again when it is confirmed."""
    subject, entry = await overrides(stage)
    await stage.overrides.review(OWNER, entry, "justified", "a life was at risk", OFFICER)
    await caught_up(stage)
    plan = await planned(stage, subject)
    await stage.complaints.add(NWAS, "C-9", None, "why did they look?", ACTOR, subject)
    await caught_up(stage)
    with pytest.raises(InvalidRequest, match="complaints to your agency are open"):
        await confirms(stage, plan, subject)
    assert await opening_of(stage, entry, "requester") is not None
    for row in await stage.complained.of("nwas", None, None, 10):
        if row.closed_at is None:
            await stage.complaints.acknowledge(NWAS, row.id, ACTOR)
            await stage.complaints.close(NWAS, row.id, "not-upheld", "explained", ACTOR)
    await caught_up(stage)
    assert (await confirms(stage, plan, subject))[0].entries >= 1


async def test_the_owner_of_a_breach_keeps_it(stage: Stage) -> None:
    """Neither side of an override that opened the wrong record erases it while the breach is on record."""
    subject, entry = await overrides(stage)
    await stage.overrides.review(OWNER, entry, "wrong-person", "it was somebody else", OFFICER)
    await caught_up(stage)
    with pytest.raises(InvalidRequest, match="began a breach"):
        await planned(stage, subject, OWNER, SECOND)


async def test_under_silence_nothing_shows(stage: Stage) -> None:
    """A requester that may not learn of a review is not told of one; the owner's evidence stays."""
    request = await objected(stage, breaks_glass(stage, purpose=SILENT_OVERRIDDEN))
    stage.finds(request)
    await stage.exchange.answer(request)
    await caught_up(stage)
    entry = await entry_of(stage, request)
    assert await stage.overridden.by_id(entry) is not None
    assert request.subject is not None
    plan = await planned(stage, request.subject)
    assert (await confirms(stage, plan, request.subject))[0].entries == 1
    assert await opening_of(stage, entry, "provider") is not None


async def test_a_complaint_that_names_nobody_stops_all(stage: Stage) -> None:
    """It may be about anybody, until it is closed; one about somebody else stops nothing, nor one to others."""
    subject, lone = stage.person(), caller("cumberland", "mash")
    await stage.complaints.add(lone, "C-1", None, "rude", ACTOR, stage.person())
    await stage.complaints.add(CFRS, "C-2", None, "rude", ACTOR, subject)
    plan = await planned(stage, subject, lone)
    complaint, _, _ = await stage.complaints.add(lone, "C-3", None, "rude", ACTOR)
    await caught_up(stage)
    with pytest.raises(InvalidRequest, match="1 complaints to your agency"):
        await planned(stage, subject, lone)
    await stage.complaints.acknowledge(lone, complaint, ACTOR)
    await stage.complaints.close(lone, complaint, "withdrawn", "they withdrew it", ACTOR)
    await caught_up(stage)
    assert (await confirms(stage, plan, subject, caller("cumberland", "records")))[0].entries == 0
    for row in await stage.complained.of("cfrs", None, None, 10):
        if row.closed_at is None:
            await stage.complaints.acknowledge(CFRS, row.id, ACTOR)
            await stage.complaints.close(CFRS, row.id, "withdrawn", "they withdrew it", ACTOR)


async def test_entries_by_id_and_their_words(stage: Stage) -> None:
    """A plan of entries needs no name to be confirmed; of words alone the views stay."""
    subject = stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    before = await full_of(stage, entry)
    plan, told, _ = await stage.erasing.plan(NWAS, (entry,), GROUND, OFFICER, WHY, words_only=True)
    await caught_up(stage)
    assert told.entries == 0
    with pytest.raises(InvalidRequest, match="give only its id"):
        await confirms(stage, plan.id, subject)
    _, (made,) = await confirms(stage, plan.id, None)
    assert (await full_of(stage, made.event_id))["detail"]["words"] == [entry]
    assert await full_of(stage, entry) == before
    plan, told, _ = await stage.erasing.plan(NWAS, (entry,), GROUND, OFFICER, WHY)
    await caught_up(stage)
    assert told.entries == 1
    await confirms(stage, plan.id, None)
    assert await opening_of(stage, entry, "requester") is None


async def test_a_large_plan_ends_with_its_last_entry(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes several entries of erasure is under one plan until the last of them."""
    monkeypatch.setattr(erasures, "MOST", 2)
    subject = stage.person()
    for _ in range(5):
        await asks(stage, subject)
    plan = await planned(stage, subject)
    done, made = await confirms(stage, plan, subject)
    assert (done.entries, len(made)) == (5, 3)
    assert await stage.erasure_plans.planned({"nwas"}, plan) == []


async def test_an_agencys_plans_are_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many wait at most; the list of them is an entry."""
    own = caller("ncic", "ed")
    monkeypatch.setattr("broker.erasing.MOST_PLANS", 2)
    plans = [await planned(stage, stage.person(), own) for _ in range(2)]
    with pytest.raises(InvalidRequest, match="has 2 that wait"):
        await planned(stage, stage.person(), own)
    found, made = await stage.erasing.listed(own, ACTOR, LOOKING)
    assert [each.id for each in found] == plans
    assert (await full_of(stage, made.event_id))["detail"] == {"plans": plans, "reason": "to-check"}
