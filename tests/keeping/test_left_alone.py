"""What an erasure leaves alone, and what it refuses: humans' work, new holds, an index that is behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broker import erasable, erasures
from broker.core.model import Reason, SubjectRef
from broker.errors import Denied, IndexBehind
from broker.ports import NotFound
from tests.human.conftest import JUDGED, OVERRIDDEN, OWNER, SILENT
from tests.human.test_overrides import BREAK_GLASS, breaks_glass, objected
from tests.human.test_referrals import NO, judged, refer
from tests.keeping.conftest import (
    CFRS,
    COUNCIL,
    NWAS,
    OFFICER,
    WHY,
    WORDS,
    asks,
    caught_up,
    entry_of,
    full_of,
    holds_person,
    opening_of,
)
from tests.support.postgres import ask
from tests.support.stage import Stage
from tests.support.values import replace


async def erases(stage: Stage, who: Any, subject: SubjectRef) -> Any:
    """An erasure, and the index at its end."""
    told, made = await stage.erasures.erase(who, subject, OFFICER, WHY)
    await caught_up(stage)
    return told, made


async def plans(stage: Stage, who: Any, subject: SubjectRef, actor: Any, reason: Reason) -> Any:
    """What an erasure would do, and the index after it."""
    told = await stage.erasures.planned(who, subject, actor, reason)
    await caught_up(stage)
    return told


async def test_what_waits_for_a_human_is_left(stage: Stage) -> None:
    """An open referral is the provider's to decide first; once refused it goes with its row."""
    request = replace(judged(stage), reason=Reason("welfare", WORDS))
    row = await refer(stage, request)
    await caught_up(stage)
    assert request.subject is not None
    assert request.purpose == JUDGED
    told, _ = await plans(stage, OWNER, request.subject, OFFICER, WHY)
    assert (told.entries, told.waiting) == (0, 1)
    await stage.referrals.decide(OWNER, row.id, NO, OFFICER)
    await caught_up(stage)
    told, _ = await erases(stage, OWNER, request.subject)
    assert (told.entries, told.waiting) == (2, 0), "the request, and what was decided of it"
    assert await stage.referred.by_id(row.id) is None


async def overrides(stage: Stage) -> tuple[SubjectRef, str]:
    """An override that was used: whom it was about, and its entry."""
    request = await objected(stage, breaks_glass(stage))
    assert request.subject is not None
    assert request.purpose == OVERRIDDEN
    stage.finds(request)
    await stage.exchange.answer(request)
    await caught_up(stage)
    return request.subject, await entry_of(stage, request)


async def test_an_override_goes_once_it_was_reviewed(stage: Stage) -> None:
    """The requester's part takes its words from the owner's row; with the owner's, the last, the row goes."""
    subject, entry = await overrides(stage)
    told, _ = await plans(stage, OWNER, subject, OFFICER, WHY)
    assert (told.entries, told.waiting) == (0, 1)
    await stage.overrides.review(OWNER, entry, "justified", "a life was at risk", OFFICER)
    await caught_up(stage)
    told, _ = await erases(stage, NWAS, subject)
    assert (told.entries, told.waiting) == (2, 0), "the request, and its review"
    row = await stage.overridden.by_id(entry)
    assert row is not None
    assert row.words == ""
    await erases(stage, OWNER, subject)
    assert await stage.overridden.by_id(entry) is None


async def test_a_requester_neither_sees_nor_empties_the_owners_queue(stage: Stage) -> None:
    """Nothing shows that a human of the owner has work with it, who keeps the words that are to be reviewed."""
    subject, entry = await overrides(stage)
    told, _ = await erases(stage, NWAS, subject)
    assert (told.entries, told.waiting) == (1, 0)
    assert await opening_of(stage, entry, "requester") is None
    row = await stage.overridden.by_id(entry)
    assert row is not None
    assert row.words == BREAK_GLASS.words


