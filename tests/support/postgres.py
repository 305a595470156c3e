"""PostgreSQL for tests: one server a session, one database a test.

`postgres` is the embedded server with its real, durable settings; `external_postgres` is one that is reached
over TCP with a password, as `BROKER_DATABASE_URL` names it. Both give a `Server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from broker.store.embedded import EmbeddedPostgres
from tests.support.tcp_postgres import tcp_postgres

_names = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server whose role may create databases. `dsn` names its first database."""

    dsn: str
    _templates: dict[str, str] = field(default_factory=dict)

    def url(self, database: str) -> str:
        """The DSN of another database on this server."""
        return urlsplit(self.dsn)._replace(path=f"/{database}").geturl()

    async def create(self, template: str = "template1") -> str:
        """A new database, a copy of `template` (to which nobody may be connected). Returns its DSN."""
        name = f"test_{next(_names)}"
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    async def template(self, name: str, prepare: Callable[[str], Awaitable[object]]) -> str:
        """The name of a database that `prepare(dsn)` filled, once for this server; give it to `create`."""
        if name not in self._templates:
            dsn = await self.create()
            await prepare(dsn)
            self._templates[name] = urlsplit(dsn).path.removeprefix("/")
        return self._templates[name]

    async def drop(self, dsn: str) -> None:
        """Drop a database made by `create`, whoever is still connected to it."""
        sql = f"DROP DATABASE {urlsplit(dsn).path.removeprefix('/')} WITH (FORCE)"
        async with asyncio.timeout(20):
            while True:
                try:
                    await self._execute(sql)
                except asyncpg.InsufficientPrivilegeError:
                    await asyncio.sleep(0.1)  # the server's own vacuum is at it, which is not ours to end
                else:
                    return

    @contextlib.asynccontextmanager
    async def fresh(self, template: str = "template1") -> AsyncIterator[str]:
        """The DSN of a database that is dropped at the end of the block."""
        dsn = await self.create(template)
        try:
            yield dsn
        finally:
            await self.drop(dsn)

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.dsn, timeout=10)
        try:
            await connection.execute(statement, timeout=30)
        finally:
            await connection.close()


async def ask(dsn: str, *statements: str) -> Any:
    """Execute the statements on a connection of their own; the last one's single value."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetchval(statements[-1])
    finally:
        await connection.close()


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every account can enter (pytest's own cannot be), removed at the end of the block.

    In memory where there is room: a server's thousand files take a second to make and remove on a busy disk.
    """
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**31
    folder = Path(tempfile.mkdtemp(prefix="bluelight-test-", dir=memory if roomy else "/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def tcp_server(folder: Path) -> Iterator[str]:
    """A server on 127.0.0.1 and a free port with a password role, as a hosted one is; gives its DSN."""
    with tcp_postgres(folder) as server:
        yield server.dsn


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The embedded server, shared by the session."""
    with (
        open_folder() as folder,
        EmbeddedPostgres.start(folder / "state", may_create_databases=True) as server,
    ):
        yield Server(server.dsn)


@pytest.fixture(scope="session")
def external_postgres() -> Iterator[Server]:
    """A server over TCP with a password, shared by the session."""
    with open_folder() as folder, tcp_server(folder) as dsn:
        yield Server(dsn)


@pytest.fixture(params=["postgres", "external_postgres"])
def any_postgres(request: pytest.FixtureRequest) -> Server:
    """Each kind in turn: a test that asks for this runs twice."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
async def database(postgres: Server) -> AsyncIterator[str]:
    """The DSN of an empty database of the embedded server, for one test."""
    async with postgres.fresh() as dsn:
        yield dsn


async def leaves(dsn: str) -> dict[str, list[bytes]]:
    """The entries of each log of a database, whole and in order."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        rows = await connection.fetch(
            "select l.origin, e.idx, e.leaf from entry e join log l on l.id = e.log order by e.log, e.idx"
        )
    finally:
        await connection.close()
    found: dict[str, list[bytes]] = {}
    for row in rows:
        assert row["idx"] == len(found.setdefault(row["origin"], []))
        found[row["origin"]].append(bytes(row["leaf"]))
    return found
