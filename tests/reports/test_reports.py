"""Reports of overrides, of agencies, of performance and of complaints, read as their reader may read."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from broker import law
from broker.core.model import Override, Reason
from broker.core.receipt import Audience
from broker.core.reports import words
from broker.core.reports.against import Against
from broker.core.reports.complaints import Complaint, Received
from broker.core.reports.line import Line
from broker.core.reports.overrides import Review
from broker.core.reports.performance import Month, bounds
from broker.core.reports.times import days_after
from broker.core.vocabulary import EVENTS
from broker.errors import AuditUnavailable, InvalidRequest, NotAllowed
from broker.figures import Figures
from broker.looks import By, Look, Progress, Wanted
from broker.reports import Reports
from broker.searches import PAGE, Searches
from tests.human.conftest import GUARDIAN, OVERRIDDEN, OWNER
from tests.reports.conftest import WHY, asked, from_now, indexed, reports_later, rows, text
from tests.support.memory import MemorySearch
from tests.support.stage import COUNCIL, Stage
from tests.support.values import replace
from tests.support.world import ACTOR, AUDITOR, LOOKING, OPERATOR, RISK, World, caller

NWAS = caller("nwas")
UK, PART_3 = "uk-gdpr", "dpa-2018-part-3"


async def report(stage: Stage, who: Any, name: str, **wanted: Any) -> Any:
    """A report of what stands now."""
    await indexed(stage)
    document, _ = await stage.reports.make(who, Wanted(name, **wanted), GUARDIAN, WHY)
    return document


async def broken_glass(stage: Stage) -> str:
    """An override that was used; its entry."""
    person = stage.person()
    await stage.said.add(COUNCIL, person, stage.objection(), GUARDIAN)
    override = Override("life-at-risk", "the father is at the door")
    return await asked(stage, person, purpose=OVERRIDDEN, override=override, reason=Reason("urgent", "words"))


async def test_overrides_say_who_used_them_and_how_their_reviews_stand(stage: Stage) -> None:
    """Owner, requester and auditor see each with its verdict; others, and what overrode nothing, are not in."""
    since = await from_now(stage)
    reviewed, waiting = await broken_glass(stage), await broken_glass(stage)
    plain = await asked(stage)
    await stage.overrides.review(OWNER, reviewed, "not-justified", "nobody was at risk", GUARDIAN)
    for who in (OWNER, NWAS, AUDITOR):
        document = await report(stage, who, "overrides", since=since)
        found = {row["entry"]: row for row in rows(document) if "entry" in row}
        assert found.keys() == {reviewed, waiting}, who.agency
        assert (found[reviewed]["review"], found[reviewed]["verdict"]) == ("in time", "not-justified")
        assert (found[waiting]["review"], found[waiting]["actor"]) == ("waiting", "a.hill")
        assert plain not in text(document)
    assert rows(await report(stage, COUNCIL, "overrides", since=since)) == []


async def test_an_override_that_nobody_reviewed_in_time_is_overdue(stage: Stage) -> None:
    """By the clock of whoever looks."""
    since = await from_now(stage)
    await broken_glass(stage)
    await indexed(stage)
    late = reports_later(stage, hours=73)
    document, _ = await late.make(OWNER, Wanted("overrides", since), GUARDIAN, WHY)
    assert document.tables[0].rows == (("overdue", "open", 1),)


def test_a_review_is_in_time_late_overdue_or_waiting() -> None:
    """By when it was due, and made."""
    due = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
    hour = timedelta(hours=1)
    assert Review(due, "justified", due).timeliness(due + hour) == "in time"
    assert Review(due, "justified", due + hour).timeliness(due + hour) == "late"
    assert Review(due, "open").timeliness(due) == "overdue"
    assert Review(due, "open").timeliness(due - hour) == "waiting"


async def test_an_agency_sees_what_it_asked_and_gave_and_not_what_others_did(stage: Stage) -> None:
    """By purpose, type, agreement and outcome; a refusal before the provider was asked is the requester's."""
    since = await from_now(stage)
    await asked(stage)
    await asked(stage)
    await asked(stage, actor=replace(ACTOR, role="visitor"))
    row = ("emergency-response", RISK, "nwas-cfrs-premises/1", "disclosure", "", 2)
    document = await report(stage, NWAS, "agency", since=since)
    _, mine, gave, _ = document.tables
    assert ("nwas", "cfrs", *row) in mine.rows
    assert [each[6:] for each in mine.rows if each[5] == "refusal"] == [("role", 1)]
    assert gave.rows == ()
    _, mine, gave, _ = (await report(stage, OWNER, "agency", since=since)).tables
    assert (mine.rows, gave.rows) == ((), (("cfrs", "nwas", *row),))
    assert rows(await report(stage, COUNCIL, "agency", since=since)) == []
    _, mine, gave, _ = (await report(stage, AUDITOR, "agency", since=since, agency="cfrs")).tables
    assert (mine.rows, gave.rows[0], gave.rows[1][5:]) == ((), ("cfrs", "nwas", *row), ("refusal", "role", 1))
    with pytest.raises(NotAllowed):
        await report(stage, OPERATOR, "agency", since=since)


