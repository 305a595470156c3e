"""Legal holds: who places and releases them, what they cover, and that no destroying path goes past one."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broker import holds
from broker.core.model import Assurance, Reason, SubjectRef
from broker.errors import InvalidRequest, NotAllowed, QuotaExceeded
from tests.human.conftest import OWNER
from tests.human.test_referrals import NO, grants, judged, refer
from tests.keeping.conftest import (
    AUDITOR,
    CFRS,
    COUNCIL,
    NWAS,
    OFFICER,
    WHY,
    asks,
    caught_up,
    entry_of,
    full_of,
    holds_person,
    opening_of,
)
from tests.support.faults import Plan
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR, LOOKING, OPERATOR, caller, said

CLAIM = Reason("litigation", "a claim was made")


async def erases(stage: Stage, who: Any, subject: SubjectRef) -> Any:
    """An erasure, and the index at its end."""
    told, _ = await stage.erasures.erase(who, subject, OFFICER, WHY)
    await caught_up(stage)
    return told


async def test_what_is_held_is_not_erased_until_it_is_released(stage: Stage) -> None:
    """Neither what stood when the hold was placed nor what came later; afterwards both go."""
    subject = stage.person()
    before = await entry_of(stage, await asks(stage, subject))
    hold = await holds_person(stage, NWAS, subject)
    after = await entry_of(stage, await asks(stage, subject))
    told = await erases(stage, NWAS, subject)
    assert told.entries == 0
    assert told.held == 3, "two requests, and the entry of the hold itself"
    for entry in (before, after):
        assert await opening_of(stage, entry, "requester") is not None
    await stage.holds.release(NWAS, hold, OFFICER, CLAIM)
    await caught_up(stage)
    told = await erases(stage, NWAS, subject)
    assert (told.held, told.entries) == (0, 3)
    assert await opening_of(stage, before, "requester") is None


async def test_an_agency_has_so_many_holds_and_no_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each slows whatever would destroy something, everybody's; another agency's are counted apart."""
    most = sum(each.agency == NWAS.agency for each in await stage.keeping.holds()) + 2
    monkeypatch.setattr(holds, "MOST", most)
    first = await holds_person(stage, NWAS, stage.person())
    await holds_person(stage, NWAS, stage.person())
    with pytest.raises(InvalidRequest, match=f"{most} that stand"):
        await holds_person(stage, NWAS, stage.person())
    await holds_person(stage, CFRS, stage.person())
    await stage.holds.release(NWAS, first, OFFICER, CLAIM)
    await holds_person(stage, NWAS, stage.person())


async def test_a_look_at_holds_names_those_that_were_shown(stage: Stage) -> None:
    """By id; another agency's are not among them."""
    own = await holds_person(stage, NWAS, stage.person())
    other = await holds_person(stage, CFRS, stage.person())
    found, made = await stage.holds.listed(NWAS, OFFICER, LOOKING)
    shown = [each.id for each in found]
    assert own in shown
    assert other not in shown
    assert (await full_of(stage, made.event_id))["detail"]["holds"] == shown


async def test_a_hold_covers_what_its_agency_is_party_to(stage: Stage) -> None:
    """Either party's keeps the entry from both; a stranger's keeps nothing of theirs."""
    subject = stage.person()
    await asks(stage, subject)
    await holds_person(stage, COUNCIL, subject)
    assert (await erases(stage, caller("nwas"), subject)).entries == 1
    subject = stage.person()
    await asks(stage, subject)
    await holds_person(stage, CFRS, subject)
    told = await erases(stage, NWAS, subject)
    assert (told.entries, told.held) == (0, 1)


async def test_an_auditors_hold_covers_everything(stage: Stage) -> None:
    """Whoever is party to it."""
    subject = stage.person()
    await asks(stage, subject)
    await holds_person(stage, AUDITOR, subject)
    for who in (NWAS, CFRS):
        told = await erases(stage, who, subject)
        assert (told.entries, told.held) == (0, 1)


