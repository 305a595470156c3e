"""`broker up` as whoever types it sees it: exit codes, sentences, and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

import broker
from tests.support.postgres import open_folder
from tests.support.processes import ORDINARY, true_within
from tests.support.stack import Deployment

# Seconds that the first start may take, demonstration and end included. Of processor time, all its processes
# together, about 8 are used: that is the same however busy the machine, on which it waits its turn besides.
WORK = 20.0
# Until a later start is ready. Quiet, it is a fifth of that.
READY = 20.0
STEPS = 6


def _up(state: Path, *options: str) -> list[str]:
    ports = [] if any("port" in each for each in options) else ["--grpc-port", "0", "--http-port", "0"]
    return [sys.executable, "-m", "broker", "up", "--state", str(state), *ports, *options]


def _run(state: Path, *options: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_up(state, *options), capture_output=True, text=True, timeout=60, check=False, **more)


def using(folder: Path) -> dict[int, str]:
    """Processes that name the folder in their words or environment, or work or hold files there."""
    found: dict[int, str] = {}
    wanted = os.fsencode(folder)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or entry.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            told = (entry / "cmdline").read_bytes()
            known = told + (entry / "environ").read_bytes() + os.fsencode((entry / "cwd").readlink())
            held = [os.fsencode(each.readlink()) for each in (entry / "fd").iterdir()]
            if wanted in known or any(each.startswith(wanted) for each in held):
                found[int(entry.name)] = told.decode(errors="replace").replace("\0", " ")
    return found


@contextlib.contextmanager
def staying(state: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A `broker up` that has shown everything and stays; with what it printed."""
    process = subprocess.Popen(_up(state), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said: list[str] = []
    try:
        for line in process.stdout:
            said.append(line)
            if line.startswith("Try:"):
                break
        else:
            pytest.fail("".join(said))
        yield process, "".join(said)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)
        process.stdout.close()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder for this module's own deployment."""
    with open_folder() as one:
        yield one


@pytest.fixture(scope="module")
def first(folder: Path) -> tuple[subprocess.CompletedProcess[str], float, dict[Path, int]]:
    """The first start on an empty folder; what work it was; and the modes of the folders above, before it."""
    above = {each: stat.S_IMODE(each.stat().st_mode) for each in (folder, *folder.parents)}
    before = _worked()
    done = _run(folder / "deep" / "state", "--once", "--json")
    return done, _worked() - before, above


def _worked() -> float:
    """Seconds of processor time of every process that was started here and has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_once_does_what_it_should_and_says_so(first):
    """Exit 0, and as JSON: every step, each held to what it should be."""
    done, work, _ = first
    steps = json.loads(done.stdout)["steps"]
    assert len(steps) == STEPS
    assert [step["title"] for step in steps if not step["held"]] == []
    assert done.returncode == 0, done.stderr
    assert 1 < work < WORK


def test_nothing_is_left_running(first, folder: Path):
    """When it has ended, no process knows the folder any more."""
    assert using(folder) == {}


def test_no_folder_above_the_state_changes_its_mode(first, folder: Path):
    """What lies above is as it was, and what is new is for its owner only."""
    above = first[2]
    assert {each: stat.S_IMODE(each.stat().st_mode) for each in above} == above
    state = folder / "deep" / "state"
    foreign = (state / "postgres/files").stat().st_uid not in (0, os.geteuid())
    assert stat.S_IMODE(state.stat().st_mode) == (0o701 if foreign else 0o700)
    for secret in (state / "keys").iterdir():
        assert stat.S_IMODE(secret.stat().st_mode) & 0o077 == 0, secret
    for key in (state / "certs").rglob("*key.pem"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600, key


def test_a_second_start_uses_what_is_there_and_sigterm_ends_it(first, folder: Path):
    """The same authority, the same log that only grew; SIGTERM stops all of it, with exit code 0."""
    state = folder / "deep" / "state"
    before = {name: (state / name).read_bytes() for name in ("log.vkey", "certs/ca.pem")}
    with staying(state) as (process, said):
        assert f"Blue Light Broker, in {state}" in said
        ready = re.search(r"\[ *([0-9.]+) s\] ready", said)
        assert ready is not None
        assert float(ready[1]) < READY
        assert len(using(folder)) > 5
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        assert process.wait(30) == 0
    assert "Stopped; nothing is left running." in rest
    assert {name: (state / name).read_bytes() for name in before} == before
    indices = [int(number) for number in re.findall(r"entry ([0-9]+) of the log", said)]
    assert min(indices) > 20  # after the first start's own
    assert using(folder) == {}


def test_sigkill_leaves_nothing_behind_and_the_next_start_recovers(first, folder: Path):
    """Killed without warning, every process it started ends within seconds; and nothing committed is lost."""
    state = folder / "deep" / "state"
    with staying(state) as (process, said):
        last = max(int(number) for number in re.findall(r"entry ([0-9]+) of the log", said))
        known = using(folder)
        assert len(known) > 5
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
        assert true_within(10, lambda: not using(folder)), using(folder)
    again = _run(state, "--once")
    indices = [int(number) for number in re.findall(r"entry ([0-9]+) of the log", again.stdout)]
    assert indices
    assert min(indices) > last
    assert "THIS IS NOT WHAT SHOULD HAPPEN" not in again.stdout
    assert again.returncode == 0
    assert using(folder) == {}


@pytest.mark.parametrize("option", ["--grpc-port", "--http-port"])
def test_a_busy_port_is_one_sentence(option: str, tmp_path: Path):
    """It says which port, and what to do; exit 1, and nothing was begun."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other = "--http-port" if option == "--grpc-port" else "--grpc-port"
        done = _run(tmp_path / "state", option, str(port), other, "0")
    assert done.returncode == 1
    assert _one_sentence(done, str(port), option)
    assert not (tmp_path / "state").exists()


