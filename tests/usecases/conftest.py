"""Every implementation of the store in turn, and on it an agency of each test's own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest

from broker.core.directory import Agency
from tests.support.desk import Desk
from tests.support.stage import SINCE, Stage, stage_of
from tests.support.world import OPERATOR

_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["memory", "postgres"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Each implementation in turn, furnished; every test brings an agency of its own."""
    async with stage_of(request) as made:
        yield made


@pytest.fixture
async def desk(stage: Stage) -> Desk:
    """An agency that has agreed to nothing yet."""
    name = f"fire-{next(_numbers)}"
    await stage.registry.add_agency(OPERATOR, Agency(name, name.upper(), "fire", "england", SINCE))
    await stage.may_sign(name)
    return Desk(stage, name)
