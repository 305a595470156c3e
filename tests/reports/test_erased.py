"""What an erasure does to answers and reports: an answer only ever shrinks, and each says what is gone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.accesswanted import Wanted
from broker.clearing import Ruling
from broker.core.model import Caller, Override, Reason, SubjectRef
from broker.core.reports.document import Document
from broker.core.reports.performance import bounds
from broker.core.searchterms import Question
from broker.errors import AuditUnavailable, InvalidRequest
from broker.figures import Figures
from broker.looks import Wanted as Report
from broker.ports import Hits
from broker.reports import Reports
from broker.searches import Searches
from tests.human.conftest import GUARDIAN, OVERRIDDEN, OWNER
from tests.reports.conftest import WHY, asked, entries, from_now, indexed, reports_later, rows
from tests.support.memory import MemorySearch
from tests.support.stage import COUNCIL, Stage
from tests.support.values import replace
from tests.support.world import AUDITOR, OPERATOR, World, caller

NWAS = caller("nwas")
LEFT_OUT = Ruling("third-party", "the neighbour who rang is named")


async def begun(stage: Stage, person: SubjectRef) -> str:
    """A request for access that the council has received."""
    access, _, _ = await stage.access.start(COUNCIL, Wanted((person,)), GUARDIAN, WHY)
    await indexed(stage)
    return access


async def issued(stage: Stage, access: str) -> Document:
    """The answer to it."""
    document, _ = await stage.access.issue(COUNCIL, access, GUARDIAN, WHY)
    return document


async def erased(stage: Stage, who: Caller, *ids: str) -> str:
    """These entries' part of an agency is gone; the id of the entry that says so."""
    await indexed(stage)
    _, (made,) = await stage.erasures.erase(who, ids, GUARDIAN, WHY)
    await indexed(stage)
    return made.event_id


async def report(stage: Stage, who: Caller, name: str, **wanted: Any) -> dict[str, str]:
    """What a report says of itself."""
    await indexed(stage)
    document, _ = await stage.reports.make(who, Report(name, **wanted), GUARDIAN, WHY)
    return dict(document.facts)


async def test_what_was_left_out_is_not_told_once_its_controller_keeps_nothing(stage: Stage) -> None:
    """The other party cleared it; who left it out has erased its part, before or after the answer."""
    for before in (True, False):
        person = stage.person()
        entry = await asked(stage, person)
        access = await begun(stage, person)
        await stage.access.clear(NWAS, access, [entry], Ruling(), GUARDIAN)
        await stage.access.clear(OWNER, access, [entry], LEFT_OUT, GUARDIAN)
        if before:
            await erased(stage, OWNER, entry)
        assert entries(await issued(stage, access)) == []
        if not before:
            await erased(stage, OWNER, entry)
        again = await issued(stage, access)
        assert entries(again) == []
        assert "Erased since it was first given" not in dict(again.facts), "it never held anything"


async def test_what_was_not_decided_is_not_told_once_its_controller_keeps_nothing(stage: Stage) -> None:
    """What the answer holds is settled when it is first given, and not when it is given again."""
    person = stage.person()
    entry = await asked(stage, person)
    access = await begun(stage, person)
    await stage.access.clear(NWAS, access, [entry], Ruling(), GUARDIAN)
    assert entries(await issued(stage, access)) == []
    await erased(stage, OWNER, entry)
    assert entries(await issued(stage, access)) == []


async def test_an_answer_loses_what_was_erased_and_says_so(stage: Stage) -> None:
    """One party's erasure takes an entry out only where nobody could tell it in the same words any more."""
    person = stage.person()
    kept, gone = await asked(stage, person), await asked(stage, person)
    access = await begun(stage, person)
    for who in (NWAS, OWNER):
        await stage.access.clear(who, access, [kept, gone], Ruling(), GUARDIAN)
    first = await issued(stage, access)
    assert {each["entry"] for each in entries(first)} == {kept, gone}
    await erased(stage, OWNER, kept)
    assert await issued(stage, access) == first, "its requester keeps it, as it was told"
    by = await erased(stage, NWAS, gone)
    again = await issued(stage, access)
    assert [each["entry"] for each in entries(again)] == [kept]
    said = dict(again.facts)["Erased since it was first given"]
    assert said.startswith("1 of the entries that this answer first had; by ")
    assert by in said


async def test_how_an_answer_stands_is_shown_of_ones_own_entries_alone(stage: Stage) -> None:
    """Before it is given for good; others' clearing does not show, and the look is an entry."""
    person = stage.person()
    entry, other = await asked(stage, person), await asked(stage, person)
    access, _, _ = await stage.access.start(NWAS, Wanted((person,)), GUARDIAN, WHY)
    await indexed(stage)
    await stage.access.clear(OWNER, access, (), Ruling(), GUARDIAN)
    await stage.access.clear(NWAS, access, [entry], LEFT_OUT, GUARDIAN)
    start = await stage.size()
    stands, _ = await stage.access.preview(NWAS, access, GUARDIAN, WHY)
    assert (stands.answered, stands.told, stands.left_out, stands.undecided) == (False, 0, 1, 1)
    assert [each["event"] for each in await stage.since(start)] == ["access-previewed"]
    await stage.access.clear(NWAS, access, [other], Ruling(), GUARDIAN)
    stands, _ = await stage.access.preview(AUDITOR, access, GUARDIAN, WHY)
    assert (stands.told, stands.left_out, stands.undecided) == (1, 1, 0)
    await stage.access.issue(NWAS, access, GUARDIAN, WHY)
    assert (await stage.access.preview(NWAS, access, GUARDIAN, WHY))[0].answered


