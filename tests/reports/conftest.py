"""Both stores with agreements, and what reports are asked by."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest

from broker.core.model import Reason, SubjectRef
from broker.core.reports.document import Document
from broker.errors import BrokerError
from broker.reports import Reports
from tests.human.conftest import Later, furnish
from tests.support.stage import Stage, stage_of
from tests.support.values import replace

WHY = Reason("complaint", "somebody asked")


@pytest.fixture(scope="module", params=["memory", "postgres"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Each store in turn; every test asks about people of its own."""
    async with stage_of(request) as made:
        yield await furnish(made)


async def indexed(stage: Stage) -> None:
    """Everything that stands can be found."""
    while await stage.indexed():
        pass


async def from_now(stage: Stage) -> datetime:
    """A moment before which everything that happened lies; entries have whole seconds."""
    now = stage.clock.now()
    then = now.replace(microsecond=0) + timedelta(seconds=1)
    await asyncio.sleep((then - now).total_seconds())
    return then


async def asked(stage: Stage, subject: SubjectRef | None = None, **changes: Any) -> str:
    """A request, whatever comes of it; the id of its entry."""
    request = stage.asks(subject=subject, **changes)
    if request.subject is not None:
        stage.finds(request)
    since = await stage.size()
    with suppress(BrokerError):
        await stage.exchange.answer(request)
    return await stage.view.id_at(since)


def rows(document: Document) -> list[dict[str, Any]]:
    """Every row of every table, by column."""
    return [
        {column.key: cell for column, cell in zip(table.columns, row, strict=True)}
        for table in document.tables
        for row in table.rows
    ]


def entries(document: Document) -> list[dict[str, Any]]:
    """The rows of its first table, by column: of an answer, the entries that are told."""
    return rows(replace(document, tables=document.tables[:1]))


def text(document: Document) -> str:
    """All of it."""
    return json.dumps([document.about, document.facts, [t.rows for t in document.tables]])


def reports_later(stage: Stage, **by: float) -> Reports:
    """Those of somebody who asks when so much time has passed."""
    return Reports(
        stage.administration,
        stage.searches,
        stage.overridden,
        stage.breaches,
        stage.complained,
        stage.reference,
        Later(timedelta(**by)),
        stage.figures,
        lambda: (("half", "5 ms"),),
    )
