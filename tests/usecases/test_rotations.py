"""Rotating as a use case: planned first, refused when nothing is due, never before all hold the key."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from broker import rotations
from broker.core.model import Caller, Function
from broker.errors import AuditUnavailable, InvalidRequest, NotAllowed
from broker.rotations import Rotations
from tests.support.chain import AFTER, NEXT, ORIGIN, MemoryChain
from tests.support.world import World

OPERATOR = Caller("operator", "cli", Function.OPERATOR, "k" * 64)


class Made:
    """The use case over logs in memory, with workers that hold what `holding` says."""

    def __init__(self, now: datetime) -> None:
        self.world = World()
        self.world.clock.advance((now - self.world.clock.now()).total_seconds())
        self.chain = MemoryChain()
        self.chain.current.grow(5)
        self.holding: dict[str, str] | None = None
        self.rotations = Rotations(self.world.administration, self.chain, self.held, self.world.clock)

    def held(self) -> dict[str, str]:
        """Both workers hold what was made, unless a test says otherwise."""
        own = self.rotations.held()
        return {"a": own, "b": own} if self.holding is None else self.holding


@pytest.fixture
def due() -> Made:
    """The half-year is over."""
    return Made(datetime(2027, 1, 2, 9, tzinfo=UTC))


@pytest.fixture
def early() -> Made:
    """It is not."""
    return Made(datetime(2026, 12, 1, 9, tzinfo=UTC))


async def test_a_plan_does_nothing(due: Made) -> None:
    """It says what is due, what comes next, and who lacks the next key; nothing is made for it."""
    planned = await due.rotations.plan(OPERATOR)
    assert (planned.log, planned.size, planned.due, planned.next) == (ORIGIN, 5, True, NEXT)
    assert (planned.vkey, planned.lacking, planned.event_id) == ("", ("a", "b"), "")
    assert len(due.chain.logs) == 1
    assert due.chain.keys == {}
    assert due.world.store.events == []


async def test_a_rotation_is_an_entry_of_its_own(due: Made) -> None:
    """Who rotated is written down in the log before; the new key is named."""
    done = await due.rotations.rotate(OPERATOR, ORIGIN, early=False)
    assert (done.next, due.chain.origin, done.size) == (NEXT, NEXT, 6)
    assert done.vkey == due.chain.current.signer.vkey
    assert due.world.store.events == ["log-rotated"]
    assert due.rotations.due() == ""
    with pytest.raises(InvalidRequest, match="is not the current one"):
        await due.rotations.rotate(OPERATOR, ORIGIN, early=False)


async def test_what_is_not_due_is_refused_unless_it_is_meant(early: Made) -> None:
    """Before its half-year is over a log is rotated only on purpose, and only once."""
    with pytest.raises(InvalidRequest, match="is not over"):
        await early.rotations.rotate(OPERATOR, ORIGIN, early=False)
    assert (await early.rotations.rotate(OPERATOR, ORIGIN, early=True)).next == NEXT
    with pytest.raises(InvalidRequest, match="ahead of its time"):
        await early.rotations.rotate(OPERATOR, NEXT, early=True)
    assert [each.signer.name for each in early.chain.logs] == [ORIGIN, NEXT]
    assert AFTER not in early.chain.keys


@pytest.mark.parametrize("function", [Function.PARTNER, Function.AUDITOR])
async def test_operators_only(due: Made, function: Function) -> None:
    """Nobody else plans or rotates."""
    other = Caller("cfrs", "mdt", function, "k" * 64)
    with pytest.raises(NotAllowed):
        await due.rotations.plan(other)
    with pytest.raises(NotAllowed):
        await due.rotations.rotate(other, ORIGIN, early=False)


async def test_nothing_is_closed_before_every_worker_holds_the_key(
    due: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker without it is named, with the file to copy; once it has it, the same command goes on."""
    monkeypatch.setattr(rotations, "HELD_WITHIN", 0.0)
    due.holding = {"a": "", "b": "another"}
    with pytest.raises(AuditUnavailable, match=r"2 live worker\(s\).*a, b.*copy logs/2027h1\.key"):
        await due.rotations.rotate(OPERATOR, ORIGIN, early=False)
    assert len(due.chain.logs) == 1
    assert due.world.store.events == []
    key = due.rotations.held()
    due.holding = None
    assert (await due.rotations.rotate(OPERATOR, ORIGIN, early=False)).vkey == key


def test_it_is_said_when_it_is_due(due: Made, early: Made) -> None:
    """From the first moment of the next half-year on, and not before."""
    assert "broker audit rotate" in due.rotations.due()
    assert early.rotations.due() == ""
