"""What a change of agreements would do, tried on decisions that were really made, and then really done."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, timedelta
from typing import Any

import pytest

from broker.core.model import Assurance, Reason, Request
from broker.core.recorded import is_decision
from broker.errors import BrokerError, InvalidRequest, NotAllowed
from broker.past import MOST
from broker.plans import Planned, Sample
from broker.ports import Answer, Found, Question
from broker.verdicts import opened
from tests.support.desk import Desk
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import (
    ACTOR,
    AUDITOR,
    HOME,
    OPERATOR,
    OTHER_HOME,
    World,
    ask,
    caller,
    flow,
    record_of,
    said,
    terms,
    toml,
)

USUAL = Sample()
# An agreement of three, and its flow to the third of them.
THREE: dict[str, Any] = {
    "parties": [{"agency": each, "regime": "uk-gdpr"} for each in ("nwas", "cfrs", "cumberland")]
}
ANOTHER = flow(requester="cumberland")
# How a decision flips: its kind, what comes, what goes.
Flipped = tuple[str, tuple[str, ...], tuple[str, ...]]
WHY = Reason("new-version", "before the parties sign")
ROLES = ("ambulance-crew", "dispatcher", "mental-health-worker")
LEVELS = (Assurance.ROSTER, Assurance.PERSONAL_LOGIN, Assurance.SIGNED_TOKEN)


async def planned(why: Any, files: Sequence[bytes], sample: Sample = USUAL, who: Any = OPERATOR) -> Planned:
    """The end of a plan, with everything that would flip."""
    flips: list[Any] = []
    async for each in why.plans.plan(who, files, sample, ACTOR, WHY):
        flips += each.flips
    assert each.done
    return replace(each, flips=tuple(flips))


def version_of(desk: Desk, version: int, of: dict[str, Any] | None = None, **changes: Any) -> bytes:
    """The file of a desk's next version."""
    parties = [{"agency": each, "regime": "uk-gdpr"} for each in ("nwas", desk.agency)]
    made: dict[str, Any] = {
        "id": f"with-{desk.agency}",
        "version": version,
        "parties": parties,
        "flows": [flow(provider=desk.agency, **(of or {}))],
        "valid_from": date(2020, 1, 1),
        "valid_until": date(2099, 12, 31),
    }
    return toml(terms(**{**made, **changes}))


async def entries(stage: Stage, since: int) -> list[tuple[str, dict[str, Any]]]:
    """The decisions of the log from a place on: id and full view."""
    found: list[tuple[str, dict[str, Any]]] = []
    while leaves := await stage.past.leaves(since, since + MOST):
        since += len(leaves)
        views = [opened(leaf) for leaf in leaves]
        found += [(v.entry, v.full) for v in views if v.full is not None and is_decision(v.full)]
    return found


async def many(desk: Desk, requests: Sequence[Request]) -> list[tuple[str, dict[str, Any]]]:
    """All of them through the exchange, 64 at a time; their entries in the order of the requests."""
    stage, turn = desk.stage, asyncio.Semaphore(64)
    since = await stage.size()

    async def one(request: Request) -> None:
        async with turn:
            with suppress(BrokerError):
                await stage.exchange.answer(request)

    await asyncio.gather(*map(one, requests))
    by_id = {full["request_id"]: (entry, full) for entry, full in await entries(stage, since)}
    return [by_id[request.request_id] for request in requests]


