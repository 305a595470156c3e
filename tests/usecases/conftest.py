"""Every implementation of the store in turn, and on it an agency of each test's own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest

from broker.core.directory import Agency
from tests.support.desk import Desk
from tests.support.postgres import Server, open_folder
from tests.support.stage import SINCE, Stage, memory_stage, postgres_stage
from tests.support.world import OPERATOR

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["memory", "postgres"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Each implementation in turn, furnished; every test brings an agency of its own."""
    if request.param == "memory":
        async with memory_stage() as made:
            yield made
        return
    server: Server = request.getfixturevalue("postgres")
    with open_folder() as folder:
        async with postgres_stage(server, folder) as made:
            yield made


@pytest.fixture
async def desk(stage: Stage) -> Desk:
    """An agency that has agreed to nothing yet."""
    name = f"fire-{next(_numbers)}"
    await stage.registry.add_agency(OPERATOR, Agency(name, name.upper(), "fire", "england", SINCE))
    await stage.may_sign(name)
    return Desk(stage, name)
