"""What waits for a provider's humans when others take its place: whose it is to decide, what becomes of it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from broker.core.canonical import decode_object
from broker.core.directory import Agency, Successor
from broker.core.granting import sign_grant, statement
from broker.core.model import Assurance, Caller, Override, Place, Reason, Request
from broker.core.views import ProviderView, RequesterView
from broker.desk import asked
from broker.errors import Denied, InvalidRequest, NotAllowed, Referred
from broker.queues import StoredReferral
from broker.rulings import Ruling
from tests.human.conftest import GUARDIAN, JUDGED, OVERRIDDEN, OWNER, furnish, later, soon
from tests.human.test_notices import receiving, sending
from tests.support.cumbria import CARLISLE, CHANGE, EDEN, fire_routes
from tests.support.stage import Stage, stage_of
from tests.support.values import replace
from tests.support.world import ACTOR, LOOKING, OPERATOR, PERMITTED, caller, flow

WEST, EAST = caller("west-fire"), caller("east-fire")
INTO = (Successor("west-fire", frozenset({CARLISLE})), Successor("east-fire", frozenset({EDEN})))
ELSEWHERE = "E08000003"
NO = Ruling(False, "the purpose can be met without it")


def grants(**changes: Any) -> Ruling:
    """A grant of all that is agreed."""
    return replace(Ruling(True, "no other way", tuple(PERMITTED), soon()), **changes)


@pytest.fixture(params=["memory", "postgres"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Each store in turn, with routes to the fire service and two that are to take its place."""
    async with stage_of(request) as one:
        await furnish(one)
        await one.route_book.apply(OPERATOR, fire_routes())
        for name in ("west-fire", "east-fire"):
            await one.registry.add_agency(OPERATOR, Agency(name, name, "fire", "england", CHANGE))
        yield one


def judged(stage: Stage, district: str = "", **changes: Any) -> Request:
    """A request for a human to decide, of the fire service by name, or of whoever has the district."""
    where = {"provider": "", "place": Place(district=district)} if district else {}
    return stage.asks(**{"purpose": JUDGED, "reason": Reason("welfare", "why"), **where, **changes})


async def refer(stage: Stage, request: Request) -> str:
    """Ask and be referred; the id under which it waits."""
    with pytest.raises(Referred):
        await stage.exchange.answer(request)
    found, _ = await stage.referrals.listed(OWNER, GUARDIAN, LOOKING)
    (row,) = [each.row for each in found if each.row.request == request.request_id]
    return row.id


async def succeed(stage: Stage, at: datetime | None = None) -> None:
    """Two take the fire service's place."""
    await stage.standing.succeed(OPERATOR, "cfrs", INTO, at or stage.clock.now())


def again(request: Request) -> Request:
    """The same request under a new id."""
    return replace(request, request_id=str(uuid.uuid4()), retry_of=request.request_id)


async def seen(stage: Stage, by: Caller) -> set[str]:
    """Referrals that somebody's list shows."""
    return {each.row.id for each in (await stage.referrals.listed(by, GUARDIAN, LOOKING))[0]}


async def test_who_has_the_district_sees_what_waits_from_the_day_on(stage: Stage) -> None:
    """Before it the old agency alone; from it on who has the district, or any where none is known."""
    west, east = [await refer(stage, judged(stage, where)) for where in (CARLISLE, EDEN)]
    named = await refer(stage, judged(stage))
    away = await refer(stage, judged(stage, place=Place(district=ELSEWHERE)))
    await succeed(stage, stage.clock.now() + timedelta(hours=1))
    assert await seen(stage, OWNER) == {west, east, named, away}
    assert await seen(stage, WEST) == set()
    with pytest.raises(NotAllowed):
        await stage.referrals.decide(WEST, west, NO, GUARDIAN)
    after, _ = later(stage, hours=2)
    for who, own, others in ((WEST, west, east), (EAST, east, west)):
        found, made = await after.listed(who, GUARDIAN, LOOKING)
        assert {each.row.id for each in found} == {own, named, away}
        assert {(each.agency, each.escalate_to) for each in found} == {
            (who.agency, f"the Caldicott guardian or SIRO of {who.agency}")
        }
        _, full = await stage.view.receipt(made.event_id, "requester")
        assert full["detail"]["in_place_of"] == ["cfrs"]  # type: ignore[index,call-overload]
        await after.shown(who, named, GUARDIAN, LOOKING)
        with pytest.raises(NotAllowed, match="there is no such referral"):
            await after.shown(who, others, GUARDIAN, LOOKING)
    # The old agency is no more.
    assert (await after.listed(OWNER, GUARDIAN, LOOKING))[0] == []
    with pytest.raises(NotAllowed):
        await after.decide(OWNER, west, NO, GUARDIAN)
    assert not any(each.overdue for each in (await after.listed(WEST, GUARDIAN, LOOKING))[0])
    late, _ = later(stage, hours=9)
    assert all(each.overdue for each in (await late.listed(WEST, GUARDIAN, LOOKING))[0])