@pytest.mark.parametrize("what", ["incident", "agreement"])
async def test_a_hold_by_incident_or_agreement(stage: Stage, what: str) -> None:
    """Whoever the entry is about."""
    subject, incident = stage.person(), f"nwas/2026-11-22/{uuid.uuid4().int % 10**6}"
    entry = await entry_of(stage, await asks(stage, subject, incident=incident))
    value = incident if what == "incident" else str((await full_of(stage, entry))["agreement"])
    hold, _ = await stage.holds.place(NWAS, (what, value), "CASE-8", OFFICER, CLAIM)
    await caught_up(stage)
    assert (await erases(stage, NWAS, subject)).held == 1
    await stage.holds.release(NWAS, hold, OFFICER, CLAIM)
    await caught_up(stage)
    assert (await erases(stage, NWAS, subject)).entries == 1


@pytest.mark.parametrize("what", ["incident", "agreement", "person"])
async def test_who_placed_a_hold_and_why_stays_while_it_stands(stage: Stage, what: str) -> None:
    """Its entry is held by the hold itself, against retention too, and never erased for its own sake."""
    subject, incident = stage.person(), f"nwas/2026-11-22/{uuid.uuid4().int % 10**6}"
    entry = await entry_of(stage, await asks(stage, subject, incident=incident))
    about = {"person": subject, "incident": ("incident", incident)}
    about["agreement"] = ("agreement", str((await full_of(stage, entry))["agreement"]))
    hold, made = await stage.holds.place(NWAS, about[what], "CASE-8", OFFICER, CLAIM)
    await caught_up(stage)
    with pytest.raises(InvalidRequest, match=r"says what was done here \(hold-placed\)"):
        await stage.erasures.erase(NWAS, (made.event_id,), OFFICER, WHY)
    for held in (True, False):
        found = await stage.keeping.attached([made.event_id], None, frozenset({"nwas"}), stage.clock.now())
        assert (made.event_id in found.held) is held
        if held:
            await stage.holds.release(NWAS, hold, OFFICER, CLAIM)


async def test_a_hold_whose_entries_cannot_be_counted_has_its_id(stage: Stage) -> None:
    """Whatever stands in the way of the count: it was placed, and can be released only by the id."""

    async def busy(*_: Any, **__: Any) -> Any:
        raise QuotaExceeded("too many looks at once", 1.0, quota="looks")

    subject = stage.person()
    hold, made = await stage.holds.place(NWAS, subject, "CASE-9", OFFICER, CLAIM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage.searches, "on", busy)
        assert await stage.holds.covers(NWAS, subject, made) is None
    assert await stage.holds.covers(NWAS, subject, made) == 0
    await stage.holds.release(NWAS, hold, OFFICER, CLAIM)


async def test_only_the_controller_sees_and_releases_it(stage: Stage) -> None:
    """Another agency, a party too, is told the same as of one that there is not; an operator may do neither."""
    subject = stage.person()
    hold = await holds_person(stage, NWAS, subject)
    for who, which in ((CFRS, hold), (NWAS, str(uuid.uuid4())), (AUDITOR, hold)):
        with pytest.raises(NotAllowed, match="no such hold that your agency may release"):
            await stage.holds.release(who, which, OFFICER, CLAIM)
    for each in (
        stage.holds.listed(OPERATOR, ACTOR, LOOKING),
        stage.holds.release(OPERATOR, hold, OFFICER, CLAIM),
    ):
        with pytest.raises(NotAllowed, match="only a system enrolled as partner or auditor"):
            await each
    mine, _ = await stage.holds.listed(NWAS, ACTOR, LOOKING)
    assert hold in {each.id for each in mine}
    theirs, _ = await stage.holds.listed(CFRS, ACTOR, LOOKING)
    assert hold not in {each.id for each in theirs}
    await stage.holds.release(NWAS, hold, OFFICER, CLAIM)
    with pytest.raises(InvalidRequest, match="was released already"):
        await stage.holds.release(NWAS, hold, OFFICER, CLAIM)


async def test_an_auditors_hold_is_an_auditors_to_release(stage: Stage) -> None:
    """A partner's system of the same agency neither sees nor ends what covers more than its own."""
    hold = await holds_person(stage, AUDITOR, stage.person())
    with pytest.raises(NotAllowed):
        await stage.holds.release(caller("ncic"), hold, OFFICER, CLAIM)
    await stage.holds.release(AUDITOR, hold, OFFICER, CLAIM)


