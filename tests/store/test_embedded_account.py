"""Which account the embedded server runs under, and what stays as it was."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import SetupError
from broker.store.embedded import EmbeddedPostgres, binaries
from tests.support.postgres import ask, open_folder
from tests.support.processes import (
    ORDINARY,
    finished,
    needs_namespaces,
    nothing_uses,
    programs_for_everyone,
    scenario,
    true_within,
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


@needs_namespaces
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
        assert await ask(server.dsn, "SELECT 1") == 1
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


@needs_namespaces
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


@needs_namespaces
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


@needs_namespaces
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


@needs_namespaces
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


@needs_namespaces
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