def ended(event: str = "disclosure", **changes: Any) -> Line:
    """How the asking of a record ended."""
    made = Line(
        index=0,
        id="entry",
        at=datetime(2026, 10, 5, tzinfo=UTC),
        audience=Audience.FULL,
        event=event,
        purpose="direct-care",
        regimes=(UK, UK),
    )
    return replace(made, **changes)


def month_of(*lines: tuple[Line, int]) -> Any:
    """The page for October, of each line so many times."""
    month = Month(date(2026, 10, 1), law.load())
    for each, times in lines:
        for _ in range(times):
            month.add(each)
    return month.document((("Log", "log"),), (("half", "5 ms"),))


def test_law_enforcement_is_not_counted() -> None:
    """Neither side under Part 3; nor what was refused before that was known, if it may have been."""
    page = month_of(
        (ended(), 20),
        (ended(regimes=(PART_3, UK)), 500),
        (ended(regimes=(UK, PART_3)), 500),
        (ended("refusal", regimes=("", ""), purpose="law-enforcement", code="agreement"), 500),
        (ended("refusal", regimes=("", ""), purpose="no-such-purpose", code="purpose"), 500),
        (ended("refusal", regimes=("", ""), code="agreement"), 12),
    )
    counts = {row["what"]: row["requests"] for row in rows(page) if "requests" in row}
    assert counts["Requests"] == 32
    assert counts["– Records given"] == 20
    assert counts["– – agreement"] == 12
    assert "500" not in text(page)
    assert "Part 3" in page.about[1]


def test_small_counts_are_withheld_and_with_them_what_would_tell_them() -> None:
    """Three refusals show neither as such nor by what is left; the share of answers goes with its parts."""
    page = month_of((ended(), 30), (ended("not-found"), 14), (ended("refusal", code="person"), 3))
    told = {row["what"]: row["requests"] for row in rows(page) if "requests" in row}
    assert told["Requests"] == 47
    assert told["– Refused"] is None
    assert told["– Nothing found"] is None
    assert told["– – person"] is None
    assert "– – By emergency override" not in told, "there was none"
    page = month_of((ended(), 30), (ended(override="life-at-risk"), 2))
    told = {row["what"]: row["requests"] for row in rows(page) if "requests" in row}
    assert (told["– Records given"], told["– – By emergency override"], told["– – Without one"]) == (
        32,
        None,
        None,
    )
    page = month_of((ended(), 30), (ended("provider-failure"), 4), (ended("not-found"), 14))
    shares = {row["what"]: row["said"] for row in rows(page) if "said" in row}
    assert shares["Requests that the provider, where it was asked, answered"] == "withheld"
    page = month_of((ended(), 30), (ended("provider-failure"), 10))
    shares = {row["what"]: row["said"] for row in rows(page) if "said" in row}
    assert shares["Requests that the provider, where it was asked, answered"] == "75.0 %"