async def test_hold_and_release_are_entries(stage: Stage) -> None:
    """Who, why and which case; whom it is about stands in the placing alone, for whoever may open that."""
    subject = stage.person()
    start = await stage.size()
    hold = await holds_person(stage, NWAS, subject)
    await stage.holds.release(NWAS, hold, OFFICER, CLAIM)
    placed, released = await stage.since(start)
    assert (placed["event"], released["event"]) == ("hold-placed", "hold-released")
    assert placed["detail"]["reference"] == "CASE-7"
    assert placed["detail"]["subject"]["value"] == subject.value
    assert released["detail"] == {"id": hold, "reason": "litigation"}
    assert placed["actor"]["id"] == OFFICER.id


async def test_a_hold_needs_a_case_a_reason_and_a_named_human(stage: Stage) -> None:
    """Each is asked for by name."""
    subject = stage.person()
    somebody = replace(OFFICER, assurance=Assurance.ASSERTED)
    for what, case, actor, reason, field in (
        (subject, "", OFFICER, CLAIM, "reference"),
        (subject, "CASE-9", OFFICER, Reason(), r"reason\.code"),
        (subject, "CASE-9", somebody, CLAIM, r"actor\.assurance"),
        (("incident", ""), "CASE-9", OFFICER, CLAIM, "what"),
        (("agency", "nwas"), "CASE-9", OFFICER, CLAIM, "what"),
    ):
        with pytest.raises(InvalidRequest, match=field):
            await stage.holds.place(NWAS, what, case, actor, reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("incident", "NWAS 2026-11-21 0042"),
        ("incident", "nwas/2026-02-30/0042"),
        ("incident", "nwas/2026-11-21"),
        ("agreement", "no-such-agreement"),
        ("agreement", "kept-long/2"),
        ("agreement", "kept-long/0"),
        ("agreement", "kept-long/01"),
        ("agreement", "kept-long/"),
    ],
)
async def test_a_hold_on_what_no_entry_can_have_is_refused(stage: Stage, what: str, value: str) -> None:
    """It would keep nothing, and read as if it did; nothing is written."""
    start = await stage.size()
    with pytest.raises(InvalidRequest, match=f"^{what}: "):
        await stage.holds.place(CFRS, (what, value), "CASE-8", OFFICER, CLAIM)
    assert await stage.since(start) == []


async def test_it_is_told_how_much_a_hold_covers_that_its_controller_finds(stage: Stage) -> None:
    """Of all logs, its own entry not among it; what another identifier would find is held and not counted."""
    subject, known_by = stage.person(), stage.person()
    hold, made = await stage.holds.place(NWAS, subject, "CASE-8", OFFICER, CLAIM)
    await caught_up(stage)
    assert await stage.holds.covers(NWAS, subject, made) == 0
    for _ in range(2):
        await asks(stage, subject, known_by)
    assert await stage.holds.covers(NWAS, subject, made) == 2
    assert await stage.holds.covers(NWAS, known_by, made) == 0
    assert await stage.holds.covers(CFRS, known_by, made) == 2
    stage.faults.arm(Plan(0, persisted=False, lasting=True))
    assert await stage.holds.covers(NWAS, subject, made) is None
    stage.faults.heal()
    await stage.holds.release(NWAS, hold, OFFICER, CLAIM)


@pytest.mark.parametrize("value", ["kept-long", "kept-long/1"])
async def test_a_hold_is_by_an_agreement_or_by_one_version_of_it(stage: Stage, value: str) -> None:
    """As entries name it."""
    hold, _ = await stage.holds.place(CFRS, ("agreement", value), "CASE-8", OFFICER, CLAIM)
    await stage.holds.release(CFRS, hold, OFFICER, CLAIM)


