"""One operator with one machine is not two people: whose hand a key came by, and what takes two hands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.bootstrap import enrol_first_operator, enrol_second_operator
from broker.core.directory import Agency, Awaited, Successor
from broker.core.model import Actor, Caller, Function
from broker.enrolling import ANOTHER_PERSON, people
from broker.errors import InvalidRequest
from broker.pki.files import read_certificates
from broker.pki.folder import CertificateFolder
from broker.pki.identity import key_digest
from broker.secondperson import LASTS, ask
from tests.support.memory import FakeClock
from tests.support.signing import Signatory
from tests.support.stage import Stage, memory_stage, postgres_stage
from tests.support.world import OPERATOR, World, caller, key_of

ANN, BOB, EVE = (Actor(name, "operator") for name in ("ann", "bob", "eve"))
SECOND, THIRD = (caller("operator", name, Function.OPERATOR) for name in ("second", "third"))
INTO = (Successor("new-amb"),)


@pytest.fixture(params=["memory", "postgres"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """Each store in turn, with one founder, and an agency that may take another's place."""
    made = (
        memory_stage()
        if request.param == "memory"
        else postgres_stage(request.getfixturevalue("postgres"), tmp_path)
    )
    async with made as one:
        since = one.clock.now() - timedelta(days=9)
        await one.registry.add_agency(OPERATOR, Agency("new-amb", "New", "ambulance", "england", since))
        yield one


async def found(stage: Stage, who: Caller = SECOND) -> None:
    """Name a second founder, as at start."""
    await enrolled(stage, who, who, None, at_start=True)


async def enrolled(stage: Stage, who: Caller, by: Caller, actor: Actor | None = ANN, **more: Any) -> bool:
    """Enrol a system as somebody; whether that waits for a second person."""
    given = (who.agency, who.system, who.function, who.key_digest, None, more.pop("until", None))
    return (await stage.registry.enrol(by, *given, actor, **more))[1]


async def speaks(stage: Stage, who: Caller) -> bool:
    """Whether a system may speak now."""
    reference = await stage.reference.refresh()
    return reference.identify(who.agency, who.system, who.key_digest, stage.clock.now()) is not None


async def change_key(stage: Stage, first: Caller, second: Caller) -> list[dict[str, Any]]:
    """Two operators ask for a further key of the ambulance service's; the entries' details."""
    start, key = await stage.size(), Signatory("nwas").enrolled(stage.clock.now().date())
    await stage.signing.enrol(first, key, None, ANN)
    await stage.signing.enrol(second, key, None, BOB)
    return await details(stage, start)


async def details(stage: Stage, start: int) -> list[dict[str, Any]]:
    """What entries say, with their events."""
    return [{**each["detail"], "event": each["event"]} for each in await stage.since(start)]


async def test_whom_one_operator_enrolled_is_not_a_second_person(stage: Stage) -> None:
    """Neither with who enrolled it, either way round, nor with another that the same operator enrolled, nor
    with whom that one enrolled; and the entry of the enrolment says that it was one person."""
    start = await stage.size()
    assert not await enrolled(stage, SECOND, OPERATOR)
    assert not await enrolled(stage, THIRD, SECOND)
    assert [each["how"] for each in await details(stage, start)] == ["one person", "one person"]
    for first, second in ((OPERATOR, SECOND), (SECOND, OPERATOR), (SECOND, THIRD), (THIRD, OPERATOR)):
        with pytest.raises(InvalidRequest, match="count as one person"):
            await change_key(stage, first, second)


async def test_a_founder_is_a_second_person_and_agrees_to_others(stage: Stage) -> None:
    """Two that were named at start are two people; whom both enrol counts with either of them."""
    await found(stage)
    assert [each.get("how") for each in await change_key(stage, OPERATOR, SECOND)] == [None, "two people"]
    start = await stage.size()
    assert await enrolled(stage, THIRD, OPERATOR, whose=ANOTHER_PERSON)
    assert not await speaks(stage, THIRD)
    assert not await enrolled(stage, THIRD, SECOND, BOB, whose=ANOTHER_PERSON)
    assert await speaks(stage, THIRD)
    proposed, made = await details(stage, start)
    assert (proposed["event"], made["event"]) == ("system-proposed", "system-enrolled")
    assert (made["how"], made["by"]["system"]) == ("two people", OPERATOR.name)
    assert (made["whose"], made["people"]) == (ANOTHER_PERSON, [THIRD.name])
    for other in (OPERATOR, SECOND):
        await change_key(stage, other, THIRD)


