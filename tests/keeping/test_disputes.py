"""What stands in an erasure's way, and what an agency learns of it: of its own matters, and of no others'."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from broker.accesswanted import Wanted
from broker.administration import Administration
from broker.core.model import Assurance, SubjectRef
from broker.disputes import Disputes
from broker.erasing import ErasurePlans
from broker.erasures import Erasures
from broker.errors import InvalidRequest, NotAllowed, QuotaExceeded
from broker.evenly import STEP
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
    opening_of,
)
from tests.keeping.test_erasure_plans import GROUND, RECORDS, SECOND, confirms, planned
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR

ELSEWHERE = "something that is open elsewhere needs what you hold here"


async def wants_access(stage: Stage, *subjects: SubjectRef, who: Any = CFRS) -> str:
    """A request for access that is open: its id."""
    access, _, _ = await stage.access.start(who, Wanted(subjects), ACTOR, WHY)
    await caught_up(stage)
    return access


async def test_what_the_person_asks_to_see_stays(stage: Stage) -> None:
    """While their request for access is open, to whomever it went; s.173 makes the other an offence. Who began
    it is told so; others, that something is open elsewhere."""
    subject = stage.person()
    await asks(stage, subject)
    plan, theirs = await planned(stage, subject), await planned(stage, subject, CFRS)
    access = await wants_access(stage, subject)
    for refused in (planned(stage, subject), confirms(stage, plan, subject)):
        with pytest.raises(InvalidRequest, match=ELSEWHERE):
            await refused
    cfrs = replace(CFRS, system="records", key_digest=RECORDS.key_digest)
    for refused in (planned(stage, subject, CFRS), confirms(stage, theirs, subject, cfrs)):
        with pytest.raises(InvalidRequest, match="1 requests for access by this person, begun by your agency"):
            await refused
    await stage.access.issue(CFRS, access, ACTOR, WHY)
    await caught_up(stage)
    assert (await confirms(stage, plan, subject))[0].entries == 1


async def test_whom_an_answered_request_asked_about_stands_in_no_key(durable_stage: Stage) -> None:
    """Its identifiers' digests are there for erasures while it is open, and go with its answer."""
    subject = durable_stage.person()
    access = await wants_access(durable_stage, subject, who=NWAS)

    async def digests() -> int:
        async with durable_stage.past._database.connection() as connection:  # type: ignore[attr-defined]
            found = await connection.fetchval("select subjects from access_request where id = $1", access)
        return len(found)

    assert await digests() == 1
    await durable_stage.access.issue(NWAS, access, ACTOR, WHY)
    assert await digests() == 0


async def test_who_holds_nothing_of_somebodys_learns_nothing(stage: Stage) -> None:
    """A plan about somebody who asks for access elsewhere is made like one about anybody: in the same words,
    with the same entries."""
    asking, nobody = stage.person(), stage.person()
    await wants_access(stage, asking)
    made = []
    for subject in (asking, nobody):
        start = await stage.size()
        plan, told, _ = await stage.erasing.plan(COUNCIL, subject, GROUND, OFFICER, WHY)
        await caught_up(stage)
        made.append((told, plan.entries, [each["event"] for each in await stage.since(start)]))
    assert made[0] == made[1]
    assert made[0][2] == ["erasure-viewed", "erasure-planned"]


async def test_nobody_finds_a_request_by_asking_about_somebody(stage: Stage) -> None:
    """What was made since it began is not asked for by it; nor with what else is named beside."""
    asking, other = stage.person(), stage.person()
    old = await entry_of(stage, await asks(stage, other))
    await wants_access(stage, asking)
    new = await entry_of(stage, await asks(stage, asking))
    plan = await planned(stage, asking)
    assert (await full_of(stage, plan))["detail"]["entries"] == 1
    both, _, _ = await stage.erasing.plan(NWAS, (old, new), GROUND, OFFICER, WHY)
    assert set(both.entries) == {old, new}


