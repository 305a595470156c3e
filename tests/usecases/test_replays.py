"""Recorded decisions made again, on every implementation of the store.

Whatever has changed since, what stands in the log is what the rules say of that day; where not, it is noticed.
"""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from broker.core.directory import Agency
from broker.core.entry import Opening
from broker.core.model import Actor, Function, Outcome, Override, Place, Reason, SubjectRef, Traits
from broker.core.recorded import Recorded, Ruling
from broker.core.reference import Reference
from broker.errors import InvalidRequest, NotAllowed
from broker.law import load
from broker.ports import Asked, Found, NotFound
from broker.replays import Progress
from broker.verdicts import Replayed, Verdict, again
from tests.support.desk import Desk
from tests.support.stage import COUNCIL, SINCE, Stage
from tests.support.values import replace
from tests.support.world import ACTOR, AUDITOR, OPERATOR, RISK, flow, key_of, record_of, said

LOOKS = Actor("r.audit", "auditor")
WHY = Reason("yearly-check", "the yearly check")
numbers = itertools.count(1)


async def today(stage: Stage, full: dict[str, Any]) -> Outcome:
    """What the same request would come to on what is stored now."""
    recorded = Recorded.of(full)
    facts = await stage.facts.read(Asked(recorded.subjects, "", ()))
    return again(recorded, await stage.reference.refresh(), facts.directives).outcome


async def replayed(stage: Stage, since: int = 0, until: int = 0) -> Progress:
    """The log replayed, and everything that was found."""
    found: list[Any] = []
    async for progress in stage.why.replays.log(AUDITOR, since, until, LOOKS, WHY):
        found += progress.found
    return replace(progress, found=tuple(found))


async def same(stage: Stage, full: dict[str, Any]) -> Replayed:
    """The decision made again, which gives what was recorded."""
    made = await stage.why.replays.one(full)
    assert (made.verdict, made.differences, made.erased) == (Verdict.SAME, (), ())
    assert made.decision is not None
    assert Ruling.of(made.decision) == Recorded.of(full).ruling
    return made


async def test_a_directive_withdrawn(desk: Desk) -> None:
    """Refused for what somebody said, and still so in the log after they took it back."""
    await desk.agree()
    subject = desk.stage.person()
    withdraw = await desk.says(subject, "objection")
    full = await desk.ask(subject=subject)
    assert full["decided"] == "refuse"
    await withdraw()
    assert await today(desk.stage, full) is Outcome.PERMIT
    await same(desk.stage, full)


async def test_a_directive_recorded_later(desk: Desk) -> None:
    """Permitted before somebody objected, and still so in the log."""
    await desk.agree()
    subject = desk.stage.person()
    full = await desk.ask(subject=subject)
    assert full["decided"] == "permit"
    await desk.says(subject, "objection")
    assert await today(desk.stage, full) is Outcome.REFUSE
    await same(desk.stage, full)


async def test_an_agreement_replaced(desk: Desk) -> None:
    """Permitted under a version whose next one lets other roles ask."""
    await desk.agree()
    full = await desk.ask()
    await desk.agree(of={"roles": ["dispatcher"]})
    assert await today(desk.stage, full) is Outcome.REFUSE
    assert (await same(desk.stage, full)).decision.agreement_version == 1  # type: ignore[union-attr]


async def test_fields_changed(desk: Desk) -> None:
    """The fields of the version of that day, not of today's."""
    await desk.agree()
    full = await desk.ask()
    await desk.agree(of={"permitted": ["uprn"]})
    assert full["permitted"] == sorted(flow()["permitted"])
    await same(desk.stage, full)


async def test_a_system_suspended_and_a_key_revoked(desk: Desk) -> None:
    """The system may not ask today, and the key it asked with is gone."""
    await desk.agree()
    stage, name = desk.stage, f"mdt{next(numbers)}"
    keys = [key_of(f"{name}{n}") for n in range(2)]
    for key in keys:
        await stage.registry.enrol(OPERATOR, "nwas", name, Function.PARTNER, key, SINCE, None)
    first = await desk.ask(system=name, key_digest=keys[0])
    await stage.registry.revoke(OPERATOR, "nwas", name, keys[0], "lost")
    second = await desk.ask(system=name, key_digest=keys[1])
    await stage.registry.suspend(OPERATOR, "nwas", name, "a check", False)
    for full in (first, second):
        assert full["decided"] == "permit"
        assert await today(stage, full) is Outcome.REFUSE
        await same(stage, full)


