"""Requests for access: each controller clears its own entries, and what is told shows only what all cleared."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker import access as access_module
from broker import law
from broker.access import BUCKET, Accesses
from broker.accesswanted import Wanted
from broker.audience import Seen
from broker.clearing import Holdings, Ruling
from broker.core.directory import Agency
from broker.core.model import Caller, Override, Reason, SubjectRef
from broker.core.receipt import Audience
from broker.core.reports.document import Document
from broker.core.reports.subject import told
from broker.core.searchterms import Question
from broker.errors import AuditUnavailable, Denied, InvalidRequest, NotAllowed, QuotaExceeded
from broker.law import exemptions
from broker.ports import Found, Hit, NotFound
from tests.human.conftest import ASSERTED, GUARDIAN, OVERRIDDEN, OWNER, SILENT, SILENT_OVERRIDDEN
from tests.reports.conftest import WHY, asked, entries, indexed, text
from tests.support import postgres
from tests.support.stage import COUNCIL, Stage
from tests.support.values import replace
from tests.support.world import ACTOR, AUDITOR, HOME, LOOKING, OPERATOR, World, ask, caller, record_of

NWAS, NCIC, CFRS = caller("nwas"), caller("ncic"), caller("cfrs")
PART_3 = "dpa-2018-part-3"
LEFT_OUT = Ruling("third-party", "the neighbour who rang is named")


async def begun(stage: Stage, *people: SubjectRef, deceased: bool = False) -> str:
    """A request for access that the council has received."""
    access, _, _ = await stage.access.start(COUNCIL, Wanted(people, deceased=deceased), GUARDIAN, WHY)
    await indexed(stage)
    return access


async def issued(stage: Stage, access: str) -> Document:
    """The answer to it."""
    document, _ = await stage.access.issue(COUNCIL, access, GUARDIAN, WHY)
    return document


async def drafted(stage: Stage, who: Caller, access: str) -> Document:
    """An agency's own entries, to be cleared."""
    document, _ = await stage.access.draft(who, access, GUARDIAN, WHY)
    return document


async def left(stage: Stage, access: str) -> dict[str, int]:
    """How many entries each agency has yet to decide, as it is told."""
    listed = {
        who.agency: (await stage.access.listed(who, GUARDIAN, LOOKING))[0] for who in (NWAS, OWNER, COUNCIL)
    }
    return {agency: {row.id: n for row, n in found}[access] for agency, found in listed.items()}


async def test_an_entry_is_told_once_every_party_to_it_has_cleared_it(stage: Stage) -> None:
    """The requester alone does not do; with the provider too it says who, what, why and on what basis."""
    person = stage.person()
    entry, theirs = await asked(stage, person), await asked(stage, person, provider="cfrs")
    other = await asked(stage)
    access = await begun(stage, person)
    assert await left(stage, access) == {"nwas": 2, "cfrs": 2, "cumberland": 0}
    counted, _ = await stage.access.clear(NWAS, access, (), Ruling(), GUARDIAN)
    assert counted == 2
    await stage.access.clear(OWNER, access, [entry], Ruling(), GUARDIAN)
    assert await left(stage, access) == {"nwas": 0, "cfrs": 1, "cumberland": 0}
    found = entries(await issued(stage, access))
    assert [each["entry"] for each in found] == [entry]
    assert (found[0]["by"], found[0]["asked"], found[0]["role"]) == ("NWAS", "CFRS", "ambulance crew")
    assert found[0]["what"] == "A record was given"
    assert "Oxygen: as at, kind" in found[0]["fields"]
    assert "UK GDPR" in found[0]["basis"]
    assert not {theirs, other} & {each["entry"] for each in found}


