"""What comes between the last look and the append counts: nothing is erased or answered on what is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broker.accesswanted import Wanted
from broker.clearing import Ruling
from broker.errors import InvalidRequest, NotAllowed
from tests.keeping.conftest import CFRS, NWAS, OFFICER, WHY, asks, caught_up, entry_of, full_of, opening_of
from tests.keeping.test_erasure_plans import RECORDS, SECOND, planned
from tests.support.stage import Stage
from tests.support.world import ACTOR


def once_after(of: Any, name: str, what: Callable[[], Awaitable[Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """This happens right after the first call of a method, before anybody has heard what it said."""
    real, done = getattr(of, name), list[bool]()

    async def then(*given: Any, **named: Any) -> Any:
        said = await real(*given, **named)
        if not done:
            done.append(True)
            await what()
        return said

    monkeypatch.setattr(of, name, then)


@pytest.mark.parametrize(
    ("what", "error", "why"),
    [
        ("access", InvalidRequest, "something that is open elsewhere needs what you hold"),
        ("complaint", InvalidRequest, "complaints to your agency are open"),
        ("ended", NotAllowed, "no such plan of your agency that waits"),
    ],
)
async def test_what_stands_in_the_way_of_an_erasure_at_the_last_moment_stops_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, what: str, error: type[Exception], why: str
) -> None:
    """Begun after it was looked for and before the erasure is an entry: the person's words come first."""
    subject = stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    plan = await planned(stage, subject)

    async def comes() -> None:
        if what == "access":
            await stage.access.start(CFRS, Wanted((subject,)), ACTOR, WHY)
        elif what == "complaint":
            await stage.complaints.add(NWAS, "C-9", None, "why did they look?", ACTOR, subject)
        else:
            await stage.erasing.end(NWAS, plan, "", OFFICER, WHY)
        await caught_up(stage)

    once_after(stage.disputes, "check", comes, monkeypatch)
    with pytest.raises(error, match=why):
        await stage.erasing.confirm(RECORDS, plan, subject, SECOND, WHY)
    assert await opening_of(stage, entry, "requester") is not None
    monkeypatch.undo()
    await closed(stage)


async def closed(stage: Stage) -> None:
    """No complaint is left open for the tests after this one."""
    for row in await stage.complained.of("nwas", None, None, 10):
        if row.closed_at is None:
            await stage.complaints.acknowledge(NWAS, row.id, ACTOR)
            await stage.complaints.close(NWAS, row.id, "not-upheld", "explained", ACTOR)


async def test_an_answer_never_fixes_what_was_erased_as_it_was_given(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Erased after it was found to stand and before the answer is an entry: the answer did not hold it."""
    subject = stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    access, _, _ = await stage.access.start(NWAS, Wanted((subject,)), ACTOR, WHY)
    await caught_up(stage)
    for who in (NWAS, CFRS):
        await stage.access.clear(who, access, [entry], Ruling(), OFFICER)

    async def erased() -> None:
        for who in (NWAS, CFRS):
            await stage.erasures.erase(who, (entry,), OFFICER, WHY)
            await caught_up(stage)

    once_after(stage.searches, "entry", erased, monkeypatch)
    answer, made = await stage.access.issue(NWAS, access, OFFICER, WHY)
    assert "Erased since it was first given" not in dict(answer.facts)
    assert await stage.accesses.told(access) == []
    said: Any = (await full_of(stage, made.event_id))["detail"]
    assert said["told"] == 0
