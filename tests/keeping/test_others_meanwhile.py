"""What others do at will, again and again, stops nobody's own: each change reads what could alter it, and no
more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broker.accesswanted import KEYS, Wanted, accesses_keys
from broker.administration import TRIES
from broker.clearing import Holdings, Ruling
from broker.core.model import SubjectRef
from broker.errors import Unsettled
from tests.keeping.conftest import CFRS, COUNCIL, NWAS, OFFICER, WHY, asks, caught_up, entry_of, opening_of
from tests.keeping.test_erasure_plans import confirms, planned
from tests.support.stage import Stage
from tests.support.world import ACTOR


def always_after(
    of: Any, name: str, what: Callable[[], Awaitable[Any]], monkeypatch: pytest.MonkeyPatch
) -> list[bool]:
    """This happens after each call of a method, before anybody has heard what it said; how often it did. What
    it calls itself does not count."""
    real, done, busy = getattr(of, name), list[bool](), list[bool]()

    async def then(*given: Any, **named: Any) -> Any:
        said = await real(*given, **named)
        if not busy:
            busy.append(True)
            await what()
            busy.clear()
            done.append(True)
        return said

    monkeypatch.setattr(of, name, then)
    return done


async def accessed(stage: Stage) -> tuple[str, str]:
    """An entry of two agencies that a request for access is about, and that request."""
    subject = stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    access, _, _ = await stage.access.start(NWAS, Wanted((subject,)), ACTOR, WHY)
    await caught_up(stage)
    return entry, access


async def test_requests_for_access_by_others_stop_no_erasure(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many anybody begins, each time that it is looked whether there is one about this person."""
    subject = stage.person()
    entry = await entry_of(stage, await asks(stage, subject))
    plan, own = await planned(stage, subject), accesses_keys((subject,))

    async def begins() -> None:
        other = stage.person()
        while accesses_keys((other,)) == own:  # one of some thousands
            other = stage.person()
        await stage.access.start(COUNCIL, Wanted((other,)), ACTOR, WHY)
        await caught_up(stage)

    done = always_after(stage.disputes, "check", begins, monkeypatch)
    assert (await confirms(stage, plan, subject))[0].entries == 1
    assert len(done) == 1
    assert await opening_of(stage, entry, "requester") is None


async def test_a_request_for_access_stands_under_a_key_that_names_nobody(stage: Stage) -> None:
    """Of every person one of so few that each is many people's; the same each time."""
    people = [SubjectRef("uprn", str(n)) for n in range(1, 8 * KEYS)]
    keys = [accesses_keys((each,)) for each in people]
    assert keys == [accesses_keys((each,)) for each in people]
    assert KEYS * 0.99 < len(frozenset().union(*keys)) <= KEYS
    assert accesses_keys(people[:3]) == keys[0] | keys[1] | keys[2]


async def test_erasures_by_others_stop_no_answer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time that what is told has been looked at; it is told all the same."""
    entry, access = await accessed(stage)
    for who in (NWAS, CFRS):
        await stage.access.clear(who, access, [entry], Ruling(), OFFICER)
    key = COUNCIL.key_digest
    theirs = [
        await entry_of(stage, await asks(stage, stage.person(), requester="cumberland", key_digest=key))
        for _ in range(TRIES)
    ]

    async def erases() -> None:
        await stage.erasures.erase(COUNCIL, (theirs.pop(),), OFFICER, WHY)
        await caught_up(stage)

    always_after(stage.searches, "entry", erases, monkeypatch)
    await stage.access.issue(NWAS, access, OFFICER, WHY)
    assert len(theirs) == TRIES - 2, "looked at as it is fixed, and as it is told"
    assert await stage.accesses.told(access) == [entry]


async def test_clearings_by_others_stop_no_clearing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each controller decides of its own entries, whatever others do meanwhile; and one of its own counts."""
    entry, access = await accessed(stage)
    codes = iter(["", "third-party"] * TRIES)

    async def clears() -> None:
        await stage.access.clear(NWAS, access, [entry], Ruling(next(codes), "somebody rang"), OFFICER)

    done = always_after(Holdings, "check", clears, monkeypatch)
    await stage.access.clear(CFRS, access, [entry], Ruling(), OFFICER)
    assert len(done) == 1
    with pytest.raises(Unsettled):
        await stage.access.clear(NWAS, access, [entry], Ruling(), OFFICER)


async def test_what_is_cleared_meanwhile_is_in_the_answer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left out after it was looked at and before the answer is an entry: the answer does not tell it."""
    entry, access = await accessed(stage)
    for who in (NWAS, CFRS):
        await stage.access.clear(who, access, [entry], Ruling(), OFFICER)
    ruled = list[bool]()

    async def leaves_out() -> None:
        if not ruled:
            ruled.append(True)
            await stage.access.clear(CFRS, access, [entry], Ruling("third-party", "somebody rang"), OFFICER)

    always_after(stage.searches, "entry", leaves_out, monkeypatch)
    await stage.access.issue(NWAS, access, OFFICER, WHY)
    assert await stage.accesses.told(access) == []
