"""Who the embedded server runs as, who can connect, and what stays as it was."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from broker.errors import SetupError
from broker.store.embedded import EmbeddedPostgres, binaries
from tests.support.postgres import open_folder
from tests.support.processes import (
    ORDINARY,
    finished,
    listening_inodes,
    nothing_uses,
    programs_for_everyone,
    scenario,
    socket_inodes,
    true_within,
    using,
)

ACCOUNTS = [Path("/etc/passwd"), Path("/etc/group"), Path("/etc/shadow")]
RUN = """
server = start(sys.argv[1], programs=Path(sys.argv[2]))
status = dict(line.split(":", 1) for line in Path(f"/proc/{server.pid}/status").read_text().splitlines())
who = ask(server, "SELECT current_user::text")
tell(who=who, uid=status["Uid"].split()[1], capabilities=status["CapEff"].strip())
"""
# As in a container that forbids user namespaces: root may become others but may not make another namespace.
FORBID = 'read ready; echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every account can enter."""
    with open_folder() as folder:
        yield folder


def modes(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """Mode, user and group of `folder` and of everything above it."""
    return {
        place: (status.st_mode, status.st_uid, status.st_gid)
        for place in (folder, *folder.parents)
        for status in [place.stat()]
    }


def owners(folder: Path) -> set[int]:
    """The users that own something in `folder`."""
    return {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}


async def query(dsn: str, statement: str) -> object:
    """The statement's single value."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_nothing_above_the_state_folder_changes(folder: Path) -> None:
    """Modes and owners above it stay, private ones too; no account is made; our files stay ours."""
    parent = folder / "home"
    for place, mode in ((parent, 0o700), (parent / "a", 0o750), (parent / "a/b", 0o700)):
        place.mkdir()
        place.chmod(mode)
    before, accounts = (
        modes(parent / "a/b"),
        [file.read_bytes() for file in ACCOUNTS if os.access(file, os.R_OK)],
    )
    with EmbeddedPostgres.start(parent / "a/b/state") as server:
        assert await query(server.dsn, "SELECT 1") == 1
        assert owners(parent / "a/b/state") == {os.geteuid()}
    assert modes(parent / "a/b") == before
    assert [file.read_bytes() for file in ACCOUNTS if os.access(file, os.R_OK)] == accounts
    assert (parent / "a/b/state").stat().st_mode & 0o777 == 0o700
    assert not [
        path for path in (parent / "a/b/state/postgres/files").rglob("*") if path.stat().st_mode & 0o077
    ]


def test_the_optional_package_is_never_imported(folder: Path) -> None:
    """Importing it would make folders in the home folder; finding its programs does not."""
    code = "server = start(sys.argv[1])\ntell(imported=[name for name in sys.modules if 'pgserver' in name])"
    assert json.loads(finished(scenario(code, folder / "state"))) == {"imported": []}


def test_the_server_has_no_privileges(folder: Path) -> None:
    """Started by root or not, it runs without any capability and ends with its parent."""
    facts = json.loads(finished(scenario(RUN, folder / "state", binaries.find())))
    assert facts == {"who": "broker", "uid": str(os.geteuid()), "capabilities": "0" * 16}
    assert nothing_uses(folder)


def test_an_ordinary_user_can_run_it(folder: Path) -> None:
    """No privilege is needed: it is a process of theirs, and so are its files."""
    programs = programs_for_everyone(folder)
    home = folder / "home"
    home.mkdir()
    if os.geteuid() == 0:
        os.chown(home, ORDINARY, ORDINARY)
    uid = home.stat().st_uid
    for _ in range(2):
        facts = json.loads(finished(scenario("become_ordinary()\n" + RUN, home / "state", programs)))
        assert facts == {"who": "broker", "uid": str(uid), "capabilities": "0" * 16}
    assert nothing_uses(folder)
    assert owners(home) == {uid}


@needs_root
def test_a_user_without_a_name_can_run_it(folder: Path) -> None:
    """A container's arbitrary user number needs no entry in /etc/passwd."""
    programs = programs_for_everyone(folder)
    home = folder / "home"
    home.mkdir()
    os.chown(home, 23456, 23456)
    code = "os.chdir('/'); os.setgroups([]); os.setresgid(*[23456] * 3); os.setresuid(*[23456] * 3)\n"
    facts = json.loads(finished(scenario(code + RUN, home / "state", programs)))
    assert facts == {"who": "broker", "uid": "23456", "capabilities": "0" * 16}
    assert nothing_uses(folder)
    assert owners(home) == {23456}


def without_namespaces(code: str, *arguments: object) -> dict[str, str]:
    """What a scenario tells that runs as root where no user namespace can be made."""
    shell = ("unshare", "--user", "--keep-caps", "sh", "-c", FORBID, "sh")
    process = scenario(code, *arguments, through=shell)
    wait_for_namespace(process.pid)
    for table in ("uid_map", "gid_map"):
        Path(f"/proc/{process.pid}/{table}").write_text("0 0 65536\n")
    assert process.stdin is not None
    process.stdin.write("ready\n")
    facts: dict[str, str] = json.loads(finished(process))
    return facts


def wait_for_namespace(pid: int) -> None:
    """Return once the process has left our user namespace."""
    ours = Path("/proc/self/ns/user").readlink()
    assert true_within(5, lambda: Path(f"/proc/{pid}/ns/user").readlink() != ours)


@needs_root
def test_where_namespaces_are_refused_root_uses_the_unprivileged_account(folder: Path) -> None:
    """The data then belongs to account 65534; what lies above the state folder does not change."""
    programs = programs_for_everyone(folder)
    before = modes(folder)
    for _ in range(2):
        facts = without_namespaces(RUN, folder / "state", programs)
        assert facts == {"who": "broker", "uid": str(ORDINARY), "capabilities": "0" * 16}
    assert nothing_uses(folder)
    assert modes(folder) == before
    assert owners(folder / "state/postgres/files") == {ORDINARY}
    assert (folder / "state/postgres/files").stat().st_mode & 0o777 == 0o700
    assert owners(folder / "state") == {0, ORDINARY}
    assert (folder / "state/postgres/postgresql.conf").stat().st_uid == 0
    assert (folder / "state").stat().st_mode & 0o777 == 0o701
    with pytest.raises(SetupError, match=r"belongs to user 65534 but PostgreSQL would run as user 0"):
        EmbeddedPostgres.start(folder / "state")


@needs_root
def test_where_nothing_works_one_sentence_says_why(folder: Path) -> None:
    """No namespaces, and a private folder above: nothing is opened up, the operator decides."""
    programs = programs_for_everyone(folder)
    private = folder / "private"
    private.mkdir(mode=0o700)
    before = modes(private)
    refused = without_namespaces(RUN, private / "state", programs)["refused"]
    assert refused == (
        "The embedded PostgreSQL cannot run as root here (a user namespace is refused; from the account "
        f"{name_of(ORDINARY)} {private} cannot be entered): start as an ordinary user, "
        "or set BROKER_DATABASE_URL."
    )
    assert modes(private) == before


@needs_root
def test_a_folder_that_only_somebody_else_may_enter_is_named(folder: Path) -> None:
    """Root without its privileges cannot enter another user's private state folder, and says so."""
    private = folder / "private"
    (private / "state").mkdir(parents=True, mode=0o700)
    for place in (private, private / "state"):
        place.chmod(0o700)
        os.chown(place, 23456, 23456)
    before = modes(private / "state")
    with pytest.raises(SetupError, match=r"from a user namespace .*/private/state cannot be entered"):
        EmbeddedPostgres.start(private / "state")
    assert modes(private / "state") == before


def name_of(uid: int) -> str:
    """The account's name."""
    return subprocess.run(["id", "-nu", str(uid)], capture_output=True, text=True, check=True).stdout.strip()


@needs_root
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
    assert (
        await query(dsn, f"SELECT ROW({rights})::text FROM pg_roles WHERE rolname = 'broker'")
        == "(f,f,f,f,f)"
    )
    assert (
        await query(dsn, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'broker'")
        == "broker"
    )
    assert await query(dsn, "SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolcanlogin") == "broker"
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
            await query(dsn, forbidden)
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match=r"no pg_hba\.conf entry"):
        await query(dsn.replace("broker@", "postgres@"), "SELECT 1")


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
        assert await query(postgres_state.dsn, f"SHOW {setting}") == value, setting
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


@pytest.fixture
def postgres_state(folder: Path) -> Iterator[EmbeddedPostgres]:
    """A server as `broker up` starts it."""
    with EmbeddedPostgres.start(folder / "state") as server:
        yield server
    assert not using(folder)
