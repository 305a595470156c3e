"""A protected identity hides somebody from whoever asks: what shows that it was recorded, and who undoes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from broker.core.model import Function, Reason
from broker.core.searchterms import Question
from broker.errors import Denied, NotAllowed
from tests.human.conftest import GUARDIAN, JUDGED, OWNER
from tests.human.test_referrals import again, grants, refer
from tests.keeping.conftest import caught_up
from tests.support.stage import Stage
from tests.support.values import replace
from tests.support.world import ACTOR, OPERATOR, caller, said

WHY = Reason("complaint", "somebody cannot be found")
NWAS, ROGUE = caller("nwas"), caller("ncic", "ed")
AUDITOR = caller("cumberland", "audit", Function.AUDITOR)
SECOND = replace(GUARDIAN, id="a.okafor")


async def hidden(stage: Stage) -> tuple[Any, str]:
    """A request that a stranger's record stops, and the record's id."""
    request = stage.asks(reason=Reason("welfare", "he is missed"))
    assert request.subject is not None
    shield = replace(said("protected-identity", said_at=stage.clock.now()), recorder="ncic")
    await stage.said.add(ROGUE, request.subject, shield, replace(ACTOR, id="m.allory"))
    with pytest.raises(Denied) as caught:
        await stage.exchange.answer(request)
    assert caught.value.code == "person"
    assert "ncic" not in caught.value.refusal.message + caught.value.refusal.remedy, "not for the asker to read"
    await caught_up(stage)
    return request, shield.id


async def found(stage: Stage, *facts: tuple[str, str], person: Any = None) -> list[dict[str, Any]]:
    """Full views that an auditor finds."""
    page = await stage.searches.page(AUDITOR, Question(facts, person), ACTOR, WHY)
    await caught_up(stage)
    return [json.loads(seen.view) for seen in page.found]


async def test_who_hid_somebody_stands_in_the_log(stage: Stage) -> None:
    """The recording, with agency, system and actor; and each request that it stopped, with its id."""
    request, shield = await hidden(stage)
    (recorded,) = await found(stage, ("event", "directive-recorded"), person=request.subject)
    assert (recorded["requester"], recorded["system"], recorded["actor"]["id"]) == ("ncic", "ed", "m.allory")
    assert recorded["detail"]["id"] == shield
    stopped = await found(stage, ("rule", "person.protected-identity"), person=request.subject)
    assert [each["request_id"] for each in stopped] == [request.request_id]
    assert shield in stopped[0]["directives"]
    assert any("ncic protects an identity" in rule for rule in stopped[0]["rules"])


async def test_the_trace_outlives_what_the_recorder_takes_back(stage: Stage) -> None:
    """Withdrawn, and its recording erased by two of its own people: what it stopped still says who."""
    request, shield = await hidden(stage)
    await stage.said.withdraw_one(ROGUE, shield, ACTOR)
    await caught_up(stage)
    plan, told, _ = await stage.erasing.plan(ROGUE, request.subject, "not-needed", GUARDIAN, WHY)
    await caught_up(stage)
    assert told.entries >= 1
    await stage.erasing.confirm(caller("ncic", "records"), plan.id, request.subject, SECOND, WHY)
    await caught_up(stage)
    assert await found(stage, ("event", "directive-recorded"), person=request.subject) == []
    (stopped,) = await found(stage, ("rule", "person.protected-identity"), person=request.subject)
    assert any("ncic protects an identity" in rule for rule in stopped["rules"])


async def test_nobody_else_lifts_it(stage: Stage) -> None:
    """No other agency, no operator, no auditor; another system of the agency that recorded it does."""
    _, shield = await hidden(stage)
    for other in (NWAS, OWNER, OPERATOR, AUDITOR):
        with pytest.raises(NotAllowed):
            await stage.said.withdraw_one(other, shield, ACTOR)
    await stage.said.withdraw_one(caller("ncic", "records"), shield, ACTOR)


async def test_a_human_of_the_provider_lets_one_request_through(stage: Stage) -> None:
    """They read that one is protected, and decide: nobody's record has the last word on another's."""
    refused, _ = await hidden(stage)
    request = stage.asks(subject=refused.subject, purpose=JUDGED, reason=Reason("welfare", "he is missed"))
    row = await refer(stage, request)
    assert "person.protected-identity noted" in row.asked["why"]  # type: ignore[operator]
    await stage.referrals.decide(OWNER, row.id, grants("uprn"), GUARDIAN)
    stage.finds(request)
    disclosed = await stage.exchange.answer(again(request))
    assert disclosed.record is not None
