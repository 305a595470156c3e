"""What was shared while the broker was down: what may be said, who reads it, and that a repeat finds it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from datetime import datetime, timedelta
from time import thread_time
from typing import Any

import pytest

from broker.core.acted import acted_for
from broker.core.canonical import encode
from broker.core.late import CHANNELS, NOT_EVIDENCE, Late, Side
from broker.core.model import Caller, Reason, SubjectRef
from broker.core.receipt import Audience, verify_receipt
from broker.core.searchterms import Question
from broker.errors import AuditUnavailable, InvalidRequest, NotAllowed
from broker.late import MOST, LateRecords
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR, AUDITOR, HOME, OPERATOR, OTHER_HOME, RISK, World, caller

NWAS, CFRS = caller("nwas"), caller("cfrs")
WHY = Reason("complaint", "somebody asked")


def shared(now: datetime, **changes: Any) -> Late:
    """A crew was told of oxygen over the telephone."""
    made = Late(
        id=str(uuid.uuid4()),
        occurred=now - timedelta(hours=3),
        channel="telephone",
        gave=Side("cfrs", "control-operator", "J. Smith"),
        took=Side("nwas", "ambulance-crew", "Ada Hill"),
        about=HOME,
        record_type=RISK,
        fields=("oxygen.kind", "oxygen.state"),
        purpose="emergency-response",
        why="The broker was down and the crew was at the door.",
        agreement="nwas-cfrs-premises",
        incident="nwas/2026-11-21/0042",
    )
    return replace(made, **changes)


@pytest.fixture
async def world() -> World:
    """An agreement between the two."""
    made = World()
    made.agree()
    return await made.ready()


async def found(world: World, who: Caller, person: SubjectRef) -> list[dict[str, Any]]:
    """The late entries about somebody that a caller finds, as it may see them."""
    page = await world.searches.page(who, Question((("event", "recorded-late"),), person), ACTOR, WHY)
    return [json.loads(seen.view) for seen in page.found]


async def test_both_sides_read_it_and_it_says_what_it_is_not(world: World) -> None:
    """Each finds it by whom it was about and reads in its own view that it is no evidence before release; the
    side that took it reads no identifier, and nobody's view has the words."""
    late = shared(world.clock.now())
    (made,) = await world.late.record(NWAS, [late], ACTOR)
    views = {who.agency: await found(world, who, HOME) for who in (NWAS, CFRS, AUDITOR)}
    for (view,) in views.values():
        assert (view["event"], view["outcome"], view["response"]) == ("recorded-late", NOT_EVIDENCE, None)
        assert view["told"]["evidence"] == NOT_EVIDENCE
        assert view["told"]["fields"] == ["oxygen.kind", "oxygen.state"]
        assert view["told"]["gave"]["name"] == "J. Smith"
        assert (view["request_id"], view["agreement"]) == (late.id, "nwas-cfrs-premises/1")
    assert HOME.value not in json.dumps(views["nwas"])
    assert views["cfrs"][0]["identifiers"] == [{"scheme": HOME.scheme, "value": HOME.value}]
    assert "at the door" not in json.dumps(views)
    assert (await found(world, NWAS, OTHER_HOME), made.replayed) == ([], False)


async def test_who_gave_it_may_record_it_too(world: World) -> None:
    """Then the entry names the other as requester all the same, and says who recorded it."""
    await world.late.record(CFRS, [shared(world.clock.now())], ACTOR)
    (view,) = await found(world, NWAS, HOME)
    assert (view["told"]["recorded_by"], view["provider"]) == ("cfrs", "cfrs")
    (full,) = await found(world, AUDITOR, HOME)
    assert (full["requester"], full["system"]) == ("nwas", None)
    assert {acted_for(each) for each in (view, full)} == {"cfrs"}, "its actor and its words are theirs"
    question = Question((("event", "recorded-late"), ("actor", ACTOR.id)))
    by = [len((await world.searches.page(who, question, ACTOR, WHY)).found) for who in (CFRS, NWAS)]
    assert by == [1, 0], "who of the giver's wrote it down is no fact of whoever took it"


