"""What an agency leaves to whoever takes its place: entries, requests for access, breaches, complaints."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from broker.accesswanted import Wanted
from broker.clearing import Ruling
from broker.core.model import Caller, Function, Place, Reason, Request, SubjectRef
from broker.core.searchterms import Question
from broker.errors import InvalidRequest, NotAllowed
from broker.exports import Exports, Part
from broker.heritage import Heritage
from broker.looks import Wanted as Report
from broker.ranges import Range
from broker.rpc import search as rpc
from broker.searches import Searches
from broker.v1 import audit_pb2, exchange_pb2
from tests.human.conftest import GUARDIAN, OVERRIDDEN, OWNER, Later
from tests.human.test_overrides import BREAK_GLASS
from tests.human.test_succeeded import EAST, ELSEWHERE, WEST, stage, succeed
from tests.keeping.conftest import caught_up, entry_of
from tests.support.cumbria import CARLISLE, EDEN
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR, LOOKING, OPERATOR, caller

__all__ = ["stage"]
WHY = Reason("subject-access", "they ask who saw what")
OLD, NWAS = "cfrs", caller("nwas")
DPO = replace(GUARDIAN, id="d.lee", role="dpo")


async def disclosed(stage: Stage, district: str, subject: SubjectRef | None = None) -> tuple[Request, str]:
    """What the fire service gave out about somebody in a district (may be empty), and its entry."""
    where = {"place": Place(district=district)} if district else {}
    request = stage.asks(subject=subject, **where)
    stage.finds(request)
    await stage.exchange.answer(request)
    await caught_up(stage)
    return request, await entry_of(stage, request)


async def search(stage: Stage, who: Caller, subject: Any, in_place_of: str = OLD) -> list[str]:
    """Ids that a search in the old one's place finds."""
    question = Question((("event", "disclosure"),), subject)
    page = await stage.searches.page(who, question, ACTOR, WHY, in_place_of=in_place_of)
    await caught_up(stage)
    return [seen.hit.id for seen in page.found]


async def test_each_reads_what_was_left_to_it(stage: Stage) -> None:
    """Its districts, and what names none or one that nobody has; the look says in whose place."""
    subject = stage.person()
    entries = {where: (await disclosed(stage, where, subject))[1] for where in (CARLISLE, EDEN, ELSEWHERE, "")}
    for who in (WEST, EAST):
        with pytest.raises(NotAllowed, match="has not taken the place of cfrs, or not yet"):
            await search(stage, who, subject)
    await succeed(stage)
    everybodys = {entries[ELSEWHERE], entries[""]}
    start = await stage.size()
    assert {*await search(stage, WEST, subject)} == {entries[CARLISLE], *everybodys}
    looked = (await stage.since(start))[0]
    assert (looked["event"], looked["requester"], looked["detail"]["in_place_of"]) == (
        "log-searched",
        "west-fire",
        "cfrs",
    )
    assert {*await search(stage, EAST, subject)} == {entries[EDEN], *everybodys}
    assert await search(stage, WEST, subject, "") == [], "its own alone"
    with pytest.raises(NotAllowed, match="nwas has not taken the place of cfrs"):
        await search(stage, NWAS, subject)


async def test_each_takes_away_what_was_left_to_it(stage: Stage) -> None:
    """An export in the old one's place holds what a search there shows, to its successor from the day on;
    nobody else takes anything away in anybody's place."""
    exports = Exports(
        stage.administration,
        stage.view,
        stage.entries,
        stage.searches,
        stage.heritage,
        stage.clock,
    )
    subject = stage.person()
    entries = {where: (await disclosed(stage, where, subject))[1] for where in (CARLISLE, EDEN)}

    async def taken(who: Caller) -> list[str]:
        given = exports.export(who, Question(person=subject), Range(), DPO, WHY, in_place_of=OLD)
        parts = [each async for each in given if isinstance(each, Part)]
        return [await stage.view.id_at(row.index) for part in parts for row in part.rows]

    with pytest.raises(NotAllowed, match="has not taken the place of cfrs, or not yet"):
        await taken(WEST)
    await succeed(stage)
    assert await taken(WEST) == [entries[CARLISLE]]
    assert await taken(EAST) == [entries[EDEN]]
    start = await stage.size()
    for who in (NWAS, caller("cumberland", "mash")):
        with pytest.raises(NotAllowed, match=f"{who.agency} has not taken the place of cfrs"):
            await taken(who)
    assert await stage.since(start) == []


