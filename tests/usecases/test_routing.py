"""Requests that name no provider, requests made for another, an agency that becomes two.

What is asked, what is written down, and what overtakes it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace as dated
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from broker.core.acting import Acting
from broker.core.directory import Agency, Successor
from broker.core.model import Assurance, Caller, Function, Override, Place, Request, SubjectRef
from broker.core.record import Record
from broker.core.recorded import is_decision
from broker.core.recordtype import RecordType
from broker.core.views import RequesterView
from broker.errors import Denied, InvalidRequest, NotAllowed, ProviderUnavailable, QuotaExceeded
from broker.limits import Limits
from broker.link import Link
from broker.links import Links
from broker.ports import Found, NotFound, ProviderFailed, Question
from broker.verdicts import Verdict
from tests.support.cumbria import CARLISLE, CHANGE, CHILD, EDEN, INTO, child_plan, council, fire_routes, routes
from tests.support.memory import FakeClock
from tests.support.stage import Stage, stage_of
from tests.support.values import replace
from tests.support.world import ACTOR, HOME, LOOKING, OPERATOR, RISK, World, ask, caller, flow, key_of, said

TYPE = RecordType.submitted(child_plan(), CHILD)
PATHS = ["plan.state", "plan.as_at", "plan.type"]
CHILD_ID = SubjectRef(TYPE.subject_schemes[0], "9000001005")
DAY = datetime(2026, 11, 20, 16, 59, 59, tzinfo=UTC)
CAD = Caller("nwas", "cad", Function.PARTNER, key_of("nwas/cad"))


def agreed(world: World, *providers: str, name: str = "children", **changes: Any) -> None:
    """Ambulance crews may see child plans of these."""
    law = world.store.reference.current.law
    legal = {
        "basis": "art6-1-e",
        "condition": "art9-2-g-sch1-para18",
        "offence_condition": next(c for c, row in law.conditions.items() if row.covers == "offence"),
        "gateway": "",
        "confidentiality": "public-interest",
        "justification": "A child may be at risk.",
    }
    world.agree(
        id=name,
        purpose="safeguarding-child",
        valid_from=date(2022, 1, 1),
        legal=legal,
        parties=[{"agency": each, "regime": "uk-gdpr"} for each in ("nwas", *providers)],
        flows=[
            flow(
                provider=each, record_type=CHILD, permitted=PATHS, subject_schemes=[CHILD_ID.scheme], **changes
            )
            for each in providers
        ],
    )


def wanted(**changes: Any) -> Request:
    """A child in Carlisle; nobody is named."""
    made: dict[str, Any] = {
        "record_type": CHILD,
        "provider": "",
        "subject": CHILD_ID,
        "purpose": "safeguarding-child",
        "place": Place(district=CARLISLE),
    }
    return ask(**{**made, **changes})


@pytest.fixture
async def world() -> World:
    """A second before the hubs close on a Friday."""
    made = World(FakeClock(DAY))
    made.put_agency(council("wf"))
    made.put_system("wf", "cad")
    made.approve(CHILD, child_plan())
    await made.ready()
    agreed(made, "cumberland", "wf")
    await made.route_book.apply(OPERATOR, routes())
    digest = made.store.reference.catalogue.newest(CHILD).digest
    made.providers.answers(Found(Record(f"type.googleapis.com/{CHILD}", b""), digest, (CHILD_ID,)))
    return made


async def test_the_holder_is_asked_and_named(world: World) -> None:
    """The entry, the question and the answer name the holder; what was asked stays in the full view."""
    disclosed = await world.exchange.answer(wanted())
    assert disclosed.request.provider == "cumberland"
    assert [q.request.provider for q, _ in world.providers.asked] == ["cumberland"]
    kept = world.store.entries[-1]
    assert kept.draft.provider_agency == "cumberland"
    view = RequesterView.parse(kept.sealed.requester.view)
    assert (view.provider, view.controller) == ("cumberland", "cumberland")
    full = kept.draft.full
    assert (full["provider"], full["asked_of"], full["place"]) == ("cumberland", None, {"district": CARLISLE})
    assert "party.holder pass: cumberland, by route children-west-day of cumbria/1." in full["rules"]
    assert kept.draft.reads is not None
    assert kept.draft.reads.valid_until == DAY + timedelta(seconds=1)


def after(seconds: float, world: World) -> Callable[[], Awaitable[object]]:
    """What overtakes an append: so much time."""

    async def pass_() -> None:
        world.clock.advance(seconds)

    return pass_


async def test_what_the_day_team_answered_is_not_released_under_the_night_team(world: World) -> None:
    """Asked at 16:59:59, appended at 17:00:01: a failure that names whom was asked; the next ask goes right."""
    world.store.log.overtaken_by = [None, after(2, world)]
    request = wanted()
    with pytest.raises(ProviderUnavailable, match="another agency holds the record"):
        await world.exchange.answer(request)
    full = world.store.entries[-1].draft.full
    assert (full["event"], full["provider"], full["consulted"]) == ("provider-failure", "cumberland", True)
    assert "disclosure" not in world.store.events
    assert world.providers.settled[-1][0::2] == ("cumberland", False)
    disclosed = await world.exchange.answer(request)
    assert disclosed.request.provider == "wf"


async def test_what_was_not_asked_yet_goes_to_the_night_team(world: World) -> None:
    """Overtaken between deciding and the intent, it is decided again: nobody of the day team hears of it."""
    world.store.log.overtaken_by = [after(2, world)]
    disclosed = await world.exchange.answer(wanted())
    assert disclosed.request.provider == "wf"
    assert [q.request.provider for q, _ in world.providers.asked] == ["wf"]


async def test_a_change_of_routes_overtakes_a_decision(world: World) -> None:
    """A route that is changed while the provider is asked ends what was decided by it."""

    async def change() -> None:
        office = 'hours = "office"\ntimetable = "hubs"\nholder = '
        west_to_wf = routes(2, **{f'{office}"cumberland"': f'{office}"wf"'})
        await world.route_book.apply(OPERATOR, west_to_wf)

    world.store.log.overtaken_by = [None, change]
    with pytest.raises(ProviderUnavailable, match="another agency holds the record"):
        await world.exchange.answer(wanted())
    assert (await world.exchange.answer(wanted())).request.provider == "wf"


async def test_the_claim_is_over_what_was_asked(world: World) -> None:
    """The same request after 17:00 is the same: replayed, with the receipt of the day team's answer. Another
    place under its id is refused."""
    request = wanted()
    first = await world.exchange.answer(request)
    world.clock.advance(3600)
    again = await world.exchange.answer(request)
    assert again.replayed
    assert again.receipt.entry == first.receipt.entry
    assert again.decision.controller == "cumberland"
    with pytest.raises(InvalidRequest, match="used before"):
        await world.exchange.answer(replace(request, place=Place(district=EDEN)))


@pytest.mark.parametrize(
    "place",
    [
        None,
        Place(uprn="100062990001"),
        Place(latitude=54.89, longitude=-2.93),
    ],
)
async def test_a_place_without_a_district_is_refused_with_what_to_give(
    world: World, place: Place | None
) -> None:
    """Coordinates or a UPRN alone cannot be turned into one; nothing is written down or asked."""
    before = len(world.store.entries)
    with pytest.raises(InvalidRequest, match=r"E06000063.*or name the provider") as caught:
        await world.exchange.answer(wanted(place=place))
    assert caught.value.field == "place.district"
    assert len(world.store.entries) == before
    assert world.providers.asked == []


async def test_a_responsible_authority_that_nobody_knows_is_refused(world: World) -> None:
    """As bad input, by its field."""
    with pytest.raises(InvalidRequest) as caught:
        await world.exchange.answer(wanted(place=Place(responsible_authority="rutland")))
    assert caught.value.field == "place.responsible_authority"


async def test_what_was_said_under_another_countrys_number_is_heeded(world: World) -> None:
    """The provider knows the child by a CHI number too: an objection under that one stops the record."""
    chi = SubjectRef("chi-number", "0101201234")
    digest = world.store.reference.catalogue.newest(CHILD).digest
    world.providers.answers(Found(Record(f"type.googleapis.com/{CHILD}", b""), digest, (CHILD_ID, chi)))
    world.say(chi, said("objection", recorder="cfrs"))
    with pytest.raises(Denied) as caught:
        await world.exchange.answer(wanted())
    assert caught.value.refusal.code == "person"


async def test_quotas_and_the_emergency_lane_are_the_holders_and_the_controllers(world: World) -> None:
    """A request that is routed, or made for another, counts under the agreement that will decide it."""
    await aided(world)
    world.agree(
        id="children",
        version=2,
        purpose="safeguarding-child",
        parties=[{"agency": each, "regime": "uk-gdpr"} for each in ("nwas", "cumberland")],
        flows=[flow(provider="cumberland", record_type=CHILD, permitted=PATHS, subject_schemes=["nhs-number"])],
        limits={"per_minute": 2, "emergency_per_minute": 1},
    )
    reference, limits = await world.store.reference.refresh(), Limits()
    assert limits.admit(wanted(), reference, DAY, 0.0).urgent
    again = limits.admit(wanted(**BY_CONTROL), reference, DAY, 0.0)
    assert (again.urgent, again.requester, again.provider) == (False, "nwfc", "")
    with pytest.raises(QuotaExceeded, match="nwas under children"):
        limits.admit(wanted(**BY_CONTROL), reference, DAY, 0.0)
    # At night another holds it, under an agreement that counts nothing.
    assert not limits.admit(wanted(), reference, DAY + timedelta(seconds=1), 0.0).urgent


async def test_no_route_is_a_refusal_with_its_evidence(world: World) -> None:
    """Committed, with a provider that is nobody."""
    with pytest.raises(Denied) as caught:
        await world.exchange.answer(wanted(place=Place(district="E08000003")))
    assert caught.value.refusal.code == "party"
    draft = world.store.entries[-1].draft
    assert (draft.full["event"], draft.full["provider"], draft.provider) == ("refusal", None, None)


# Acting for another.


async def aided(world: World, **changes: Any) -> Acting:
    """Fire control acts for the ambulance service."""
    world.put_agency(Agency("nwfc", "Fire control", "other", "england", world.since))
    world.put_system("nwfc", "cad")
    wish = Acting("", "nwfc", "nwas", "C-1", world.since)
    made, _ = await world.standing.act(OPERATOR, replace(wish, **changes))
    return made


BY_CONTROL = {
    "requester": "nwfc",
    "key_digest": key_of("nwfc/cad"),
    "actor": replace(ACTOR, on_behalf_of="nwas"),
}


async def test_the_entry_names_controller_and_processor(world: World) -> None:
    """It is the controller's entry; the question says both; the request id is the processor's system's."""
    await aided(world)
    request = wanted(**BY_CONTROL)
    await world.exchange.answer(request)
    kept = world.store.entries[-1]
    full = kept.draft.full
    assert (full["requester"], full["processor"], full["system"]) == ("nwas", "nwfc", "cad")
    assert kept.draft.requester_agency == "nwas"
    assert kept.draft.provider is not None
    assert kept.draft.provider.actor is not None
    assert kept.draft.provider.actor["processor"] == "nwfc"
    assert "party.acts-for pass: nwfc acts for nwas under C-1." in full["rules"]
    ((question, _),) = world.providers.asked
    assert (question.request.requester, question.request.processor) == ("nwas", "nwfc")
    assert ("nwfc/cad", request.request_id) in world.store.claims


