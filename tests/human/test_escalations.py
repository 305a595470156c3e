"""What waits past its time is told on, once, whether or not anybody looks; what was decided is not."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest

from broker.complaints import Complaints
from broker.errors import QuotaExceeded
from broker.escalations import MOST, Desks, Escalated, Escalations, EscalationTable, Item
from broker.notices import Notices
from tests.human.conftest import GUARDIAN, OWNER, Later
from tests.human.test_notices import Receiver, receiving
from tests.human.test_overrides import WORDS, used
from tests.human.test_referrals import NO, judged, refer
from tests.support.stage import Stage
from tests.support.world import caller


def worker(stage: Stage, table: EscalationTable | None = None, **by: float) -> Escalations:
    """A worker's look when so much time has passed."""
    desks = Desks(stage.referred, stage.overridden, stage.complained)
    return Escalations(
        stage.log, table or stage.late, desks, stage.facts, stage.reference, Later(timedelta(**by))
    )


async def complained(stage: Stage) -> str:
    """A complaint that nobody has acknowledged."""
    complaint, _, _ = await stage.complaints.add(OWNER, "2026/17", None, "they came twice", GUARDIAN)
    return complaint


async def said_of(stage: Stage, start: int, item: str) -> list[dict[str, Any]]:
    """Entries since then that tell on it."""
    entries = await stage.since(start)
    return [each for each in entries if each["event"] == "escalated" and each["detail"]["item"] == item]


async def test_what_is_overdue_is_told_on_once_and_names_who_is_to_hear(stage: Stage) -> None:
    """Each kind has its own time; the entry is the owner's alone to read, and says whom to tell."""
    _, override = await used(stage)
    referral = await refer(stage, judged(stage))
    complaint = await complained(stage)
    start = await stage.size()
    await worker(stage).look()
    assert [await said_of(stage, start, each) for each in (override.id, referral.id, complaint)] == [[], [], []]
    await worker(stage, hours=9).look()
    assert await said_of(stage, start, override.id) == []
    (entry,) = await said_of(stage, start, referral.id)
    assert (entry["event"], entry["outcome"], entry["request_id"]) == ("escalated", "overdue", referral.request)
    assert entry["detail"]["to"] == ["Ada Guardian"]
    assert (entry["provider"], entry["detail"]["waits_for"]) == ("cfrs", ["cfrs"])
    await worker(stage, hours=73).look()
    assert len(await said_of(stage, start, override.id)) == 1
    assert await said_of(stage, start, complaint) == []
    for _ in range(2):
        await worker(stage, days=31).look()
    (entry,) = await said_of(stage, start, complaint)
    assert entry["detail"]["to"] == ["the data protection officer of cfrs"]
    assert [len(await said_of(stage, start, each.id)) for each in (override, referral)] == [1, 1]
    for hidden in (WORDS, "a.hill", "they came twice"):
        assert hidden not in json.dumps(entry)


async def test_only_the_owner_reads_that_something_is_late(stage: Stage) -> None:
    """The requester's view of it does not exist: that a human has to decide at all may be nobody's to learn."""
    referral = await refer(stage, judged(stage))
    await worker(stage, hours=9).look()
    item = Item("referral", referral.id)
    (told,) = [each for each in await stage.late.claim(10_000, 0) if each.item == item]
    assert await stage.view.parties(told.id) == ("", "cfrs")
    receipt, _ = await stage.view.receipt(told.id, "requester")
    assert receipt.opening is None


async def test_what_was_decided_is_not_told_on(stage: Stage) -> None:
    """A review, a ruling or an acknowledgement ends the wait, however late it is looked at."""
    _, override = await used(stage)
    await stage.overrides.review(OWNER, override.id, "justified", "a child was inside", GUARDIAN)
    referral = await refer(stage, judged(stage))
    await stage.referrals.decide(OWNER, referral.id, NO, GUARDIAN)
    complaint = await complained(stage)
    await stage.complaints.acknowledge(OWNER, complaint, GUARDIAN)
    start = await stage.size()
    await worker(stage, days=31).look()
    assert [await said_of(stage, start, each) for each in (override.id, referral.id, complaint)] == [[], [], []]


async def test_a_flood_of_one_agencys_delays_nobody_elses(stage: Stage) -> None:
    """However many complaints of a year ago one agency has, another's that is late since yesterday is told on
    in the first look; so are a referral and a review."""
    flooding = caller("wf", "cad")
    for n in range(150):
        long_ago = stage.clock.now() - timedelta(days=365, seconds=n)
        await stage.complaints.add(flooding, "C", long_ago, "w", GUARDIAN)
    complaint, _, _ = await stage.complaints.add(
        OWNER, "2026/17", stage.clock.now() - timedelta(days=31), "they came twice", GUARDIAN
    )
    _, override = await used(stage)
    referral = await refer(stage, judged(stage))
    start = await stage.size()
    assert await worker(stage, days=3.5).look() <= MOST
    assert [len(await said_of(stage, start, each)) for each in (complaint, override.id, referral.id)] == [1] * 3
    while await worker(stage, days=3.5).look():
        pass
    await _emptied(stage)