def _one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> bool:
    """The last line on standard error is one of ours, with these words in it; no traceback anywhere."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert [word for word in words if word not in lines[0]] == []
    return True


def test_a_state_folder_that_cannot_be_is_one_sentence(tmp_path: Path):
    """A file where the folder should be, or above it: said by name."""
    (tmp_path / "file").touch()
    for state in (tmp_path / "file", tmp_path / "file" / "state"):
        done = _run(state)
        assert done.returncode == 1
        assert _one_sentence(done, f"cannot use the state folder {state}")


def test_a_state_folder_that_others_can_write_is_refused(tmp_path: Path):
    """Keys do not go where others could replace them."""
    state = tmp_path / "open"
    state.mkdir(mode=0o777)
    state.chmod(0o777)
    done = _run(state)
    assert done.returncode == 1
    assert _one_sentence(done, "can be written by others", f"chmod 700 {state}")


def test_a_state_folder_in_use_is_one_sentence(stack: Deployment):
    """A second one on the same folder is told of the first, which does not notice."""
    done = _run(stack.state.folder)
    assert done.returncode == 1
    assert _one_sentence(done, "another `broker up` uses", "--state")
    assert all(child.alive for child in stack.stack.children)


def test_the_log_of_a_state_folder_is_checked_by_its_name(stack: Deployment):
    """`broker audit fsck --state DIR` finds the database, the keys and the guard, and opens every view."""
    line = [sys.executable, "-m", "broker", "audit", "fsck", "--state", str(stack.state.folder), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["good"], told["opened"] > 0, told["unchecked"]) == (True, True, [])


def test_a_wrong_option_is_exit_2(tmp_path: Path):
    """An impossible port is a mistake in typing, not a failure."""
    assert _run(tmp_path / "state", "--grpc-port", "70000", "--http-port", "0").returncode == 2


def _python_for(who: list[str], folder: Path) -> str:
    """A Python with our packages that this user can execute; skips, loudly, where this machine has none.

    Ours may lie in root's home. The system's, of the same version, can use the same packages.
    """
    packages = [sysconfig.get_path("purelib"), str(Path(broker.__file__).parents[1])]
    usable = "import os, sys, broker, asyncpg, grpc, sekmet; sys.exit(not os.access(sys.executable, os.X_OK))"
    why = "none is there"
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        if python != sys.executable and Path(python).exists():
            made = folder / "venv"
            subprocess.run([python, "-m", "venv", "--without-pip", made], check=True, timeout=60)
            python = str(made / "bin" / "python")
            where = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
            site = subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip()
            (Path(site) / "ours.pth").write_text("\n".join(packages))
        done = subprocess.run(
            [*who, python, "-c", usable], capture_output=True, text=True, check=False, cwd="/"
        )
        if done.returncode == 0:
            return python
        why = (done.stderr.strip().splitlines() or [f"{python} is in a folder that is closed to others"])[-1]
    pytest.skip(f"NOT SHOWN HERE: no Python with our packages that an ordinary user can execute ({why})")


@pytest.fixture(scope="module")
def as_ordinary_user() -> Iterator[tuple[list[str], Path]]:
    """What executes Python as an ordinary user, and a folder of that user's; skips where that cannot be."""
    if os.geteuid() != 0:
        pytest.skip("not root: every other test here runs as an ordinary user already")
    who = ["setpriv", f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups"]
    with open_folder() as folder:
        python = _python_for(who, folder)
        home = folder / "home"
        home.mkdir(mode=0o700)
        shutil.chown(home, ORDINARY, ORDINARY)
        yield [*who, python], home


@pytest.mark.long
def test_an_ordinary_user_needs_no_privileges(as_ordinary_user: tuple[list[str], Path]):
    """Everything comes up for a user who may do nothing special, and everything is that user's."""
    through, home = as_ordinary_user
    state = home / "state"
    done = subprocess.run(
        [*through, *_up(state, "--once", "--json")[1:]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(step["held"] for step in json.loads(done.stdout)["steps"])
    assert {path.stat().st_uid for path in state.rglob("*")} == {ORDINARY}
    assert using(home) == {}


def test_where_it_cannot_write_it_says_so(as_ordinary_user: tuple[list[str], Path], tmp_path: Path):
    """A user without rights to the folder reads which folder, and that it may not."""
    through, home = as_ordinary_user
    state = home / "closed" / "state"
    (home / "closed").mkdir(mode=0o700)  # root's
    done = subprocess.run(
        [*through, *_up(state)[1:]], capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )
    assert done.returncode == 1
    assert _one_sentence(done, f"cannot use the state folder {state}", "Permission denied")
