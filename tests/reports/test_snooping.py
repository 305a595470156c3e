"""Signs of snooping: each is found where it is, not where it is not, and is said to be no proof."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, time, timedelta
from itertools import product
from time import thread_time
from typing import Any

import pytest

from broker.core.model import SubjectRef
from broker.core.receipt import Audience
from broker.core.reports.document import Document
from broker.core.reports.line import Line
from broker.core.reports.people import MOST_WORDS, called
from broker.core.reports.people import asked as asked_about
from broker.core.reports.snooping import Hours, Member, Names, Signs, Watched
from broker.errors import InvalidRequest
from broker.looks import Wanted
from tests.human.conftest import GUARDIAN, OWNER
from tests.reports.conftest import WHY, asked, from_now, indexed, rows, text
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR, AUDITOR, caller

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NONE = Signs(frozenset())
ADA = {"id": "a.hill", "role": "ambulance-crew", "name": "Ada Hill"}
BEN = {"id": "b.dale", "role": "ambulance-crew", "name": "Ben Dale"}


def looked(n: int = 0, **changes: Any) -> Line:
    """An entry of somebody's looking."""
    made = Line(
        index=n,
        id=f"entry-{n}",
        at=NOON,
        audience=Audience.FULL,
        event="disclosure",
        requester="nwas",
        provider="cfrs",
        record_type="records.nhs.v1.PatientSummary",
        purpose="direct-care",
        actor=ADA,
        subjects=(SubjectRef("nhs-number", str(n)),),
    )
    return replace(made, **changes)


def watched(signs: Signs, *lines: Line) -> Document:
    """The report on these."""
    names = Names()
    for each in lines:
        names.add(each)
    for member in signs.staff:
        names.know(member.agency, member.actor, member.name)
    made = Watched(signs, names)
    for each in lines:
        made.add(each)
    return made.document(())


def found(signs: Signs, *lines: Line) -> set[tuple[str, str]]:
    """Sign and entry of each."""
    return {(row["sign"], row["entry"]) for row in rows(watched(signs, *lines)) if "entry" in row}


def traits(given: str, family: str, **more: str) -> dict[str, Any]:
    """Somebody asked about without a number."""
    return {"subjects": (), "traits": {"given_name": given, "family_name": family, **more}}


@pytest.mark.parametrize(
    ("asked_about", "sign"),
    [
        (("Ada", "Hill"), "own-name"),
        (("ADA", "Híll"), "own-name"),
        (("Ben", "Dale"), "colleague-name"),
        (("Cai", "Moor"), None),
        (("", "Hill"), None),
        (("Hill", "Hill"), None),
        (("Ada Mary", "Hill"), "own-name"),
    ],
    ids=[
        *("own", "own, spelt otherwise", "a colleague's", "a stranger's", "a family name alone"),
        *("a part of it twice", "with a middle name"),
    ],
)
def test_names_of_the_actor_and_of_colleagues(asked_about: tuple[str, str], sign: str | None) -> None:
    """A whole name of the actor's own agency; at another agency the same name is no colleague's."""
    line = looked(1, **traits(*asked_about))
    signs = found(NONE, line, looked(2, actor=BEN))
    assert signs == ({(sign, "entry-1")} if sign else set())
    elsewhere = looked(2, actor=BEN, requester="cfrs")
    assert found(NONE, line, elsewhere) == ({(sign, "entry-1")} if sign == "own-name" else set())


def test_the_staff_list_knows_names_and_addresses() -> None:
    """By postcode and first line together, or by UPRN; of the actor, and not of another."""
    staff = (
        Member("a.hill", "Ada Hill", "1 High Street", "CA1 1AA", "10001", "nwas"),
        Member("c.moor", "Cai Moor", agency="nwas"),
    )
    signs = replace(NONE, staff=staff)
    home = traits("Cai", "Fell", postcode="ca11aa", address_line="1 high street")
    assert found(signs, looked(1, **home)) == {("own-address", "entry-1")}
    assert found(signs, looked(1, actor=BEN, **home)) == set()
    assert (
        found(signs, looked(1, **traits("Cai", "Fell", postcode="CA1 1AA", address_line="9 Low Road"))) == set()
    )
    assert found(signs, looked(1, subjects=(SubjectRef("uprn", "10001"),))) == {("own-address", "entry-1")}
    assert found(signs, looked(1, **traits("Cai", "Moor"))) == {("colleague-name", "entry-1")}