async def test_an_agency_ended(desk: Desk) -> None:
    """The provider no longer takes part: the controller of that day is still named."""
    await desk.agree()
    full = await desk.ask()
    ended = Agency(
        desk.agency, "GONE", "fire", "england", SINCE, valid_until=desk.stage.clock.now() - timedelta(days=1)
    )
    await desk.stage.registry.add_agency(OPERATOR, ended)
    assert await today(desk.stage, full) is Outcome.REFUSE
    made = await same(desk.stage, full)
    assert made.decision is not None
    assert made.decision.controller == desk.agency


async def test_learnt_identifiers(desk: Desk) -> None:
    """What was said about another identifier, which only the provider knew, counts again."""
    await desk.agree()
    other = desk.stage.person()
    withdraw = await desk.says(other, "objection")
    full = await desk.ask(other)
    assert (full["decided"], full["consulted"], len(full["learnt"])) == ("refuse", True, 1)
    await withdraw()
    assert await today(desk.stage, full) is Outcome.PERMIT
    await same(desk.stage, full)


async def test_neither_confirm_nor_deny(desk: Desk) -> None:
    """Behind the one answer stands what was really decided, and it is the same again."""
    await desk.agree(ncnd=True)
    subject = desk.stage.person()
    withdraw = await desk.says(subject, "restriction")
    refused = await desk.ask(subject=subject)
    await withdraw()
    desk.stage.providers.answers(NotFound())
    absent = await desk.ask()
    assert (refused["decided"], refused["code"]) == ("refuse", "no-answer")
    assert absent["decided"] == "permit"
    for full in (refused, absent):
        await same(desk.stage, full)


async def test_a_referral(desk: Desk) -> None:
    """Left to a human, with what would have refused it noted; the next version asks nobody."""
    await desk.agree(of={"judgement": True})
    subject = desk.stage.person()
    await desk.says(subject, "objection")
    noted, plain = await desk.ask(subject=subject), await desk.ask()
    assert (noted["decided"], plain["decided"]) == ("refer", "refer")
    await desk.agree()
    assert await today(desk.stage, plain) is Outcome.PERMIT
    for full in (noted, plain):
        await same(desk.stage, full)


async def test_an_override(desk: Desk) -> None:
    """An override with words, one without, and one that has run out: each as it counted then."""
    granted = {"codes": ["life-at-risk"]}
    await desk.agree(of={"override": ["uprn"]}, override=granted)
    subject = desk.stage.person()
    await desk.says(subject, "objection")
    now = desk.stage.clock.now()
    asked = Override("life-at-risk", "she is not answering the door", now + timedelta(hours=1))
    used = await desk.ask(subject=subject, override=asked)
    wordless = await desk.ask(subject=subject, override=replace(asked, words=""))
    late = await desk.ask(subject=subject, override=replace(asked, until=now - timedelta(hours=1)))
    assert [full["decided"] for full in (used, wordless, late)] == ["permit", "refuse", "refuse"]
    assert (used["permitted"], used["overridden"]["code"]) == (["uprn"], "life-at-risk")
    assert "answering" not in str(used)
    for full in (used, wordless, late):
        await same(desk.stage, full)


async def test_traits_place_and_circumstances(desk: Desk) -> None:
    """Asked by name and place, under a condition on the circumstances: all of it is read back."""
    await desk.agree(of={"queries": True, "context": 'place.known && incident != "" && reason == "fire"'})
    place = Place(uprn="10000000001", latitude=51.4779, longitude=0.0)
    traits = Traits(family_name="Hill", approximate_age=70, postcode="CA1 1AA")
    other = desk.stage.person()
    changes: dict[str, Any] = {
        "query": traits,
        "place": place,
        "incident": "nwas/2026-11-21/4711",
        "reason": Reason("fire", "words of a caller"),
        "actor": replace(ACTOR, on_behalf_of="crew-7", callsign="A1", device="mdt", employer="nwas"),
    }
    full = await _by_traits(desk, other, **changes)
    request = Recorded.of(full).request
    assert (full["decided"], request.place, request.query) == ("permit", place, traits)
    assert (request.actor, request.incident, request.subject) == (changes["actor"], changes["incident"], None)
    assert "words of a caller" not in str(full)
    await same(desk.stage, full)


