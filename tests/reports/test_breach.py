"""Breach packs: who and what was affected, and the 72 hours, which a wrong-person review begins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.model import Function, Override, Reason
from broker.core.receipt import Audience
from broker.core.reports.distinct import Distinct
from broker.core.reports.document import Document
from broker.core.reports.line import Line
from broker.core.reports.taken import Taken
from broker.core.reports.times import in_words
from broker.core.searchterms import Question
from broker.errors import InvalidRequest, NotAllowed
from broker.exports import Exports, Part
from broker.looks import Wanted
from broker.ranges import Range
from tests.human.conftest import GUARDIAN, OVERRIDDEN, OWNER, SILENT_OVERRIDDEN
from tests.reports.conftest import WHY, asked, from_now, indexed, rows, text
from tests.support import postgres
from tests.support.stage import COUNCIL, SINCE, Stage
from tests.support.values import replace
from tests.support.world import ACTOR, AUDITOR, LOOKING, OPERATOR, RISK, caller, key_of

NWAS = caller("nwas")
STOLEN, TAKEN = "ab" * 32, "ac" * 32


async def pack(stage: Stage, who: object = AUDITOR, **wanted: object) -> Document:
    """A breach report."""
    await indexed(stage)
    document, _ = await stage.reports.make(who, Wanted("breach", **wanted), GUARDIAN, WHY)  # type: ignore[arg-type]
    return document


async def test_a_stolen_key_is_counted_and_another_is_not(stage: Stage) -> None:
    """By the digest of the certificate's key: people, records, kinds of data, agencies, and who is named."""
    await stage.registry.enrol(OPERATOR, "nwas", "cad", Function.PARTNER, STOLEN, SINCE, None)
    since = await from_now(stage)
    person, other = stage.person(), stage.person()
    await asked(stage, person, key_digest=STOLEN)
    await asked(stage, person, key_digest=STOLEN)
    await asked(stage, person, key_digest=STOLEN, actor=replace(ACTOR, role="visitor"))
    await asked(stage, other)
    aware = stage.clock.now()
    document = await pack(stage, since=since, key_digest=STOLEN, people=True, aware_at=aware)
    facts = dict(document.facts)
    assert (facts["Different premises"], facts["Records given"]) == ("1", "2")
    assert facts["To the Commissioner by"] == in_words(aware + timedelta(hours=72))
    records, agencies, ends, days, *_, listed = document.tables
    assert records.rows[0][:3] == (RISK, "cfrs", 2)
    assert "special-category" in str(records.rows[0][3])
    assert {row[:4] for row in agencies.rows} == {
        ("cfrs", "held the record", 3, 2),
        ("nwas", "asked", 3, 2),
    }
    assert {(row[0], row[2]) for row in ends.rows} == {("disclosure", 2), ("refusal", 1)}
    assert sum(int(str(row[1])) for row in days.rows) == 3
    assert person.value in str(listed.rows)
    assert other.value not in text(document)
    mine = await pack(stage, since=since, key_digest=key_of("nwas/cad"))
    assert dict(mine.facts)["Records given"] == "1"


