"""A PostgreSQL over TCP with a password role, as a hosted one is: made, started, and made to fail.

What is killed or stopped is started again, or goes on, on the same data and port.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from broker.children import Child, Signals, spawn
from broker.errors import SetupError
from broker.store.embedded import account, binaries
from tests.support.processes import children_of, true_within

PASSWORD = "not-a-secret"
_SIGNALS = Signals(stop=signal.SIGINT, death=signal.SIGQUIT)


class TcpPostgres:
    """One server on 127.0.0.1 and a port that stays its own; `dsn` names its first database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = binaries.find()
        self._who = account.choose(self._programs, folder)
        self._server: Child | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.dsn = f"postgresql://broker:{PASSWORD}@127.0.0.1:{self._port}/broker"
        self._make()

    @property
    def data(self) -> Path:
        """The data folder."""
        return self._folder / "data"

    @property
    def pid(self) -> int:
        """The first process, from which all others come."""
        assert self._server is not None
        return self._server.pid

    def start(self) -> None:
        """Start it; it takes connections on return. Call it from the main thread."""
        words = {"listen_addresses": "127.0.0.1", "port": self._port, "unix_socket_directories": ""}
        options = [f"--{name}={value}" for name, value in words.items()]
        for tries_left in reversed(range(100)):
            server = self._server = self._spawn("postgres", "-D", str(self.data), *options)
            try:
                server.wait_ready(self._listening, 60)
            except SetupError as e:
                # The orphans of a server that was killed end by themselves, and are in the way until then.
                if not tries_left or "still in use" not in str(e):
                    raise
            else:
                return

    def stop(self) -> None:
        """End it in good order."""
        if self._server is not None:
            self._server.stop()

    def kill(self, *, whole: bool = False) -> None:
        """SIGKILL the first process, or all of them; none is there on return, but for orphans that end."""
        assert self._server is not None
        server, others = self._server, self.pids()[1:] if whole else []
        for pid in (server.pid, *others):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert true_within(10, lambda: not server.alive)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Every process of it stopped (SIGSTOP) for the block: it takes connections and answers nothing."""
        pids: list[int] = []
        try:
            while new := [pid for pid in self.pids() if pid not in pids]:
                for pid in new:  # the first one first, so that it makes no more
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)
                pids += new
            yield
        finally:
            for pid in reversed(pids):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def pids(self) -> list[int]:
        """All its processes, the first one first."""
        return [self.pid, *children_of(self.pid)]

    def _listening(self) -> bool:
        status = self.data / "postmaster.pid"
        lines = status.read_text().splitlines() if status.exists() else []
        return lines[:1] == [str(self.pid)] and lines[7:] == ["ready   "]

    def _make(self) -> None:
        self.data.mkdir(mode=0o700)
        shutil.chown(self.data, self._who.owner)
        # A file of that account's: /dev/stdin would be ours, which it may not open.
        password = self._folder / "password"
        password.write_text(PASSWORD)
        shutil.chown(password, self._who.owner)
        initdb = [f"--pgdata={self.data}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"]
        self._run("initdb", *initdb, f"--pwfile={password}", "--username=postgres", "--locale=C", said="")
        password.unlink()
        roles = (
            f"CREATE ROLE broker LOGIN CREATEDB PASSWORD '{PASSWORD}';\nCREATE DATABASE broker OWNER broker;\n"
        )
        alone = ("--single", "-c", "exit_on_error=on", "-D", str(self.data), "postgres")
        self._run("postgres", *alone, said=roles)

    def _run(self, program: str, *arguments: str, said: str) -> None:
        with tempfile.TemporaryFile() as stdin:
            stdin.write(said.encode())
            stdin.seek(0)
            self._spawn(program, *arguments, stdin=stdin).wait(60)

    def _spawn(self, program: str, *arguments: str, stdin: object = None) -> Child:
        return spawn(
            [str(self._programs / program), *arguments],
            name=f"external {program}",
            log=self._folder / "external.log",
            env=binaries.environment(),
            cwd=Path("/"),
            stdin=stdin,  # type: ignore[arg-type]
            through=self._who.through,
            signals=_SIGNALS,
        )


@contextlib.contextmanager
def tcp_postgres(folder: Path) -> Iterator[TcpPostgres]:
    """A server that runs, from entry to exit."""
    server = TcpPostgres(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