async def test_whom_one_had_enrolled_counts_once_another_agrees(stage: Stage) -> None:
    """A system of one founder's hand becomes its own by both of them, and not by the two of one hand."""
    await enrolled(stage, THIRD, OPERATOR)
    await found(stage)
    assert await enrolled(stage, THIRD, THIRD, EVE, whose=ANOTHER_PERSON)
    with pytest.raises(InvalidRequest, match="count as one person"):
        await enrolled(stage, THIRD, OPERATOR, BOB, whose=ANOTHER_PERSON)
    with pytest.raises(InvalidRequest, match="count as one person"):
        await change_key(stage, OPERATOR, THIRD)
    assert not await enrolled(stage, THIRD, SECOND, BOB, whose=ANOTHER_PERSON)
    await change_key(stage, OPERATOR, THIRD)


@pytest.mark.parametrize("function", list(Function), ids=str)
async def test_where_there_are_two_one_enrols_nobody(stage: Stage, function: Function) -> None:
    """A proposal opens nothing; neither the first's own second word confirms it, nor one that asks for
    something else."""
    await found(stage)
    new = caller("ncic", "desk", function)
    whose = ANOTHER_PERSON if function is Function.OPERATOR else ""
    assert await enrolled(stage, new, OPERATOR, whose=whose)
    for by, actor in ((OPERATOR, BOB), (SECOND, Actor("Ann", "operator"))):
        with pytest.raises(InvalidRequest, match="second person"):
            await enrolled(stage, new, by, actor, whose=whose)
    with pytest.raises(InvalidRequest, match="say who is at the keyboard"):
        await enrolled(stage, new, SECOND, None, whose=whose)
    until = stage.clock.now() + timedelta(days=1)
    assert await enrolled(stage, new, SECOND, BOB, until=until, whose=whose)
    assert not await speaks(stage, new)
    with pytest.raises(InvalidRequest, match="second person"):
        await enrolled(stage, new, SECOND, ANN, until=until, whose=whose)


async def test_taking_the_other_away_makes_nobody_two(stage: Stage) -> None:
    """With the second suspended, and its key revoked, it still takes two."""
    await found(stage)
    await stage.registry.suspend(OPERATOR, "operator", "second", "a quarrel", False, ANN)
    assert await enrolled(stage, THIRD, OPERATOR, whose=OPERATOR.name)
    await stage.registry.revoke(OPERATOR, "operator", "second", SECOND.key_digest, "a quarrel", ANN)
    auditor = caller("ncic", "audit", Function.AUDITOR)
    assert await enrolled(stage, auditor, OPERATOR)
    assert not await speaks(stage, THIRD)
    assert not await speaks(stage, auditor)


async def test_a_key_added_to_anothers_system_is_of_ones_own_hand(stage: Stage) -> None:
    """Whoever could add one to the second's would speak as the second: it takes both as well."""
    await found(stage)
    false = Caller("operator", "second", Function.OPERATOR, key_of("false"))
    assert await enrolled(stage, false, OPERATOR)
    assert not await speaks(stage, false)
    assert await speaks(stage, SECOND)


async def test_a_renewed_key_is_of_the_same_person(stage: Stage) -> None:
    """Both confirm the renewals of one operator's two systems, and these stay one person's; so does a key that
    is enrolled again, and one of a system of which no key may speak any more."""
    await enrolled(stage, THIRD, OPERATOR)
    await found(stage)
    start, renewed = await stage.size(), Caller("operator", "third", Function.OPERATOR, key_of("renewed"))
    for new in (renewed, renewed):
        assert await enrolled(stage, new, OPERATOR)
        assert not await enrolled(stage, new, SECOND, BOB)
    assert [each.get("people") for each in await details(stage, start)] == [None, [OPERATOR.name]] * 2
    for key in (THIRD.key_digest, renewed.key_digest):
        await stage.registry.revoke(OPERATOR, "operator", "third", key, "a new machine", ANN)
    last = Caller("operator", "third", Function.OPERATOR, key_of("last"))
    assert await enrolled(stage, last, OPERATOR)
    assert not await enrolled(stage, last, SECOND, BOB)
    for first, second in ((OPERATOR, last), (last, OPERATOR)):
        with pytest.raises(InvalidRequest, match="count as one person"):
            await change_key(stage, first, second)
    await change_key(stage, SECOND, last)