async def test_a_directive_that_is_over_is_held_too(stage: Stage) -> None:
    """By its recorder's hold about the person."""
    subject = stage.person()
    directive = said("objection", said_at=stage.clock.now())
    await stage.said.add(COUNCIL, subject, directive, ACTOR)
    await stage.said.withdraw_one(COUNCIL, directive.id, ACTOR)
    await holds_person(stage, COUNCIL, subject)
    told = await erases(stage, COUNCIL, subject)
    assert (told.directives, told.entries) == (0, 0)
    assert told.held == 3, "the directive, its recording, and the hold; the withdrawal names nobody"


class _After:
    """What is kept, and something that happens after each look of one kind, before anybody has heard of it."""

    def __init__(self, keeping: Any, name: str, what: Callable[[], Awaitable[None]]) -> None:
        self._keeping, self._name, self._what = keeping, name, what

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._keeping, name)

        async def then(*given: Any) -> Any:
            said = await real(*given)
            await self._what()
            return said

        return then if name == self._name else real


async def test_nobodys_holds_stop_those_of_others(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Placed and released without end, between any two looks: another agency erases and holds all the same."""
    subject, elsewhere, busy = stage.person(), stage.person(), False
    await asks(stage, subject)

    async def churn() -> None:
        nonlocal busy
        if not busy:
            busy = True
            hold, _ = await stage.holds.place(COUNCIL, elsewhere, "CASE-1", OFFICER, CLAIM)
            await stage.holds.release(COUNCIL, hold, OFFICER, CLAIM)
            busy = False

    finder: Any = stage.erasures._finder
    monkeypatch.setattr(finder, "_keeping", _After(stage.keeping, "attached", churn))
    assert (await erases(stage, NWAS, subject)).entries == 1
    monkeypatch.setattr(stage.holds, "_keeping", _After(stage.keeping, "holds", churn))
    hold = await holds_person(stage, NWAS, subject)
    await stage.holds.release(NWAS, hold, OFFICER, CLAIM)


@pytest.mark.parametrize("by", ["the other party", "an auditor", "itself"])
async def test_a_hold_of_the_last_moment_counts(stage: Stage, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """Placed after it was looked for and before the erasure is an entry: what it covers stays."""
    subject = stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    who, placed = {"the other party": CFRS, "an auditor": AUDITOR, "itself": NWAS}[by], list[str]()

    async def place() -> None:
        if not placed:
            placed.append("")
            placed[0] = await holds_person(stage, who, subject)

    finder: Any = stage.erasures._finder
    monkeypatch.setattr(finder, "_keeping", _After(stage.keeping, "attached", place))
    told = await erases(stage, NWAS, subject)
    assert told.held > 0
    assert await opening_of(stage, entry, "requester") is not None


async def test_placing_and_releasing_are_counted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """As what an agency writes down at will: beyond that neither is done."""
    spent, most = list[str](), 2

    def spend(agency: str, _: float) -> None:
        if len(spent) == most:
            raise QuotaExceeded("enough", 1.0, quota="looks")
        spent.append(agency)

    monkeypatch.setattr(stage.administration, "_spend", spend)
    hold = await holds_person(stage, NWAS, stage.person())
    await stage.holds.release(NWAS, hold, OFFICER, CLAIM)
    assert spent == ["nwas", "nwas"]
    with pytest.raises(QuotaExceeded):
        await holds_person(stage, NWAS, stage.person())
    with pytest.raises(QuotaExceeded):
        await stage.holds.release(NWAS, hold, OFFICER, CLAIM)


async def test_a_grant_is_taken_back_although_a_hold_covers_it(stage: Stage) -> None:
    """A hold keeps what was decided, which its entry says; it keeps nothing in force."""
    subject = stage.person()
    row = await refer(stage, judged(stage, subject=subject))
    granted = await stage.referrals.decide(OWNER, row.id, grants("uprn"), OFFICER)
    await caught_up(stage)
    await holds_person(stage, AUDITOR, subject)
    await stage.referrals.decide(OWNER, row.id, NO, OFFICER)
    stands = await stage.referred.by_id(row.id)
    assert stands is not None
    assert stands.status == "refused"
    assert (await full_of(stage, granted[1].event_id))["detail"]["permitted"] == ["uprn"]
