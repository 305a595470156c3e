"""What a human had decided stands in the entry, so that a decision under it can be made again from the log."""

from __future__ import annotations

from typing import Any

import pytest

from broker.errors import Denied
from broker.verdicts import Verdict
from tests.human.conftest import GUARDIAN, OWNER
from tests.human.test_overrides import breaks_glass, objected, used
from tests.human.test_referrals import (
    NO,
    ONE_OFF,
    again,
    asked,
    grants,
    judged,
    refer,
    unforeseen,
)
from tests.support.stage import Stage


async def same(stage: Stage, start: int, *decided: str) -> None:
    """Every decision since then is made again as it was; these are what they came to."""
    fulls = [full for full in await stage.since(start) if "decided" in full]
    assert [full["decided"] for full in fulls] == list(decided)
    for full in fulls:
        made = await stage.why.replays.one(full)
        assert (made.verdict, made.differences) == (Verdict.SAME, ())


async def test_referred_granted_and_taken_back(stage: Stage) -> None:
    """Whatever was decided since, each stands as it was on its day."""
    request, start = judged(stage), await stage.size()
    row = await refer(stage, request)
    await stage.referrals.decide(OWNER, row.id, grants("uprn"), GUARDIAN)
    stage.finds(request)
    await stage.exchange.answer(again(request))
    await stage.referrals.decide(OWNER, row.id, NO, GUARDIAN)
    with pytest.raises(Denied):
        await stage.exchange.answer(again(request))
    await same(stage, start, "refer", "permit", "refuse")


async def test_a_one_off(stage: Stage) -> None:
    """Its law stands in the entry; the asking was no decision."""
    request, start = unforeseen(stage), await stage.size()
    row = await asked(stage, request)
    await stage.referrals.decide(OWNER, row.id, grants("uprn", one_off=ONE_OFF), GUARDIAN)
    stage.finds(request)
    await stage.exchange.answer(again(request))
    await same(stage, start, "permit")


async def test_an_override_and_one_that_was_restricted(stage: Stage) -> None:
    """Also once the restriction is lifted."""
    start = await stage.size()
    _, row = await used(stage)
    await stage.overrides.review(OWNER, row.id, "not-justified", "no", GUARDIAN)
    restriction, _ = await stage.overrides.restrict(OWNER, row.id, "actor", None, "no", GUARDIAN)
    request: Any = await objected(stage, breaks_glass(stage))
    with pytest.raises(Denied):
        await stage.exchange.answer(request)
    await stage.overrides.lift(OWNER, restriction, "yes", GUARDIAN)
    await same(stage, start, "permit", "refuse")
