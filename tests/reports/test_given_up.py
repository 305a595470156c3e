"""What one party of an entry has given up stands in the other's drafts, answers and reports all the same."""

from __future__ import annotations

from typing import Any

import pytest

from broker.clearing import Ruling
from broker.core.model import Caller, Override
from broker.core.searchterms import Question
from broker.looks import Wanted as Report
from tests.human.conftest import GUARDIAN, OVERRIDDEN, OWNER
from tests.reports.conftest import WHY, asked, entries, from_now, indexed, rows
from tests.reports.test_erased import NWAS, begun, erased, issued
from tests.support.stage import COUNCIL, Stage
from tests.support.world import AUDITOR


async def test_a_provider_tells_what_its_requester_has_given_up(stage: Stage) -> None:
    """What it finds by searching stands in its draft, and in the answer once it alone has cleared it."""
    person = stage.person()
    entry = await asked(stage, person)
    before = await begun(stage, person)
    words = entries((await stage.access.draft(OWNER, before, GUARDIAN, WHY))[0])
    await erased(stage, NWAS, entry)
    access = await begun(stage, person)
    page = await stage.searches.page(OWNER, Question((("event", "disclosure"),), person), GUARDIAN, WHY)
    assert [each.hit.id for each in page.found] == [entry]
    assert entries((await stage.access.draft(OWNER, access, GUARDIAN, WHY))[0]) == words
    assert entries((await stage.access.draft(NWAS, access, GUARDIAN, WHY))[0]) == []
    await indexed(stage)
    await stage.access.clear(OWNER, access, (), Ruling(), GUARDIAN)
    told = entries(await issued(stage, access))
    assert [(each["entry"], each["by"]) for each in told] == [(entry, "NWAS")]


@pytest.mark.parametrize("verdict", ["justified", "not-justified"])
async def test_a_report_keeps_an_override_whose_owner_has_erased_it(stage: Stage, verdict: str) -> None:
    """For as long as whoever used it keeps the entry: when it was due, and what the review found."""
    since, person = await from_now(stage), stage.person()
    await stage.said.add(COUNCIL, person, stage.objection(), GUARDIAN)
    override = Override("life-at-risk", "the father is at the door")
    entry = await asked(stage, person, purpose=OVERRIDDEN, override=override)
    await stage.overrides.review(OWNER, entry, verdict, "because", GUARDIAN)

    async def listed(who: Caller) -> list[dict[str, Any]]:
        await indexed(stage)
        document, _ = await stage.reports.make(who, Report("overrides", since=since), GUARDIAN, WHY)
        return rows(document)

    before = {who.agency: await listed(who) for who in (AUDITOR, NWAS)}
    assert all(verdict in str(each) for each in before.values())
    await erased(stage, OWNER, entry)
    for who in (AUDITOR, NWAS):
        assert await listed(who) == before[who.agency]
    row = await stage.overridden.by_id(entry)
    assert row is not None
    assert (row.used, row.words, row.review) == ({}, "", {}), "nothing of the person's, or of whoever reviewed"
