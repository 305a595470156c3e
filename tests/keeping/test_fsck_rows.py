"""`fsck` with the key folder: the tables of humans' work, held against what the entries say of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from broker.accesswanted import Wanted
from broker.core.retention import parse
from broker.keys import FolderKeys
from broker.retention import Retention
from broker.store.fsck.check import NOT_COMPARED, fsck_database
from broker.store.fsck.report import StoreReport
from tests.human.conftest import OWNER, Later
from tests.human.test_referrals import NO
from tests.keeping.busy import work
from tests.keeping.conftest import NWAS, OFFICER, WHY, caught_up, furnished
from tests.keeping.test_fsck_says import erases
from tests.keeping.test_retention import FILE
from tests.support.postgres import Server, ask, open_folder
from tests.support.stage import Stage, postgres_stage
from tests.support.world import ACTOR, OPERATOR

ONE_MORE = """
insert into complaint (id, agency, received_at, due_at, key, detail)
select gen_random_uuid(), agency, received_at, due_at, key, detail from complaint
"""
BY_HAND = "alter table {table} {able} trigger user"
ALL = {
    "referral": 2,
    "override_use": 3,
    "override_restriction": 2,
    "complaint": 2,
    "access_request": 2,
    "breach": 1,
    "escalation": 0,
    "published_month": 1,
}


@pytest.fixture(scope="module")
async def busy(postgres: Server) -> AsyncIterator[Stage]:
    """One for all tests: each puts back what it changed."""
    with open_folder() as folder:
        async with postgres_stage(postgres, folder) as stage:
            stage.folder = folder
            await work(await furnished(stage))
            yield stage


async def look(stage: Stage, *, keys: bool = True) -> StoreReport:
    """What fsck says."""
    ring = FolderKeys(stage.folder / "keys") if keys else None
    return await fsck_database(stage.dsn, [stage.signer.verifier], ring)


async def problems(stage: Stage) -> list[str]:
    """What it names."""
    return [str(each) for each in (await look(stage)).problems]


async def changed(stage: Stage, table: str, change: str) -> list[str]:
    """What fsck names while a table is changed by hand; then it is put back."""
    kept = [f"drop table if exists kept_{table}", f"create table kept_{table} as select * from {table}"]
    off, on = (BY_HAND.format(table=table, able=able) for able in ("disable", "enable"))
    await ask(stage.dsn, *kept, off, change, on, "select 1")
    try:
        return [f"{each.kind} {each}" for each in (await look(stage)).problems if each.kind == "row"]
    finally:
        back = [f"delete from {table}", f"insert into {table} select * from kept_{table}"]
        await ask(stage.dsn, off, *back, on, f"drop table kept_{table}", "select 1")


async def test_what_the_entries_say_is_good_and_is_counted(busy: Stage) -> None:
    """Every table was compared, and how many rows of each; without the keys it is said that none was."""
    report = await look(busy)
    assert report.good, [str(each) for each in report.problems]
    assert {name: count for name, count in report.compared.items() if name in ALL} == ALL
    assert report.compared["claims"] == report.claims > 0
    assert not [each for each in report.unchecked if "rows" in each or "claims" in each]
    without = await look(busy, keys=False)
    assert without.good
    assert without.compared == {}
    assert NOT_COMPARED in without.unchecked


@pytest.mark.parametrize(
    ("table", "change", "says"),
    [
        (
            "complaint",
            "update complaint set acknowledged_at = now(), outcome = 'upheld' where closed_at is null",
            "was changed, and no entry says so: acknowledged_at",
        ),
        ("complaint", "update complaint set outcome = 'upheld' where closed_at is not null", "outcome"),
        ("complaint", "update complaint set received_at = now()", "received_at"),
        ("complaint", "update complaint set subject = null", "subject"),
        ("complaint", "update complaint set closed_at = null, outcome = ''", "closed_at, outcome"),
        ("complaint", "update complaint set detail = '\\x00'", "has something else sealed in it"),
        ("complaint", "delete from complaint", "is not there, and nothing says that it went"),
        (
            "complaint",
            ONE_MORE,
            "belongs to no entry",
        ),
        (
            "complaint",
            "update complaint set id = (select id from entry order by idx limit 1) where closed_at is null",
            "which says nothing of it",
        ),
        ("published_month", "update published_month set page = '{\"facts\": []}'", "page"),
        ("published_month", "delete from published_month", "is not there"),
        ("published_month", "update published_month set month = '2019-01-01'", "says nothing of it"),
        ("breach", "delete from breach", "is not there"),
        ("breach", "update breach set due_at = due_at + interval '1 day'", "due_at"),
        ("breach", "update breach set used_at = now()", "used_at"),
        ("breach", "update breach set id = (select id from override_use where status = 'open')", "by no entry"),
        ("override_use", "delete from override_use", "is not there"),
        (
            "override_use",
            "update override_use set status = 'justified' where status = 'wrong-person'",
            "says otherwise than entry",
        ),
        (
            "override_use",
            "update override_use set status = 'justified', reviewed_at = now() where status = 'open'",
            "no entry says so: status, reviewed_at",
        ),
        ("override_use", "update override_use set code = 'other'", "code"),
        ("override_use", "update override_use set due_at = due_at + interval '1 year'", "due_at"),
        ("override_use", "update override_use set used = null", "has lost what is sealed in it"),
        ("override_use", "update override_use set words = null", "has lost what is sealed in it"),
        ("override_use", "update override_use set review = null", "has lost what is sealed in it"),
        ("referral", "update referral set status = 'granted', decided_at = now()", "status"),
        ("referral", "update referral set until = until + interval '1 year'", "until"),
        ("referral", "update referral set due_at = due_at + interval '1 year'", "due_at"),
        ("referral", "update referral set provider = 'ncic'", "provider"),
        ("referral", "delete from referral", "is not there"),
        ("access_request", "update access_request set issued_at = now() where issued_at is null", "issued_at"),
        ("access_request", "update access_request set issued_at = null", "issued_at"),
        ("access_request", "update access_request set subjects = '{}'", "subjects"),
        ("override_restriction", "update override_restriction set lifted_at = null", "lifted_at"),
        ("override_restriction", "update override_restriction set subject = '\\x00'", "subject"),
        ("override_restriction", "update override_restriction set lifted_at = now()", "lifted_at"),
        ("override_restriction", "delete from override_restriction", "is not there"),
    ],
)
async def test_a_row_changed_by_hand_is_named(busy: Stage, table: str, change: str, says: str) -> None:
    """By its table and its entry, with the columns, and without what stands in them."""
    found = await changed(busy, table, change)
    assert [each for each in found if each.startswith(f"row {table} ") and says in each], found
    assert all(each.startswith(f"row {table} ") for each in found), found


async def test_what_an_entry_without_views_may_have_said_is_let_by_and_counted(durable_stage: Stage) -> None:
    """A closing whose entry cannot be opened any more: its row is no fault, and is not called compared."""
    stage = durable_stage
    complaint, _, _ = await stage.complaints.add(NWAS, "C-5", None, "rude", ACTOR)
    await stage.complaints.acknowledge(NWAS, complaint, ACTOR)
    closed = await stage.complaints.close(NWAS, complaint, "not-upheld", "explained", ACTOR)
    assert (await look(stage)).good
    n = closed.receipt.index
    await ask(stage.dsn, f"delete from view where idx = {n}", "select 1")
    report = await look(stage)
    assert [each.kind for each in report.problems] == ["view"]
    assert [each for each in report.unchecked if "1 rows of complaint" in each]


async def test_an_answer_whose_entry_has_ended_is_no_fault(durable_stage: Stage) -> None:
    """With the answer went the identifiers that the request was about: no part of the row says otherwise."""
    stage = durable_stage
    access, _, _ = await stage.access.start(NWAS, Wanted((stage.person(),)), OFFICER, WHY)
    await caught_up(stage)
    _, made = await stage.access.issue(NWAS, access, OFFICER, WHY)
    assert (await look(stage)).good
    await ask(stage.dsn, f"delete from view where idx = {made.receipt.index}", "select 1")
    report = await look(stage)
    assert [each.kind for each in report.problems] == ["view"]
    assert [each for each in report.unchecked if "1 rows of access_request" in each]


async def test_a_restriction_that_is_over_may_be_deleted_and_that_is_said(busy: Stage) -> None:
    """A schedule for staff matters may have it; nobody knows who did it. One in force is missed."""
    off, on = (BY_HAND.format(table="override_restriction", able=able) for able in ("disable", "enable"))
    kept = "create table kept_one as select * from override_restriction where lifted_at is not null"
    gone = "delete from override_restriction where lifted_at is not null"
    await ask(busy.dsn, kept, off, gone, on, "select 1")
    report = await look(busy)
    await ask(
        busy.dsn, "insert into override_restriction select * from kept_one", "drop table kept_one", "select 1"
    )
    assert report.good
    assert [each for each in report.unchecked if "who deleted 1 restrictions that are over" in each]


async def test_what_erasures_take_of_the_rows_is_no_fault(durable_stage: Stage) -> None:
    """By the owner alone, by both parties, of the asker's words; a closed complaint by its entry."""
    stage = durable_stage
    await work(stage)
    reviewed, referred, complaint = [
        str(await ask(stage.dsn, f"select id::text from {each} limit 1"))
        for each in (
            "override_use where status = 'justified'",
            "referral where status = 'open'",
            "complaint where closed_at is not null",
        )
    ]
    await stage.referrals.decide(OWNER, referred, NO, OFFICER)
    for who, entry in ((OWNER, reviewed), (NWAS, complaint), (OWNER, referred)):
        await erases(stage, who, (entry,))
        assert (await problems(stage)) == [], entry
    await erases(stage, NWAS, (reviewed,))
    assert (await problems(stage)) == []
    assert await ask(stage.dsn, "select count(*) from complaint") == 1
    assert await ask(stage.dsn, "select count(*) from referral") == 1


async def test_what_a_retention_takes_of_the_rows_is_no_fault(durable_stage: Stage) -> None:
    """Of a month's requests: rows that nobody works with go with them, the others stay; what those say is
    counted as known no more, and what the reviews that stand say still holds."""
    stage = durable_stage
    await work(stage)
    assert stage.destroying is not None
    later = Later(timedelta(days=4000))
    keeper = Retention(stage.administration, stage.destroying, stage.facts, later, parse(FILE))
    (done,) = [each async for each in keeper.apply(OPERATOR, OFFICER, WHY)]
    assert done.view.name == "standard"
    assert await ask(stage.dsn, "select array_agg(status) from override_use") == ["open"]
    report = await look(stage)
    assert [str(each) for each in report.problems] == []
    assert [each for each in report.unchecked if "all that 1 rows of override_use say" in each]
    found = await changed(stage, "breach", "update breach set aware_at = aware_at - interval '1 day'")
    assert [each for each in found if "aware_at" in each]