def test_an_incident_is_missed_where_the_purpose_expects_one() -> None:
    """Of the purposes that the reader names, and no others."""
    signs = Signs(frozenset({"emergency-response"}))
    at_once = {"purpose": "emergency-response"}
    assert found(signs, looked(1, **at_once)) == {("no-incident", "entry-1")}
    assert found(signs, looked(1, **at_once, incident="nwas/2026-11-21/0042")) == set()
    assert found(signs, looked(1)) == set()


def test_one_actor_about_one_person_too_often_is_a_sign_once() -> None:
    """From the number that the reader sets; by several actors, or about several people, it is none."""
    signs = replace(NONE, repeated_from=3)
    same = {"subjects": (SubjectRef("nhs-number", "9434765919"),)}
    assert found(signs, *(looked(n, **same) for n in range(2))) == set()
    assert found(signs, *(looked(n, **same) for n in range(5))) == {("repeated", "entry-2")}
    assert found(signs, *(looked(n, **same, actor=ADA if n % 2 else BEN) for n in range(4))) == set()
    assert found(signs, *(looked(n) for n in range(5))) == set()


@pytest.mark.parametrize(
    ("hour", "role", "sign"),
    [(12, "ambulance-crew", False), (21, "ambulance-crew", True), (21, "fire-crew", False), (3, "x", True)],
)
def test_hours_are_a_roles_own_or_those_of_all(hour: int, role: str, sign: bool) -> None:
    """By clocks in the United Kingdom; a shift may go over midnight; without hours nothing is looked at."""
    day, night = Hours(time(7), time(19)), Hours(time(19), time(7), "fire-crew")
    line = looked(1, at=NOON.replace(hour=hour), actor={**ADA, "role": role})
    assert found(replace(NONE, shifts=(day, night)), line) == ({("out-of-hours", "entry-1")} if sign else set())
    assert found(NONE, line) == set()


def test_summer_time_counts() -> None:
    """18:30 UTC in July is half past seven in the evening."""
    signs = replace(NONE, shifts=(Hours(time(7), time(19)),))
    summer = datetime(2026, 7, 1, 18, 30, tzinfo=UTC)
    assert found(signs, looked(1, at=summer)) == {("out-of-hours", "entry-1")}
    assert found(signs, looked(1, at=summer + timedelta(days=150))) == set()


def test_it_says_that_a_sign_is_no_proof_and_shows_its_limits() -> None:
    """On the page, with each threshold, and with what each sign means."""
    document = watched(replace(NONE, repeated_from=7), looked(1, **traits("Ada", "Hill")))
    assert "SIGNS AND NO PROOF" in document.about[0]
    facts = dict(document.facts)
    assert facts["Often"].startswith("7 times")
    assert "not looked at" in facts["Hours"]
    assert "not looked at" in facts["Staff list"]
    assert any(note.startswith("own-name: ") for note in document.tables[0].notes)


