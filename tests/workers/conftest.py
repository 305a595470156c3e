"""Two workers shared by the tests that leave them as they were, and a way to have some of one's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.fleet import Fleet, Risks, attached, fleet
from tests.support.postgres import Server


@pytest.fixture(scope="session")
async def pair(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """Two workers; tests leave them serving, and everybody enrolled."""
    async with postgres.fresh() as dsn, fleet(dsn, tmp_path_factory.mktemp("pair")) as running:
        yield running


@pytest.fixture
async def risks(pair: Fleet) -> AsyncIterator[Risks]:
    """The fire service's adapter, linked to both."""
    risks = Risks()
    async with attached(pair, risks):
        yield risks
