"""Connections and migrations: every wait ends, every refusal says what to do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import asyncpg
import pytest

from broker.errors import AuditUnavailable, SetupError
from broker.store import pool
from broker.store.pool import Database, migrate, migrations
from tests.support.evidence import Node, a_draft, node
from tests.support.postgres import Server, ask
from tests.support.tcp_postgres import PASSWORD

NAMES = [name for _, name, _ in migrations()]


async def test_migrations_apply_once(any_postgres: Server) -> None:
    """A fresh database gets every migration in order; the second time there is nothing to do."""
    async with any_postgres.fresh() as dsn:
        assert await migrate(dsn) == NAMES
        assert await migrate(dsn) == []
        assert await ask(dsn, "select array_agg(name order by number) from migration") == NAMES


async def test_workers_may_migrate_together(any_postgres: Server) -> None:
    """Of several that start at once one applies them, and none fails."""
    async with any_postgres.fresh() as dsn:
        applied = await asyncio.gather(*(migrate(dsn) for _ in range(4)))
        assert sorted(applied) == [[], [], [], NAMES]


async def test_a_newer_database_is_refused(any_postgres: Server) -> None:
    """A migration that this release does not know is refused, and nothing is changed."""
    async with any_postgres.fresh() as dsn:
        await migrate(dsn)
        await ask(dsn, "insert into migration (number, name) values (9999, 'later')", "select 1")
        with pytest.raises(SetupError, match="9999, which this release does not know: upgrade"):
            await migrate(dsn)


async def test_a_migration_that_fails_leaves_nothing_of_itself(
    any_postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before it stand, it does not, and a later start goes on from there."""
    good = migrations()
    bad = (9000, "9000_bad.sql", "create table half (); select 1 / 0;")
    async with any_postgres.fresh() as dsn:
        monkeypatch.setattr(pool, "migrations", lambda: [*good, bad])
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(dsn)
        assert await ask(dsn, "select to_regclass('half')") is None
        assert await ask(dsn, "select count(*) from migration") == len(good)
        monkeypatch.setattr(
            pool, "migrations", lambda: [*good, (9000, "9000_good.sql", "create table half ()")]
        )
        assert await migrate(dsn) == ["9000_good.sql"]


async def test_a_role_that_may_not_make_tables_is_said(external_postgres: Server) -> None:
    """A role without rights on the schema is the operator's to fix."""
    async with external_postgres.fresh() as dsn:
        await ask(dsn, "alter database " + urlsplit(dsn).path[1:] + " set search_path = pg_catalog", "select 1")
        with pytest.raises(SetupError, match="may not make its tables"):
            await migrate(dsn)


