"""A deployment in which humans have done every kind of work."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from broker.accesswanted import Wanted
from broker.core.model import Override
from broker.core.reports.performance import bounds
from broker.looks import Wanted as Report
from tests.human.conftest import JUDGED, OVERRIDDEN, OWNER
from tests.human.test_referrals import again, grants
from tests.keeping.conftest import COUNCIL, NWAS, OFFICER, WHY, asks, caught_up, entry_of
from tests.support.stage import Stage
from tests.support.world import ACTOR, OPERATOR


async def work(stage: Stage) -> None:
    """A row of each table, in each of its states."""
    person = stage.person()
    await stage.said.add(COUNCIL, person, stage.objection(), OFFICER)
    glass: dict[str, Any] = {
        "purpose": OVERRIDDEN,
        "override": Override("life-at-risk", "the father\nis at the door"),
    }
    used = [await entry_of(stage, await asks(stage, person, **glass)) for _ in range(3)]
    await stage.overrides.review(OWNER, used[0], "justified", "it was", OFFICER)
    await stage.overrides.review(OWNER, used[1], "wrong-person", "another family", OFFICER)
    restricted, _ = await stage.overrides.restrict(OWNER, used[1], "actor", None, "until trained", OFFICER)
    await stage.overrides.restrict(OWNER, used[1], "role", None, "until trained", OFFICER)
    await stage.overrides.lift(OWNER, restricted, "trained", OFFICER)
    requests = [await asks(stage, stage.person(), purpose=JUDGED) for _ in range(2)]
    await asks(stage, requests[1].subject, purpose=JUDGED, retry_of=requests[1].request_id)
    await stage.referrals.decide(OWNER, await entry_of(stage, requests[0]), grants("uprn"), OFFICER)
    await stage.exchange.answer(again(requests[0]))
    complaint, _, _ = await stage.complaints.add(NWAS, "C-5", None, "rude", ACTOR, person)
    await stage.complaints.acknowledge(NWAS, complaint, ACTOR)
    await stage.complaints.close(NWAS, complaint, "not-upheld", "explained", ACTOR)
    early = stage.clock.now() - timedelta(days=3)
    await stage.complaints.add(NWAS, "C-6", early, "late", ACTOR)
    for _ in range(2):
        access, _, _ = await stage.access.start(COUNCIL, Wanted((stage.person(),)), OFFICER, WHY)
        await caught_up(stage)
    await stage.access.issue(COUNCIL, access, OFFICER, WHY)
    since, _ = bounds(date(2020, 2, 1))
    await stage.reports.make(OPERATOR, Report("performance", since), OFFICER, WHY)
