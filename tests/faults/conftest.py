"""Two workers shared by the tests that stop one for a while, and leave both serving."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.fleet import Fleet, Risks, attached, fleet
from tests.support.postgres import Server


@pytest.fixture(scope="module")
async def pair(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """Two workers with the fire service's adapter, linked to both."""
    async with (
        postgres.fresh() as dsn,
        fleet(dsn, tmp_path_factory.mktemp("pair")) as running,
        attached(running, Risks()),
    ):
        yield running