async def test_a_draft_holds_a_controllers_own_entries_and_nobody_elses(stage: Stage) -> None:
    """Each party sees its own; the council that received the request sees that it has none."""
    person = stage.person()
    entry = await asked(stage, person)
    refused = await asked(stage, person, actor=replace(ACTOR, role="visitor"))
    access = await begun(stage, person)
    drafts = {
        who.agency: {each["entry"] for each in entries(await drafted(stage, who, access))}
        for who in (NWAS, OWNER, COUNCIL)
    }
    assert drafts == {"nwas": {entry, refused}, "cfrs": {entry}, "cumberland": set()}
    with pytest.raises(NotAllowed, match="no such entry that your agency may clear"):
        await stage.access.clear(OWNER, access, [refused], Ruling(), GUARDIAN)
    with pytest.raises(NotAllowed):
        await stage.access.draft(OPERATOR, access, GUARDIAN, WHY)


async def test_an_answer_with_something_left_out_is_that_of_somebody_with_nothing(stage: Stage) -> None:
    """Word for word: all left out, one of two left out by one party, nothing decided, nothing there at all."""
    answers: dict[str, Document] = {}
    for case in ("left out", "by one", "undecided", "nothing"):
        person = stage.person()
        access_to = [] if case == "nothing" else [await asked(stage, person)]
        access = await begun(stage, person)
        if case in ("left out", "by one"):
            await stage.access.clear(OWNER, access, access_to, LEFT_OUT, GUARDIAN)
            ruling = Ruling() if case == "by one" else LEFT_OUT
            await stage.access.clear(NWAS, access, access_to, ruling, GUARDIAN)
        answers[case] = await issued(stage, access)
    shapes = {(each.title, each.about, each.tables, each.none) for each in answers.values()}
    assert len(shapes) == 1
    names = {tuple(name for name, _ in each.facts) for each in answers.values()}
    assert len(names) == 1
    assert entries(answers["nothing"]) == []


