"""Every outcome that is ever written is one that a search knows, and its entry is found by it."""

from __future__ import annotations

from typing import Any

from broker.core.model import Reason
from broker.core.searchterms import Question
from broker.core.vocabulary import OUTCOMES, VERDICTS
from broker.late import LateRecords
from tests.human.conftest import GUARDIAN, OWNER
from tests.human.test_escalations import complained, worker
from tests.human.test_overrides import WORDS, used
from tests.human.test_referrals import NO, grants, judged, refer
from tests.support.stage import Stage
from tests.support.world import ACTOR, AUDITOR, caller
from tests.usecases.test_late import digest, shared

WHY = Reason("complaint", "somebody asked")


async def everything_happens(stage: Stage) -> None:
    """A release, a refusal, referrals decided both ways, a review of each verdict, what is told by telephone,
    and what waits too long."""
    for ruling in (grants("uprn"), NO):
        await stage.referrals.decide(OWNER, (await refer(stage, judged(stage))).id, ruling, GUARDIAN)
    for verdict in VERDICTS:
        _, override = await used(stage)
        await stage.overrides.review(OWNER, override.id, verdict, WORDS, GUARDIAN)
    await complained(stage)
    await worker(stage, days=31).look()
    late = LateRecords(stage.log, stage.facts, stage.reference, stage.clock, digest)
    await late.record(caller("nwas"), [shared(stage.clock.now(), agreement="")], ACTOR)


async def test_each_entry_is_found_by_its_own_outcome(stage: Stage) -> None:
    """Of every kind that has one; and none is listed that nothing comes to."""
    start = await stage.size()
    await everything_happens(stage)
    while await stage.indexed():
        pass
    seen = set[str]()
    for place, full in enumerate(await stage.since(start), start):
        outcome: Any = full["outcome"]
        if outcome is None:
            continue
        seen.add(outcome)
        question = Question((("outcome", outcome), ("event", str(full["event"]))))
        page = await stage.searches.page(AUDITOR, question, ACTOR, WHY)
        entry = await stage.view.id_at(place)
        assert entry in {each.hit.id for each in page.found}, full["event"]
    assert seen | {"refuse"} == OUTCOMES