async def test_the_first_successor_to_decide_counts_and_the_entry_names_both(stage: Stage) -> None:
    """Who decided, and for which old agency; the requester reads who decided and no more."""
    referral = await refer(stage, request := judged(stage))
    await succeed(stage)
    _, made = await stage.referrals.decide(EAST, referral, NO, GUARDIAN)
    with pytest.raises(InvalidRequest, match="was refused already"):
        await stage.referrals.decide(WEST, referral, NO, GUARDIAN)
    assert await stage.view.parties(made.event_id) == ("nwas", "east-fire")
    receipt, full = await stage.view.receipt(made.event_id, "requester")
    assert receipt.opening is not None
    assert RequesterView.parse(receipt.opening.view) == RequesterView(
        "referral-decided", request.request_id, "refused", provider="east-fire", controller="east-fire"
    )
    detail: Any = full["detail"]
    assert (detail["in_place_of"], detail["decided_by"]["id"]) == ("cfrs", "p.moss")
    owner = (await stage.view.receipt(made.event_id, "provider"))[0].opening
    assert owner is not None
    assert ProviderView.parse(owner.view).actor == {
        "id": "p.moss",
        "role": "caldicott-guardian",
        "in_place_of": "cfrs",
    }


async def test_a_grant_by_the_successor_is_fetched_where_no_provider_was_named(stage: Stage) -> None:
    """The request leads to it by now; its own signed word names it, and not who was asked."""
    request = judged(stage, CARLISLE)
    referral = await refer(stage, request)
    await stage.may_sign("west-fire")
    await succeed(stage)
    shown, _ = await stage.referrals.shown(WEST, referral, GUARDIAN, LOOKING)
    ruling = grants()
    assert ruling.until is not None
    word = {}
    for name in ("west-fire", "cfrs"):
        said = statement(
            asked(shown.row, name), referral, shown.agreement, tuple(sorted(PERMITTED)), ruling.until, None
        )
        word[name] = sign_grant(said, stage.signatories[name].key)
    assert decode_object(word["west-fire"].statement, limit=9999)["agency"] == "west-fire"
    with pytest.raises(InvalidRequest, match="not enrolled for your agency"):
        await stage.referrals.decide(WEST, referral, replace(ruling, signed=word["cfrs"]), GUARDIAN)
    await stage.referrals.decide(WEST, referral, replace(ruling, signed=word["west-fire"]), GUARDIAN)
    stage.finds(request)
    disclosed = await stage.exchange.answer(again(request))
    assert (disclosed.request.provider, disclosed.decision.grant) == ("west-fire", referral)
    assert stage.providers.asked[-1][0].signed == word["west-fire"]


async def test_what_the_old_agency_granted_is_fetched_from_its_successor(stage: Stage) -> None:
    """And the successor may take it back."""
    request = judged(stage, EDEN)
    referral = await refer(stage, request)
    await stage.referrals.decide(OWNER, referral, grants(), GUARDIAN)
    await succeed(stage)
    stage.finds(request)
    assert (await stage.exchange.answer(again(request))).request.provider == "east-fire"
    await stage.referrals.decide(EAST, referral, NO, GUARDIAN)
    with pytest.raises(Denied, match="has decided against"):
        await stage.exchange.answer(again(request))


async def test_what_named_the_old_agency_is_asked_anew(stage: Stage) -> None:
    """A grant would lie there for nobody, and is refused so; the requester is told whom to ask."""
    request = judged(stage)
    referral = await refer(stage, request)
    ours = await stage.referring.ask(judged(stage, purpose="safeguarding-child"))
    await succeed(stage)
    for each in (referral, ours.id):
        with pytest.raises(InvalidRequest, match=r"names cfrs, which has ended.*ask west-fire anew"):
            await stage.referrals.decide(WEST, each, grants(), GUARDIAN)
    with pytest.raises(Denied) as caught:
        await stage.exchange.answer(again(request))
    assert "It was replaced by west-fire, east-fire: name the one" in caught.value.refusal.remedy
    await stage.referrals.decide(WEST, referral, NO, GUARDIAN)
    anew = judged(stage, provider="west-fire", subject=request.subject)
    with pytest.raises(Referred):
        await stage.exchange.answer(anew)
    found, _ = await stage.referrals.listed(WEST, GUARDIAN, LOOKING)
    (row,) = [each.row for each in found if each.row.provider == "west-fire"]
    await stage.referrals.decide(WEST, row.id, grants(), GUARDIAN)
    stage.finds(anew)
    assert (await stage.exchange.answer(again(anew))).record is not None