@pytest.mark.parametrize(
    ("name", "given", "family", "same"),
    [
        ("HILL, Ada", "Ada", "Hill", True),
        ("Dr Ada Hill", "ADA", "hill", True),
        ("HILL Ada", "Ada", "Hill", True),
        ("Ada Hills", "Ada", "Hill", False),
        ("Ada Hill", "Hill", "Hill", False),
        ("Ada Hill", "Hill", "Ada", False),
        ("John Smith", "John William", "Smith", True),
        ("John William Smith", "John", "Smith", True),
        ("SMITH, John W", "John William", "Smith", True),
        ("John William Smith", "John Peter", "Smith", False),
        ("John William Smith", "William", "Smith", False),
        ("John Smith", "J", "Smith", False),
        ("J Smith", "J", "Smith", False),
        ("Anne-Marie O\u2019Brien", "Anne Marie", "OBrien", True),
        ("Anne O'Brien", "Anne-Marie", "O'Brien", False),
        ("Ada Smith-Jones", "Ada", "Smith Jones", True),
        ("Ada Smith Jones", "Ada", "Smith-Jones", True),
        ("Ada Smith-Jones", "Ada", "Jones", False),
        ("Jan van der Berg", "Jan", "van der Berg", True),
        ("Zo\u00eb \u0141ukasz", "Zoe", "Lukasz", True),
        ("S\u00f8ren Gro\u00df", "Soren", "Gross", True),
        ("Hill", "Ada", "Hill", False),
        ("", "Ada", "Hill", False),
    ],
    ids=lambda value: str(value).encode("ascii", "backslashreplace").decode(),
)
def test_names_are_one_whole_and_in_order(name: str, given: str, family: str, same: bool) -> None:
    """Without case, accents, titles, apostrophes and hyphens; further given names may lack on one side."""
    written, wanted = called(name), asked_about({"given_name": given, "family_name": family})
    assert wanted is not None
    assert (written is not None and written.may_be(wanted)) is same
    if same:
        assert written is not None
        assert written.marks & wanted.marks, "or nobody would be found by it"


def test_whoever_may_be_meant_is_found_however_many_there_are() -> None:
    """By the marks of a name as by a look at each; the actor alone is nobody else."""
    parts, families = ("Ada", "Anne", "Anne-Marie", "Marie", "M", "An"), ("Hill", "van Hill", "Marie Hill")
    written = [" ".join(each) for each in product(parts, parts, families)]
    written += [f"{family.upper()}, {one} {two}" for one, two, family in product(parts, parts, families)]
    names = Names()
    for n, name in enumerate(written):
        names.know("nwas", f"actor-{n}", name)
    sought = [(given, family) for given in (*parts, "Ada Marie", "Anne M") for family in families]
    for given, family in sought:
        wanted = asked_about({"given_name": given, "family_name": family})
        assert wanted is not None
        known = [called(name) for name in written]
        meant = [n for n, each in enumerate(known) if each is not None and each.may_be(wanted)]
        assert names.of_another("nwas", wanted, "nobody") is bool(meant), (given, family)
        alone = Names()
        for n in meant[:1]:
            alone.know("nwas", "me", written[n])
        assert not alone.of_another("nwas", wanted, "me")


@pytest.mark.parametrize("middle", ["bb {}", "b " * 90 + "{}", "{}"], ids=["few words", "many", "one"])
def test_no_list_of_staff_makes_a_look_long(middle: str) -> None:
    """Thousands of one first and one family name cost no more than a hundred: a sign more is all."""
    names = Names()
    for n in range(5000):
        word = "".join(chr(97 + (n >> (4 * k)) % 16) for k in range(4))
        names.know("nwas", f"staff-{n}", f"Ada {middle.format(word)} Hill")
    wanted = asked_about({"given_name": "Ada Zoe", "family_name": "Hill"})
    assert wanted is not None
    begun = thread_time()
    for _ in range(100):
        names.of_another("nwas", wanted, "a.hill")
    assert thread_time() - begun < 1.0


def test_what_has_more_words_than_a_name_is_nobodys() -> None:
    """Ten are a name still, in one line and in either part of one."""
    ten = " ".join(["Ada", *["Mary"] * (MOST_WORDS - 2), "Hill"])
    assert called(ten) is not None
    for name in (f"Ada {ten}", f"{ten} Hill, Ada", f"HILL {ten} Jo"):
        assert called(name) is None
    assert asked_about({"given_name": f"{ten} Jo", "family_name": "Hill"}) is None
    assert asked_about({"given_name": "Ada", "family_name": f"{ten} Hill"}) is None