async def test_of_a_new_operator_system_both_say_whose_it_is(stage: Stage) -> None:
    """Not said, or of a system that is no operator's, it is refused; said otherwise by the second, it waits;
    said to be of a known operator, it counts as that one with the other alone."""
    await found(stage)
    for whose in ("", "cfrs/cad", "operator/nobody"):
        with pytest.raises(InvalidRequest, match="say of which operator it is") as refused:
            await enrolled(stage, THIRD, OPERATOR, whose=whose)
        assert refused.value.field == "whose"
    with pytest.raises(InvalidRequest, match="is said of an operator's system"):
        await enrolled(stage, caller("ncic", "desk"), OPERATOR, whose=OPERATOR.name)
    assert await enrolled(stage, THIRD, OPERATOR, whose=OPERATOR.name)
    assert await enrolled(stage, THIRD, SECOND, BOB, whose=ANOTHER_PERSON)
    assert not await speaks(stage, THIRD)
    assert await enrolled(stage, THIRD, SECOND, BOB, whose=OPERATOR.name)
    assert not await enrolled(stage, THIRD, OPERATOR, whose=OPERATOR.name)
    reference = await stage.reference.refresh()
    assert people(reference, reference.systems[THIRD.name]) == [OPERATOR.name]
    with pytest.raises(InvalidRequest, match="count as one person"):
        await change_key(stage, OPERATOR, THIRD)
    await change_key(stage, SECOND, THIRD)


async def test_a_key_of_a_system_that_two_have_had_is_whose_both_say(stage: Stage) -> None:
    """Where its keys are of several people, a further one is nobody's until it is said."""
    await enrolled(stage, THIRD, OPERATOR)
    await found(stage)
    other, third = (Caller("operator", "third", Function.OPERATOR, key_of(name)) for name in ("other", "more"))
    for by, actor in ((OPERATOR, ANN), (SECOND, BOB)):
        await enrolled(stage, other, by, actor, whose=ANOTHER_PERSON)
    with pytest.raises(InvalidRequest, match="keys of operator/third are of several people"):
        await enrolled(stage, third, OPERATOR)
    assert await enrolled(stage, third, OPERATOR, whose=SECOND.name)


async def test_one_operator_alone_makes_nobody_another_person(stage: Stage) -> None:
    """What is said of the new system cannot be more than one person can say."""
    with pytest.raises(InvalidRequest, match="one operator alone enrols nobody else"):
        await enrolled(stage, SECOND, OPERATOR, whose=ANOTHER_PERSON)
    start = await stage.size()
    assert not await enrolled(stage, SECOND, OPERATOR, whose=OPERATOR.name)
    assert (await details(stage, start))[0]["people"] == [OPERATOR.name]


async def test_a_dropped_proposal_leaves_nothing_behind(stage: Stage) -> None:
    """What one person proposed, and took back, says nothing of the system that two enrol later: no roles."""
    await found(stage)
    new = caller("ncic", "audit", Function.AUDITOR)
    assert await enrolled(stage, new, OPERATOR, roles=frozenset({"caldicott-guardian"}))
    await stage.registry.revoke(OPERATOR, "ncic", "audit", new.key_digest, "a slip", ANN)
    assert await enrolled(stage, new, OPERATOR)
    assert not await enrolled(stage, new, SECOND, BOB)
    reference = await stage.reference.refresh()
    assert "caldicott-guardian" not in reference.systems["ncic/audit"].roles
    assert reference.systems["ncic/audit"].awaited is None


async def test_a_system_that_has_answered_stays_an_adapters(stage: Stage) -> None:
    """Said once, in an entry; another key, and another end, change nothing about it."""
    start, desk = await stage.size(), caller("cfrs", "cad")
    for _ in range(2):
        await stage.registry.attached(desk)
    assert [each["event"] for each in await details(stage, start)] == ["system-attached"]
    await enrolled(stage, Caller("cfrs", "cad", Function.PARTNER, key_of("another")), OPERATOR)
    reference = await stage.reference.refresh()
    for key in (desk.key_digest, key_of("another")):
        known = reference.identify("cfrs", "cad", key, stage.clock.now())
        assert known is not None
        assert known.adapter
    other = reference.identify("nwas", "cad", key_of("nwas/cad"), stage.clock.now())
    assert other is not None
    assert not other.adapter


async def test_one_operator_puts_nobody_in_anothers_place_where_there_are_two(stage: Stage) -> None:
    """Whoever takes it reads the old one's evidence: proposed by one, done when the other asks for the same."""
    await found(stage)
    start, at = await stage.size(), stage.clock.now() + timedelta(days=2)

    async def succeed(by: Caller, actor: Actor | None, on: datetime = at) -> bool:
        return (await stage.standing.succeed(by, "nwas", INTO, on, actor=actor))[2]

    assert await succeed(OPERATOR, ANN)
    assert (await stage.reference.refresh()).agencies["nwas"].successors == ()
    with pytest.raises(InvalidRequest, match="second person"):
        await succeed(OPERATOR, BOB)
    assert await succeed(SECOND, BOB, at + timedelta(days=1))
    assert not await succeed(OPERATOR, ANN, at + timedelta(days=1))
    agency = (await stage.reference.refresh()).agencies["nwas"]
    assert (agency.successors, agency.awaited) == (INTO, None)
    said = await details(stage, start)
    assert [each["event"] for each in said][-1] == "agency-succeeded"
    assert (said[-1]["how"], said[-1]["by"]["actor"]) == ("two people", "bob")
    await stage.standing.take_back(OPERATOR, "nwas", ANN)
    assert (await stage.reference.refresh()).agencies["nwas"].successors == ()