async def test_what_the_provider_matched_shows_the_requester_nothing(stage: Stage) -> None:
    """Neither a request for access nor a complaint by a number that it did not give: whose that is, it would
    learn. The provider, who knows both, is stopped by either."""
    given, matched = stage.person(), stage.person()
    entry = await entry_of(stage, await asks(stage, given, matched))
    await wants_access(stage, matched, who=COUNCIL)
    await wants_access(stage, matched, who=NWAS)
    complaint, _, _ = await stage.complaints.add(NWAS, "C-5", None, "rude", ACTOR, matched)
    await caught_up(stage)
    await planned(stage, given)
    assert (await stage.erasing.plan(NWAS, (entry,), GROUND, OFFICER, WHY))[0].entries == (entry,)
    await caught_up(stage)
    with pytest.raises(InvalidRequest, match=ELSEWHERE):
        await planned(stage, given, CFRS)
    await stage.complaints.acknowledge(NWAS, complaint, ACTOR)
    await stage.complaints.close(NWAS, complaint, "not-upheld", "explained", ACTOR)
    await caught_up(stage)


async def test_no_number_of_requests_hides_one(durable_stage: Stage) -> None:
    """However many others were received before it: as many as three agencies may have open."""
    stage, subject = durable_stage, durable_stage.person()
    await asks(stage, subject)
    received = stage.clock.now() - timedelta(days=300)
    invented = Wanted((SubjectRef("uprn", "1"),), received)
    for who in (NWAS, COUNCIL, AUDITOR):
        for _ in range(350 // 7):
            await asyncio.gather(*(stage.access.start(who, invented, ACTOR, WHY) for _ in range(7)))
    await wants_access(stage, subject)
    with pytest.raises(InvalidRequest, match=ELSEWHERE):
        await planned(stage, subject)


async def test_that_somebody_looked_stands_before_any_answer(stage: Stage) -> None:
    """Of a plan that is refused too, and of a confirmation; the entry names nobody."""
    subject = stage.person()
    await asks(stage, subject)
    plan = await planned(stage, subject)
    await wants_access(stage, subject)
    for refused in (planned(stage, subject), confirms(stage, plan, subject)):
        start = await stage.size()
        with pytest.raises(InvalidRequest, match=ELSEWHERE):
            await refused
        (looked,) = await stage.since(start)
        assert (looked["event"], looked["actor"]["id"][:2]) in (
            ("erasure-viewed", "p."),
            ("erasure-viewed", "a."),
        )
        assert looked["detail"] == {"asked": None, "reason": "art-17"}
        assert subject.value not in str(looked)
        await caught_up(stage)


async def test_an_auditors_system_is_told_nothing_in_a_role_that_it_has_not(stage: Stage) -> None:
    """Its role is looked at before what stands in the way."""
    subject = stage.person()
    await asks(stage, subject)
    await wants_access(stage, subject, who=replace(AUDITOR, roles=frozenset()))
    own = replace(AUDITOR, agency="nwas", roles=frozenset({"auditor"}))
    start = await stage.size()
    with pytest.raises(NotAllowed, match="acts in the roles of its enrolment"):
        await planned(stage, subject, own)
    assert await stage.since(start) == []


class _Few:
    """A quota of so many looks."""

    def __init__(self, most: int) -> None:
        self.left = most

    def __call__(self, agency: str, at: float) -> None:
        """Count one."""
        self.left -= 1
        if self.left < 0:
            raise QuotaExceeded(f"{agency} looks too often", 1.0, quota="looks")


def plans_of(stage: Stage, disputes: Disputes, spend: _Few | None = None, store: Any = None) -> ErasurePlans:
    """As the stage's, but for these."""
    administration = Administration(stage.log, stage.clock, spend)
    return ErasurePlans(
        administration,
        Erasures(administration, stage.finder, stage.holds, stage.facts),
        stage.finder,
        stage.holds,
        store or stage.erasure_plans,
        disputes,
        stage.facts,
        stage.clock,
    )


async def test_guesses_and_plans_are_counted_as_looks(stage: Stage) -> None:
    """Whoever has had as many is told neither whether a guess is right nor whether something is in the way."""
    subject, other = stage.person(), stage.person()
    await asks(stage, subject)
    plan = await planned(stage, subject)
    quota = _Few(1)
    counted = plans_of(stage, stage.disputes, quota)
    with pytest.raises(InvalidRequest, match="is not whom the plan is about"):
        await counted.confirm(RECORDS, plan, other, SECOND, WHY)
    start = await stage.size()
    for guess in (other, subject):
        with pytest.raises(QuotaExceeded):
            await counted.confirm(RECORDS, plan, guess, SECOND, WHY)
    with pytest.raises(QuotaExceeded):
        await counted.plan(NWAS, subject, GROUND, OFFICER, WHY)
    assert await stage.since(start) == []


class _Meanwhile:
    """Plans and what disputes them, and what happens just after one of them was read for the first time."""

    def __init__(self, stage: Stage, read: str, happens: Callable[[], Awaitable[object]]) -> None:
        self._store = stage.erasure_plans
        self._read = read
        self._happens: Callable[[], Awaitable[object]] | None = happens

    def subject(self, subject: SubjectRef) -> bytes:
        """As the store's."""
        return self._store.subject(subject)

    async def planned(self, *args: Any) -> Any:
        """As the store's."""
        return await self._then("planned", await self._store.planned(*args))

    async def disputed(self, *args: Any) -> Any:
        """As the store's."""
        return await self._then("disputed", await self._store.disputed(*args))

    async def _then(self, read: str, found: Any) -> Any:
        if read == self._read and self._happens is not None:
            happens, self._happens = self._happens, None
            await happens()
        return found


@pytest.mark.parametrize("comes", ["access", "complaint"])
async def test_what_comes_while_it_is_confirmed_is_not_overtaken(stage: Stage, comes: str) -> None:
    """A request for access, or a complaint, that is written down after it was looked whether there is any."""
    subject = stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    plan = await planned(stage, subject)
    complaints = list[str]()

    async def complains() -> None:
        complaints.append((await stage.complaints.add(NWAS, "C-7", None, "rude", ACTOR, subject))[0])

    happens = complains if comes == "complaint" else (lambda: wants_access(stage, subject, who=NWAS))
    store: Any = _Meanwhile(stage, "disputed", happens)
    disputes = Disputes(store, stage.overridden, stage.reference, stage.clock)
    why = "complaints to your agency are open" if complaints or comes == "complaint" else "requests for access"
    with pytest.raises(InvalidRequest, match=why):
        await plans_of(stage, disputes).confirm(RECORDS, plan, subject, SECOND, WHY)
    assert await opening_of(stage, entry, "requester") is not None
    for each in complaints:
        await stage.complaints.acknowledge(NWAS, each, ACTOR)
        await stage.complaints.close(NWAS, each, "withdrawn", "they withdrew it", ACTOR)
    await caught_up(stage)


async def test_a_plan_that_ends_while_it_is_confirmed_erases_nothing(stage: Stage) -> None:
    """Between the look at it and the erasure: what was refused under an exemption stays."""
    subject = stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    plan = await planned(stage, subject)

    async def refused() -> None:
        await stage.erasing.end(NWAS, plan, "legal-claims", OFFICER, WHY)

    plans = plans_of(stage, stage.disputes, store=_Meanwhile(stage, "planned", refused))
    with pytest.raises(NotAllowed, match="no such plan"):
        await plans.confirm(RECORDS, plan, subject, SECOND, WHY)
    assert await opening_of(stage, entry, "requester") is not None
    await caught_up(stage)


async def test_so_many_entries_are_found_by_one_look(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """More are erased by their ids; others' do not count."""
    monkeypatch.setattr("broker.erasable.MOST_FOUND", 2)
    subject = stage.person()
    for who in (NWAS, COUNCIL, NWAS):
        await asks(stage, subject, requester=who.agency, key_digest=who.key_digest)
    assert (await stage.erasures.planned(NWAS, subject, ACTOR, WHY))[0].entries == 2
    await caught_up(stage)
    await asks(stage, subject)
    with pytest.raises(InvalidRequest, match="over 2 entries by this identifier: have them erased"):
        await planned(stage, subject)
    await caught_up(stage)


async def test_answers_about_erasures_leave_at_fixed_moments(stage: Stage) -> None:
    """A look, a plan, and one that is refused: what is hidden from a party takes no time of its own."""
    subject = stage.person()
    await asks(stage, subject)
    plan = await planned(stage, subject)
    loop = asyncio.get_running_loop()
    somebody = replace(OFFICER, assurance=Assurance.PERSONAL_LOGIN)
    for answer in (
        lambda: stage.erasures.planned(NWAS, subject, somebody, WHY),
        lambda: stage.erasing.plan(NWAS, subject, GROUND, somebody, WHY),
        lambda: stage.erasing.confirm(RECORDS, plan, stage.person(), SECOND, WHY),
    ):
        begun = loop.time()
        with suppress(InvalidRequest):
            await answer()
        assert loop.time() - begun >= STEP
        await caught_up(stage)
