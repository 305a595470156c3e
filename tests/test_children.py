"""Child processes: they start, are waited for, and never outlive us."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import children
from broker.children import Signals, spawn
from broker.errors import SetupError

SLEEP = ["sleep", "300"]
PARENT = """
import sys, time
from collections.abc import Iterator
from pathlib import Path
from broker.children import Signals, spawn
child = spawn(["sleep", "300"], name="sleeper", log=Path(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(300)
"""


def gone(pid: int, within: float = 5.0) -> bool:
    """Whether the process ends in that time; one that only waits to be collected has ended."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.01)
                continue
        return True
    return False


def status(pid: int, word: str) -> str:
    """One line of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{word}:"))


def executed(pid: int, program: str) -> bool:
    """Whether the process has become that program, after the commands that prepare it."""
    return Path(f"/proc/{pid}/comm").read_text().strip() == program


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path, how: signal.Signals) -> None:
    """The parent's death, SIGKILL included, ends the child."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path / "log"], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        pid = int(parent.stdout.readline())
        while not executed(pid, "sleep"):
            time.sleep(0.01)
        parent.send_signal(how)
        parent.wait(5)
        assert gone(pid)


def test_a_child_whose_parent_died_before_it_could_ask_for_the_signal_does_not_run(tmp_path: Path) -> None:
    """The guard executes nothing when its parent is not the process that started it."""
    made = tmp_path / "made"
    line = ["/bin/sh", "-c", children._GUARD, "/bin/sh"]
    assert subprocess.run([*line, "1", "touch", made], check=False).returncode == 125
    assert not made.exists()
    assert subprocess.run([*line, str(os.getpid()), "touch", made], check=False).returncode == 0
    assert made.exists()


def test_only_the_main_thread_starts_children(tmp_path: Path) -> None:
    """A worker thread is refused, because its end would end the child."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            spawn(SLEEP, name="sleeper", log=tmp_path / "log")
        except RuntimeError as e:
            raised.append(e)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5)
    assert "main thread" in str(raised[0])


def test_a_child_has_its_own_session_and_gains_no_privileges(tmp_path: Path) -> None:
    """Ctrl-C at our terminal does not reach it, and no file's mode can make it another user."""
    with spawn(SLEEP, name="sleeper", log=tmp_path / "log") as child:
        child.wait_ready(lambda: executed(child.pid, "sleep"), 5)
        assert os.getsid(child.pid) == child.pid != os.getsid(0)
        assert status(child.pid, "NoNewPrivs") == "1"
        assert child.alive
    assert not child.alive


def test_output_goes_to_a_private_log_with_the_environment_given(tmp_path: Path) -> None:
    """Standard output and error are appended to a file that only its owner reads; `env` replaces ours."""
    log = tmp_path / "log"
    for word in ("one", "two"):
        argv = ["/bin/sh", "-c", 'echo "out $WORD $HOME"; echo err >&2; umask']
        spawn(argv, name="talker", log=log, env={"WORD": word, "PATH": os.environ["PATH"]}).wait(5)
    assert log.read_text() == "out one \nerr\n0077\nout two \nerr\n0077\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_child_that_dies_while_starting_shows_the_end_of_its_log(tmp_path: Path) -> None:
    """The error says how it ended and what it said in this run, not in an earlier one."""
    log = tmp_path / "log"
    log.write_text("from an earlier run\n")
    script = 'for i in $(seq 50); do echo "line $i."; done; exit 7'
    child = spawn(["/bin/sh", "-c", script], name="short-lived", log=log)
    with pytest.raises(SetupError, match=r"short-lived ended while starting \(exit code 7\)") as e:
        child.wait_ready(lambda: False, 5)
    assert "line 50." in str(e.value)
    assert "line 1." not in str(e.value)
    spawn(["/bin/true"], name="silent", log=log).wait(5)
    with pytest.raises(SetupError, match=r"failed \(exit code 1\); .*log says nothing"):
        spawn(["/bin/false"], name="silent", log=log).wait(5)


def test_a_child_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    """Waiting has a limit, after which the child is gone; so it is when the probe itself raises."""
    child = spawn(SLEEP, name="sleeper", log=tmp_path / "log")
    with pytest.raises(SetupError, match=r"not ready within 0\.2 s"):
        child.wait_ready(lambda: False, 0.2)
    assert not child.alive

    child = spawn(SLEEP, name="sleeper", log=tmp_path / "log")
    with pytest.raises(ZeroDivisionError):
        child.wait_ready(lambda: bool(1 / 0), 5)
    assert not child.alive


def test_a_program_that_does_not_finish_is_stopped(tmp_path: Path) -> None:
    """Waiting for an ending has a limit too."""
    child = spawn(SLEEP, name="sleeper", log=tmp_path / "log")
    with pytest.raises(SetupError, match=r"did not finish within 0\.2 s"):
        child.wait(0.2)
    assert not child.alive


def test_a_child_that_ignores_the_request_is_killed_with_its_group(tmp_path: Path) -> None:
    """After the bound the whole process group is killed, and `stop` may be called again."""
    said = tmp_path / "pid"
    script = f'trap "" TERM; sleep 300 & echo $! > {said}.new; mv {said}.new {said}; while :; do wait; done'
    child = spawn(["/bin/sh", "-c", script], name="stubborn", log=tmp_path / "log")
    child.wait_ready(said.exists, 5)
    started = time.monotonic()
    assert child.stop(timeout=0.2) == -signal.SIGKILL
    assert time.monotonic() - started < 10
    assert gone(int(said.read_text()))
    assert child.stop() == -signal.SIGKILL


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Whoever runs these tests in the background may have had us ignore SIGINT, and so whatever we start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_the_stop_signal_is_the_one_asked_for(tmp_path: Path) -> None:
    """A program with its own idea of an orderly end is sent that signal."""
    ready = tmp_path / "ready"
    script = f'trap "echo interrupted; exit 3" INT; touch {ready}; while :; do sleep 0.01; done'
    child = spawn(
        ["/bin/sh", "-c", script], name="polite", log=tmp_path / "log", signals=Signals(stop=signal.SIGINT)
    )
    child.wait_ready(ready.exists, 5)
    assert child.stop() == 3
    assert child.last_lines() == "interrupted"


@pytest.mark.usefixtures("interruptible")
def test_a_child_that_hangs_in_its_orderly_end_is_told_to_end_at_once(tmp_path: Path) -> None:
    """Its death signal, where it has one of its own, comes before SIGKILL."""
    ready = tmp_path / "ready"
    script = f'trap "" INT; trap "exit 4" QUIT; touch {ready}; while :; do sleep 0.01; done'
    signals = Signals(stop=signal.SIGINT, death=signal.SIGQUIT)
    child = spawn(["/bin/sh", "-c", script], name="torn", log=tmp_path / "log", signals=signals)
    child.wait_ready(ready.exists, 5)
    assert child.stop(timeout=0.2) == 4


def test_a_large_log_is_set_aside(tmp_path: Path) -> None:
    """A log beyond its bound becomes `.1`, so that it can never fill the disk over many runs."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(children._LOG_BYTES + 1)
    spawn(["echo", "new"], name="talker", log=log).wait(5)
    assert log.read_text() == "new\n"
    assert (tmp_path / "log.1").stat().st_size == children._LOG_BYTES + 1


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing program, a log that cannot be written and a missing setpriv are a sentence each."""
    with pytest.raises(SetupError, match="there is no program no-such-program"):
        spawn(["no-such-program"], name="x", log=tmp_path / "log")
    with pytest.raises(
        SetupError, match=r"its log .*nowhere/log cannot be written \(No such file or directory\)"
    ):
        spawn(SLEEP, name="x", log=tmp_path / "nowhere" / "log")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SetupError, match="cannot be written"):
        spawn(SLEEP, name="x", log=tmp_path / "link")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"the command setpriv, .* is missing: install the package util-linux"):
        spawn(["/bin/sleep", "300"], name="x", log=tmp_path / "log")
