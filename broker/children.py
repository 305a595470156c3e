"""Child processes that must not outlive us.

Owns starting them, waiting until they are ready and stopping them. The kernel is asked, before the program
is executed, to signal it when its parent dies (`PR_SET_PDEATHSIG`, through `setpriv` of util-linux), so that
even SIGKILL of this process leaves nothing behind. Refuses to start one from any but the main thread: the
signal follows the *thread* that forked, and would arrive when a worker thread ends. Uses no `preexec_fn`,
which may deadlock in a process that runs threads, as gRPC does.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from broker.errors import SetupError

# A parent that dies between the fork and the request for the signal would be missed: `$PPID` is read after.
_GUARD = 'test "$PPID" = "$1" || exit 125; shift; exec "$@"'
_SHELL = "/bin/sh"
_PRIVATE = 0o077
_TAIL_LINES = 12
_TAIL_BYTES = 4096
_LOG_BYTES = 8 * 1024 * 1024
_LAST_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Signals:
    """How a program is told to end: in its own time when we stop it, and at once when it must be gone."""

    stop: signal.Signals = signal.SIGTERM
    death: signal.Signals = signal.SIGKILL


class Child:
    """A running program. As a context manager it is stopped at the end of the block."""

    def __init__(
        self, process: subprocess.Popen[bytes], name: str, log: Path | None, log_start: int, signals: Signals
    ) -> None:
        self._process = process
        self._log_start = log_start
        self._signals = signals
        self.name = name
        self.log = log

    @property
    def pid(self) -> int:
        """The program's process id, which is also its session's and its group's."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def ending(self) -> str:
        """How it ended, in words; only once it has."""
        return self._ending()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens where it has ended."""
        self._process.send_signal(number)

    def wait_ready(self, probe: Callable[[], bool], timeout: float) -> None:
        """Return once `probe()` is true; blocks at most `timeout` seconds.

        Raises SetupError, with the last lines of its log, when it ends first or the time is up (it is then
        stopped). Whatever `probe` raises stops it too.
        """
        try:
            self._until(probe, timeout)
        except BaseException:
            self.stop(timeout=1.0)
            raise

    def wait(self, timeout: float) -> None:
        """Return when it has ended with exit code 0, within `timeout` seconds.

        Raises SetupError, with the last lines of its log, for any other ending or when the time is up.
        """
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.stop(timeout=1.0)
            raise SetupError(self._with_log(f"{self.name} did not finish within {timeout:g} s")) from None
        except BaseException:
            self.stop(timeout=1.0)
            raise
        if code != 0:
            raise SetupError(self._with_log(f"{self.name} failed ({self._ending()})"))

    def stop(self, timeout: float = 10.0) -> int:
        """End it and return its exit code (negative: the signal that ended it). Safe to call again.

        It is sent its stop signal; `timeout` seconds later, if it has another than SIGKILL, its death signal;
        what is left of its process group 5 s after that is killed. Raises SetupError if even that has no
        effect within 5 s, as when its disk hangs.
        """
        if not self.alive:
            return self._process.returncode
        self._process.send_signal(self._signals.stop)
        if not self._ended_within(timeout):
            if self._signals.death != signal.SIGKILL:
                self._process.send_signal(self._signals.death)
                self._ended_within(_LAST_SECONDS)
            if self.alive:
                os.killpg(self.pid, signal.SIGKILL)
            if not self._ended_within(_LAST_SECONDS):
                raise SetupError(f"{self.name} (process {self.pid}) cannot be killed: its disk may hang.")
        return self._process.returncode

    def last_lines(self) -> str:
        """The end of what this run wrote to its log: at most 12 lines and 4 KiB. Empty where it has none."""
        if self.log is None:
            return ""
        with self.log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(self._log_start, end - _TAIL_BYTES))
            text = file.read(_TAIL_BYTES).decode("utf-8", "replace")
        return "\n".join(text.rstrip().splitlines()[-_TAIL_LINES:])

    def _ended_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _until(self, probe: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        pause = 0.005
        while not probe():
            if not self.alive:
                raise SetupError(self._with_log(f"{self.name} ended while starting ({self._ending()})"))
            if time.monotonic() >= deadline:
                raise SetupError(self._with_log(f"{self.name} was not ready within {timeout:g} s"))
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)

    def _ending(self) -> str:
        code = self._process.returncode
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def _with_log(self, sentence: str) -> str:
        if self.log is None:
            return f"{sentence}; it has said why above."
        lines = self.last_lines()
        last = lines.rpartition("\n")[2]
        if last.startswith("error: "):  # one of ours, which says all there is to say
            return f"{self.name}: {last.removeprefix('error: ')}"
        return (
            f"{sentence}. The end of {self.log}:\n{lines}" if lines else f"{sentence}; {self.log} says nothing."
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


_SIGNALS = Signals()


def spawn(
    argv: Sequence[str],
    *,
    name: str,
    log: Path | None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: IO[bytes] | None = None,
    through: Sequence[str] = (),
    pass_fds: Sequence[int] = (),
    signals: Signals = _SIGNALS,
) -> Child:
    """Start `argv` in a session of its own, so that Ctrl-C at the terminal reaches us and not it.

    `log` (0600) is appended to; one of more than 8 MiB is first moved to `<log>.1`; with None the child says
    on our standard error what it has to say. `through` is a command
    that executes the rest of its line, such as `unshare --user`: the request for the death signal comes
    after it, because the kernel forgets the request when a process changes its user. `pass_fds` stay open
    in the child. The kernel sends `signals.death` when we die. The child can gain no privileges and creates
    files for its user only. Raises SetupError when `setpriv` or the program is missing, or the log cannot
    be written; RuntimeError outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("child processes are started from the main thread: their death signal follows it")
    line = [
        *_resolved(through, name),
        *_setpriv(name),
        f"--pdeathsig={signals.death.name.removeprefix('SIG')}",
        "--",
        *(_SHELL, "-c", _GUARD, _SHELL, str(os.getpid())),
        *_resolved(argv, name),
    ]
    output, start = _open_log(log, name) if log is not None else (os.dup(sys.stderr.fileno()), 0)
    try:
        process = subprocess.Popen(  # noqa: S603 - no shell reads `argv`; the guard's text is ours
            line,
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=None if env is None else dict(env),
            cwd=cwd,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
            umask=_PRIVATE,
        )
    except OSError as e:
        raise SetupError(f"{name} cannot be started: {e.strerror}.") from e
    finally:
        os.close(output)
    return Child(process, name, log, start, signals)


def _setpriv(name: str) -> tuple[str, str]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise SetupError(
            f"{name} cannot be started: the command setpriv, which makes it end with its parent, is missing: "
            "install the package util-linux."
        )
    return setpriv, "--no-new-privs"


def _resolved(argv: Sequence[str], name: str) -> list[str]:
    """`argv` with its program found now, so that a missing one is named and not an exit code 127."""
    if not argv:
        return []
    program = shutil.which(argv[0])
    if program is None:
        raise SetupError(f"{name} cannot be started: there is no program {argv[0]}.")
    return [program, *argv[1:]]


def _open_log(log: Path, name: str) -> tuple[int, int]:
    """A descriptor that appends to `log`, and its size in bytes before this run."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
        output = os.open(log, flags, 0o600)
    except OSError as e:
        raise SetupError(f"{name} cannot be started: its log {log} cannot be written ({e.strerror}).") from e
    return output, os.fstat(output).st_size