async def test_an_old_server_is_refused(local_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before version 15 there is not what we need."""
    monkeypatch.setattr(asyncpg.Connection, "get_server_version", lambda _: SimpleNamespace(major=14, minor=11))
    with pytest.raises(SetupError, match="PostgreSQL 15 or newer is needed"):
        await migrate(local_dsn)


@pytest.mark.parametrize("use", [migrate, lambda dsn: Database(dsn).open()])
async def test_a_database_that_does_not_let_us_in_is_said(external_postgres: Server, use: pool.Check) -> None:
    """A wrong password, an unknown role or database and a dead port each give a sentence with the setting."""
    url = urlsplit(external_postgres.dsn)
    port = url.port
    refused = [
        external_postgres.dsn.replace(PASSWORD, "wrong"),
        external_postgres.dsn.replace("//broker:", "//nobody:"),
        external_postgres.url("nowhere"),
    ]
    away = [
        external_postgres.dsn.replace(f":{port}/", ":1/"),
        "postgresql://nobody@/x?host=/nowhere",
        "nonsense://",
    ]
    for dsns, sentence in ((refused, "refuses us"), (away, "cannot be reached")):
        for dsn in dsns:
            with pytest.raises(SetupError, match=f"{sentence}.*check BROKER_DATABASE_URL") as caught:
                await use(dsn)  # type: ignore[arg-type]
            assert PASSWORD not in str(caught.value)


async def test_a_server_that_says_nothing_is_not_waited_for() -> None:
    """A port that accepts and stays silent is given up within the bound."""
    quiet = await asyncio.start_server(lambda r, w: asyncio.sleep(60), "127.0.0.1", 0)
    port = quiet.sockets[0].getsockname()[1]
    start = time.monotonic()
    with pytest.raises(SetupError, match="cannot be reached"):
        await Database(f"postgresql://x@127.0.0.1:{port}/x").open()
    assert time.monotonic() - start < pool.ACQUIRE_TIMEOUT + 2
    quiet.close()


async def test_connections_are_in_the_state_we_rely_on(worker: Node) -> None:
    """READ COMMITTED, durable, UTC, and every wait bounded by the server."""
    wanted = {
        "transaction_isolation": "read committed",
        "synchronous_commit": "on",
        "lock_timeout": "2s",
        "statement_timeout": "2500ms",
        "idle_in_transaction_session_timeout": "2500ms",
        "transaction_timeout": "2700ms",
        "TimeZone": "UTC",
    }
    async with worker.database.connection() as connection:
        for name, value in wanted.items():
            assert await connection.fetchval("select current_setting($1)", name) == value


async def test_a_connection_left_in_a_transaction_comes_back_without_it(worker: Node) -> None:
    """Whoever was cut off half-way leaves no lock and no snapshot to the next."""
    for _ in range(worker.database.size):
        async with worker.database.connection() as connection:
            await connection.execute("begin")
    async with worker.database.connection() as connection:
        assert not connection.is_in_transaction()


async def test_another_isolation_is_refused(local: Node) -> None:
    """`log_append` refuses a snapshot that would not see what was committed while it waited."""
    async with local.database.connection() as connection, connection.transaction(isolation="repeatable_read"):
        with pytest.raises(asyncpg.PostgresError, match="READ COMMITTED"):
            await connection.execute(
                "select log_append(clock_timestamp(), false, '{}', '{}', '{}', '{}', '{}', '{}',"
                " '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}',"
                " '{}', '{}', '{}')"
            )


@pytest.mark.long
async def test_a_held_head_is_not_waited_for_for_ever(local: Node, local_dsn: str) -> None:
    """While somebody sits on the head's lock, appends end unavailable within their bound; then they work."""
    await local.append()
    holder = await asyncpg.connect(local_dsn)
    transaction = holder.transaction()
    await transaction.start()
    await holder.fetch("select * from head for update")
    start = time.monotonic()
    try:
        with pytest.raises(AuditUnavailable):
            await local.log.append(a_draft())
        assert 2 < time.monotonic() - start < 3 * 2 + 3
        size, _ = await local.reader.head()
        assert size == 1, "readers do not wait for the lock"
    finally:
        await holder.close()
    assert (await local.append()).index == 1


async def test_a_worker_that_stops_in_a_transaction_lets_go(local: Node, local_dsn: str) -> None:
    """A connection of ours that is left idle while it holds the head is ended by the server within seconds."""
    await local.append()
    with contextlib.suppress(AuditUnavailable):
        async with local.database.connection() as connection, connection.transaction():
            await connection.fetch("select * from head for update")
            assert (await local.append()).index == 1
    assert (await local.append()).index == 2


async def test_a_pool_that_is_empty_is_said_in_time(local_dsn: str, tmp_path: Path) -> None:
    """With every connection taken, a caller waits no longer than the bound; then all is well."""
    async with node(local_dsn, tmp_path / "state", size=1) as one:
        async with one.database.connection():
            start = time.monotonic()
            with pytest.raises(AuditUnavailable):
                await one.reader.size()
            assert time.monotonic() - start < pool.ACQUIRE_TIMEOUT + 1
        assert await one.reader.size() == 0


async def test_closed_is_unavailable(local_dsn: str) -> None:
    """Before it is opened and after it is closed, a database is unavailable, and closing again does nothing."""
    database = Database(local_dsn)
    for _ in range(2):
        with pytest.raises(AuditUnavailable):
            async with database.connection():
                pass
        await database.open()
        await database.close()
        await database.close()