async def test_reasons_are_needed_to_leave_something_out(stage: Stage) -> None:
    """Words for each; an opinion for serious harm; police codes only where Part 3 was the regime."""
    person = stage.person()
    entry = await asked(stage, person)
    access = await begun(stage, person)
    for ruling, field in (
        (Ruling("because", "words"), "code"),
        (Ruling("third-party"), "words"),
        (Ruling("serious-harm-health", "it would"), "opinion"),
        (Ruling("police-restriction", "an inquiry"), "code"),
        (Ruling("neither-confirm-nor-deny", "an inquiry"), "code"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            await stage.access.clear(NWAS, access, [entry], ruling, GUARDIAN)
        assert caught.value.field == field
    with pytest.raises(InvalidRequest, match=r"actor\.assurance"):
        await stage.access.clear(NWAS, access, [entry], Ruling(), ASSERTED)
    start = await stage.size()
    ruling = Ruling("serious-harm-health", "it would", "Dr Bell, consultant psychiatrist, 2026-11-01")
    await stage.access.clear(NWAS, access, [entry], ruling, GUARDIAN)
    (full,) = await stage.since(start)
    assert (full["event"], full["detail"]["code"]) == ("access-cleared", "serious-harm-health")
    assert "Dr Bell" not in str(full), "words are kept apart, and erasable"
    draft, _ = await stage.access.draft(NWAS, access, GUARDIAN, WHY)
    assert [each["status"] for each in entries(draft)] == [
        "left out: serious-harm-health, DPA 2018 Sch. 3 para. 5 and 6"
    ]


async def test_nothing_is_cleared_after_the_answer(stage: Stage) -> None:
    """A decision may be changed until then; afterwards the same answer comes again."""
    person = stage.person()
    entry = await asked(stage, person)
    access = await begun(stage, person)
    for who in (NWAS, OWNER):
        await stage.access.clear(who, access, [entry], LEFT_OUT, GUARDIAN)
        await stage.access.clear(who, access, [entry], Ruling(), GUARDIAN)
    first = await issued(stage, access)
    assert [each["entry"] for each in entries(first)] == [entry]
    with pytest.raises(InvalidRequest, match="was answered already"):
        await stage.access.clear(NWAS, access, [entry], LEFT_OUT, GUARDIAN)
    assert await issued(stage, access) == first
    assert access not in {each.id for each, _ in (await stage.access.listed(NWAS, GUARDIAN, LOOKING))[0]}


async def test_what_became_of_a_request_goes_with_it(stage: Stage) -> None:
    """A review of the override that was used names the request and not the person, and is found too."""
    person = stage.person()
    await stage.said.add(COUNCIL, person, stage.objection(), GUARDIAN)
    override = Override("life-at-risk", "the father is at the door")
    used = await asked(stage, person, purpose=OVERRIDDEN, override=override, reason=Reason("urgent", "words"))
    await stage.overrides.review(OWNER, used, "justified", "a life was at risk", GUARDIAN)
    access = await begun(stage, person)
    for who in (NWAS, OWNER):
        draft, _ = await stage.access.draft(who, access, GUARDIAN, WHY)
        whats = [each["what"] for each in entries(draft)]
        assert whats == [
            "A record was given under an emergency override, in spite of your objection",
            "An emergency access was reviewed. It was found justified",
        ], who.agency


async def test_what_a_requester_must_not_learn_of_is_told_to_nobody(stage: Stage) -> None:
    """Under neither confirm nor deny a review is its owner's alone: the requester may read the answer."""
    person = stage.person()
    await stage.said.add(COUNCIL, person, stage.objection(), GUARDIAN)
    override = Override("life-at-risk", "the father is at the door")
    changes = {"purpose": SILENT_OVERRIDDEN, "override": override, "reason": Reason("urgent", "words")}
    used = await asked(stage, person, **changes)
    made = await stage.overrides.review(OWNER, used, "justified", "a life was at risk", GUARDIAN)
    access = await begun(stage, person)
    draft, _ = await stage.access.draft(OWNER, access, GUARDIAN, WHY)
    assert used in text(draft)
    assert made.event_id not in text(draft)
    with pytest.raises(NotAllowed):
        await stage.access.clear(OWNER, access, [made.event_id], Ruling(), GUARDIAN)


async def test_an_identifier_that_only_the_provider_matched_is_no_requesters_to_see(stage: Stage) -> None:
    """Begun under it, the entry is the provider's alone and not told; with the one asked by, both see it."""
    person, number = stage.person(), SubjectRef("nhs-number", "9434765919")
    request = stage.asks(subject=person)
    digest = stage.reference.catalogue.newest(request.record_type).digest
    stage.providers.answers(Found(record_of(request.record_type), digest, (person, number)))
    at = await stage.size()
    await stage.exchange.answer(request)
    entry = await stage.view.id_at(at)
    access = await begun(stage, number)
    assert entry in text((await stage.access.draft(OWNER, access, GUARDIAN, WHY))[0])
    assert entry not in text((await stage.access.draft(NWAS, access, GUARDIAN, WHY))[0])
    with pytest.raises(NotAllowed):
        await stage.access.clear(NWAS, access, [entry], Ruling(), GUARDIAN)
    await stage.access.clear(OWNER, access, (), Ruling(), GUARDIAN)
    assert entry not in text(await issued(stage, access))
    both = await begun(stage, person, number)
    for who in (NWAS, OWNER):
        await stage.access.clear(who, both, [entry], Ruling(), GUARDIAN)
    start = await stage.size()
    answered = await issued(stage, both)
    assert [each["entry"] for each in entries(answered)] == [entry]
    assert number.value not in text(answered)
    (said,) = [each for each in await stage.since(start) if each["event"] == "access-answered"]
    told = hashlib.sha256(f"{entry}\n".encode()).hexdigest()
    assert (said["detail"]["told"], said["detail"]["told_sha256"]) == (1, told)


async def test_under_neither_confirm_nor_deny_it_says_what_the_requester_was_told(stage: Stage) -> None:
    """A person who objected and one who is not known read the same."""
    answers = []
    for objects in (True, False):
        person = stage.person()
        if objects:
            await stage.said.add(COUNCIL, person, stage.objection(), GUARDIAN)
        else:
            stage.providers.answers(NotFound())
        request = stage.asks(subject=person, purpose=SILENT)
        at = await stage.size()
        with pytest.raises(Denied):
            await stage.exchange.answer(request)
        entry = await stage.view.id_at(at)
        access = await begun(stage, person)
        for who in {each for each in await stage.view.parties(entry) if each}:
            await stage.access.clear(caller(who), access, [entry], Ruling(), GUARDIAN)
        (row,) = entries(await issued(stage, access))
        answers.append({**row, "when": "", "entry": ""})
    assert answers[0] == answers[1]
    assert (answers[0]["what"], answers[0]["fields"], answers[0]["basis"]) == ("Asked, and not given", "", "")


async def test_a_clearing_and_the_answer_at_once_agree(stage: Stage) -> None:
    """Either it counted and stands in the answer, or it was refused; what was answered comes again."""
    for _ in range(3):
        person = stage.person()
        entry = await asked(stage, person)
        access = await begun(stage, person)
        await stage.access.clear(OWNER, access, [entry], Ruling(), GUARDIAN)
        clearing = stage.access.clear(NWAS, access, [entry], Ruling(), GUARDIAN)
        cleared, document = await asyncio.gather(clearing, issued(stage, access), return_exceptions=True)
        assert isinstance(document, Document)
        refused = isinstance(cleared, InvalidRequest)
        assert refused or not isinstance(cleared, BaseException)
        assert bool(entries(document)) is not refused
        assert await issued(stage, access) == document


async def test_nothing_about_the_person_stands_in_clear(stage: Stage) -> None:
    """Neither in the table of requests for access nor among what was cleared."""
    if not stage.dsn:
        pytest.skip("memory keeps everything in clear")
    person = stage.person()
    entry = await asked(stage, person)
    access = await begun(stage, person)
    await stage.access.clear(NWAS, access, [entry], LEFT_OUT, GUARDIAN)
    for table in ("access_request", "access_clearing"):
        text_of = await postgres.ask(stage.dsn, f"select coalesce(string_agg(t::text, ''), '') from {table} t")
        assert access in text_of
        assert person.value not in text_of
        assert person.value.encode().hex() not in text_of
        assert "neighbour" not in text_of


async def test_many_requests_of_one_controller_hide_nobodys(stage: Stage) -> None:
    """A list that has an end takes one of each controller in turn; the look is found under each identifier."""
    first, second = stage.person(), stage.person()
    long_ago = stage.clock.now() - timedelta(days=300)
    for _ in range(3):
        await stage.access.start(NWAS, Wanted((stage.person(),), long_ago), GUARDIAN, WHY)
    mine = await begun(stage, first, second)
    waiting = [each.agency for each in await stage.accesses.open(500)]
    assert waiting.index("cumberland") < waiting.index("nwas", waiting.index("nwas") + 1)
    for person in (first, second):
        page = await stage.searches.page(AUDITOR, Question((), person), GUARDIAN, WHY)
        assert mine in {seen.hit.id for seen in page.found}


async def test_what_came_after_the_beginning_is_not_answered_about(stage: Stage) -> None:
    """The checkpoint is that of the beginning, and names the log, its size and its root."""
    person = stage.person()
    await asked(stage, person)
    access = await begun(stage, person)
    later = await asked(stage, person)
    await indexed(stage)
    draft, _ = await stage.access.draft(NWAS, access, GUARDIAN, WHY)
    assert later not in text(draft)
    facts = dict((await issued(stage, access)).facts)
    assert facts["Log"] == "blue-light.test/log/2026h2"
    assert facts["Checkpoint"].split(" entries, root ")[0].isdigit()


async def test_only_who_began_it_has_the_answer(stage: Stage) -> None:
    """Others hear the same words as for none; an auditor may see it; each step is an entry with who and why."""
    person = stage.person()
    start = await stage.size()
    access = await begun(stage, person)
    for who in (NWAS, NCIC):
        with pytest.raises(NotAllowed, match="no such request for access"):
            await stage.access.issue(who, access, GUARDIAN, WHY)
    with pytest.raises(InvalidRequest, match="say why"):
        await stage.access.issue(COUNCIL, access, GUARDIAN, Reason())
    await stage.access.issue(AUDITOR, access, GUARDIAN, WHY)
    fulls = await stage.since(start)
    assert [each["event"] for each in fulls] == ["access-started", "access-answered"]
    assert {each["actor"]["id"] for each in fulls} == {GUARDIAN.id}
    assert {each["detail"]["reason"] for each in fulls} == {"complaint"}


async def test_of_the_dead_it_says_that_there_is_no_such_right(stage: Stage) -> None:
    """By the word of whoever begins it; what is told is still what was cleared."""
    access = await begun(stage, stage.person(), deceased=True)
    document = await issued(stage, access)
    assert "no right of access to what is held about the dead" in text(document)
    assert "complain to the Information" not in text(document)


async def test_a_list_counts_so_much_and_no_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One about somebody with many entries is not counted, and the next is; once enough has been read for all
    of them none is any more. Its draft shows them either way."""
    monkeypatch.setattr(access_module, "COUNTED_OF_ONE", 6)
    many, few = stage.person(), stage.person()
    for _ in range(4):
        await asked(stage, many)
    await asked(stage, few)
    large, small = await begun(stage, many), await begun(stage, few)
    found, _, more = await stage.access.listed(NWAS, GUARDIAN, LOOKING)
    listed = {row.id: n for row, n in found}
    assert (listed[large], listed[small], more) == (None, 1, False)
    assert len(entries(await drafted(stage, NWAS, large))) == 4
    monkeypatch.setattr(access_module, "COUNTED", 0)
    monkeypatch.setattr(access_module, "OPEN", 1)
    found, _, more = await stage.access.listed(NWAS, GUARDIAN, LOOKING)
    assert ([n for _, n in found], more) == ([None], True)


async def test_whoever_has_many_requests_open_answers_some_first(stage: Stage) -> None:
    """As many as it may, and the next is refused with what to do; others have room, and so has it then."""
    queues = (stage.facts, stage.reference, stage.clock)
    access = Accesses(
        stage.administration, stage.accesses, stage.searches, stage.view, *queues, bucket=0.01, most_open=2
    )
    who, other = caller(f"p{uuid.uuid4().hex[:12]}", "cad"), caller(f"p{uuid.uuid4().hex[:12]}", "cad")
    wanted = Wanted((stage.person(),))
    first, *_ = [(await access.start(who, wanted, GUARDIAN, WHY))[0] for _ in range(2)]
    with pytest.raises(
        QuotaExceeded, match="2 requests for access open, as many as it may: give answers first"
    ):
        await access.start(who, wanted, GUARDIAN, WHY)
    await access.start(other, wanted, GUARDIAN, WHY)
    await indexed(stage)
    await access.issue(who, first, GUARDIAN, WHY)
    await access.start(who, wanted, GUARDIAN, WHY)


async def test_one_that_is_too_large_hides_no_other_in_the_list(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed as not counted for whom it is, and refused with what to do."""
    monkeypatch.setattr("broker.clearing.MOST", 1)
    many, few = stage.person(), stage.person()
    await asked(stage, many)
    await asked(stage, many)
    await asked(stage, few)
    large, small = await begun(stage, many), await begun(stage, few)
    listed = {row.id: n for row, n in (await stage.access.listed(NWAS, GUARDIAN, LOOKING))[0]}
    assert (listed[large], listed[small]) == (None, 1)
    with pytest.raises(InvalidRequest, match="begin one for a shorter time"):
        await stage.access.draft(NWAS, large, GUARDIAN, WHY)


async def test_it_is_due_in_a_month(stage: Stage) -> None:
    """From the day it was received; one that is still to come is refused."""
    received = stage.clock.now()
    _, due, _ = await stage.access.start(COUNCIL, Wanted((stage.person(),), received), GUARDIAN, WHY)
    assert 28 <= (due - received).days <= 31
    ahead = received.replace(year=received.year + 1)
    with pytest.raises(InvalidRequest, match="still to come"):
        await stage.access.start(COUNCIL, Wanted((stage.person(),), ahead), GUARDIAN, WHY)


DECIDED = st.sampled_from([None, Ruling(), LEFT_OUT])


def accesses_of(world: World) -> Accesses:
    """Requests for access in a world."""
    store = world.store
    ports = (store.log, store.facts, store.reference, world.clock)
    return Accesses(world.administration, store.cases.accesses, world.searches, *ports)


async def answered(rulings: list[tuple[Ruling | None, Ruling | None]]) -> Document:
    """The answer in a world of its own about somebody with these entries, as requester and provider decided."""
    world = World()
    world.agree()
    await world.ready()
    world.providers.answers(world.found())
    access = accesses_of(world)
    ids = []
    for _ in rulings:
        ids.append(len(world.store.entries))
        await world.exchange.answer(ask())
    wanted, _, _ = await access.start(COUNCIL, Wanted((HOME,)), GUARDIAN, WHY)
    for index, decided in zip(ids, rulings, strict=True):
        for who, ruling in zip((NWAS, OWNER), decided, strict=True):
            if ruling is not None:
                await access.clear(who, wanted, [world.store.entries[index].draft.id], ruling, GUARDIAN)
    begun_at = world.clock.seconds
    document, _ = await access.issue(COUNCIL, wanted, GUARDIAN, WHY)
    assert world.clock.seconds - begun_at == BUCKET, "as long, whatever is in it"
    return document


@given(rulings=st.lists(st.tuples(DECIDED, DECIDED), max_size=5))
@settings(max_examples=40, deadline=None)
async def test_what_is_not_cleared_by_all_leaves_no_trace(
    rulings: list[tuple[Ruling | None, Ruling | None]],
) -> None:
    """The answer is that of a log in which there are only the entries that both have cleared, but for the log's
    size and root and the entries' random ids."""
    cleared = [each for each in rulings if each == (Ruling(), Ruling())]
    among, alone = await answered(rulings), await answered(cleared)
    assert shape(among) == shape(alone)
    assert len(entries(among)) == len(cleared)


def shape(document: Document) -> object:
    """Everything but ids and what every log has of its own."""
    cells = [[{**row, "entry": ""} for row in entries(document)], [name for name, _ in document.facts]]
    tables = [(each.caption, each.columns, each.heading, each.notes, each.chart) for each in document.tables]
    return document.name, document.title, document.about, document.none, tables, cells


@pytest.mark.parametrize(
    ("who", "regimes", "code", "opens"),
    [
        ("nwas", ("uk-gdpr", PART_3), "third-party", True),
        ("nwas", ("uk-gdpr", PART_3), "police-restriction", False),
        ("police", ("uk-gdpr", PART_3), "police-restriction", True),
        ("police", ("uk-gdpr", PART_3), "neither-confirm-nor-deny", True),
        ("police", ("uk-gdpr", PART_3), "crime-prevention", False),
        ("police", ("uk-gdpr", "uk-gdpr"), "police-restriction", False),
        ("police", ("", ""), "police-restriction", True),
        ("nwas", ("", ""), "police-restriction", False),
        ("nwas", ("", ""), "crime-prevention", True),
    ],
)
async def test_an_exemption_is_open_under_the_regime_of_that_side(
    who: str, regimes: tuple[str, str], code: str, opens: bool
) -> None:
    """The ambulance service asked the police: each side has the exemptions of its own regime; where none was
    decided on, a competent authority has both kinds."""
    world = World()
    world.put_agency(Agency("police", "POLICE", "police", "england", world.since))
    holdings = Holdings(world.searches, world.store.reference)
    full = {"regime": regimes[0] or None, "provider_regime": regimes[1] or None}
    hit = Hit(0, "entry", world.clock.now(), "nwas", "police", {}, full)
    checking = holdings.check(caller(who), ["entry"], {"entry": Seen(hit, Audience.FULL, b"")}, code)
    if opens:
        await checking
        return
    with pytest.raises(InvalidRequest, match="is not open to this entry"):
        await checking


async def test_nothing_is_answered_before_the_index_has_come_to_it() -> None:
    """Its place lies beyond what the index holds: nothing is said to lie below it, and nothing is closed."""
    world = await World().ready()
    accesses = world.store.cases.accesses
    access = accesses_of(world)
    wanted, _, _ = await access.start(COUNCIL, Wanted((HOME,)), GUARDIAN, WHY)
    await access.draft(COUNCIL, wanted, GUARDIAN, WHY)
    accesses.index_of = lambda _: 100
    with pytest.raises(AuditUnavailable, match="the search index reaches"):
        await access.draft(COUNCIL, wanted, GUARDIAN, WHY)
    with pytest.raises(AuditUnavailable):
        await access.issue(COUNCIL, wanted, GUARDIAN, WHY)
    assert accesses.rows[wanted].issued_at is None


def test_what_was_told_by_telephone_stands_with_its_own_time_and_fields() -> None:
    """Not with when, and by whom, it was written down."""
    recorded, occurred = datetime(2026, 11, 21, 12, tzinfo=UTC), datetime(2026, 11, 20, 3, tzinfo=UTC)
    view = {
        "event": "recorded-late",
        "provider": "cfrs",
        "told": {"occurred": occurred.isoformat(), "took": {"role": "control"}, "fields": ["hazards"]},
    }
    full = {**view, "requester": "nwas", "purpose": "emergency-response", "actor": {"role": "clerk"}}
    nwas = Agency("nwas", "NWAS", "ambulance", "england", recorded)
    made = told("entry", 7, recorded, view, full, {"nwas": nwas}, law.load())
    assert made.at == occurred
    assert made.cells[:5] == (
        "20 November 2026, 03:00 GMT",
        "Told by telephone or the like, and written down later",
        "NWAS",
        "control",
        "cfrs",
    )
    assert made.cells[6] == "Hazards"


def test_every_exemption_names_its_law() -> None:
    """Code, source and regime of each; police codes are Part 3's."""
    part3 = {code for code, each in exemptions.load().items() if each.regime == PART_3}
    assert part3 == {"police-restriction", "neither-confirm-nor-deny"}
    assert all("DPA 2018" in each.source for each in exemptions.load().values())


async def test_one_controllers_many_use_up_nobody_elses_counting(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many it begins about somebody of whom there is much, those of another are counted."""
    monkeypatch.setattr(access_module, "COUNTED_OF_ONE", 30)
    monkeypatch.setattr(access_module, "COUNTED", 70)
    many, few = stage.person(), stage.person()
    for _ in range(12):
        await asked(stage, many)
    await asked(stage, few)
    theirs, ours = list[str](), list[str]()
    for _ in range(3):
        access, _, _ = await stage.access.start(CFRS, Wanted((many,)), GUARDIAN, WHY)
        theirs.append(access)
        ours.append(await begun(stage, few))
    rows = [await stage.accesses.by_id(each) for pair in zip(theirs, ours, strict=True) for each in pair]

    class Those:
        """Of all that other tests left open, these alone."""

        async def open(self, most: int) -> list[Any]:
            return [row for row in rows if row is not None][:most]

        def __getattr__(self, name: str) -> Any:
            return getattr(stage.accesses, name)

    monkeypatch.setattr(stage.access, "_store", Those())
    found, _, _ = await stage.access.listed(NWAS, GUARDIAN, LOOKING)
    assert [row.id for row, _ in found] == [row.id for row in rows if row is not None], "as they are due"
    listed = {row.id: n for row, n in found}
    assert [listed[each] for each in ours] == [1, 1, 1]
    assert [listed[each] for each in theirs] == [None, None, None]
    monkeypatch.setattr(access_module, "COUNTING", 0.0)
    found, _, _ = await stage.access.listed(NWAS, GUARDIAN, LOOKING)
    assert {n for _, n in found} == {None}, "counted in time or not at all: the list itself comes"
