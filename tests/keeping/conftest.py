"""Both stores, with agreements of which one names a class of its own and others leave something to humans."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from broker.core.model import Caller, Function, Reason, Request, SubjectRef
from broker.errors import BrokerError
from broker.ports import Asked, Found
from tests.human.conftest import GUARDIAN, furnish
from tests.support.postgres import Server, open_folder
from tests.support.stage import Stage, postgres_stage, stage_of
from tests.support.values import replace
from tests.support.world import RISK, caller, flow, record_of

NWAS, CFRS, COUNCIL = caller("nwas"), caller("cfrs"), caller("cumberland")
AUDITOR = caller("ncic", "audit", Function.AUDITOR)
WHY = Reason("art-17", "the person asked for it")
OFFICER = GUARDIAN
WORDS = "the daughter rang, she is worried"


@pytest.fixture(scope="module", params=["memory", "postgres"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Each store in turn; every test asks about people of its own."""
    async with stage_of(request) as made:
        yield await furnished(made)


@pytest.fixture
async def durable_stage(postgres: Server) -> AsyncIterator[Stage]:
    """PostgreSQL alone, of a test's own."""
    with open_folder() as folder:
        async with postgres_stage(postgres, folder) as made:
            made.folder = folder
            yield await furnished(made)


async def furnished(stage: Stage) -> Stage:
    """With the agreements that these tests ask under."""
    await furnish(stage)
    await stage.agree(
        id="kept-long",
        purpose="emergency-planning",
        flows=[flow()],
        evidence={"retention": "long"},
    )
    return stage


async def asks(stage: Stage, subject: SubjectRef, *learnt: SubjectRef, **changes: Any) -> Request:
    """A request about somebody, whatever comes of it; the provider knows them by `learnt` too."""
    reason = Reason("welfare", WORDS)
    request = replace(stage.asks(subject=subject), **{"reason": reason, **changes})
    digest = stage.reference.catalogue.newest(RISK).digest
    stage.providers.answers(Found(record_of(), digest, (subject, *learnt)))
    with suppress(BrokerError):
        await stage.exchange.answer(request)
    await caught_up(stage)
    return request


async def caught_up(stage: Stage) -> None:
    """The search index has taken in what stands."""
    while await stage.indexed():
        pass


async def entry_of(stage: Stage, request: Request) -> str:
    """The id of a request's entry."""
    claims = (await stage.facts.read(Asked((), request.caller, (request.request_id,)))).claims
    return claims[request.request_id].entry


async def holds_person(stage: Stage, who: Caller, subject: SubjectRef) -> str:
    """A hold about somebody."""
    hold, _ = await stage.holds.place(who, subject, "CASE-7", OFFICER, Reason("litigation", "a claim"))
    await caught_up(stage)
    return hold


async def full_of(stage: Stage, entry: str) -> dict[str, Any]:
    """An entry's full view; empty where it is gone."""
    _, full = await stage.view.receipt(entry, "full")
    return dict(full)


async def opening_of(stage: Stage, entry: str, audience: str) -> bytes | None:
    """One party's opening."""
    receipt, _ = await stage.view.receipt(entry, audience)
    return None if receipt.opening is None else receipt.opening.view
