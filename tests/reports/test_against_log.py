"""Reports read rows, and hold each against the log: one that was changed or deleted by hand changes none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from broker.core.model import Caller, Override, Reason
from broker.core.reports.document import Document
from broker.core.reports.performance import bounds
from broker.looks import Wanted
from tests.human.conftest import GUARDIAN, OVERRIDDEN, OWNER
from tests.reports.conftest import WHY, asked, from_now, indexed, reports_later, rows
from tests.support import postgres
from tests.support.stage import COUNCIL, Stage
from tests.support.values import replace
from tests.support.world import AUDITOR, LOOKING, OPERATOR, caller

NWAS = caller("nwas")


async def by_hand(stage: Stage, table: str, row: str, **columns: str) -> None:
    """Change columns of a row, or delete it where none is named, as anybody with SQL can."""
    assert stage.kind == "postgres"
    change = ", ".join(f"{name} = {value}" for name, value in columns.items())
    statement = f"update {table} set {change}" if columns else f"delete from {table}"
    key = "month" if table == "published_month" else "id"
    for each in (
        f"alter table {table} disable trigger user",
        f"{statement} where {key} = '{row}'",
        f"alter table {table} enable trigger user",
    ):
        await postgres.ask(stage.dsn, each, "select 1")


async def report(stage: Stage, name: str, who: Caller, **wanted: Any) -> Document:
    """A report."""
    await indexed(stage)
    document, _ = await stage.reports.make(who, Wanted(name, **wanted), GUARDIAN, WHY)
    return document


async def reviewed(stage: Stage, verdict: str) -> str:
    """An override that was used, and found to be this."""
    person = stage.person()
    await stage.said.add(COUNCIL, person, stage.objection(), GUARDIAN)
    override = Override("life-at-risk", "the father is at the door")
    used = await asked(stage, person, purpose=OVERRIDDEN, override=override, reason=Reason("urgent", "words"))
    if verdict:
        await stage.overrides.review(OWNER, used, verdict, "words", GUARDIAN)
    return used


def problems(document: Document) -> dict[str, str]:
    """What does not fit, by row."""
    return {row["row"]: row["problem"] for row in rows(document) if "problem" in row}


def verdicts(document: Document) -> dict[str, str]:
    """How each override stands, by its entry."""
    return {row["entry"]: row["verdict"] for row in rows(document) if "due" in row and "entry" in row}


@pytest.mark.parametrize("who", [AUDITOR, OWNER, NWAS], ids=["auditor", "owner", "asker"])
async def test_a_verdict_that_was_changed_by_hand_is_the_entrys(stage: Stage, who: Caller) -> None:
    """Nor does a row that is gone take an override from the report; who reads is told of both."""
    since = await from_now(stage)
    bad, gone, fine, waits = [
        await reviewed(stage, v) for v in ("not-justified", "wrong-person", "justified", "")
    ]
    document = await report(stage, "overrides", who, since=since)
    told = {bad: "not-justified", gone: "wrong-person", fine: "justified", waits: "open"}
    assert (problems(document), verdicts(document)) == ({}, told)
    assert "each says what its entries say" in dict(document.facts)["Held against the log"]
    if stage.kind == "memory":
        return
    await by_hand(stage, "override_use", bad, status="'justified'")
    await by_hand(stage, "override_use", gone)
    document = await report(stage, "overrides", who, since=since)
    assert verdicts(document) == told
    assert "says otherwise than entry" in problems(document)[bad]
    assert "has no row" in problems(document)[gone]
    assert dict(document.facts)["Held against the log"].startswith("2 DO NOT FIT")
    await by_hand(stage, "override_use", waits, status="'justified'", reviewed_at="now()")
    unsaid = problems(await report(stage, "overrides", who, since=since))
    assert (waits in unsaid) is (who is not NWAS), "who asked is not told of every review"


@pytest.mark.parametrize("who", [AUDITOR, OWNER, NWAS], ids=["auditor", "owner", "asker"])
async def test_a_breach_that_was_deleted_by_hand_is_missed(stage: Stage, who: Caller) -> None:
    """The list says which review began one that is not there; and which row is not what its review says."""
    first, second = await reviewed(stage, "wrong-person"), await reviewed(stage, "wrong-person")
    await indexed(stage)

    async def listed() -> tuple[set[str], tuple[str, ...]]:
        found, made = await stage.reports.breaches(who, GUARDIAN, LOOKING)
        return {each.id for each in found}, await stage.reports.doubts(who, found, made)

    ids, before = await listed()
    assert {first, second} <= ids
    assert not [each for each in before if first in each or second in each]
    if stage.kind == "memory":
        return
    await by_hand(stage, "breach", first)
    await by_hand(stage, "breach", second, aware_at="now() - interval '9 days'")
    ids, after = await listed()
    assert first not in ids
    assert len(after) == len(before) + 2
    assert len([each for each in after if "has no row" in each]) == len(before) + 1
    assert [each for each in after if second in each and "says otherwise than entry" in each]
    await by_hand(stage, "breach", second)


@pytest.mark.parametrize("who", [AUDITOR, OWNER, NWAS], ids=["auditor", "owner", "asker"])
async def test_the_pack_of_a_breach_has_its_entries_times(stage: Stage, who: Caller) -> None:
    """The 72 hours run from the review, and what was affected is what was opened, whatever the row says."""
    used = await reviewed(stage, "wrong-person")
    document = await report(stage, "breach", who, breach=used, people=True)
    facts = dict(document.facts)
    clock = [facts[name] for name in ("Time", "Aware since", "To the Commissioner by", "Records given")]
    assert facts["Held against the log"] == "1 row of suspected breaches, and it says what its entries say"
    assert problems(document) == {}
    if stage.kind == "memory":
        return
    away = "now() + interval '9 days'"
    await by_hand(stage, "breach", used, aware_at=away, due_at=away, used_at="now() - interval '9 days'")
    document = await report(stage, "breach", who, breach=used, people=True)
    facts = dict(document.facts)
    assert [facts[name] for name in ("Time", "Aware since", "To the Commissioner by", "Records given")] == clock
    assert facts["Held against the log"].startswith("1 DO")
    assert "says otherwise than entry" in problems(document)[used]
    assert used in {row["entry"] for row in rows(document) if "entry" in row}


@pytest.mark.parametrize("who", [AUDITOR, OWNER], ids=["auditor", "owner"])
async def test_the_pack_of_a_breach_that_no_review_began_says_so(stage: Stage, who: Caller) -> None:
    """A row that somebody put there: it is shown, and what nobody found is said."""
    used = await reviewed(stage, "justified")
    if stage.kind == "memory":
        return
    await postgres.ask(
        stage.dsn,
        "insert into breach (id, provider, requester, system, used_at, aware_at, due_at) "
        f"select id, provider, requester, system, now(), now(), now() from override_use where id = '{used}'",
        "select 1",
    )
    document = await report(stage, "breach", who, breach=used)
    assert "no entry" in problems(document)[used]
    assert dict(document.facts)["Begun by"].startswith("no review")


@pytest.mark.parametrize("who", [AUDITOR, OWNER], ids=["auditor", "controller"])
async def test_complaints_are_what_their_entries_say(stage: Stage, who: Caller) -> None:
    """Acknowledged and closed by hand they are neither; deleted they are there."""
    since = await from_now(stage)
    closed, open_, gone = [
        (await stage.complaints.add(OWNER, f"C-{n}", None, "unhappy", GUARDIAN))[0] for n in range(3)
    ]
    await stage.complaints.acknowledge(OWNER, closed, GUARDIAN)
    await stage.complaints.close(OWNER, closed, "upheld", "told them", GUARDIAN)
    document = await report(stage, "complaints", who, since=since)

    def outcomes(document: Document) -> dict[str, str]:
        return {row["complaint"]: row["outcome"] for row in rows(document) if "complaint" in row}

    told = {closed: "upheld", open_: "open", gone: "open"}
    assert (outcomes(document), problems(document)) == (told, {})
    if stage.kind == "memory":
        return
    hand = {"acknowledged_at": "now()", "closed_at": "now()", "outcome": "'not-upheld'"}
    await by_hand(stage, "complaint", open_, **hand)
    await by_hand(stage, "complaint", gone)
    document = await report(stage, "complaints", who, since=since)
    assert outcomes(document) == told
    assert problems(document) == {
        open_: f"the row says otherwise than entry {open_}",
        gone: f"entry {gone} has no row",
    }


async def test_published_figures_are_what_their_entry_says(stage: Stage) -> None:
    """Changed by hand they are not shown; deleted they are not counted anew."""
    await asked(stage)
    await indexed(stage)
    since, _ = bounds(stage.clock.now().date())

    async def month() -> Document:
        document, _ = await reports_later(stage, days=40).make(
            OPERATOR, Wanted("performance", since=since), GUARDIAN, WHY
        )
        return document

    first = await month()
    await indexed(stage)
    assert await month() == first
    if stage.kind == "memory":
        return
    of = since.date().isoformat() if since.hour == 0 else (since + timedelta(hours=1)).date().isoformat()
    await by_hand(stage, "published_month", of, page="""replace(page::text, 'withheld', '100 %')::jsonb""")
    changed = await month()
    assert changed.tables == first.tables
    assert "is not what its row says" in dict(changed.facts)["DOES NOT FIT THE LOG"]
    await by_hand(stage, "published_month", of)
    deleted = await month()
    assert (deleted.tables, replace(deleted, facts=deleted.facts[:-1])) == (first.tables, first)
    assert "has no row" in dict(deleted.facts)["DOES NOT FIT THE LOG"]