async def _by_traits(desk: Desk, found: SubjectRef, **changes: Any) -> dict[str, Any]:
    stage = desk.stage
    asked = replace(stage.asks(provider=desk.agency), subject=None, **changes)
    digest = stage.reference.catalogue.newest(RISK).digest
    stage.providers.answers(Found(record_of(), digest, (found,)))
    since = await stage.size()
    await stage.exchange.answer(asked)
    return (await stage.since(since))[-1]


async def test_the_whole_log(stage: Stage, desk: Desk) -> None:
    """Everything that the tests before this one did, made again from the first entry: nothing differs."""
    await desk.agree()
    await desk.ask()
    progress = await replayed(stage)
    assert (progress.index, progress.mismatches, progress.found) == (progress.size, 0, ())
    assert progress.same == progress.decisions > 0
    looks = [full for full in await stage.since(progress.size) if full["event"] == "log-replayed"]
    assert [look["detail"]["until"] for look in looks] == [progress.size]


async def test_it_goes_on_where_it_stopped(stage: Stage) -> None:
    """Two ranges beside each other find what one over both does."""
    whole = await replayed(stage, 0, 30)
    parts = [await replayed(stage, 0, 17), await replayed(stage, 17, 30)]
    assert (parts[0].index, parts[1].index) == (17, 30)
    assert sum(part.decisions for part in parts) == whole.decisions
    with pytest.raises(InvalidRequest, match="since: the log has"):
        await replayed(stage, 1 << 40)


async def test_only_an_auditor_with_a_reason(stage: Stage) -> None:
    """An operator may not read everybody's decisions, and nobody does without saying why."""
    for who, reason, error in ((OPERATOR, WHY, NotAllowed), (AUDITOR, Reason(), InvalidRequest)):
        with pytest.raises(error):
            await anext(stage.why.replays.log(who, 0, 0, LOOKS, reason))


async def test_a_decision_that_was_changed(desk: Desk) -> None:
    """Each fact of a recorded decision is held against the rules: change one, and it differs."""
    await desk.agree()
    full = await desk.ask()
    for name, lie in (
        ("decided", "refuse"),
        ("permitted", ["uprn"]),
        ("agreement", "another/1"),
        ("gateway", "another"),
        ("rules", full["rules"][:-1]),
        ("obligations", []),
        ("actor", {**full["actor"], "role": "dispatcher"}),
    ):
        made = await desk.stage.why.replays.one({**full, name: lie})
        assert made.verdict is Verdict.DIFFERS, name
        assert made.differences


async def test_a_directive_that_was_not_there(desk: Desk) -> None:
    """What is in the store as of then, and was not read then, was put there afterwards."""
    await desk.agree()
    subject = desk.stage.person()
    await desk.says(subject, "objection")
    full = await desk.ask(subject=subject)
    made = await desk.stage.why.replays.one({**full, "directives": []})
    assert made.verdict is Verdict.DIFFERS
    assert "was not there then" in made.differences[-1]


async def test_other_law_files(desk: Desk) -> None:
    """A decision under other law files is never called a mismatch, nor the same without saying so."""
    await desk.agree()
    full = await desk.ask()
    assert full["law"] == load().digest
    then = {**full, "law": "0" * 64}
    made = await desk.stage.why.replays.one(then)
    assert (made.verdict, made.law_differs) == (Verdict.SAME, True)
    made = await desk.stage.why.replays.one({**then, "basis": "art6-1-c"})
    assert (made.verdict, made.law_differs) == (Verdict.LAW_DIFFERS, True)


async def test_it_lacks_what_a_decision_is_made_of(desk: Desk) -> None:
    """A view without the key the system asked with cannot be judged, and that is said."""
    await desk.agree()
    full = await desk.ask()
    del full["key"]
    made = await desk.stage.why.replays.one(full)
    assert (made.verdict, made.differences) == (
        Verdict.DIFFERS,
        ("view: no key, so the decision cannot be made again",),
    )


