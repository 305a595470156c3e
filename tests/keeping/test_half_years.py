"""Holds, erasures, retention, searches and cases over the logs of several half-years, one thinned out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broker import erasable
from broker import searches as module
from broker.accesswanted import Wanted
from broker.clearing import Ruling
from broker.core.model import SubjectRef
from broker.core.searchterms import Question
from broker.errors import IndexBehind, InvalidRequest, KeptElsewhere
from broker.exports import Exports, Head, Part
from broker.looks import Wanted as Report
from broker.ranges import Range
from broker.rpc import search as rpc
from broker.searches import Searches
from broker.store.indexing import Indexing
from broker.v1 import audit_pb2, exchange_pb2
from tests.human.conftest import GUARDIAN, OWNER
from tests.human.test_overrides import used
from tests.keeping.conftest import (
    AUDITOR,
    CFRS,
    NWAS,
    OFFICER,
    WHY,
    asks,
    caught_up,
    entry_of,
    holds_person,
)
from tests.keeping.test_retention import OLD, applied, count, put
from tests.support.filled import fill, thin_out
from tests.support.memory import ORIGIN
from tests.support.postgres import ask
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR, LOOKING

NEXT, AFTER = "blue-light.test/log/2027h1", "blue-light.test/log/2027h2"


async def rotate(stage: Stage, origin: str = ORIGIN, later: str = NEXT) -> None:
    """On to the next half-year, and the index to its end."""
    assert stage.halves is not None
    await stage.halves.rotate(origin, stage.halves.prepare(later))
    await caught_up(stage)


async def three_logs(stage: Stage, subject: SubjectRef) -> list[str]:
    """A request about somebody in each of three half-years, the first one's among entries that were dropped."""
    entries = []
    await fill(stage.dsn, 300)
    for origin, later in ((ORIGIN, NEXT), (NEXT, AFTER)):
        entries.append(await entry_of(stage, await asks(stage, subject)))
        if origin == ORIGIN:
            await fill(stage.dsn, 600)
        await rotate(stage, origin, later)
    await thin_out(stage.dsn, ORIGIN)
    entries.append(await entry_of(stage, await asks(stage, subject)))
    return entries


async def test_an_erasure_reaches_three_logs_a_party_at_a_time(durable_stage: Stage) -> None:
    """By person and by id, held or not; proofs of what is gone stay good where the bytes are."""
    stage, subject = durable_stage, durable_stage.person()
    entries = await three_logs(stage, subject)
    hold = await holds_person(stage, NWAS, subject)
    told, _ = await stage.erasures.erase(NWAS, subject, OFFICER, WHY)
    assert (told.entries, told.held) == (0, 4)
    told, _ = await stage.erasures.erase(NWAS, (entries[0],), OFFICER, WHY)
    assert (told.entries, told.held) == (0, 1)
    await stage.holds.release(NWAS, hold, OFFICER, WHY)
    await caught_up(stage)
    told, _ = await stage.erasures.erase(NWAS, (entries[0],), OFFICER, WHY, words_only=True)
    assert (told.entries, told.words) == (0, 1)
    told, _ = await stage.erasures.erase(NWAS, (entries[0],), OFFICER, WHY)
    assert told.entries == 1
    for who, left in ((NWAS, 3), (CFRS, 3)):
        told, _ = await stage.erasures.erase(who, subject, OFFICER, WHY)
        assert told.entries == left
        await caught_up(stage)
    assert await count(stage, "view", "true") > 0
    sql = "select count(*) from view join entry e using (log, idx) where e.id = any ('{%s}')"
    assert await ask(stage.dsn, sql % ",".join(entries)) == 0
    page = await stage.searches.page(AUDITOR, Question(person=subject), ACTOR, WHY)
    assert not page.found
    for entry, signer in ((entries[1], NEXT), (entries[2], AFTER)):
        receipt, full = await stage.view.receipt(entry, "full")
        assert (receipt.opening, full) == (None, {})
        assert signer.encode() in receipt.checkpoint
    with pytest.raises(KeptElsewhere, match=r"2026h2:\d+ is kept in an export alone \(vault 3\)"):
        await stage.view.receipt(entries[0], "full")