async def test_whoever_has_many_complaints_open_closes_some_first(stage: Stage) -> None:
    """As many as it may, and the next is refused with what to do; others have room, and so has it then."""
    complaints = Complaints(stage.administration, stage.complained, stage.facts, stage.clock, stage.heritage, 2)
    who, other = caller(f"p{uuid.uuid4().hex[:12]}", "cad"), caller(f"p{uuid.uuid4().hex[:12]}", "cad")
    first, *_ = [(await complaints.add(who, "C", None, "w", GUARDIAN))[0] for _ in range(2)]
    with pytest.raises(QuotaExceeded, match="2 complaints open, as many as it may: close some first"):
        await complaints.add(who, "C", None, "w", GUARDIAN)
    await complaints.add(other, "C", None, "w", GUARDIAN)
    await complaints.acknowledge(who, first, GUARDIAN)
    with pytest.raises(QuotaExceeded):
        await complaints.add(who, "C", None, "w", GUARDIAN)
    await complaints.close(who, first, "upheld", "told them", GUARDIAN)
    await complaints.add(who, "C", None, "w", GUARDIAN)


class _Meeting:
    """The table of two workers who have both seen that something is late before either says so."""

    def __init__(self, real: EscalationTable, item: str) -> None:
        self._real = real
        self._item = item
        self._both = asyncio.Barrier(2)
        self._met = 0

    async def late(self, now: datetime, most: int) -> list[Item]:
        return [each for each in await self._real.late(now, most) if each.id == self._item]

    async def stands(self, item: Item) -> bool:
        found = await self._real.stands(item)
        if self._met < 2:
            self._met += 1
            await self._both.wait()
        return found

    async def claim(self, most: int, again_after: float) -> list[Escalated]:
        return await self._real.claim(most, again_after)

    async def told(self, escalation: str) -> None:
        await self._real.told(escalation)


async def test_two_workers_at_once_make_one_entry(stage: Stage) -> None:
    """Both find the same late review at the same moment: the second's append is given back."""
    _, override = await used(stage)
    start, table = await stage.size(), _Meeting(stage.late, override.id)
    done = await asyncio.gather(*(worker(stage, table, hours=73).look() for _ in range(2)))
    assert sorted(done) == [0, 1]
    assert len(await said_of(stage, start, override.id)) == 1


class _Reviewed(_Meeting):
    """The table of a worker in whose look the review comes just before it says that it is late."""

    def __init__(self, stage: Stage, item: str) -> None:
        super().__init__(stage.late, item)
        self._stage = stage

    async def stands(self, item: Item) -> bool:
        found = await self._real.stands(item)
        if not self._met:
            self._met = 1
            await self._stage.overrides.review(OWNER, item.id, "justified", "a child was inside", GUARDIAN)
        return found


async def test_a_review_at_the_last_moment_comes_first(stage: Stage) -> None:
    """What was decided while it was found to be late is not told on afterwards."""
    _, override = await used(stage)
    start = await stage.size()
    assert await worker(stage, _Reviewed(stage, override.id), hours=73).look() == 0
    assert await said_of(stage, start, override.id) == []


async def test_the_owners_software_is_told_without_anything_about_a_person(stage: Stage) -> None:
    """By the same address as of overrides: which item, whose, since when; and once it has arrived no more."""
    _, override = await used(stage)
    await worker(stage, hours=73).look()
    async with receiving() as receiver:
        notices = _telling(stage, receiver)
        await notices.look()
        (notice,) = [each for each in receiver.heard if each.get("item") == override.id]
        assert notice == {
            "event": "overdue",
            "escalation": notice["escalation"],
            "queue": "override",
            "item": override.id,
            "provider": "cfrs",
            "requester": "nwas",
            "due_at": override.due_at.isoformat(),
            "escalated_at": notice["escalated_at"],
            "waits_for": ["cfrs"],
        }
        assert await notices.look() == 0
        await notices.close()


async def test_a_receiver_that_is_away_hears_of_it_later(stage: Stage) -> None:
    """A failure is no arrival; the claim is for a while."""
    if stage.kind != "postgres":
        pytest.skip("memory claims once")
    await _emptied(stage)
    await used(stage)
    await worker(stage, hours=73).look()
    async with receiving(500) as receiver:
        notices = _telling(stage, receiver)
        await notices.look()
        await notices.close()
        assert receiver.counted.count(False) >= 1
    assert await stage.late.claim(100, 0) == []


def _telling(stage: Stage, to: Receiver) -> Notices:
    return Notices(stage.notices, to.url, to.count, stage.reference, stage.clock, stage.late)


async def _emptied(stage: Stage) -> None:
    while await stage.late.claim(1000, 1e9):
        pass