async def test_the_receipt_holds(world: World) -> None:
    """It verifies, and its opening is the view of who took it."""
    (made,) = await world.late.record(NWAS, [shared(world.clock.now())], ACTOR)
    verified = verify_receipt(
        made.receipt, [world.store.signer.verifier], record=None, audience=Audience.REQUESTER
    )
    assert verified.view is not None
    assert verified.view.told is not None


async def test_a_repeat_gets_the_same_entry(world: World) -> None:
    """Also where others of the same call are new; an id that said something else is refused by its place."""
    first, second = shared(world.clock.now()), shared(world.clock.now())
    (made,) = await world.late.record(NWAS, [first], ACTOR)
    again, fresh = await world.late.record(NWAS, [first, second], ACTOR)
    assert (again.event_id, again.replayed, fresh.replayed) == (made.event_id, True, False)
    assert world.store.events.count("recorded-late") == 2
    with pytest.raises(InvalidRequest) as caught:
        await world.late.record(
            NWAS, [replace(second, id=str(uuid.uuid4())), replace(first, why="Else.")], ACTOR
        )
    assert caught.value.field == "records.1.id"
    assert world.store.events.count("recorded-late") == 2


async def test_a_commit_that_was_not_heard_of_is_found_by_the_repeat(world: World) -> None:
    """The entry stands once, whatever became of the answer."""
    late = shared(world.clock.now())
    world.store.log.fail_after_commit = 1
    with pytest.raises(AuditUnavailable):
        await world.late.record(NWAS, [late], ACTOR)
    (made,) = await world.late.record(NWAS, [late], ACTOR)
    assert (made.replayed, world.store.events.count("recorded-late")) == (True, 1)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "future": ({"hours": -1}, "occurred"),
    "old": ({"hours": 24 * 400}, "occurred"),
    "channel": ({"channel": "pigeon"}, "channel"),
    "stranger": ({"gave": Side("nobody", "clerk", "")}, "gave.agency"),
    "itself": ({"gave": Side("nwas", "clerk", "")}, "took.agency"),
    "others": ({"took": Side("cumberland", "clerk", "")}, "took.agency"),
    "no-holder": ({"gave": Side("ncic", "clerk", "")}, "gave.agency"),
    "type": ({"record_type": "records.fire.v1.Nothing"}, "record_type"),
    "no-field": ({"fields": ()}, "fields"),
    "field": ({"fields": ("oxygen.colour",)}, "fields"),
    "half-a-name": ({"fields": ("oxy",)}, "fields"),
    "purpose": ({"purpose": "curiosity"}, "purpose"),
    "why": ({"why": ""}, "why"),
    "agreement": ({"agreement": "none-such"}, "agreement"),
}


@pytest.mark.parametrize("case", sorted(WRONG))
async def test_each_field_is_looked_at_before_anything_is_written(world: World, case: str) -> None:
    """What is wrong is named by its place and field, and nothing of the call stands."""
    changes, field = WRONG[case]
    now = world.clock.now()
    hours = changes.pop("hours", None) if "hours" in changes else None
    if hours is not None:
        changes = {"occurred": now - timedelta(hours=hours)}
    late = shared(now, **changes)
    with pytest.raises(InvalidRequest) as caught:
        await world.late.record(NWAS, [shared(now), late], ACTOR)
    assert caught.value.field == f"records.1.{field}"
    assert "recorded-late" not in world.store.events


async def test_only_partners_and_only_so_many(world: World) -> None:
    """Auditors and operators shared nothing; a call is bounded, names nothing twice, and may only look."""
    late = shared(world.clock.now())
    for who in (OPERATOR, AUDITOR):
        with pytest.raises(NotAllowed):
            await world.late.record(who, [late], ACTOR)
    for lates in ([], [late] * (MOST + 1), [late, late]):
        with pytest.raises(InvalidRequest):
            await world.late.record(NWAS, lates, ACTOR)
    await world.late.check(NWAS, [late])
    assert "recorded-late" not in world.store.events
    assert set(CHANNELS) >= {"telephone", "radio"}