async def crowd(desk: Desk, count: int, chance: random.Random) -> list[Request]:
    """People about whom things have been said, and requests about them by all sorts of staff."""
    people = [desk.stage.person() for _ in range(max(4, count // 10))]
    kinds = ("objection", "refusal", "consent", "safe-contact", "protected-identity", "restriction")
    for person in people[:: max(2, len(people) // 60)]:
        await desk.says(person, chance.choice(kinds))
    others = {person: desk.stage.person() for person in people[::3]}
    for other in list(others.values())[:: max(2, len(others) // 20)]:
        await desk.says(other, "objection")
    digest = desk.stage.reference.catalogue.newest(flow()["record_type"]).digest

    async def script(question: Question) -> Answer:
        subject = question.request.subject
        assert subject is not None
        known = (subject, others[subject]) if subject in others else (subject,)
        return Found(record_of(), digest, known)

    desk.stage.providers.script = script
    return [
        desk.stage.asks(
            provider=desk.agency if chance.random() < 0.9 else "cfrs",
            subject=chance.choice(people),
            actor=replace(ACTOR, role=chance.choice(ROLES), assurance=chance.choice(LEVELS)),
        )
        for _ in range(count)
    ]


def flipped(before: dict[str, Any], after: dict[str, Any]) -> Flipped | None:
    """How a decision really came out otherwise, by the two entries alone."""
    was, now = set(before["permitted"]), set(after["permitted"])
    moved = tuple(sorted(now - was)), tuple(sorted(was - now))
    if before["decided"] != after["decided"]:
        return f"{before['decided']}-to-{after['decided']}", *moved
    return ("fields", *moved) if any(moved) else None


async def as_it_really_turns_out(desk: Desk, count: int) -> Counter[str]:
    """Plan a change, make it, ask everything again: the plan had named exactly what came out otherwise."""
    chance = random.Random(4711)
    await desk.agree(of={"roles": list(ROLES[:2])}, actors={"minimum_assurance": "roster"})
    requests = await crowd(desk, count, chance)
    before = await many(desk, requests)
    permitted = [p for p in flow()["permitted"] if not p.startswith("oxygen")] + ["sprinklers.state"]
    changes: dict[str, Any] = {
        "of": {"roles": list(ROLES[1:]), "permitted": permitted},
        "actors": {"minimum_assurance": "personal-login"},
        "directives": {"weight": "recorded"},
    }
    sample = Sample(entries=min(100_000, 4 * count))
    told = await planned(desk.stage.why, [version_of(desk, 2, **changes)], sample)
    await desk.agree(**changes)
    after = await many(desk, [replace(r, request_id=desk.stage.asks().request_id) for r in requests])
    really = {
        entry: flip
        for (entry, was), (_, now) in zip(before, after, strict=True)
        if (flip := flipped(was, now)) is not None
    }
    assert {entry: (f.kind, f.gained, f.lost) for entry, f in told.flips} == really
    assert told.counts == Counter(kind for kind, _, _ in really.values())
    assert told.decisions == sum(r.provider == desk.agency for r in requests)
    assert (told.moved, told.unread) == (0, 0)
    return Counter(told.counts)


async def test_a_plan_is_what_really_turns_out(desk: Desk) -> None:
    """Some hundred decisions on each store: what the plan names is what applying it changes, entry by entry."""
    counts = await as_it_really_turns_out(desk, 120)
    assert counts.keys() == {"permit-to-refuse", "refuse-to-permit", "fields"}, "a kind of flip was not tried"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", ["postgres"], indirect=True)
async def test_a_plan_is_what_really_turns_out_for_ten_thousand(desk: Desk) -> None:
    """Ten thousand decisions, made, planned on, and made again after the change."""
    counts = await as_it_really_turns_out(desk, 10_000)
    assert counts.keys() == {"permit-to-refuse", "refuse-to-permit", "fields"}


# What a plan says of flows.


@pytest.fixture
async def world() -> World:
    """With an agreement, and a provider that has a record."""
    made = await World().ready()
    made.agree()
    made.providers.answers(made.found())
    return made


async def asked(world: World, **changes: Any) -> None:
    """A request that is answered, whatever with."""
    with suppress(BrokerError):
        await world.exchange.answer(ask(**changes))


async def test_flows_new_changed_and_ended(world: World) -> None:
    """Each with what comes and goes; what stays as it is has no row, and no decision of it is tried."""
    await asked(world)
    both = [flow(permitted=["uprn", "sprinklers.state"]), ANOTHER]
    file = toml(terms(version=2, flows=both, directives={"weight": "recorded"}, **THREE))
    told = await planned(world.why, [file])
    kinds = {(c.change, c.key.requester): c for c in told.changes}
    changed = kinds["changed", "nwas"]
    assert changed.gained == ("sprinklers.state",)
    assert "oxygen.kind" in changed.lost
    assert "directives.weight: respected -> recorded" in changed.terms
    assert kinds["new", "cumberland"].gained == tuple(sorted(flow()["permitted"]))
    told = await planned(world.why, [toml(terms(version=2, flows=[ANOTHER], **THREE))])
    assert {(c.change, c.key.requester) for c in told.changes} == {("ended", "nwas"), ("new", "cumberland")}
    assert told.counts == {"permit-to-refuse": 1}
    told = await planned(world.why, [toml(terms(version=2, title="Another title"))])
    assert (told.changes, told.decisions, told.counts, told.done) == ((), 0, {}, True)


async def test_files_are_planned_together(world: World) -> None:
    """One file ends a flow that the other takes over: nothing flips, where each alone would."""
    await asked(world)
    gives_up = toml(terms(version=2, flows=[ANOTHER], **THREE))
    takes_over = toml(terms(id="a-new-one"))
    assert (await planned(world.why, [gives_up])).counts == {"permit-to-refuse": 1}
    told = await planned(world.why, [gives_up, takes_over])
    assert (told.decisions, told.counts) == (1, {})
    with pytest.raises(InvalidRequest, match=r"files\.0\.flows\.0"):
        await planned(world.why, [takes_over, gives_up])


async def test_a_version_that_begins_later_is_planned_as_if_it_had_begun(world: World) -> None:
    """Its dates are looked away from, and so are those of today's; one that has ended gives nothing."""
    await asked(world)
    next_one = {"valid_from": date(2027, 3, 1), "flows": [flow(permitted=["uprn"])]}
    soon = toml(terms(id="nwas-cfrs-next", supersedes="nwas-cfrs-premises", **next_one))
    assert (await planned(world.why, [soon])).counts == {"fields": 1}
    with pytest.raises(InvalidRequest, match="a gap until then"):  # the version in force would end at once
        await planned(world.why, [toml(terms(version=2, **next_one))])
    over = toml(terms(version=2, valid_until=date(2026, 11, 20), review_on=date(2026, 11, 1)))
    assert (await planned(world.why, [over])).counts == {"permit-to-refuse": 1}


async def test_the_directory_and_the_person_are_those_of_the_day(world: World) -> None:
    """A key that was revoked since, and an objection made since, flip nothing."""
    await asked(world)
    world.put_system("nwas", "cad", key_digest="f" * 64)
    world.say(HOME, said("objection"))
    told = await planned(world.why, [toml(terms(version=2, flows=[flow(permitted=["uprn"])]))])
    assert (told.decisions, told.counts, told.moved) == (1, {"fields": 1}, 0)


async def test_what_an_earlier_change_has_flipped_is_not_put_down_to_the_plan(world: World) -> None:
    """A decision that today's version would make otherwise already is counted as such, and as nothing else."""
    await asked(world)
    world.agree(version=2, flows=[flow(permitted=["uprn"])])
    told = await planned(
        world.why,
        [toml(terms(version=3, flows=[flow(permitted=["uprn"], roles=["ambulance-crew", "dispatcher"])]))],
    )
    assert (told.decisions, told.moved, told.counts) == (1, 1, {})


async def test_only_so_many_and_only_so_old(world: World) -> None:
    """The newest entries, and none that is older than asked for."""
    for _ in range(5):
        await asked(world)
    world.clock.advance(timedelta(days=3).total_seconds())
    for _ in range(3):
        await asked(world)
    file = [toml(terms(version=2, flows=[flow(permitted=["uprn"])]))]
    assert (await planned(world.why, file)).decisions == 8
    assert (await planned(world.why, file, Sample(days=2))).decisions == 3
    size = len(world.store.entries)
    assert (await planned(world.why, file, Sample(entries=size - 6))).decisions == 2
    for sample in (Sample(entries=100_001), Sample(days=3661)):
        with pytest.raises(InvalidRequest):
            await planned(world.why, file, sample)


async def test_learnt_identifiers_count_in_a_plan(world: World) -> None:
    """What was said about an identifier that only the provider knew stands in the way there too."""
    world.providers.answers(world.found("records.fire.v1.PremisesRisk", OTHER_HOME))
    world.say(OTHER_HOME, said("objection"))
    await asked(world)
    told = await planned(world.why, [toml(terms(version=2, directives={"weight": "recorded"}))])
    ((_, flip),) = told.flips
    assert (flip.kind, flip.rule, flip.code) == ("refuse-to-permit", "person.not-against", "person")


async def test_a_plan_is_an_entry_and_nothing_else(world: World) -> None:
    """Who planned what and why; no agreement is stored, and nothing that decisions read has moved."""
    await asked(world)
    policy = world.store.policy
    told = await planned(world.why, [toml(terms(version=2))])
    look = world.store.entries[-1].draft
    assert (look.id, look.full["event"], look.words) == (told.event_id, "agreement-planned", WHY.words)
    assert look.full["detail"]["files"][0]["agreement"] == "nwas-cfrs-premises/2"  # type: ignore[index,call-overload]
    assert world.store.policy == policy
    assert (await planned(world.why, [toml(terms(version=2))], who=AUDITOR)).done


async def test_who_may_plan_and_what(world: World) -> None:
    """No partner; nobody without a reason; no file that could not be applied but for its signatures."""
    file = [toml(terms(version=2))]
    with pytest.raises(NotAllowed):
        await planned(world.why, file, who=caller())
    with pytest.raises(InvalidRequest, match=r"reason\.code"):
        await anext(world.why.plans.plan(OPERATOR, file, Sample(), ACTOR, Reason()))
    for bad, field in (
        ([], "files"),
        ([*file, b"id = 1"], r"files\.1\."),
        ([toml(terms(version=1))], r"files\.0\.version"),
        ([toml(terms(version=2, flows=[flow(permitted=["nothing"])]))], r"files\.0\.flows\.0\.permitted"),
    ):
        with pytest.raises(InvalidRequest, match=field):
            await planned(world.why, bad)
    assert "agreement-planned" not in world.store.events