async def test_the_snapshot_of_now_is_the_one_as_at_now(stage: Stage) -> None:
    """The two ways to the same snapshot hold the same: what one of them forgets shows here."""
    now = await stage.reference.refresh()
    then = await stage.past.reference(now.policy)
    for name in Reference.__slots__:
        if name in ("_index", "law"):
            continue
        assert getattr(then, name) == getattr(now, name), name
    assert then.law.digest == now.law.digest
    labels = [{k: [f.agreement.label for f in v] for k, v in r._index.flows.items()} for r in (then, now)]
    assert labels[0] == labels[1]


async def test_before_there_was_anything(stage: Stage) -> None:
    """As at the first count there is nothing yet, and as at a count in between what there was by then."""
    assert not (await stage.past.reference(0)).agencies
    some = await stage.past.reference(3)
    assert 0 < len(some.agencies) + len(some.systems) <= 3


async def test_directives_of_many_people_at_many_counts(stage: Stage) -> None:
    """Each identifier at each count by itself, however many are asked for together."""
    people = [stage.person() for _ in range(3)]
    counts = [await stage.policy()]
    ids: list[str] = []
    for person in people:
        directive = said("objection", said_at=stage.clock.now())
        ids.append(directive.id)
        await stage.said.add(COUNCIL, person, directive, ACTOR)
        counts.append(await stage.policy())
    await stage.said.withdraw_one(COUNCIL, ids[0], ACTOR)
    counts.append(await stage.policy())
    asked = [(person, count) for person in people for count in counts]
    found = await stage.past.directives(asked)
    held = [[d.id for d in found.get(pair, ())] for pair in asked]
    first, second, third = held[:5], held[5:10], held[10:]
    assert first == [[], [ids[0]], [ids[0]], [ids[0]], []]
    assert second == [[], [], [ids[1]], [ids[1]], [ids[1]]]
    assert third == [[], [], [], [ids[2]], [ids[2]]]


async def test_inputs_taken_by_hand_are_a_mismatch(desk: Desk) -> None:
    """A directive that is gone since is named, and that nothing says so: taken by hand, it is no erasure."""
    await desk.agree()
    subject = desk.stage.person()
    await desk.says(subject, "objection")
    full = await desk.ask(subject=subject)
    await _erase(desk.stage, full["directives"][0])
    made = await desk.stage.why.replays.one(full)
    assert (made.verdict, made.erased, made.erased_by) == (Verdict.GONE, (), ())
    assert made.differences[-1] == f"directive {full['directives'][0]}: gone, and nothing says so"


async def _erase(stage: Stage, directive: str) -> None:
    if stage.kind == "memory":
        past: Any = stage.past
        past.erased.add(directive)
    else:
        async with stage.past._database.connection() as connection:  # type: ignore[attr-defined]
            await connection.execute("delete from directive where id = $1", directive)


async def _damage(stage: Stage, index: int, *, erase: bool) -> None:
    """Change, or erase, what is stored of one entry's views."""
    if stage.kind == "memory":

        def damaged(at: int, opening: Opening) -> Opening | None:
            if at != index:
                return opening
            return None if erase else Opening(opening.salt, opening.view.replace(b'"uprn"', b'"uprm"', 1))

        past: Any = stage.past
        past.damage = damaged
        return
    change = (
        "delete from view where idx = $1"
        if erase
        else ("update view set views = set_byte(views, 40, get_byte(views, 40) # 1) where idx = $1")
    )
    async with stage.past._database.connection() as connection:  # type: ignore[attr-defined]
        await connection.execute(change, index)


@pytest.mark.parametrize("erase", [False, True])
async def test_views_tampered_with_or_taken(desk: Desk, erase: bool) -> None:
    """A stored view that is not the one its entry commits to is noticed, and one that was taken by hand."""
    await desk.agree()
    await desk.ask()
    index = await desk.stage.size() - 1
    await _damage(desk.stage, index, erase=erase)
    progress = await replayed(desk.stage, index, index + 1)
    (found,) = progress.found
    assert found.index == index
    assert found.replayed.verdict is (Verdict.GONE if erase else Verdict.TAMPERED)
    assert progress.mismatches == 1
    assert progress.decisions == (0 if erase else 1), "of what is gone nobody can say that it was one"
    assert progress.erased == 0
