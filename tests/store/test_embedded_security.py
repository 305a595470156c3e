"""Who can connect to the embedded server, what a commit promises, and what its log keeps to itself."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from broker.store.embedded import EmbeddedPostgres
from tests.support.postgres import ask, open_folder
from tests.support.processes import (
    ORDINARY,
    listening_inodes,
    programs_for_everyone,
    socket_inodes,
    true_within,
    using,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every account can enter."""
    with open_folder() as folder:
        yield folder


@pytest.fixture
def postgres_state(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A server as `broker up` starts it."""
    with EmbeddedPostgres.start(folder / "state") as server:
        yield server
    assert not using(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_only_the_account_that_started_it_is_let_in(folder: Path) -> None:
    """Were the socket open to all, the kernel's word on who connects would still keep others out."""
    programs = programs_for_everyone(folder)
    with EmbeddedPostgres.start(folder / "state", programs=programs):
        socket = folder / "state/postgres/files/socket"
        for place in (
            folder / "state",
            folder / "state/postgres",
            socket.parent,
            socket,
            socket / ".s.PGSQL.5432",
        ):
            place.chmod(0o777)
        psql = [programs / "psql", "-XAtw", "-h", socket, "-U", "broker", "-d", "broker", "-c", "SELECT 'in'"]
        assert subprocess.run(psql, capture_output=True, text=True, check=True).stdout == "in\n"
        for uid in (1, 1234, ORDINARY):
            other = ["setpriv", f"--reuid={uid}", "--clear-groups", *psql]
            answer = subprocess.run(other, capture_output=True, text=True, check=False, cwd="/")
            assert answer.stdout == ""
            assert 'Peer authentication failed for user "broker"' in answer.stderr


async def test_the_role_is_no_superuser_and_nobody_can_become_one(postgres_state: EmbeddedPostgres) -> None:
    """It owns its database and nothing else: no programs, no files, no other roles, no superuser's login."""
    dsn = postgres_state.dsn
    rights = "rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
    assert await ask(dsn, f"SELECT ROW({rights})::text FROM pg_roles WHERE rolname = 'broker'") == "(f,f,f,f,f)"
    assert (
        await ask(dsn, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'broker'") == "broker"
    )
    assert await ask(dsn, "SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolcanlogin") == "broker"
    for forbidden in (
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY (SELECT 1) TO '/tmp/nothing'",
        "SELECT pg_read_file('/etc/hostname')",
        "CREATE ROLE other",
        "CREATE DATABASE other",
        "SET ROLE postgres",
        "ALTER SYSTEM SET fsync = off",
    ):
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError)):
            await ask(dsn, forbidden)
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match=r"no pg_hba\.conf entry"):
        await ask(dsn.replace("broker@", "postgres@"), "SELECT 1")


async def test_it_is_durable_and_not_on_the_network(postgres_state: EmbeddedPostgres) -> None:
    """What a commit promises is on the disk, and no process of it listens on TCP."""
    wanted = {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "data_checksums": "on",
        "listen_addresses": "",
        "max_connections": "100",
        "shared_buffers": "128MB",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
    }
    for setting, value in wanted.items():
        assert await ask(postgres_state.dsn, f"SHOW {setting}") == value, setting
    sockets = socket_inodes(postgres_state.pid)
    assert sockets
    assert not sockets & listening_inodes()


async def test_no_value_reaches_the_log(postgres_state: EmbeddedPostgres) -> None:
    """Statements that fail, with what they held and what they clashed with, are not written down."""
    marker = "9434765919"
    connection = await asyncpg.connect(postgres_state.dsn, timeout=10)
    try:
        await connection.execute("CREATE TABLE person (nhs_number text PRIMARY KEY, age int)")
        await connection.execute("INSERT INTO person VALUES ($1, 7)", marker)
        for statement, values in (
            ("INSERT INTO person VALUES ($1, 8)", [marker]),
            (f"INSERT INTO person VALUES ('{marker}', 8)", []),
            (f"SELECT 'x{marker}'::int", []),
            ("SELECT ($1::text || 'x')::int", [marker]),
            (f"SELEC '{marker}'", []),
            (f"DO $$ BEGIN RAISE WARNING 'w {marker}'; RAISE EXCEPTION 'e {marker}'; END $$", []),
        ):
            with pytest.raises(asyncpg.PostgresError):
                await connection.fetch(statement, *values)
    finally:
        await connection.close()
    # A session that crashes makes PostgreSQL log what it was doing.
    doomed = await asyncpg.connect(postgres_state.dsn, timeout=10)
    work = asyncio.create_task(doomed.fetch(f"SELECT pg_sleep(20), '{marker}'"))
    await asyncio.sleep(0.1)
    os.kill(doomed.get_server_pid(), signal.SIGKILL)
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await work
    ready = "database system is ready to accept connections"
    assert true_within(20, lambda: postgres_state.log.read_text().count(ready) == 2)
    logged = postgres_state.log.read_text()
    assert "was terminated by signal 9" in logged
    assert marker not in logged