async def test_what_the_old_agency_asked_for_itself_lapses(stage: Stage) -> None:
    """Its systems have ended: the provider's list says so, none is late, and none is granted to nobody."""
    referral = await refer(stage, judged(stage))
    granted = await refer(stage, judged(stage))
    await stage.referrals.decide(OWNER, granted, grants(), GUARDIAN)
    await stage.registry.add_agency(OPERATOR, Agency("new-amb", "New", "ambulance", "england", CHANGE))
    plan = await stage.standing.succession(OPERATOR, "nwas", (Successor("new-amb"),), stage.clock.now())
    assert plan.waiting == ("referrals that it asked for, waiting elsewhere: 1, which lapse, unfetched",)
    await stage.standing.succeed(OPERATOR, "nwas", (Successor("new-amb"),), stage.clock.now())
    found, _ = await later(stage, days=9)[0].listed(OWNER, GUARDIAN, LOOKING)
    assert {(each.row.id, each.status, each.overdue) for each in found} == {
        (referral, "lapsed", False),
        (granted, "expired", False),
    }
    shown, _ = await stage.referrals.shown(OWNER, granted, GUARDIAN, LOOKING)
    assert shown.status == "lapsed"
    with pytest.raises(InvalidRequest, match="nwas/cad has ended, so nobody could fetch it: refuse it"):
        await stage.referrals.decide(OWNER, referral, grants(), GUARDIAN)
    await stage.referrals.decide(OWNER, referral, NO, GUARDIAN)


async def test_a_humans_word_is_on_their_own_agencys_records(stage: Stage) -> None:
    """Where the place leads to somebody else by now, the grant is not for that one's: its humans are asked."""
    request = judged(stage, CARLISLE)
    referral = await refer(stage, request)
    await stage.referrals.decide(OWNER, referral, grants(), GUARDIAN)
    flows: Any = {"id": "west-judged", "purpose": JUDGED}
    await stage.may_sign("west-fire")
    parties = [{"agency": each, "regime": "uk-gdpr"} for each in ("nwas", "west-fire")]
    legal = {"basis": "art6-1-e", "condition": "art9-2-g-sch1-para18"}
    await stage.agree(**flows, parties=parties, legal=legal, flows=[flow(provider="west-fire", judgement=True)])
    await stage.route_book.apply(OPERATOR, fire_routes(version=2, holder="west-fire"))
    with pytest.raises(Referred):
        await stage.exchange.answer(again(request))
    (row,) = [each.row for each in (await stage.referrals.listed(WEST, GUARDIAN, LOOKING))[0]]
    assert (row.provider, row.id != referral) == ("west-fire", True)
    for full in (await stage.since(0))[-3:]:
        assert full.get("event") != "disclosure"


# Overrides.


def breaks_glass(stage: Stage, district: str = "") -> Request:
    """A request in a role that may not ask, with an override."""
    porter = replace(ACTOR, role="porter", assurance=Assurance.PERSONAL_LOGIN)
    where = {"provider": "", "place": Place(district=district)} if district else {}
    return stage.asks(purpose=OVERRIDDEN, actor=porter, override=Override("life-at-risk", "why"), **where)


async def use(stage: Stage, district: str = "") -> str:
    """Break the glass; the id of the use."""
    request = breaks_glass(stage, district)
    stage.finds(request)
    await stage.exchange.answer(request)
    found, _, _ = await stage.overrides.listed(OWNER, GUARDIAN, LOOKING)
    (row,) = [each.row for each in found if each.row.request == request.request_id]
    return row.id


