"""A migrated database on each kind of server, and the workers on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.store.pool import migrate
from tests.support.evidence import Node, node
from tests.support.postgres import Server


@pytest.fixture
async def dsn(any_postgres: Server) -> AsyncIterator[str]:
    """An empty store, on the embedded server and on one over TCP."""
    async with any_postgres.fresh(await any_postgres.template("migrated", migrate)) as made:
        yield made


@pytest.fixture
async def local_dsn(postgres: Server) -> AsyncIterator[str]:
    """An empty store on the embedded server only: for what does not depend on how the server is reached."""
    async with postgres.fresh(await postgres.template("migrated", migrate)) as made:
        yield made


@pytest.fixture
async def worker(dsn: str, tmp_path: Path) -> AsyncIterator[Node]:
    """One worker."""
    async with node(dsn, tmp_path / "state") as one:
        yield one


@pytest.fixture
async def local(local_dsn: str, tmp_path: Path) -> AsyncIterator[Node]:
    """One worker on the embedded server."""
    async with node(local_dsn, tmp_path / "state") as one:
        yield one


@pytest.fixture
async def other(worker: Node, dsn: str, tmp_path: Path) -> AsyncIterator[Node]:
    """Another worker beside `worker`."""
    async with node(dsn, tmp_path / "state") as two:
        yield two