async def test_a_requester_learns_of_nobody_who_was_told(stage: Stage) -> None:
    """Silently refused before the provider was asked or after: plans, and the provider's hold, are alike."""
    plans_: list[Any] = []
    for says in ("nothing", "objection"):
        subject = stage.person()
        if says == "objection":
            await stage.said.add(COUNCIL, subject, stage.objection(), OFFICER)
        request = replace(stage.asks(subject=subject), purpose=SILENT)
        stage.providers.answers(NotFound((subject,)))
        with pytest.raises(Denied):
            await stage.exchange.answer(request)
        await caught_up(stage)
        parties = await stage.view.parties(await entry_of(stage, request))
        assert parties == ("nwas", "cfrs" if says == "nothing" else "")
        free, _ = await plans(stage, NWAS, subject, OFFICER, WHY)
        await holds_person(stage, CFRS, subject)
        held, _ = await plans(stage, NWAS, subject, OFFICER, WHY)
        plans_.append((replace(free, words=0), replace(held, words=0)))
    assert plans_[0] == plans_[1]
    assert (plans_[0][0].entries, plans_[0][1].held) == (1, 1)


async def test_a_hold_placed_meanwhile_is_heeded(stage: Stage) -> None:
    """Placed between the plan and its commit, it has the plan made again, and nothing is erased."""
    subject = stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    seen: list[int] = []
    attached = stage.keeping.attached

    async def overtaken(*about: Any) -> Any:
        result = await attached(*about)
        if about[0] and not seen:
            seen.append(1)
            await holds_person(stage, NWAS, subject)
        return result

    stage.finder._keeping = _With(stage.keeping, overtaken)  # type: ignore[assignment]
    try:
        told, _ = await erases(stage, NWAS, subject)
    finally:
        stage.finder._keeping = stage.keeping
    assert seen
    assert (told.entries, told.held > 0) == (0, True)
    assert await opening_of(stage, entry, "requester") is not None


class _With:
    """A port of which one method is another."""

    def __init__(self, port: Any, attached: Any) -> None:
        self._port, self.attached = port, attached

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


async def test_more_than_one_entry_can_name_are_erased_by_several(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each says what it took, and together they say all."""
    monkeypatch.setattr(erasures, "MOST", 3)
    subject = stage.person()
    entries = {await entry_of(stage, await asks(stage, subject)) for _ in range(7)}

    async def keeps_up() -> None:
        while True:
            await stage.indexed()
            await asyncio.sleep(0.02)

    filling = asyncio.create_task(keeps_up())
    try:
        told, made = await stage.erasures.erase(NWAS, subject, OFFICER, WHY)
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
    await caught_up(stage)
    assert (told.entries, len(made)) == (7, 3)
    details: list[Any] = [(await full_of(stage, each.event_id))["detail"] for each in made]
    assert [len(detail["entries"]) for detail in details] == [3, 3, 1]
    assert {each for detail in details for each in detail["entries"]} == entries


async def test_nobody_is_missed_silently(durable_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the index is behind, or has left an entry out, nothing is erased, and the refusal says so."""
    monkeypatch.setattr(erasable, "_PATIENCE", 0.05)
    stage, subject = durable_stage, durable_stage.person()
    request = stage.asks(subject=subject)
    stage.finds(request)
    await stage.exchange.answer(request)
    await ask(stage.dsn, "delete from search where idx = (select max(idx) from search)", "select 1")
    with pytest.raises(IndexBehind, match=r"has reached entry \d+ of \d+"):
        await stage.erasures.erase(NWAS, subject, OFFICER, WHY)
    await caught_up(stage)
    await ask(stage.dsn, "delete from search where idx = 3", "select 1")
    with pytest.raises(IndexBehind, match="has left out entry 3"):
        await stage.erasures.erase(NWAS, subject, OFFICER, WHY)
    assert await opening_of(stage, await entry_of(stage, request), "requester") is not None