async def test_a_report_says_how_much_of_its_time_was_erased_and_by_what(stage: Stage) -> None:
    """To an agency its own erasures; to auditors what nobody keeps; of other times nothing."""
    since = await from_now(stage)
    some = [await asked(stage) for _ in range(3)]
    until = await from_now(stage)
    later = await asked(stage)
    first = await erased(stage, NWAS, *some, later)
    assert (
        "4 entries of this time, which your agency has erased"
        in (await report(stage, NWAS, "agency", since=since))["Erased since"]
    )
    told = (await report(stage, NWAS, "agency", since=since, until=until))["Erased since"]
    assert told.startswith("3 entries of this time")
    assert f"3 by entry {first} of " in told
    for who in (OWNER, AUDITOR):
        assert "Erased since" not in await report(stage, who, "agency", since=since), "they have them still"
    second = await erased(stage, OWNER, some[0])
    told = (await report(stage, AUDITOR, "overrides", since=since))["Erased since"]
    assert told.startswith("1 entry of this time, which nobody keeps any more")
    assert first in told or second in told
    assert "Erased since" not in await report(stage, NWAS, "agency", since=await from_now(stage))


async def test_figures_of_a_month_are_those_first_published(stage: Stage) -> None:
    """Whoever subtracts a report of after an erasure from one of before finds nothing."""
    person = stage.person()
    for _ in range(11):
        await asked(stage)
    victims = [await asked(stage, person) for _ in range(3)]
    await indexed(stage)
    later = reports_later(stage, days=40)
    since = first_of_month(stage.clock.now())
    start = await stage.size()
    first, _ = await later.make(OPERATOR, Report("performance", since), GUARDIAN, WHY)
    assert [each["event"] for each in await stage.since(start)] == ["report-made", "figures-published"]
    for who in (NWAS, OWNER):
        await erased(stage, who, *victims)
    await asked(stage)
    again, _ = await later.make(AUDITOR, Report("performance", since), GUARDIAN, WHY)
    assert again == first
    assert "First published" in dict(again.facts)
    full = (await stage.since(start))[1]
    assert full["detail"]["page"]["tables"][0]["rows"] == [list(row) for row in first.tables[0].rows]


def first_of_month(at: datetime) -> datetime:
    """Its first moment on a clock in the United Kingdom."""
    return bounds(at.date())[0]


async def test_figures_are_not_published_while_the_index_is_behind() -> None:
    """What is counted once is counted whole."""
    world = await World().ready()
    index = MemorySearch(world.store)
    find = index.find

    async def behind(*asked_for: Any, **more: Any) -> Hits:
        found = await find(*asked_for, **more)
        return replace(found, done=0)

    index.find = behind  # type: ignore[method-assign]
    cases = world.store.cases
    published = Figures(world.administration, cases.figures, world.store.facts, world.clock)
    reports = Reports(
        world.administration,
        Searches(world.administration, index, world.heritage),
        world.store.queues.overrides,
        cases.breaches,
        cases.complaints,
        world.store.reference,
        world.clock,
        published,
        tuple,
    )
    await world.administration.note(NWAS, "received", {}, GUARDIAN)
    month = Report("performance", first_of_month(datetime(2026, 10, 5, tzinfo=UTC)))
    with pytest.raises(AuditUnavailable, match="does not hold all"):
        await reports.make(OPERATOR, month, GUARDIAN, WHY)
    assert cases.figures.months == {}


async def test_who_decided_is_told_searched_and_named_by_their_own_agency(stage: Stage) -> None:
    """A review is the owner's human's: its requester neither finds it by them nor is named as the reviewer."""
    person = stage.person()
    await stage.said.add(COUNCIL, person, stage.objection(), GUARDIAN)
    override = Override("life-at-risk", "the father is at the door")
    used = await asked(stage, person, purpose=OVERRIDDEN, override=override, reason=Reason("urgent", "words"))
    made = await stage.overrides.review(OWNER, used, "justified", "a life was at risk", GUARDIAN)
    access = await begun(stage, person)
    draft, _ = await stage.access.draft(NWAS, access, GUARDIAN, WHY)
    (row,) = [each for each in rows(draft) if each["entry"] == made.event_id]
    assert (row["by"], row["asked"]) == ("CFRS", "")

    async def found(who: Caller, kind: str, value: str) -> set[str]:
        question = Question((("event", "override-reviewed"), (kind, value)))
        page = await stage.searches.page(who, question, GUARDIAN, WHY)
        return {each.hit.id for each in page.found}

    for who in (OWNER, AUDITOR):
        assert made.event_id in await found(who, "system", OWNER.name)
        assert made.event_id in await found(who, "actor", GUARDIAN.id)
        assert made.event_id not in await found(who, "system", "nwas/cad")
    for kind, value in (("system", OWNER.name), ("system", "nwas/cad"), ("actor", GUARDIAN.id)):
        assert made.event_id not in await found(NWAS, kind, value)


async def test_a_report_says_what_it_was_narrowed_by(stage: Stage) -> None:
    """Who reads that two records were given must see that it is of one system."""
    since = await from_now(stage)
    narrowed = {"system": "nwas/cad", "agreement": "nwas-cfrs-premises"}
    facts = await report(stage, AUDITOR, "breach", since=since, **narrowed)
    assert facts["Only of the system"] == "nwas/cad"
    assert facts["Only under the agreement"] == "nwas-cfrs-premises"
    assert facts["Made by"].startswith(f"{GUARDIAN.id} ({GUARDIAN.role}) of ")
    assert facts["Made for"] == WHY.code
    with pytest.raises(InvalidRequest):
        await report(stage, AUDITOR, "breach")