async def test_a_relation_that_is_ended_meanwhile_refuses(world: World) -> None:
    """Ended while the provider is asked: the record is dropped, and the refusal says that it was consulted."""
    acting = await aided(world)

    async def end() -> None:
        await world.standing.end_acting(OPERATOR, acting.id, "contract ended")

    world.store.log.overtaken_by = [None, end]
    with pytest.raises(Denied) as caught:
        await world.exchange.answer(wanted(**BY_CONTROL))
    assert caught.value.refusal.code == "party"
    full = world.store.entries[-1].draft.full
    assert (full["event"], full["requester"], full["consulted"]) == ("refusal", "nwfc", True)
    assert (full["provider"], full["controller"]) == ("cumberland", "cumberland")


async def test_relations_are_checked_listed_and_ended(world: World) -> None:
    """Operators enter and end them; a partner sees its own."""
    acting = await aided(world)
    wish = Acting("", "nwfc", "nwas", "C-2", world.since)
    for spoilt, field in (
        (replace(wish, controller="nwfc"), "acting.controller"),
        (replace(wish, processor="nobody"), "acting.processor"),
        (replace(wish, purposes=frozenset({"curiosity"})), "acting.purposes"),
        (replace(wish, record_types=frozenset({"records.x.v1.Y"})), "acting.record_types"),
        (replace(wish, valid_until=world.since), "acting.valid_until"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await world.standing.act(OPERATOR, spoilt)
        assert caught.value.field == field
    with pytest.raises(NotAllowed):
        await world.standing.act(CAD, wish)
    assert [a.id for a in await world.standing.acting(CAD, ended=False)] == [acting.id]
    assert await world.standing.acting(caller("cfrs"), ended=True) == []
    await world.standing.end_acting(OPERATOR, acting.id, "")
    assert await world.standing.acting(OPERATOR, ended=False) == []
    assert len(await world.standing.acting(OPERATOR, ended=True)) == 1
    with pytest.raises(InvalidRequest, match="ended already"):
        await world.standing.end_acting(OPERATOR, acting.id, "")
    assert world.store.events[-2:] == ["acting-entered", "acting-ended"]


def link(links: Links, agency: str) -> Link:
    """An adapter of an agency that serves premises risks."""
    made = Link(agency, "risk", [(RISK, "d" * 64)], 4)
    links.attach(made)
    return made


def by(*agencies: str) -> Question:
    """A question to the fire service that these may answer too."""
    return Question(ask(), "d" * 64, "a", 1, ("uprn",), answered_by=agencies)


async def test_a_processors_adapter_answers_where_the_controller_has_none(world: World) -> None:
    """Its own adapter goes first; without one the processor's is asked, and the answer says whose it was."""
    links = Links()
    soon = 1e9
    control, other = link(links, "nwfc"), link(links, "lancs")

    async def answered(question: Question, one: Link) -> object:
        task = asyncio.create_task(links.ask(question, soon))
        await asyncio.sleep(0)
        ask_id, _, _ = one.outbox.asks.popleft()
        assert one.answer(ask_id, NotFound())
        return await task

    assert await answered(by("nwfc"), control) == NotFound(by="nwfc")
    assert isinstance(await links.ask(by(), soon), ProviderFailed)
    own = link(links, "cfrs")
    assert await answered(by("nwfc"), own) == NotFound()
    assert control.outstanding == other.outstanding == 0


async def test_who_waits_for_a_processors_adapter_is_called() -> None:
    """When it takes more, and when it is gone: whoever waits for the controller's records is not forgotten."""
    links = Links()
    control = link(links, "nwfc")
    control.at_once = 0
    soon = asyncio.get_running_loop().time() + 30
    waiting = [asyncio.create_task(links.ask(by("nwfc"), soon)) for _ in range(2)]
    await asyncio.sleep(0.01)
    assert not control.outbox.asks
    links.credit(control, 1)
    await asyncio.sleep(0.01)
    ask_id, *_ = control.outbox.asks.popleft()
    assert control.answer(ask_id, NotFound())
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    links.detach(control)
    async with asyncio.timeout(5):
        ends = await asyncio.gather(*waiting)
    assert sorted(type(end).__name__ for end in ends) == ["NotFound", "ProviderFailed"]


async def test_an_answer_of_one_who_no_longer_acts_for_the_provider_is_dropped(world: World) -> None:
    """The relation ended while the processor's adapter looked: its answer is not released."""
    acting = await aided(world, controller="cumberland", contract="C-9")
    digest = world.store.reference.catalogue.newest(CHILD).digest
    found = Found(Record(f"type.googleapis.com/{CHILD}", b""), digest, (CHILD_ID,), by="nwfc")
    world.providers.answers(found)
    disclosed = await world.exchange.answer(wanted())
    assert disclosed.record is not None
    full = world.store.entries[-1].draft.full
    assert (full["provider"], full["answered_by"]) == ("cumberland", "nwfc")
    assert [agency for agency, *_ in world.providers.settled] == ["cumberland", "nwfc"]

    async def end() -> None:
        await world.standing.end_acting(OPERATOR, acting.id, "")

    world.store.log.overtaken_by = [None, end]
    with pytest.raises(ProviderUnavailable, match="no longer acts"):
        await world.exchange.answer(wanted())


# Another jurisdiction.


NORTH = f"""\
id = "borders"
version = 1
title = "Over the border"
[timetables.hubs]
days = ["monday", "tuesday", "wednesday", "thursday", "friday"]
opens = 09:00:00
closes = 17:00:00
bank_holidays = "scotland"
[[routes]]
id = "galloway-day"
record_type = "{CHILD}"
districts = ["S12000006"]
hours = "office"
timetable = "hubs"
holder = "dumfries-galloway"
"""


async def test_an_english_service_asks_a_scottish_council(world: World) -> None:
    """By Scottish routes and bank holidays; a gateway that is the law in England alone does not open there."""
    world.put_agency(dated(council("dumfries-galloway"), jurisdiction="scotland"))
    await world.route_book.apply(OPERATOR, NORTH.encode())
    agreed(world, "dumfries-galloway", name="borders")
    child = wanted(place=Place(district="S12000006"))
    assert (await world.exchange.answer(child)).request.provider == "dumfries-galloway"
    saint_andrew = datetime(2026, 11, 30, 12, tzinfo=UTC)
    told = await world.route_book.ask(CHILD, Place(district="S12000006"), "", saint_andrew)
    assert told.provider is None
    there = await world.route_book.ask(CHILD, Place(district=CARLISLE), "", saint_andrew)
    assert there.provider is not None
    law = world.store.reference.current.law
    english = next(c for c, g in law.gateways.items() if g.opens and g.jurisdictions == frozenset({"england"}))
    world.agree(
        id="borders-gateway",
        purpose="missing-person",
        parties=[{"agency": each, "regime": "uk-gdpr"} for each in ("nwas", "dumfries-galloway")],
        legal={
            "basis": "art6-1-e",
            "condition": "art9-2-g-sch1-para18",
            "offence_condition": next(c for c, row in law.conditions.items() if row.covers == "offence"),
            "gateway": english,
            "confidentiality": "public-interest",
            "justification": "x",
        },
        flows=[
            flow(
                provider="dumfries-galloway",
                record_type=CHILD,
                permitted=PATHS,
                subject_schemes=[CHILD_ID.scheme],
            )
        ],
    )
    with pytest.raises(Denied) as caught:
        await world.exchange.answer(replace(child, request_id=str(uuid.uuid4()), purpose="missing-person"))
    assert caught.value.refusal.code == "gateway"


# Both stores.


@pytest.fixture(params=["memory", "postgres"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """One implementation of the ports, with agencies and an agreement."""
    async with stage_of(request) as one:
        yield one


async def test_routes_are_stored_and_decide(stage: Stage) -> None:
    """A file is applied, a request without provider finds the holder; another version takes its place whole."""
    plan, _ = await stage.route_book.apply(OPERATOR, fire_routes())
    assert (plan.added, plan.changed, plan.removed) == (("premises",), (), ())
    request = stage.asks(provider="", place=Place(district=CARLISLE))
    stage.finds(request)
    assert (await stage.exchange.answer(request)).request.provider == "cfrs"
    told = await stage.route_book.ask(RISK, Place(district=CARLISLE), "", None)
    assert told.provider is not None
    assert (told.provider.id, told.until) == ("cfrs", None)
    with pytest.raises(InvalidRequest, match="version 1 is applied"):
        await stage.route_book.apply(OPERATOR, fire_routes())
    moved = fire_routes(version=2).replace(b'"E07000028", ', b"")
    plan, _ = await stage.route_book.apply(OPERATOR, moved)
    assert plan.changed == ("premises",)
    assert (await stage.route_book.ask(RISK, Place(district=CARLISLE), "", None)).provider is None
    (listed,) = await stage.route_book.listed()
    assert listed.data == moved
    assert (await stage.since(await stage.size() - 1))[0]["event"] == "routes-applied"


async def test_what_no_file_may_say(stage: Stage) -> None:
    """Unknown holders and types, one of another kind, an overlap with another file; only operators apply."""
    good = fire_routes().decode()
    await stage.route_book.apply(OPERATOR, good.encode())
    other = good.replace('id = "fire"', 'id = "other"')
    for text, field in (
        (other.replace('"cfrs"', '"lancs"'), "routes.0.holder"),
        (other.replace('"cfrs"', '"nwas"'), "routes.0.holder"),
        (other.replace("PremisesRisk", "Nothing"), "routes.0.record_type"),
        (other.replace('record_type = "records.fire.v1.PremisesRisk"', 'kind = "dragons"'), "routes.0.kind"),
        (other, "routes.0"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await stage.route_book.plan(OPERATOR, text.encode())
        assert caught.value.field == field
    with pytest.raises(NotAllowed):
        await stage.route_book.apply(CAD, good.replace("version = 1", "version = 2").encode())


async def test_relations_are_stored_and_decide(stage: Stage) -> None:
    """One entered lets a processor ask; ended, it refuses."""
    acting, _ = await stage.standing.act(OPERATOR, Acting("", "cumberland", "nwas", "C-1", CHANGE))
    asks = {
        "requester": "cumberland",
        "key_digest": key_of("cumberland/cad"),
        "actor": replace(ACTOR, on_behalf_of="nwas"),
    }
    request = stage.asks(**asks)
    stage.finds(request)
    await stage.exchange.answer(request)
    (full,) = await stage.since(await stage.size() - 1)
    assert (full["requester"], full["processor"]) == ("nwas", "cumberland")
    await stage.standing.end_acting(OPERATOR, acting.id, "over")
    assert (await stage.why.replays.one(full)).verdict is Verdict.SAME
    with pytest.raises(Denied) as caught:
        await stage.exchange.answer(stage.asks(**asks))
    assert caught.value.refusal.code == "party"


async def test_one_agency_becomes_two(stage: Stage) -> None:
    """The fire service is parted: its agreement holds for each, its system speaks no more, its routes lead to
    who has the district; what was decided before still names it."""
    now = stage.clock.now()
    await stage.route_book.apply(OPERATOR, fire_routes())
    before = stage.asks(provider="", place=Place(district=CARLISLE))
    stage.finds(before)
    first = await stage.exchange.answer(before)
    for name in ("west-fire", "east-fire"):
        await stage.registry.add_agency(OPERATOR, Agency(name, name, "fire", "england", CHANGE))
    into = (
        Successor("west-fire", frozenset({CARLISLE})),
        Successor("east-fire", frozenset({EDEN})),
    )
    plan = await stage.standing.succession(OPERATOR, "cfrs", into, now)
    assert [s.name for s in plan.systems] == ["cfrs/cad"]
    assert plan.agreements == (
        "nwas-cfrs-premises/1: its flows hold for west-fire, east-fire (Premises risk for ambulance crews)",
    )
    assert plan.routes == ("premises of fire/1: west-fire in E07000028; east-fire in E07000030",)
    assert any("enrol its systems" in line for line in plan.to_do)
    assert (await stage.reference.refresh()).agencies["cfrs"].valid_until is None, "a plan changes nothing"
    await stage.standing.succeed(OPERATOR, "cfrs", into, now)
    reference = await stage.reference.refresh()
    assert reference.identify("cfrs", "cad", key_of("cfrs/cad"), stage.clock.now()) is None
    assert reference.systems["cfrs/cad"].valid_until == now
    for district, heir in ((CARLISLE, "west-fire"), (EDEN, "east-fire")):
        request = stage.asks(provider="", place=Place(district=district))
        stage.finds(request)
        told = await stage.exchange.answer(request)
        assert (told.request.provider, told.decision.agreement) == (heir, "nwas-cfrs-premises")
    with pytest.raises(Denied) as caught:
        await stage.exchange.answer(stage.asks(provider="cfrs"))
    assert "west-fire, east-fire" in caught.value.refusal.remedy
    again = await stage.exchange.answer(before)
    assert (again.replayed, again.decision.controller) == (True, "cfrs")
    # Made again as on its day, also where somebody was found for it, it is what it was.
    decided = [full for full in await stage.since(0) if is_decision(full)]
    assert [full["asked_of"] for full in decided] == [None, None, None, "cfrs"]
    for full in decided:
        made = await stage.why.replays.one(full)
        assert (made.verdict, made.differences) == (Verdict.SAME, ())
    assert again.receipt.entry == first.receipt.entry
    (listed,) = await stage.agreed.visible_to(caller("west-fire"))
    assert listed.lineage == (
        f"west-fire in the place of cfrs since {now.isoformat()}",
        f"east-fire in the place of cfrs since {now.isoformat()}",
    )
    # Entered again, it does not come back.
    await stage.registry.add_agency(OPERATOR, Agency("cfrs", "Renamed", "fire", "england", CHANGE))
    kept = (await stage.reference.refresh()).agencies["cfrs"]
    assert (kept.name, kept.valid_until, len(kept.successors)) == ("Renamed", now, 2)


async def test_what_a_predecessor_recorded_is_the_successors_to_lift(world: World) -> None:
    """From the day of the succession; nobody else's, and not before."""
    county = council("cumbria")
    world.put_agency(county)
    objection = world.say(HOME, said("objection", recorder="cumbria"))
    with pytest.raises(NotAllowed):
        await world.directives.withdraw_one(caller("cumberland"), objection.id, ACTOR)
    world.put_agency(dated(county, valid_until=CHANGE, successors=INTO))
    listed, _ = await world.directives.of_own(caller("cumberland"), HOME, ACTOR, LOOKING)
    assert [each.directive.id for each in listed] == [objection.id]
    with pytest.raises(NotAllowed):
        await world.directives.withdraw_one(caller("cfrs"), objection.id, ACTOR)
    await world.directives.withdraw_one(caller("cumberland"), objection.id, ACTOR)
    assert objection.id in world.store.withdrawn


async def test_what_a_predecessor_restricted_holds_for_its_successor(stage: Stage) -> None:
    """Whoever may override nothing more of a provider's may not of what another holds in its place."""
    porter = replace(ACTOR, role="porter", assurance=Assurance.PERSONAL_LOGIN)
    glass = Override("fire", "why")
    asks: dict[str, Any] = {"purpose": "home-fire-safety", "actor": porter, "override": glass}
    legal = {"basis": "art6-1-e", "condition": "art9-2-g-sch1-para18"}
    flows = [flow(override=["uprn"])]
    await stage.agree(
        id="o", purpose="home-fire-safety", flows=flows, override={"codes": ["fire"]}, legal=legal
    )
    used = stage.asks(**asks)
    stage.finds(used)
    await stage.exchange.answer(used)
    (row,) = (each.row for each in (await stage.overrides.listed(caller("cfrs"), ACTOR, LOOKING))[0])
    await stage.overrides.review(caller("cfrs"), row.id, "not-justified", "no need", ACTOR)
    await stage.overrides.restrict(caller("cfrs"), row.id, "actor", None, "never again", ACTOR)
    await stage.registry.add_agency(OPERATOR, Agency("fire-two", "Two", "fire", "england", CHANGE))
    await stage.standing.succeed(OPERATOR, "cfrs", (Successor("fire-two"),), stage.clock.now())
    again = stage.asks(provider="fire-two", **asks)
    stage.finds(again)
    with pytest.raises(Denied) as caught:
        await stage.exchange.answer(again)
    assert caught.value.refusal.code == "role"


async def test_an_agency_leaves(stage: Stage) -> None:
    """It ends with its systems; the plan says how its entries are taken along."""
    now = stage.clock.now()
    plan = await stage.standing.leaving(OPERATOR, "cfrs", now)
    assert any("broker audit export" in line for line in plan.to_do)
    await stage.standing.leave(OPERATOR, "cfrs", now, "went to another broker")
    reference = await stage.reference.refresh()
    assert reference.systems["cfrs/cad"].valid_until == now
    with pytest.raises(Denied):
        await stage.exchange.answer(stage.asks())
    full = (await stage.since(await stage.size() - 2))[0]
    assert full["event"] == "agency-left"


async def test_who_may_not_take_a_place(world: World) -> None:
    """Another kind, one that is not there, twice, without districts, or leaving a place with nobody."""
    world.put_agency(council("cumbria"))
    await world.ready()
    cases: list[tuple[str, tuple[Successor, ...], str]] = [
        ("cumbria", (), "into"),
        ("nobody", INTO, "agency"),
        ("cumbria", (Successor("cfrs"),), "into.0"),
        ("cumbria", (Successor("rutland"),), "into.0"),
        ("cumbria", (Successor("cumberland"), Successor("wf")), "into.0"),
        ("cumbria", (INTO[0], replace(INTO[1], districts=INTO[0].districts)), "into.1"),
        ("cumbria", (Successor("cumbria"),), "into.0"),
        ("wf", (replace(INTO[0], districts=frozenset({EDEN})),), "into"),
    ]
    for old, into, field in cases:
        with pytest.raises(InvalidRequest) as caught:
            await world.standing.succession(OPERATOR, old, into, CHANGE)
        assert caught.value.field == field, (old, into)
    with pytest.raises(NotAllowed):
        await world.standing.succession(OPERATOR, "operator", (Successor("cfrs"),), CHANGE)
    with pytest.raises(NotAllowed):
        await world.standing.succession(CAD, "cumbria", INTO, CHANGE)


async def test_cumbria_on_the_first_of_april_2023(world: World) -> None:
    """The county's children's records go to two councils, its fire service to the commissioner, not to one."""
    world.put_agency(council("cumbria"))
    world.put_agency(Agency("county-fire", "The county's fire service", "fire", "england", world.since))
    await world.ready()
    with pytest.raises(InvalidRequest, match="cannot hold the records of a fire one"):
        await world.standing.succeed(OPERATOR, "county-fire", (Successor("cumberland"),), CHANGE)
    await world.standing.succeed(OPERATOR, "county-fire", (Successor("cfrs"),), CHANGE)
    agreed(world, "cumbria", name="county")
    await world.standing.succeed(OPERATOR, "cumbria", INTO, CHANGE)
    assert datetime(2023, 3, 31, 23, tzinfo=UTC) == CHANGE
    reference = world.store.reference.current
    assert reference.forebears("cumberland", CHANGE) == {"cumbria"}
    assert reference.forebears("cfrs", CHANGE) == {"county-fire"}
    assert reference.forebears("cfrs", CHANGE - timedelta(seconds=1)) == set()
    detail: Any = world.store.entries[-1].draft.full["detail"]
    assert detail["agreements"] == [
        "county/1: its flows hold for cumberland, wf (Premises risk for ambulance crews)"
    ]
