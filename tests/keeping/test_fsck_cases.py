"""`fsck` with the key folder: clearings, answers and plans of erasures, held against what the entries say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from broker.accesswanted import Wanted
from broker.clearing import Ruling
from broker.erasing import ErasurePlans
from tests.human.conftest import Later
from tests.keeping.conftest import CFRS, COUNCIL, NWAS, OFFICER, WHY, asks, caught_up, furnished
from tests.keeping.test_erasure_plans import GROUND, RECORDS, confirms, planned
from tests.keeping.test_fsck_rows import changed, look, problems
from tests.support.postgres import Server, ask, open_folder
from tests.support.stage import Stage, postgres_stage


@pytest.fixture(scope="module")
async def busy(postgres: Server) -> AsyncIterator[Stage]:
    """One for all tests: each puts back what it changed."""
    with open_folder() as folder:
        async with postgres_stage(postgres, folder) as stage:
            stage.folder = folder
            await furnished(stage)
            await cleared(stage)
            await planned(stage, stage.person())
            yield stage


async def cleared(stage: Stage) -> None:
    """Two requests for access about one person, of which one was answered: an entry is told, one left out."""
    person = stage.person()
    for _ in range(2):
        await asks(stage, person)
    (first, second) = [
        str(await ask(stage.dsn, f"select id::text from entry where idx = {n}")) for n in await _places(stage)
    ]
    for issued in (True, False):
        access, _, _ = await stage.access.start(COUNCIL, Wanted((person,)), OFFICER, WHY)
        await caught_up(stage)
        for who in (NWAS, CFRS):
            await stage.access.clear(
                who, access, [first, second], Ruling("crime-prevention", "it would warn them"), OFFICER
            )
            await stage.access.clear(who, access, [first], Ruling(), OFFICER)
            await caught_up(stage)
        if issued:
            await stage.access.issue(COUNCIL, access, OFFICER, WHY)
            await caught_up(stage)


async def _places(stage: Stage) -> tuple[int, int]:
    size = await stage.size()
    return size - 2, size - 1


async def test_what_the_entries_say_is_good_and_is_counted(busy: Stage) -> None:
    """Clearings that were decided twice, an answer that holds one entry of two, a plan that waits."""
    report = await look(busy)
    assert report.good, [str(each) for each in report.problems]
    assert await ask(busy.dsn, "select count(*) from access_clearing where told") == 2
    assert (report.compared["access_clearing"], report.compared["erasure plans"]) == (8, 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("update access_clearing set told = true where code <> ''", "other entries as told than the answer"),
        ("update access_clearing set told = false", "other entries as told than the answer"),
        ("update access_clearing set code = '' where code <> ''", "says otherwise than entry"),
        ("update access_clearing set code = 'third-party' where code = ''", "says otherwise than entry"),
        ("update access_clearing set cleared_by = 'ncic'", "says otherwise than entry"),
        ("update access_clearing set cleared_at = cleared_at - interval '1 day'", "says otherwise than entry"),
        ("update access_clearing set agency = 'ncic' where agency = 'nwas'", "a row that no entry made"),
        ("delete from access_clearing where code <> ''", "is not there: entry"),
    ],
)
async def test_a_clearing_changed_by_hand_is_named(busy: Stage, change: str, says: str) -> None:
    """What a person is told, or not, is what controllers decided."""
    found = await changed(busy, "access_clearing", change)
    assert [each for each in found if says in each], found
    assert all("access_clearing" in each for each in found)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("update erasure_plan set actor = 'somebody'", "actor"),
        ("update erasure_plan set system = 'nwas/other'", "system"),
        ("update erasure_plan set key_digest = repeat('0', 64)", "key_digest"),
        ("update erasure_plan set agency = 'cfrs'", "agency"),
        ("update erasure_plan set at = at + interval '1 day'", ": at"),
        ("update erasure_plan set ground = 'consent-withdrawn'", "ground"),
        ("update erasure_plan set words_only = true", "words_only"),
        ("update erasure_plan set entries = array(select id from entry where idx < 2)", "entries, names"),
        ("update erasure_plan set directives = array[gen_random_uuid()]", "directives, names"),
        ("update erasure_plan set id = gen_random_uuid()", "is there, and no entry made it"),
        ("delete from erasure_plan", "is not there, and nothing says that it ended"),
    ],
)
async def test_a_plan_changed_by_hand_is_named(busy: Stage, change: str, says: str) -> None:
    """Who asked for it, and what it may take."""
    found = await changed(busy, "erasure_plan", change)
    assert [each for each in found if says in each], found


async def test_two_people_that_were_one_are_named_by_the_erasure(durable_stage: Stage) -> None:
    """The first's name is changed in the row, the same human confirms: the row is gone, the entries differ."""
    stage, subject = durable_stage, durable_stage.person()
    await asks(stage, subject)
    plan = await planned(stage, subject)
    await ask(stage.dsn, "update erasure_plan set actor = 'somebody', key_digest = repeat('1', 64)", "select 1")
    await confirms(stage, plan, subject, RECORDS, OFFICER)
    assert await ask(stage.dsn, "select count(*) from erasure_plan") == 0
    (found,) = await problems(stage)
    assert "(erasure)" in found
    assert "of its plan" in found
    assert found.endswith("actor")


async def test_plans_that_end_are_no_fault(durable_stage: Stage) -> None:
    """Confirmed, withdrawn, refused; lapsed, and gone with the next that is made."""
    stage = durable_stage
    for exemption in ("", "legal-claims"):
        plan = await planned(stage, stage.person())
        assert await problems(stage) == []
        await stage.erasing.end(NWAS, plan, exemption, OFFICER, WHY)
        assert await problems(stage) == []
    subject = stage.person()
    await asks(stage, subject)
    await confirms(stage, await planned(stage, subject), subject)
    assert await problems(stage) == []
    await planned(stage, stage.person())
    later = ErasurePlans(
        stage.administration,
        stage.erasures,
        stage.finder,
        stage.holds,
        stage.erasure_plans,
        stage.disputes,
        stage.facts,
        Later(timedelta(days=40)),
    )
    await later.plan(NWAS, stage.person(), GROUND, OFFICER, WHY)
    # The clock of the database has not gone on: by that one it may not be gone.
    assert [each for each in await problems(stage) if "that it ended" not in each] == []