async def test_others_go_on_while_a_long_list_of_staff_is_taken_in(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop is given back between them, were each as long as a step may be."""
    monkeypatch.setattr("broker.lanes.STEP", 0.0)
    staff = tuple(Member(f"s{n}", f"Ada {'B ' * 90}Hill") for n in range(5000))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    going = asyncio.ensure_future(others())
    try:
        wanted = Wanted("snooping", signs=Signs(frozenset(), staff=staff), agency="nwas")
        await stage.reports.make(caller("nwas"), wanted, GUARDIAN, WHY)
    finally:
        going.cancel()
    assert turns > len(staff), "once as whose they are is said, and once as they are known"


def test_an_actor_is_their_own_agencys_and_no_others() -> None:
    """Two agencies may both have a j.smith: what the list says of one is said of that one alone."""
    staff = (Member("j.smith", "John Smith", "1 High Street", "CA1 1AA", "10001", "cfrs"),)
    signs = replace(NONE, staff=staff)
    jane = {"id": "j.smith", "role": "ambulance-crew", "name": "Jane Smith"}
    home = traits("Jane", "Fell", postcode="CA1 1AA", address_line="1 High Street")
    for asks in (home, traits("John", "Smith"), {"subjects": (SubjectRef("uprn", "10001"),)}):
        assert found(signs, looked(1, actor=jane, **asks)) == set()
        own = looked(1, actor={**jane, "name": ""}, requester="cfrs", provider="nwas", **asks)
        assert len(found(signs, own)) == 1


async def test_whose_a_staff_list_is_must_be_said(stage: Stage) -> None:
    """By a column, or by a report of one agency; an agency's own report is of its own. Nothing is written."""
    signs = replace(NONE, staff=(Member("a.hill", "Ada Hill"),))
    before = await stage.size()
    with pytest.raises(InvalidRequest, match=r"signs\.staff\.0\.agency: say whose they are"):
        await stage.reports.make(AUDITOR, Wanted("snooping", signs=signs), GUARDIAN, WHY)
    assert await stage.size() == before
    of_one = Wanted("snooping", signs=signs, agency="nwas")
    for who, wanted in ((AUDITOR, of_one), (caller("nwas"), Wanted("snooping", signs=signs))):
        document, _ = await stage.reports.make(who, wanted, GUARDIAN, WHY)
        assert dict(document.facts)["Staff list"] == "1 people"


async def test_on_a_log_each_sees_signs_of_its_own_staff(stage: Stage) -> None:
    """An agency about its own people; another agency nothing of them; whom they looked up is not told."""
    since = await from_now(stage)
    person = stage.person()
    often = [await asked(stage, person) for _ in range(3)]
    once = await asked(stage, actor=replace(ACTOR, id="b.dale"))
    signs = Signs(frozenset({"direct-care"}), repeated_from=3)
    await indexed(stage)
    for who, sees in ((caller("nwas"), True), (AUDITOR, True), (OWNER, False)):
        wanted = Wanted("snooping", since, signs=signs)
        document, _ = await stage.reports.make(who, wanted, GUARDIAN, WHY)
        entries = {row["entry"] for row in rows(document) if "entry" in row}
        assert bool(entries & set(often)) is sees, who.agency
        assert once not in entries
        assert person.value not in text(document)


async def test_looks_at_a_person_in_the_log_count(stage: Stage) -> None:
    """An entry about somebody that was opened is a look at them: who did is listed, often and out of hours are
    signs; and the page names nobody who was looked at."""
    person = stage.person()
    entry = await asked(stage, person)
    since = await from_now(stage)
    nosy = replace(ACTOR, id="nosy", role="fire-crew")
    for _ in range(3):
        await stage.audits.open(OWNER, entry, nosy, WHY)
    await indexed(stage)
    signs = Signs(frozenset({"never"}), repeated_from=3)
    for who in (OWNER, AUDITOR):
        document, _ = await stage.reports.make(who, Wanted("snooping", since, signs=signs), GUARDIAN, WHY)
        seen = [row for row in rows(document) if row.get("actor") == "nosy"]
        assert [(row["event"], row["looks"]) for row in seen if "looks" in row] == [("entry-viewed", 3)]
        assert [row["sign"] for row in seen if "sign" in row] == ["repeated"]
        assert person.value not in text(document)