async def test_one_operator_alone_says_so_of_a_succession(stage: Stage) -> None:
    """Where there is one, it is done at once, and never called two."""
    start = await stage.size()
    _, _, waits = await stage.standing.succeed(OPERATOR, "nwas", INTO, stage.clock.now(), actor=ANN)
    (said,) = await details(stage, start)
    assert (waits, said["how"], "by" in said) == (False, "one person", False)


async def test_the_second_founder_is_named_at_start_while_there_is_none(tmp_path: Path) -> None:
    """Made of a system that the first enrolled, too; not beside two who may speak, and never of a key that was
    revoked, which stops no start."""
    certificates = CertificateFolder(tmp_path / "certs")
    clock = FakeClock()
    certificates.init("blue-light.test", clock.now())
    world = World(clock)
    world.store.systems.clear()
    reference, callers = world.store.reference, dict[str, Caller]()
    for name in ("one", "two", "three"):
        certificates.issue_client("operator", name, clock.now())
        file = certificates.path / f"operator-{name}" / "cert.pem"
        digest = key_digest(read_certificates(file)[0])
        callers[name] = Caller("operator", name, Function.OPERATOR, digest)

    async def second(name: str) -> bool:
        file = certificates.path / f"operator-{name}" / "cert.pem"
        return await enrol_second_operator(file, world.registry, reference, clock)

    async def hands() -> set[str]:
        found = (await reference.refresh()).speaking(clock.now())
        return {name for name, each in callers.items() if each.key_digest in found}

    one, two = callers["one"], callers["two"]
    await enrol_first_operator(
        certificates.path / "operator-one" / "cert.pem", world.registry, reference, clock
    )
    await world.registry.enrol(one, "operator", "two", Function.OPERATOR, two.key_digest, None, None, ANN)
    assert await hands() == {"one"}
    assert not await second("one")
    assert await second("two")
    assert await hands() == {"one", "two"}
    assert not await second("two")
    assert not await second("three")
    await world.registry.revoke(one, "operator", "two", two.key_digest, "left", ANN)
    assert not await second("two")
    assert await second("three")
    assert await hands() == {"one", "three"}


async def test_a_founder_who_is_left_is_not_two_after_a_restart(tmp_path: Path) -> None:
    """With the other gone, and a certificate renewed, the setting names them again: they stay one person."""
    certificates = CertificateFolder(tmp_path / "certs")
    clock = FakeClock()
    certificates.init("blue-light.test", clock.now())
    world = World(clock)
    file = certificates.path / "operator-second" / "cert.pem"
    await world.registry.enrol(
        SECOND, "operator", "second", Function.OPERATOR, SECOND.key_digest, None, None, at_start=True
    )
    certificates.issue_client("operator", "second", clock.now())
    renewed = key_digest(read_certificates(file)[0])
    for by, actor in ((OPERATOR, ANN), (SECOND, BOB)):
        given = ("operator", "second", Function.OPERATOR, renewed, None, None, actor)
        await world.registry.enrol(by, *given)
    await world.registry.revoke(SECOND, "operator", "cli", OPERATOR.key_digest, "left", BOB)
    assert not await enrol_second_operator(file, world.registry, world.store.reference, clock)
    file.parent.rename(tmp_path / "before")
    certificates.issue_client("operator", "second", clock.now())
    await enrol_second_operator(file, world.registry, world.store.reference, clock)
    known = await world.store.reference.refresh()
    assert known.speaking(clock.now()) == {SECOND.key_digest}
    assert len(known.systems[SECOND.name].key_digests) == 3


async def test_a_forgotten_proposal_begins_anew(stage: Stage) -> None:
    """Within a week the second confirms; after it, the second is the first to ask."""
    await found(stage)
    reference, now = await stage.reference.refresh(), stage.clock.now()
    waiting = ask(reference, None, {"x": "y"}, OPERATOR, ANN, now)
    assert isinstance(waiting, Awaited)
    made = ask(reference, waiting, {"x": "y"}, SECOND, BOB, now + LASTS)
    assert isinstance(made, dict)
    assert made["how"] == "two people"
    late = now + LASTS + timedelta(seconds=1)
    again = ask(reference, waiting, {"x": "y"}, SECOND, BOB, late)
    assert isinstance(again, Awaited)
    assert (again.proposal.system, again.proposal.at) == (SECOND.name, late)