async def test_what_was_read_with_a_stolen_certificate_is_in_its_pack(stage: Stage) -> None:
    """Searches, exports with how many entries went out, opened entries and changes; and nobody else's."""
    await stage.registry.enrol(OPERATOR, "nwas", "cad", Function.PARTNER, TAKEN, SINCE, None)
    person = stage.person()
    entry = await asked(stage, person)
    await indexed(stage)
    since = await from_now(stage)
    thief, thieving = replace(NWAS, key_digest=TAKEN), replace(ACTOR, id="thief")
    exports = Exports(
        stage.administration, stage.view, stage.entries, stage.searches, stage.heritage, stage.clock
    )
    question = Question((("agency", "nwas"), ("event", "disclosure")))
    given = [each async for each in exports.export(thief, question, Range(), thieving, LOOKING)]
    rows_given = sum(len(each.rows) for each in given if isinstance(each, Part))
    assert rows_given > 0
    left = exports.export(thief, question, Range(), thieving, LOOKING)
    await anext(left)
    await left.aclose()  # type: ignore[attr-defined]
    await stage.searches.page(thief, Question((), person), thieving, LOOKING, limit=7)
    await stage.audits.open(thief, entry, thieving, LOOKING)
    await stage.complaints.add(thief, "2026/18", None, "words", thieving)
    await stage.audits.open(NWAS, entry, replace(ACTOR, id="honest"), LOOKING)
    document = await pack(stage, since=since, key_digest=TAKEN, people=True)
    looks = [row for row in rows(document) if "shown" in row]
    assert [(row["event"], row["shown"]) for row in looks] == [
        ("complaint-received", ""),
        ("entry-viewed", 1),
        ("log-searched", "at most 7"),
        ("log-exported", "cut off, or not at its end yet: up to all of its range"),
        ("log-exported", rows_given),
    ]
    assert {row["actor"] for row in looks} == {"thief"}
    assert "agency nwas; event disclosure" in looks[-1]["asked"]
    facts = dict(document.facts)
    assert facts["Read from the log"].startswith(f"4 looks: {rows_given} entries went out")
    assert facts["Changed"] == "1 entry"
    for who, wanted in ((NWAS, {}), (AUDITOR, {"system": "nwas/cad"})):
        seen = [row for row in rows(await pack(stage, who, since=since, **wanted)) if "shown" in row]
        assert {row["entry"] for row in looks} < {row["entry"] for row in seen}
        assert person.value not in str(seen)
    assert not [
        row for row in rows(await pack(stage, OWNER, since=since)) if row.get("event") == "entry-viewed"
    ]
    for who in (NWAS, AUDITOR):
        page = await stage.searches.page(who, Question((("key", TAKEN),)), ACTOR, LOOKING)
        assert {row["entry"] for row in looks} <= {each.hit.id for each in page.found}
    page = await stage.searches.page(OWNER, Question((("key", TAKEN),)), ACTOR, LOOKING)
    assert page.found == ()


def test_a_try_of_a_decision_is_a_look() -> None:
    """Whoever tries one is told why it would not hold: it was read, and nothing was changed."""
    taken = Taken("", people=False)
    at = datetime(2026, 11, 21, tzinfo=UTC)
    for event in ("referral-tried", "referral-decided"):
        taken.add(Line(index=0, id=event, at=at, audience=Audience.FULL, event=event))
    facts = dict(taken.facts())
    assert facts["Read from the log"].startswith("1 look: ")
    assert facts["Changed"] == "1 entry"


async def test_without_people_nobody_is_named(stage: Stage) -> None:
    """The pack for the Commissioner holds numbers; identifiers come when they are asked for."""
    since, person = await from_now(stage), stage.person()
    await asked(stage, person)
    document = await pack(stage, since=since, agreement="nwas-cfrs-premises")
    assert dict(document.facts)["Different premises"] == "1"
    assert person.value not in text(document)
    assert "Clock" in dict(document.facts)


async def test_an_agency_sees_its_own_side(stage: Stage) -> None:
    """A provider what it was asked; who is no party nothing; times and systems bound it."""
    since = await from_now(stage)
    person = stage.person()
    await asked(stage, person)
    await asked(stage, person, actor=replace(ACTOR, role="visitor"))
    for who, requests in ((NWAS, 2), (OWNER, 1), (COUNCIL, 0)):
        document = await pack(stage, who, since=since)
        ends = document.tables[2].rows
        assert sum(int(str(row[2])) for row in ends) == requests, who.agency
    by_system = await pack(stage, NWAS, since=since, system="nwas/cad")
    assert dict(by_system.facts)["Records given"] == "1"
    assert "NOT COUNTED" not in dict(by_system.facts)
    blind = {"system": "nwas/cad"}, {"key_digest": key_of("nwas/cad")}
    for narrowed in blind:
        theirs = await pack(stage, OWNER, since=since, **narrowed)
        assert dict(theirs.facts)["Records given"] == "0"
        assert "only the agency that asked sees, and auditors" in dict(theirs.facts)["NOT COUNTED"], (
            "nothing is not none"
        )
        assert "NOT COUNTED" not in dict((await pack(stage, AUDITOR, since=since, **narrowed)).facts)
    elsewhere = await pack(stage, NWAS, since=since, system="nwas/other")
    assert dict(elsewhere.facts)["Records given"] == "0"
    with pytest.raises(NotAllowed, match="own side"):
        await pack(stage, NWAS, since=since, agency="cfrs")
    with pytest.raises(NotAllowed, match="operators make the performance report"):
        await pack(stage, OPERATOR, since=since)
    with pytest.raises(InvalidRequest, match="from when on"):
        await pack(stage)


