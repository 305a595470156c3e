"""The folders of one embedded server, and who may enter them.

    <state>/<name>/             ours: lock, postgres.log, the three settings files
    <state>/<name>/files/       the server's account's, 0700: nobody else enters
    <state>/<name>/files/data   the database; `data.new` while it is being made
    <state>/<name>/files/socket where clients connect; a private folder in /tmp if this path is too long

Owns their creation, modes and the lock. Refuses to touch anything above the state folder, and to follow links
in folders that are not ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from broker.errors import SetupError
from broker.store.embedded.account import Account
from broker.store.embedded.settings import PORT

# sun_path holds 108 bytes with its terminator (unix(7)).
_SOCKET_BYTES = 107
# What needs no quoting in postgresql.conf's list of folders nor in a connection URI.
_PLAIN = re.compile(r"[A-Za-z0-9._/+-]+")
_SHORT_PREFIX = "bluelight-"
_ENDING_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Layout:
    """Where one server's files lie. `state` is absolute."""

    state: Path
    name: str

    @property
    def folder(self) -> Path:
        """What we write: lock, log, settings."""
        return self.state / self.name

    @property
    def files(self) -> Path:
        """What the server writes."""
        return self.folder / "files"

    @property
    def data(self) -> Path:
        """The database."""
        return self.files / "data"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.folder / "postgres.log"

    def create(self) -> None:
        """Make the state folder and ours in it, private to us. Raises OSError."""
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def hand_over(self, account: Account) -> None:
        """Make the server's folder, and see to it that its account owns it and can reach it. Raises OSError.

        Raises SetupError if it belongs to somebody else, who then must start it.
        """
        self.files.mkdir(mode=0o700, exist_ok=True)
        owner = self.files.stat().st_uid
        if owner != account.owner and owner == os.geteuid() and not any(self.files.iterdir()):
            os.chown(self.files, account.owner, account.owner)
            owner = account.owner
        if owner != account.owner:
            raise SetupError(
                f"{self.files} belongs to user {owner} but PostgreSQL would run as user {account.owner}: "
                "start as whoever made it, or name another state folder."
            )
        if account.foreign:
            for folder in (self.state, self.folder):
                folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXOTH)

    def lock(self) -> int:
        """A descriptor that holds the lock on this server's folder; whoever inherits it holds it too.

        Waits at most 15 s for a server whose parent was killed to end. Raises SetupError, at once, while
        another process that started it is alive; OSError.
        """
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self._acquire(lock)
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _acquire(self, lock: int) -> None:
        deadline = time.monotonic() + _ENDING_SECONDS
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(lock, 0)
                os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
                return
            starter = os.pread(lock, 32, 0).strip().decode("ascii", "replace")
            if _runs(starter) or time.monotonic() >= deadline:
                raise SetupError(
                    f"The PostgreSQL in {self.folder} is already running, started by process {starter}: "
                    "stop that one, or name another state folder."
                )
            time.sleep(0.02)

    def forget_stale_pid(self) -> None:
        """Remove a `postmaster.pid` whose number now belongs to some other program. Needs the lock.

        PostgreSQL itself recovers from one whose process is gone, but refuses to start if the number was
        given to another process of the same user. Raises SetupError if it is a server on these very files.
        """
        pid_file = self.data / "postmaster.pid"
        pid = next(iter(_lines(pid_file)), "")
        if not _runs(pid):
            return
        if _working_folder(pid) == self.data:
            raise SetupError(f"A PostgreSQL started by hand (process {pid}) uses {self.data}: stop it first.")
        pid_file.unlink()

    def make_socket_folder(self, account: Account) -> Path:
        """A folder (0700, the account's) for the socket whose path fits into an address. Raises OSError.

        A private one of an earlier run that was killed is removed.
        """
        note = self.folder / "socket-folder"
        remove_private(note)
        inside = self.files / "socket"
        if _PLAIN.fullmatch(str(inside)) and len(os.fsencode(inside / f".s.PGSQL.{PORT}")) <= _SOCKET_BYTES:
            inside.mkdir(mode=0o700, exist_ok=True)
            if account.foreign:
                os.chown(inside, account.owner, account.owner, follow_symlinks=False)
            return inside
        private = Path(tempfile.mkdtemp(prefix=_SHORT_PREFIX, dir="/tmp"))
        note.symlink_to(private)
        if account.foreign:
            os.chown(private, account.owner, account.owner)
        return private

    def remove_socket_folder(self) -> None:
        """Remove the private socket folder, if there is one."""
        remove_private(self.folder / "socket-folder")

    def is_ready(self, pid: int) -> bool:
        """Whether the server with that process id says, in `postmaster.pid`, that it takes connections."""
        lines = _lines(self.data / "postmaster.pid")
        return len(lines) > 7 and lines[0] == str(pid) and lines[7] == "ready"


def remove_private(note: Path) -> None:
    """Remove the folder in /tmp that the link `note` names, with what is in it, and the link."""
    if not note.is_symlink():
        return
    folder = note.readlink()
    if folder.name.startswith(_SHORT_PREFIX) and folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)
    note.unlink()


def _lines(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
    except FileNotFoundError:
        return []


def _runs(pid: str) -> bool:
    return pid.isdecimal() and Path("/proc", pid).is_dir()


def _working_folder(pid: str) -> Path | None:
    """Where that process works: a server works in its data folder. None if that is not ours to see."""
    try:
        return Path("/proc", pid, "cwd").readlink()
    except OSError:
        return None