async def test_performance_is_of_a_whole_month_that_is_over(stage: Stage) -> None:
    """For operators and auditors, and no other time: two reports could be subtracted from each other."""
    await asked(stage)
    since, until = bounds(date(2026, 10, 1))
    assert (since.isoformat(), until.isoformat()) == ("2026-09-30T23:00:00+00:00", "2026-11-01T00:00:00+00:00")
    for who in (OPERATOR, AUDITOR):
        document = await report(stage, who, "performance", since=bounds(date(2020, 2, 1))[0])
        assert dict(document.facts)["Month"] == "February 2020"
        assert document.tables[0].rows[0][:2] == ("Requests", None), "nothing then, and below ten"
    this_month, _ = bounds(stage.clock.now().date())
    for who, when, error in (
        (NWAS, since, NotAllowed),
        (OPERATOR, this_month, InvalidRequest),
        (OPERATOR, since + timedelta(days=1), InvalidRequest),
        (OPERATOR, None, InvalidRequest),
    ):
        with pytest.raises(error):
            await report(stage, who, "performance", since=when)


async def test_performance_counts_what_operators_may_not_read(stage: Stage) -> None:
    """A month in which something happened, looked at from the next: counts leave, and nobody's name."""
    person = stage.person()
    for _ in range(12):
        await asked(stage, person)
    await indexed(stage)
    later = reports_later(stage, days=40)
    since, _ = bounds(stage.clock.now().date())
    document, _ = await later.make(OPERATOR, Wanted("performance", since), GUARDIAN, WHY)
    total = document.tables[0].rows[0][1]
    assert isinstance(total, int)
    assert total >= 12
    for secret in (person.value, "a.hill", "nwas", "cfrs"):
        assert secret not in text(document)
    with pytest.raises(NotAllowed):
        await later.make(OPERATOR, Wanted("agency"), GUARDIAN, WHY)


async def test_a_complaint_has_its_clock_and_each_step_is_an_entry(stage: Stage) -> None:
    """Acknowledged, then closed, once each, by its own agency; its words are erasable and its text sealed."""
    start = await stage.size()
    add = stage.complaints.add
    complaint, due, made = await add(NWAS, "C-17", None, "about a visit", ACTOR)
    assert made.event_id == complaint
    for call in (
        lambda: stage.complaints.acknowledge(OWNER, complaint, ACTOR),
        lambda: stage.complaints.close(OWNER, complaint, "upheld", "sorry", ACTOR),
        lambda: stage.complaints.listed(OPERATOR, ACTOR, LOOKING),
    ):
        with pytest.raises(NotAllowed):
            await call()
    with pytest.raises(InvalidRequest, match="acknowledge it first"):
        await stage.complaints.close(NWAS, complaint, "upheld", "sorry", ACTOR)
    await stage.complaints.acknowledge(NWAS, complaint, ACTOR)
    with pytest.raises(InvalidRequest, match="acknowledged already"):
        await stage.complaints.acknowledge(NWAS, complaint, ACTOR)
    with pytest.raises(InvalidRequest, match="outcome"):
        await stage.complaints.close(NWAS, complaint, "fine", "sorry", ACTOR)
    await stage.complaints.close(NWAS, complaint, "upheld", "sorry", ACTOR)
    with pytest.raises(InvalidRequest, match="closed already: upheld"):
        await stage.complaints.close(NWAS, complaint, "upheld", "sorry", ACTOR)
    (row,) = [each for each in (await stage.complaints.listed(NWAS, ACTOR, LOOKING))[0] if each.id == complaint]
    assert (row.outcome, row.detail["reference"]) == ("upheld", "C-17")
    assert due == days_after(row.received_at, 30)
    assert (await stage.complaints.listed(OWNER, ACTOR, LOOKING))[0] == []
    fulls = await stage.since(start)
    assert [each["event"] for each in fulls[:3]] == [
        "complaint-received",
        "complaint-acknowledged",
        "complaint-closed",
    ]
    assert "about a visit" not in str(fulls)