async def test_a_wrong_person_review_begins_a_breach(stage: Stage) -> None:
    """In the statement of the review; its owner and who asked see it; its pack is about that entry."""
    person = stage.person()
    await stage.said.add(COUNCIL, person, stage.objection(), GUARDIAN)
    override = Override("life-at-risk", "the father is at the door")
    changes = {"purpose": OVERRIDDEN, "override": override, "reason": Reason("urgent", "words")}
    used, fine = [await asked(stage, person, **changes) for _ in range(2)]
    await stage.overrides.review(OWNER, fine, "justified", "it was", GUARDIAN)
    assert fine not in {each.id for each in (await stage.reports.breaches(OWNER, GUARDIAN, LOOKING))[0]}
    await stage.overrides.review(OWNER, used, "wrong-person", "another family", GUARDIAN)
    for who, sees in ((OWNER, True), (NWAS, True), (AUDITOR, True), (COUNCIL, False)):
        found, _ = await stage.reports.breaches(who, GUARDIAN, LOOKING)
        assert (used in {each.id for each in found}) is sees, who.agency
    row = await stage.breaches.by_id(used)
    assert row is not None
    assert row.due_at - row.aware_at == timedelta(hours=72)
    document = await pack(stage, OWNER, breach=used, people=True)
    assert dict(document.facts)["Records given"] == "1"
    assert [row["entry"] for row in rows(document) if "entry" in row] == [used]
    assert "wrong person" in dict(document.facts)["Begun by"]
    assert dict(document.facts)["Time"] == f"the request of {in_words(row.used_at)} alone"
    with pytest.raises(NotAllowed, match="no such breach"):
        await pack(stage, COUNCIL, breach=used)


async def test_who_asked_hears_of_no_review_under_neither_confirm_nor_deny(stage: Stage) -> None:
    """That there was something to review would say that there was somebody: it is the owner's alone."""
    since, person = await from_now(stage), stage.person()
    await stage.said.add(COUNCIL, person, stage.objection(), GUARDIAN)
    override = Override("life-at-risk", "the father is at the door")
    changes = {"purpose": SILENT_OVERRIDDEN, "override": override, "reason": Reason("urgent", "words")}
    used = await asked(stage, person, **changes)
    await stage.overrides.review(OWNER, used, "wrong-person", "another family", GUARDIAN)
    await indexed(stage)
    for who, sees in ((OWNER, True), (AUDITOR, True), (NWAS, False)):
        found, _ = await stage.reports.breaches(who, GUARDIAN, LOOKING)
        assert (used in {each.id for each in found}) is sees, who.agency
        document, _ = await stage.reports.make(who, Wanted("overrides", since), GUARDIAN, WHY)
        assert (used in text(document)) is sees, who.agency
    with pytest.raises(NotAllowed, match="no such breach"):
        await pack(stage, NWAS, breach=used)


async def test_it_says_which_log_and_how_far_it_reaches(stage: Stage) -> None:
    """Origin, checkpoint, how much of it the index held; and the report is an entry with who and why."""
    start = await stage.size()
    document = await pack(stage, since=await from_now(stage))
    facts = dict(document.facts)
    assert facts["Log"] == stage.signer.name
    assert facts["Index"] == f"{start} of the {start} entries before this report: all of them"
    (full,) = await stage.since(start)
    assert (full["event"], full["detail"]["report"], full["detail"]["reason"]) == (
        "report-made",
        "breach",
        "complaint",
    )
    with pytest.raises(InvalidRequest, match="say why"):
        await stage.reports.make(AUDITOR, Wanted("agency"), GUARDIAN, Reason())
    if stage.kind == "postgres":
        # A row is made with its entry: what has none has lost it, and waits until the index has filled the gap.
        entry = await asked(stage)
        lost = f"delete from search s using entry e where e.id = '{entry}' and (s.log, s.idx) = (e.log, e.idx)"
        await postgres.ask(stage.dsn, f"{lost} returning 1")
        behind, _ = await stage.reports.make(AUDITOR, Wanted("agency"), GUARDIAN, WHY)
        assert "1 are not in the index yet" in dict(behind.facts)["Index"]


@given(values=st.lists(st.integers(0, 3000), max_size=400))
def test_different_people_are_counted_exactly_up_to_a_bound(values: list[int]) -> None:
    """However often each comes."""
    distinct = Distinct()
    for value in values:
        distinct.add(str(value))
    assert (distinct.count(), distinct.exact) == (len(set(values)), True)


def test_more_are_estimated() -> None:
    """Within some five in a hundred, in memory that does not grow; and it says `about`."""
    distinct = Distinct()
    for value in range(60_000):
        distinct.add(str(value))
    assert abs(distinct.count() - 60_000) < 3_000
    assert distinct.shown().startswith("about ")
    assert len(distinct._heap) == len(distinct._held) == 4096