async def test_a_successor_reviews_what_was_overridden(stage: Stage) -> None:
    """Where it has the district, or none is known; its verdict and its restriction are its own."""
    west, east, anywhere = [await use(stage, where) for where in (CARLISLE, EDEN, "")]
    await succeed(stage, stage.clock.now() + timedelta(hours=1))
    with pytest.raises(NotAllowed):
        await stage.overrides.review(WEST, west, "justified", "needed", GUARDIAN)
    assert (await stage.overrides.listed(WEST, GUARDIAN, LOOKING))[0] == []
    _, after = later(stage, hours=2)
    found, _, made = await after.listed(WEST, GUARDIAN, LOOKING)
    assert {each.row.id for each in found} == {west, anywhere}
    assert {each.agency for each in found} == {"west-fire"}
    _, full = await stage.view.receipt(made.event_id, "requester")
    assert full["detail"]["in_place_of"] == ["cfrs"]  # type: ignore[index,call-overload]
    with pytest.raises(NotAllowed, match="there is no such override"):
        await after.review(WEST, east, "justified", "needed", GUARDIAN)
    reviewed = await after.review(WEST, anywhere, "not-justified", "no need", GUARDIAN)
    with pytest.raises(InvalidRequest, match="reviewed already"):
        await after.review(EAST, anywhere, "justified", "needed", GUARDIAN)
    assert await stage.view.parties(reviewed.event_id) == ("nwas", "west-fire")
    _, full = await stage.view.receipt(reviewed.event_id, "requester")
    assert full["detail"]["in_place_of"] == "cfrs"  # type: ignore[index,call-overload]
    await after.review(EAST, east, "wrong-person", "the neighbour's", GUARDIAN)
    breach = await stage.breaches.by_id(east)
    assert breach is not None
    assert breach.provider == "east-fire"
    restriction, _ = await after.restrict(WEST, anywhere, "actor", None, "never again", GUARDIAN)
    assert [(e.id, e.provider) for e in (await after.listed(WEST, GUARDIAN, LOOKING))[1]] == [
        (restriction, "west-fire")
    ]
    assert (await after.listed(EAST, GUARDIAN, LOOKING))[1] == []


async def test_a_restriction_of_the_old_agencys_is_its_successors_to_lift(stage: Stage) -> None:
    """All of them see it, since it holds for all; who has the district of its override lifts it."""
    west = await use(stage, CARLISLE)
    await stage.overrides.review(OWNER, west, "not-justified", "no need", GUARDIAN)
    made, _ = await stage.overrides.restrict(OWNER, west, "actor", None, "never again", GUARDIAN)
    await succeed(stage)
    for who in (WEST, EAST):
        _, standing, _ = await stage.overrides.listed(who, GUARDIAN, LOOKING)
        assert [(each.id, each.provider) for each in standing] == [(made, "cfrs")]
    with pytest.raises(InvalidRequest, match="this actor is restricted"):
        await stage.overrides.restrict(WEST, west, "actor", None, "never again", GUARDIAN)
    with pytest.raises(NotAllowed, match=f"cfrs made it in {CARLISLE}: west-fire may lift it"):
        await stage.overrides.lift(EAST, made, "over", GUARDIAN)
    request = breaks_glass(stage, EDEN)
    stage.finds(request)
    with pytest.raises(Denied):
        await stage.exchange.answer(request)
    lifted = await stage.overrides.lift(WEST, made, "over", GUARDIAN)
    _, full = await stage.view.receipt(lifted.event_id, "requester")
    assert full["detail"]["in_place_of"] == "cfrs"  # type: ignore[index,call-overload]
    assert (await stage.exchange.answer(replace(request, request_id=str(uuid.uuid4())))).record is not None


async def test_the_owners_software_hears_whose_humans_review_it(stage: Stage) -> None:
    """Beside the agency that was asked: who has the district by the time it is told."""
    override = await use(stage, CARLISLE)
    await succeed(stage)
    async with receiving() as receiver, sending(stage, receiver) as notices:
        assert await notices.look() == 1
        (heard,) = receiver.heard
    assert (heard["override"], heard["provider"], heard["reviewed_by"]) == (override, "cfrs", ["west-fire"])


# The plan.


async def test_the_plan_says_what_waits_and_for_whom(stage: Stage) -> None:
    """By successor where the district is known; of an agency that leaves, that nobody decides it."""
    for where in (CARLISLE, CARLISLE, EDEN, ""):
        await refer(stage, judged(stage, where))
    await use(stage, EDEN)
    plan = await stage.standing.succession(OPERATOR, "cfrs", INTO, stage.clock.now())
    assert plan.waiting == (
        (
            "referrals that wait: 1 for any of west-fire, east-fire, the first to decide (not in a district of "
            "theirs); 2 for west-fire; 1 for east-fire"
        ),
        "overrides to review: 1 for east-fire",
        "of these referrals, what named cfrs itself cannot be granted: who asked asks anew",
    )
    left = await stage.standing.leaving(OPERATOR, "cfrs", stage.clock.now())
    assert left.waiting[0] == "referrals that wait: 4, which nobody decides from then on; decide them before"
    start = await stage.size()
    await succeed(stage)
    assert (await stage.since(start))[0]["detail"]["waiting"] == [*plan.waiting]


async def test_a_stored_referral_knows_its_district(stage: Stage) -> None:
    """Beside what is sealed, so that a list is found without opening what others have."""
    referral = await refer(stage, judged(stage, CARLISLE))
    row = await stage.referred.by_id(referral)
    assert isinstance(row, StoredReferral)
    assert (row.district, row.asked["asked_of"]) == (CARLISLE, None)