async def test_the_report_of_complaints_is_an_agencys_own(stage: Stage) -> None:
    """Auditors see all, or one agency's; received within the time that was asked for."""
    ours, _, _ = await stage.complaints.add(NWAS, "C-18", None, "", ACTOR)
    theirs, _, _ = await stage.complaints.add(OWNER, "F-1", None, "", ACTOR)
    old = stage.clock.now() - timedelta(days=400)
    before, _, _ = await stage.complaints.add(NWAS, "C-1", old, "", ACTOR)
    since = stage.clock.now() - timedelta(days=1)

    async def seen(who: Any, **wanted: Any) -> set[str]:
        document = await report(stage, who, "complaints", since=since, **wanted)
        return {row["complaint"] for row in rows(document) if "complaint" in row} & {ours, theirs, before}

    assert await seen(NWAS) == {ours}
    assert await seen(AUDITOR) == {ours, theirs}
    assert await seen(AUDITOR, agency="cfrs") == {theirs}
    overdue = await report(stage, NWAS, "complaints")
    (late,) = [row for row in rows(overdue) if row.get("complaint") == before]
    assert (late["acknowledged"], late["days"]) == ("overdue", 400)


def test_complaints_are_counted_by_agency_and_how_they_stand() -> None:
    """In time, late, overdue or waiting; open or with their outcome."""
    now = datetime(2026, 11, 22, tzinfo=UTC)
    day = timedelta(days=1)

    def complaint(age: int, acknowledged: int | None = None, outcome: str = "") -> Complaint:
        received = now - age * day
        at = received + acknowledged * day if acknowledged is not None else None
        return Complaint("id", "nwas", "C", received, received + 30 * day, at, at, outcome)

    received = Received(now)
    for each in (complaint(40, 30, "upheld"), complaint(40, 31, "upheld"), complaint(40), complaint(3)):
        received.add(each)
    assert received.document((), Against("complaints")).tables[0].rows == (
        ("nwas", "in time", "upheld", 1),
        ("nwas", "late", "upheld", 1),
        ("nwas", "overdue", "open", 1),
        ("nwas", "waiting", "open", 1),
    )


async def test_an_unknown_report_is_refused_before_anything_is_written(stage: Stage) -> None:
    """With the names that there are."""
    start = await stage.size()
    with pytest.raises(InvalidRequest, match="breach, snooping"):
        await stage.reports.make(AUDITOR, Wanted("gossip"), GUARDIAN, WHY)
    assert await stage.size() == start


async def test_a_report_that_cannot_be_written_down_is_not_made() -> None:
    """No evidence, no report."""
    world = await World().ready()
    cases = world.store.cases
    reports = Reports(
        world.administration,
        world.searches,
        world.store.queues.overrides,
        cases.breaches,
        cases.complaints,
        world.store.reference,
        world.clock,
        Figures(world.administration, cases.figures, world.store.facts, world.clock),
        tuple,
    )
    world.store.log.fail = 1
    with pytest.raises(AuditUnavailable):
        await reports.make(AUDITOR, Wanted("agency"), GUARDIAN, WHY)
    await reports.make(AUDITOR, Wanted("agency"), GUARDIAN, WHY)
    assert world.store.events == ["report-made"]


async def test_a_large_log_is_read_a_page_at_a_time_and_told_how_far() -> None:
    """Each entry once, in order, never more than a page asked for; what is appended meanwhile is not in it."""
    world = await World().ready()
    for n in range(2 * PAGE + 30):
        await world.administration.note(NWAS, "received", {"n": n}, ACTOR)
    asked_for: list[int] = []
    found: list[int] = []
    find = MemorySearch(world.store).find

    async def counted(terms: Any, beyond: int, limit: int, **more: Any) -> Any:
        asked_for.append(limit)
        await world.administration.note(NWAS, "received", {}, ACTOR)
        return await find(terms, beyond, limit, **more)

    index = MemorySearch(world.store)
    index.find = counted  # type: ignore[method-assign]
    searches, progress = Searches(world.administration, index, world.heritage), Progress()
    made = await world.administration.note(AUDITOR, "report-made", {}, ACTOR)
    wanted = Wanted("agency")
    async for each in Look(
        searches, AUDITOR, wanted, made, None, progress, By(AUDITOR, GUARDIAN, WHY, {})
    ).lines():
        found.append(each.index)
    assert found == list(range(made.receipt.index))[::-1]
    assert max(asked_for) <= PAGE
    assert progress.of == made.receipt.index
    assert 2 * PAGE <= progress.read <= progress.of


def test_a_page_has_words_for_every_kind_of_entry() -> None:
    """And for no other: a page for people shows nobody a code that it could say."""
    assert words.EVENTS.keys() == EVENTS
    assert len(set(words.EVENTS.values())) == len(EVENTS)