async def test_whoever_stays_reads_in_anothers_place_while_it_may(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time that staying is an entry again, it is looked whether the place is still theirs."""
    monkeypatch.setattr(rpc, "FOLLOW", 0.01)
    monkeypatch.setattr(rpc, "AGAIN", 0.05)
    now, later = stage.clock.now(), Later(timedelta(hours=2))
    await succeed(stage, now + timedelta(hours=1))
    searches = Searches(stage.administration, stage.search, Heritage(stage.reference, later))
    request = audit_pb2.SearchRequest(
        facts=[audit_pb2.SearchFact(kind="event", value="disclosure")],
        actor=exchange_pb2.Actor(id="d.lee", role="dpo"),
        reason=exchange_pb2.ReasonCode(code="subject-access"),
        follow=True,
        in_place_of=OLD,
    )
    pages = rpc.search(searches, request, WEST)
    await anext(pages)
    await stage.standing.take_back(OPERATOR, OLD)
    with pytest.raises(NotAllowed, match="has not taken the place of cfrs"):
        async with asyncio.timeout(10):
            await anext(pages)


async def test_one_entry_is_opened_in_the_providers_view(stage: Stage) -> None:
    """And not one that went to the other; the opening is an entry that says in whose place."""
    _, west = await disclosed(stage, CARLISLE)
    _, east = await disclosed(stage, EDEN)
    with pytest.raises(NotAllowed, match="no such entry that you may see"):
        await stage.audits.open(WEST, west, ACTOR, WHY)
    await succeed(stage)
    opened = await stage.audits.open(WEST, west, ACTOR, WHY)
    assert opened.audience == "provider"
    assert opened.receipt.opening is not None
    assert json.loads(opened.receipt.opening.view)["requester"] == "nwas"
    (full,) = (await stage.since(await stage.size() - 1))[-1:]
    assert (full["event"], full["detail"]["in_place_of"]) == ("entry-viewed", "cfrs")
    with pytest.raises(NotAllowed, match="no such entry that you may see"):
        await stage.audits.open(WEST, east, ACTOR, WHY)


async def test_the_old_ones_key_opens_nothing(stage: Stage) -> None:
    """From the day on its systems are nobody; its successors read by certificates of their own."""
    known = stage.reference.current.systems["cfrs/cad"]
    (key,) = known.key_digests
    assert stage.reference.current.identify("cfrs", "cad", key, stage.clock.now()) is not None
    await succeed(stage)
    await stage.reference.refresh()
    assert stage.reference.current.identify("cfrs", "cad", key, stage.clock.now()) is None


async def test_a_request_for_access_is_answered_for_the_one_that_ended(stage: Stage) -> None:
    """What the old one disclosed is told when its successor has cleared it in its place, and not before."""
    subject = stage.person()
    _, entry = await disclosed(stage, CARLISLE, subject)
    await succeed(stage)
    access, _, _ = await stage.access.start(WEST, Wanted((subject,)), DPO, WHY)
    await caught_up(stage)
    assert [left for row, left in (await stage.access.listed(WEST, DPO, LOOKING))[0] if row.id == access] == [1]
    assert [left for row, left in (await stage.access.listed(EAST, DPO, LOOKING))[0] if row.id == access] == [0]
    with pytest.raises(NotAllowed, match="no such entry that your agency may clear"):
        await stage.access.clear(WEST, access, [entry], Ruling(), DPO)
    with pytest.raises(NotAllowed, match="no such entry that your agency may clear"):
        await stage.access.clear(EAST, access, [entry], Ruling(), DPO, OLD)
    with pytest.raises(NotAllowed, match="has not taken the place"):
        await stage.access.clear(NWAS, access, [entry], Ruling(), DPO, OLD)
    draft, _ = await stage.access.draft(WEST, access, DPO, WHY, OLD)
    assert entry in str(draft)
    cleared, made = await stage.access.clear(WEST, access, [entry], Ruling(), DPO, OLD)
    assert cleared == 1
    _, full = await stage.view.receipt(made.event_id, "full")
    said: Any = full["detail"]
    assert (full["requester"], said["agency"], said["in_place_of"]) == ("west-fire", "cfrs", "cfrs")
    await stage.access.clear(NWAS, access, [entry], Ruling(), DPO)
    answer, _ = await stage.access.issue(WEST, access, DPO, WHY)
    assert entry in str(answer)


async def test_of_what_is_left_to_several_the_first_decides(stage: Stage) -> None:
    """It alone changes it; what the old agency had decided itself any of them may, once."""
    subject = stage.person()
    _, entry = await disclosed(stage, "", subject)
    _, theirs = await disclosed(stage, "", subject)
    access, _, _ = await stage.access.start(NWAS, Wanted((subject,)), DPO, WHY)
    await caught_up(stage)
    await stage.access.clear(OWNER, access, [theirs], Ruling(), DPO)
    await succeed(stage)
    left_out = Ruling("third-party", "the neighbour is named")
    await stage.access.clear(WEST, access, [entry], left_out, DPO, OLD)
    with pytest.raises(InvalidRequest, match=r"entries\.0: west-fire, which took the place of cfrs as well"):
        await stage.access.clear(EAST, access, [entry], Ruling(), DPO, OLD)
    await stage.access.clear(EAST, access, [theirs], left_out, DPO, OLD)
    with pytest.raises(InvalidRequest, match=r"entries\.1: east-fire"):
        await stage.access.clear(WEST, access, [entry, theirs], Ruling(), DPO, OLD)
    await stage.access.clear(NWAS, access, [], Ruling(), DPO)
    answer, _ = await stage.access.issue(NWAS, access, DPO, WHY)
    assert not {entry, theirs} & {str(cell) for table in answer.tables for row in table.rows for cell in row}
    assert entry not in str(answer)


async def test_breaches_and_complaints_are_left_too(stage: Stage) -> None:
    """A suspected breach to whoever has its district; a complaint to any, and the first that acts counts."""
    request = stage.asks(
        purpose=OVERRIDDEN, override=BREAK_GLASS, place=Place(district=CARLISLE), reason=Reason("urgent", "x")
    )
    assert request.subject is not None
    await stage.said.add(caller("cumberland"), request.subject, stage.objection(), GUARDIAN)
    stage.finds(request)
    await stage.exchange.answer(request)
    await caught_up(stage)
    entry = await entry_of(stage, request)
    await stage.overrides.review(OWNER, entry, "wrong-person", "it was somebody else", GUARDIAN)
    complaint, _, _ = await stage.complaints.add(OWNER, "C-1", None, "rude", ACTOR, request.subject)
    for who in (WEST, EAST):
        assert (await stage.reports.breaches(who, ACTOR, LOOKING))[0] == []
        assert (await stage.complaints.listed(who, ACTOR, LOOKING))[0] == []
    await succeed(stage)
    assert [row.id for row in (await stage.reports.breaches(WEST, ACTOR, LOOKING))[0]] == [entry]
    assert (await stage.reports.breaches(EAST, ACTOR, LOOKING))[0] == []
    for who in (WEST, EAST):
        assert [row.id for row in (await stage.complaints.listed(who, ACTOR, LOOKING))[0]] == [complaint]
    await stage.complaints.acknowledge(EAST, complaint, ACTOR)
    with pytest.raises(InvalidRequest, match="was acknowledged already"):
        await stage.complaints.acknowledge(WEST, complaint, ACTOR)
    with pytest.raises(NotAllowed):
        await stage.complaints.close(NWAS, complaint, "upheld", "words", ACTOR)


async def test_a_report_is_made_of_the_one_that_ended(stage: Stage) -> None:
    """By name, from its side; nobody else's name is let through."""
    await disclosed(stage, CARLISLE)
    report = Report("agency", agency=OLD)
    with pytest.raises(NotAllowed, match="about its own side"):
        await stage.reports.make(WEST, report, ACTOR, WHY)
    await succeed(stage)
    document, _ = await stage.reports.make(WEST, report, ACTOR, WHY)
    assert "home-fire-safety" in str(document) or "emergency-response" in str(document)
    assert ("Read as", "CFRS (cfrs): what it is party to, in its own view") in document.facts
    with pytest.raises(NotAllowed, match="about its own side"):
        await stage.reports.make(WEST, Report("agency", agency="nwas"), ACTOR, WHY)


async def test_a_report_in_anothers_place_says_what_its_maker_has_erased(stage: Stage) -> None:
    """The erasure is the maker's own entry, and what it took is missing from the old agency's report."""
    _, entry = await disclosed(stage, CARLISLE)
    await succeed(stage)
    await stage.erasures.erase(WEST, (entry,), DPO, WHY)
    await caught_up(stage)
    document, _ = await stage.reports.make(WEST, Report("agency", agency=OLD), ACTOR, WHY)
    assert dict(document.facts)["Erased since"].startswith("1 entry of this time, which your agency has erased")


async def test_a_report_in_anothers_place_says_what_others_in_that_place_have_erased(stage: Stage) -> None:
    """Of what they share, as long as anybody keeps it; of what was never the reader's own nothing."""
    shared = [(await disclosed(stage, "", stage.person()))[1] for _ in range(2)]
    _, theirs = await disclosed(stage, CARLISLE)
    await succeed(stage)
    report, key = Report("agency", agency=OLD), "Erased by others in the place of cfrs"

    async def told(who: Caller) -> str:
        await caught_up(stage)
        return dict((await stage.reports.make(who, report, ACTOR, WHY))[0].facts).get(key, "")

    assert (await told(EAST)).startswith("0 entries of this time")
    await stage.erasures.erase(WEST, (shared[0], theirs), DPO, WHY)
    assert (await told(EAST)).startswith("1 entry of this time")
    assert (await told(WEST)).startswith("0 entries of this time")
    document, _ = await stage.reports.make(NWAS, Report("agency"), ACTOR, WHY)
    assert key not in dict(document.facts)


async def test_nobody_erases_what_was_left_to_another(stage: Stage) -> None:
    """Each successor gives up the old one's part of its own districts alone, by person and by id."""
    subject = stage.person()
    _, west = await disclosed(stage, CARLISLE, subject)
    _, east = await disclosed(stage, EDEN, subject)
    await succeed(stage)
    found = await stage.finder.find(WEST, subject, words_only=False)
    await caught_up(stage)
    assert found.entries == (west,)
    with pytest.raises(NotAllowed, match="no such entry that your agency may erase"):
        await stage.finder.find(WEST, (east,), words_only=False)
    assert (await stage.finder.find(EAST, (east,), words_only=False)).entries == (east,)


async def test_auditors_and_operators_stand_in_nobodys_place(stage: Stage) -> None:
    """An auditor reads all as ever; an operator reads nothing."""
    await succeed(stage)
    for who in (caller("west-fire", "audit", Function.AUDITOR), OPERATOR):
        with pytest.raises(NotAllowed):
            await search(stage, who, stage.person())
