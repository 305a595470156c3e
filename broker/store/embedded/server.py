"""The embedded server's life: started, asked whether it answers, stopped.

Owns the order in which things happen, so that a kill at any moment leaves a state folder from which the next
start recovers. Refuses to start while another process runs it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from broker.children import Child, Signals, spawn
from broker.errors import SetupError
from broker.store.embedded import account as accounts
from broker.store.embedded import binaries, settings
from broker.store.embedded.layout import Layout
from broker.store.embedded.making import Purpose, make
from broker.store.embedded.problems import explained, unusable

_FOLDER_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
# After a crash the write-ahead log since the last checkpoint (at most about 2 GB) is replayed first.
_START_SECONDS = 120.0
_STOP_SECONDS = 10.0
_ANSWER_SECONDS = 10.0
# PostgreSQL's "fast" shutdown, which rolls open transactions back and writes everything out; and its
# "immediate" one, which leaves that to the recovery at the next start. The fast one can wait for ever
# (seen in 18.4 when it arrives during a recovery), so a server whose parent is gone gets the immediate one.
_SIGNALS = Signals(stop=signal.SIGINT, death=signal.SIGQUIT)


class EmbeddedPostgres:
    """A PostgreSQL server of our own, that ends when we do. As a context manager it stops with the block."""

    def __init__(self, server: Child, layout: Layout, lock: int, dsn: str) -> None:
        self._server = server
        self._layout = layout
        self._lock: int | None = lock
        self.dsn = dsn
        """A connection URI for asyncpg and libpq, over the Unix socket. It holds no secret."""

    @classmethod
    def start(
        cls,
        state: Path,
        *,
        name: str = "postgres",
        database: str = "broker",
        role: str = "broker",
        may_create_databases: bool = False,
        programs: Path | None = None,
    ) -> EmbeddedPostgres:
        """Start the server kept in `state/name`, making it the first time; it takes connections on return.

        Blocks: about half a second the first time, a tenth after that, up to 120 s after a crash under load.
        Call it from the main thread. `role` owns `database` and is no superuser; no other role can log in.
        `may_create_databases` (it counts when the server is made) suits test suites. `programs` is the folder
        of PostgreSQL's programs, if not the optional package's. Raises SetupError, which says what to do.
        """
        if not _FOLDER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot name an embedded server's folder")
        purpose = Purpose(database, role, may_create_databases)
        programs = programs if programs is not None else binaries.find()
        layout = Layout(state.resolve(), name)
        try:
            layout.create()
            lock = layout.lock()
            try:
                server, socket = _start(layout, purpose, programs, lock)
            except BaseException:
                layout.remove_socket_folder()
                os.close(lock)
                raise
        except OSError as e:
            raise unusable(layout, e) from e
        dsn = f"postgresql://{role}@/{database}?host={quote(str(socket))}&port={settings.PORT}"
        return cls(server, layout, lock, dsn)

    @property
    def alive(self) -> bool:
        """Whether the server still runs."""
        return self._server.alive

    @property
    def pid(self) -> int:
        """The server's first process."""
        return self._server.pid

    @property
    def log(self) -> Path:
        """Where the server logs. It holds no statement, parameter or value."""
        return self._layout.log

    def stop(self) -> None:
        """Roll back what is open, end the server and release its folder. Safe to call again."""
        if self._lock is None:
            return
        try:
            self._server.stop(_STOP_SECONDS)
        finally:
            self._layout.remove_socket_folder()
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _start(layout: Layout, purpose: Purpose, programs: Path, lock: int) -> tuple[Child, Path]:
    """The running server and its socket's folder. The server inherits `lock`: it is held until both end."""
    account = accounts.choose(programs, layout.state)
    layout.hand_over(account)
    if not layout.data.exists():
        make(layout, purpose, programs, account, lock)
    layout.forget_stale_pid()
    socket = layout.make_socket_folder(account)
    settings.write(layout.folder, socket=socket, role=purpose.role, client=account.client)
    server = spawn(
        [str(programs / "postgres"), "-D", str(layout.data), *settings.arguments(layout.folder)],
        name="PostgreSQL",
        log=layout.log,
        env=binaries.environment(),
        cwd=Path("/"),
        through=account.through,
        pass_fds=(lock,),
        signals=_SIGNALS,
    )
    explained(layout, server, lambda: server.wait_ready(lambda: layout.is_ready(server.pid), _START_SECONDS))
    try:
        _ask(layout, purpose, programs, socket)
    except BaseException:
        server.stop(_STOP_SECONDS)
        raise
    return server, socket


def _ask(layout: Layout, purpose: Purpose, programs: Path, socket: Path) -> None:
    """Connect once as `purpose.role` to `purpose.database`. Raises SetupError if that is refused."""
    psql = [str(programs / "psql"), "--no-psqlrc", "--no-password", "--quiet", "--command=SELECT 1"]
    where = [f"--host={socket}", f"--port={settings.PORT}", f"--username={purpose.role}", purpose.database]
    try:
        answer = subprocess.run(  # noqa: S603 - no shell; the words were checked by Purpose
            [*psql, *where],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=binaries.environment(),
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SetupError(f"PostgreSQL gave no answer within {_ANSWER_SECONDS:g} s; see {layout.log}.") from None
    if answer.returncode == 0:
        return
    said = answer.stderr.decode("utf-8", "replace").strip()
    if "does not exist" in said:
        raise SetupError(
            f"{layout.folder} was made for another purpose: it has no database {purpose.database} of a role "
            f"{purpose.role}; name another state folder."
        )
    raise SetupError(f"PostgreSQL refuses {purpose.role} its database {purpose.database}: {said}")
