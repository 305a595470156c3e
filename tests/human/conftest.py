"""Both stores, with agreements that leave something to humans: judgement, overrides, silence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.clock import SystemClock
from broker.core.model import Assurance
from broker.overrides import Overrides
from broker.referrals import Referrals
from tests.support.stage import Stage, stage_of
from tests.support.values import replace
from tests.support.world import ACTOR, caller, flow

OWNER = caller("cfrs", "cad")
GUARDIAN = replace(ACTOR, id="p.moss", role="caldicott-guardian", name="Pat Moss")
JUDGED, OVERRIDDEN, SILENT = "safeguarding-adult", "home-fire-safety", "missing-person"
SILENT_OVERRIDDEN = "domestic-abuse-marac"
LEGAL = {"basis": "art6-1-e", "condition": "art9-2-g-sch1-para18"}
OVERRIDE = {"codes": ["life-at-risk"], "hours": 4, "review_hours": 72}
PARTIES = [
    {"agency": "nwas", "regime": "uk-gdpr"},
    {"agency": "cfrs", "regime": "uk-gdpr", "caldicott_guardian": "Ada Guardian"},
]


def soon(**more: float) -> datetime:
    """A moment to come, in whole seconds."""
    return (datetime.now(UTC) + timedelta(**more or {"hours": 1})).replace(microsecond=0)


@dataclass
class Later(SystemClock):
    """The clock of somebody who looks later."""

    by: timedelta

    def now(self) -> datetime:
        return super().now() + self.by


async def furnish(stage: Stage) -> Stage:
    """An agreement for each thing that a human decides."""
    more: dict[str, Any] = {"legal": LEGAL, "parties": PARTIES}
    await stage.agree(
        id="judged",
        purpose=JUDGED,
        flows=[flow(judgement=True)],
        referral={"hours": 8, "phone": "01228 111", "role": "the duty officer"},
        **more,
    )
    await stage.agree(
        id="overridden",
        purpose=OVERRIDDEN,
        flows=[flow(override=["uprn", "hazards.items.code", "hazards.state"])],
        override=OVERRIDE,
        **more,
    )
    await stage.agree(
        id="vital", purpose="mental-health-crisis", flows=[flow(override=["uprn"])], override=OVERRIDE, **more
    )
    directives = {"weight": "respected", "recorders": ["cumberland"]}
    await stage.agree(id="silent", purpose=SILENT, ncnd=True, flows=[flow()], directives=directives, **more)
    await stage.agree(
        id="silent-overridden",
        purpose=SILENT_OVERRIDDEN,
        ncnd=True,
        flows=[flow(override=["uprn"])],
        override=OVERRIDE,
        **more,
    )
    return stage


@pytest.fixture(scope="module", params=["memory", "postgres"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Each store in turn; every test asks about people of its own."""
    async with stage_of(request) as made:
        yield await furnish(made)


def later(stage: Stage, **by: float) -> tuple[Referrals, Overrides]:
    """The owner's desks as they are when so much time has passed."""
    queues = (stage.facts, stage.reference, Later(timedelta(**by)))
    return (
        Referrals(stage.administration, stage.referred, *queues),
        Overrides(stage.administration, stage.overridden, *queues),
    )


ASSERTED = replace(GUARDIAN, assurance=Assurance.ASSERTED)