@pytest.mark.parametrize("how", ["made-anew", "lost"])
async def test_nobody_is_missed_in_a_log_that_is_closed(
    durable_stage: Stage, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Its index being made anew, or short of a row: nothing is erased, and the refusal names the log."""
    monkeypatch.setattr(erasable, "_PATIENCE", 0.05)
    stage, subject = durable_stage, durable_stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    await rotate(stage)
    number = await ask(stage.dsn, f"select log from entry where id = '{entry}'")
    if how == "made-anew":
        await ask(stage.dsn, f"update search_progress set again = 1 where log = {number}", "select 1")
        said = rf"has reached entry 1 of \d+ of {ORIGIN}"
    else:
        await ask(stage.dsn, f"delete from search where log = {number} and idx = 3", "select 1")
        said = f"has left out entry 3 of {ORIGIN}"
    with pytest.raises(IndexBehind, match=said):
        await stage.erasures.erase(NWAS, subject, OFFICER, WHY)
    if how == "made-anew":
        document, _ = await stage.reports.make(NWAS, Report("agency"), ACTOR, WHY)
        (told,) = [value for name, value in document.facts if name == "Log before"]
        assert told.endswith("are not in the index yet, and so not in here")
    else:
        index: Any = stage.search
        filling = index.filling
        await Indexing(filling._database, filling._seals, filling._terms, number).begin_again()
    await caught_up(stage)
    assert (await stage.erasures.erase(NWAS, subject, OFFICER, WHY))[0].entries == 1


async def test_a_month_ends_that_was_in_a_log_of_which_the_entries_were_dropped(durable_stage: Stage) -> None:
    """Views, key and file go, and what is held is sealed anew; nothing of it needs the entries' bytes."""
    stage = durable_stage
    await fill(stage.dsn, 300)
    gone = await put(stage, OLD)
    subject = SubjectRef("nhs-number", "9000000017")
    provider = replace(gone.provider, identifiers=(("nhs-number", subject.value),))
    full = {"asked_by": {"scheme": subject.scheme, "value": subject.value}, **provider.as_json()}
    kept = await put(stage, OLD, provider=provider, full=full)
    await fill(stage.dsn, 600)
    await rotate(stage)
    await thin_out(stage.dsn, ORIGIN)
    await holds_person(stage, CFRS, subject)
    (done,) = await applied(stage)
    assert (done.view.month, done.entries, done.set_aside) == ("2020-01", 1, 1)
    for entry, left in ((gone.id, False), (kept.id, True)):
        hit = await stage.search.entry(entry)
        assert (bool(hit.views), hit.log) == (left, ORIGIN)
        assert hit.at == OLD.replace(microsecond=0)


async def test_an_export_is_of_one_log_and_names_the_others(durable_stage: Stage) -> None:
    """Each of three has its own; of what was dropped the caller has the bytes, or is told where they are."""
    stage, subject = durable_stage, durable_stage.person()
    entries = await three_logs(stage, subject)
    exports = Exports(
        stage.administration, stage.view, stage.entries, stage.searches, stage.heritage, stage.clock
    )
    question = Question((("event", "disclosure"),), subject)
    halves = {each.origin: each for each in await stage.entries.halves()}
    assert list(halves) == [AFTER, NEXT, ORIGIN]
    for log, entry in zip((ORIGIN, NEXT, AFTER), entries, strict=True):
        given = [
            each
            async for each in exports.export(NWAS, question, Range(log=log), ACTOR, WHY, archived=log == ORIGIN)
        ]
        head, rows = given[0], [row for part in given[1:] if isinstance(part, Part) for row in part.rows]
        assert isinstance(head, Head)
        assert (head.range.log, head.entry_log) == (log, AFTER)
        assert set(head.others) == {ORIGIN, NEXT, AFTER} - {log}
        (row,) = rows
        assert bool(row.entry) is (log != ORIGIN)
        assert row.opening is not None
        assert (await stage.view.id_at(row.index, log)) == entry
    with pytest.raises(KeptElsewhere, match="vault 3"):
        async for _ in exports.export(NWAS, question, Range(log="2026h2"), ACTOR, WHY):
            pass
    opened = halves[AFTER].opened_at
    narrow = Question(since=opened.replace(year=opened.year + 1))
    head = await anext(exports.export(AUDITOR, narrow, Range(), ACTOR, WHY))
    assert isinstance(head, Head)
    assert head.others == ()
    with pytest.raises(InvalidRequest, match="log"):
        await anext(exports.export(NWAS, question, Range(log="2020h1"), ACTOR, WHY))


async def test_who_follows_is_shown_what_came_last_in_a_log_that_was_closed(
    durable_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appended between the last look and the rotation; then what comes in the next log."""
    stage, subject = durable_stage, durable_stage.person()
    monkeypatch.setattr(rpc, "FOLLOW", 0.01)
    searches = Searches(stage.administration, stage.search, stage.heritage)
    request = audit_pb2.SearchRequest(
        facts=[audit_pb2.SearchFact(kind="event", value="disclosure")],
        person=exchange_pb2.SubjectRef(scheme=subject.scheme, value=subject.value),
        actor=exchange_pb2.Actor(id="ann", role="auditor"),
        reason=exchange_pb2.ReasonCode(code="x"),
        follow=True,
    )
    shown: list[tuple[str, str]] = []
    last: list[str] = []
    on = searches.on

    async def overtaken(*what: Any, **how: Any) -> Any:
        page = await on(*what, **how)
        if not how["newest_first"] and not last:
            last.append(await entry_of(stage, await asks(stage, subject)))
            await rotate(stage)
            last.append(await entry_of(stage, await asks(stage, subject)))
        return page

    searches.on = overtaken  # type: ignore[method-assign]

    async def follow() -> None:
        async for page in rpc.search(searches, request, NWAS):
            shown.extend((page.log, hit.event_id) for hit in page.hits)
            if len(shown) == 2:
                return

    await asyncio.wait_for(follow(), 30)
    assert shown == [(ORIGIN, last[0]), (NEXT, last[1])]


async def test_who_follows_comes_past_whatever_may_not_be_seen(
    durable_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that name an incident of its own and are not its to find so: what is said of it later comes."""
    stage, incident = durable_stage, "cfrs/2026-11-21/17"
    monkeypatch.setattr(rpc, "FOLLOW", 0.01)
    monkeypatch.setattr(module, "_MOST", 4, raising=False)
    monkeypatch.setattr(module, "_CHUNK", 2)
    searches = Searches(stage.administration, stage.search, stage.heritage)
    request = audit_pb2.SearchRequest(
        facts=[audit_pb2.SearchFact(kind="incident", value=incident)],
        actor=exchange_pb2.Actor(id="ann", role="auditor"),
        reason=exchange_pb2.ReasonCode(code="x"),
        follow=True,
        limit=1,
    )
    begun = asyncio.Event()

    async def follow() -> str:
        async for page in rpc.search(searches, request, CFRS):
            begun.set()
            for hit in page.hits:
                return hit.event_id
        return ""

    following = asyncio.create_task(follow())
    await begun.wait()
    for _ in range(9):
        await asks(stage, stage.person(), incident=incident)
    said = await searches.incidents.say(CFRS, incident, "nwas/2026-11-21/0042", True, ACTOR, WHY)
    assert await asyncio.wait_for(following, 20) == said.event_id


async def test_an_override_and_a_complaint_of_the_old_half_year_end_in_the_new(durable_stage: Stage) -> None:
    """Used or received before, reviewed or closed after: reports hold both, and the breach that was begun."""
    stage = durable_stage
    await fill(stage.dsn, 300)
    _, row = await used(stage)
    complaint, _, _ = await stage.complaints.add(NWAS, "C-17", None, "words", ACTOR)
    await fill(stage.dsn, 600)
    await rotate(stage)
    await thin_out(stage.dsn, ORIGIN)
    await stage.overrides.review(OWNER, row.id, "wrong-person", "another family", GUARDIAN)
    await stage.complaints.acknowledge(NWAS, complaint, ACTOR)
    await stage.complaints.close(NWAS, complaint, "upheld", "done", ACTOR)
    await caught_up(stage)
    document, _ = await stage.reports.make(NWAS, Report("complaints"), ACTOR, WHY)
    assert "C-17" in str(document.tables)
    assert "upheld" in str(document.tables)
    document, _ = await stage.reports.make(OWNER, Report("overrides"), ACTOR, WHY)
    assert row.id in str(document.tables)
    assert "wrong-person" in str(document.tables)
    (breach,), _ = await stage.reports.breaches(OWNER, ACTOR, LOOKING)
    document, _ = await stage.reports.make(OWNER, Report("breach", breach=breach.id, people=True), ACTOR, WHY)
    assert ("Log before", ORIGIN) in [(name, value.partition(":")[0]) for name, value in document.facts]
    assert row.id in str(document.tables)


async def test_a_request_for_access_is_answered_from_the_logs_before_it(durable_stage: Stage) -> None:
    """Begun in one half-year, answered two later: what came since is not in it, and what was dropped is."""
    stage, subject = durable_stage, durable_stage.person()
    await fill(stage.dsn, 300)
    first = await entry_of(stage, await asks(stage, subject))
    await fill(stage.dsn, 600)
    access, _, _ = await stage.access.start(NWAS, Wanted((subject,)), OFFICER, WHY)
    await rotate(stage)
    later = await entry_of(stage, await asks(stage, subject))
    await rotate(stage, NEXT, AFTER)
    await thin_out(stage.dsn, ORIGIN)
    for who in (NWAS, CFRS):
        found, *_ = await stage.access.listed(who, ACTOR, LOOKING)
        assert [undecided for row, undecided in found if row.id == access] == [1]
        draft, _ = await stage.access.draft(who, access, OFFICER, WHY)
        assert first in str(draft.tables)
        assert later not in str(draft.tables)
        await stage.access.clear(who, access, [], Ruling(), OFFICER)
    answers = [await stage.access.issue(NWAS, access, OFFICER, WHY) for _ in range(2)]
    assert answers[0][0] == answers[1][0]
    assert first in str(answers[0][0].tables)
    assert ("Log", ORIGIN) in answers[0][0].facts