async def test_without_an_agreement_it_says_so(world: World) -> None:
    """It may have been lawful all the same. One that began later stands without its version."""
    now = world.clock.now()
    await world.late.record(NWAS, [shared(now, agreement="")], ACTOR)
    assert (await found(world, NWAS, HOME))[0]["agreement"] is None
    world.agree(id="later", valid_from=now.date(), valid_until=now.date())
    early = shared(now, agreement="later", occurred=now - timedelta(days=9), about=OTHER_HOME)
    await world.late.record(NWAS, [early], ACTOR)
    assert (await found(world, NWAS, OTHER_HOME))[0]["agreement"] == "later"


async def test_what_the_giver_wrote_down_is_the_givers(stage: Stage) -> None:
    """Its words, and who wrote them: the taker erases no such words and finds nothing by that name."""
    late = LateRecords(stage.log, stage.facts, stage.reference, stage.clock, digest)
    clerk = replace(ACTOR, id="j.smith")
    given, taken = [shared(stage.clock.now(), agreement="") for _ in range(2)]
    (by_giver,) = await late.record(CFRS, [given], clerk)
    (by_taker,) = await late.record(NWAS, [taken], clerk)
    while await stage.indexed():
        pass
    for who, own, others in ((CFRS, by_giver, by_taker), (NWAS, by_taker, by_giver)):
        for made, words in ((own, 1), (others, 0)):
            told = await stage.finder.find(who, (made.event_id,), words_only=True)
            assert len(told.words) == words, (who.agency, made is own)
    page = await stage.searches.page(
        NWAS, Question((("actor", "j.smith"), ("event", "recorded-late"))), ACTOR, WHY
    )
    assert [seen.hit.id for seen in page.found] == [by_taker.event_id]


async def test_each_store_keeps_to_it(stage: Stage) -> None:
    """Written once, found again by its id, and kept with what both views say."""
    late = LateRecords(stage.log, stage.facts, stage.reference, stage.clock, digest)
    one = shared(stage.clock.now(), agreement="")
    (made,) = await late.record(NWAS, [one], ACTOR)
    (again,) = await late.record(NWAS, [one], ACTOR)
    assert (again.event_id, again.replayed) == (made.event_id, True)
    for audience in Audience:
        receipt, full = await stage.view.receipt(made.event_id, audience.value)
        assert receipt.opening is not None
        assert json.loads(receipt.opening.view)["told"] == full["told"]


def digest(what: dict[str, Any]) -> bytes:
    """Of what was said, with no key."""
    return hashlib.sha256(encode(what)).digest()


async def test_a_group_is_taken_as_the_card_has_it(world: World) -> None:
    """It stands as it was said; whoever checks is warned of what the agreement that is named does not give."""
    now = world.clock.now()
    given = {
        path
        for flow in world.store.reference.current.agreements["nwas-cfrs-premises"].flows
        for path in flow.permitted
    }
    types = world.store.reference.catalogue.types[RISK]
    outside = next(leaf.path for leaf in types.leaves if leaf.path not in given)
    lates = [shared(now, fields=("oxygen",)), shared(now, fields=("oxygen.state", outside))]
    (warning,) = await world.late.check(NWAS, lates)
    assert warning.startswith(f"records.1.fields: {outside}: nwas-cfrs-premises gives nothing of it")
    await world.late.record(NWAS, lates, ACTOR)
    said = [view["told"]["fields"] for view in await found(world, NWAS, HOME)]
    assert ["oxygen"] in said


async def test_others_go_on_while_many_are_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as one call takes, of as many fields each: the loop is given back between them, were each as long
    as a step may be; and all of it costs little."""
    monkeypatch.setattr("broker.lanes.STEP", 0.0)
    fields = tuple(["oxygen", "access", "hazards", "oxygen.kind"] * 16)
    lates = [shared(world.clock.now(), fields=fields) for _ in range(MOST)]
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    going, begun = asyncio.ensure_future(others()), thread_time()
    try:
        await world.late.check(NWAS, lates)
    finally:
        going.cancel()
    assert turns > MOST, "once as they are checked, and once for what the agreement gives"
    assert thread_time() - begun < 0.05
