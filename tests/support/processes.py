"""Processes for tests: Python scenarios under another account, and what still uses a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from broker.store.embedded import binaries

ORDINARY = 65534
# Python's own files may lie where only root reads: what a scenario needs is loaded before root is given up.
_PRELUDE = f"""
import asyncio, asyncpg, encodings.idna, json, os, pwd, sys, time
from pathlib import Path
from broker.errors import SetupError
from broker.store.embedded import EmbeddedPostgres
def become_ordinary():
    os.chdir("/")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid({ORDINARY}, {ORDINARY}, {ORDINARY})
        os.setresuid({ORDINARY}, {ORDINARY}, {ORDINARY})
def start(state, **options):
    try:
        return EmbeddedPostgres.start(Path(state), **options)
    except SetupError as e:
        print(json.dumps({{"refused": str(e)}}), flush=True)
        sys.exit(3)
def ask(server, statement):
    async def answer():
        connection = await asyncpg.connect(server.dsn, timeout=10)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()
    return asyncio.run(answer())
def tell(**facts):
    print(json.dumps(facts), flush=True)
"""


def scenario(code: str, *arguments: object, through: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A Python process that runs `code` after the prelude; it is spoken to over its pipes."""
    line = [*through, sys.executable, "-c", _PRELUDE + code, *map(str, arguments)]
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _namespaces() -> bool:
    """Whether we can make a user namespace here; a container may refuse it."""
    try:
        return not subprocess.run(["unshare", "--user", "true"], check=False, capture_output=True).returncode
    except FileNotFoundError:
        return False


needs_namespaces = pytest.mark.skipif(
    not _namespaces(), reason="NOT TESTED: no user namespace can be made here (unshare --user)"
)


def children_of(parent: int) -> list[int]:
    """Direct children of a process."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def finished(process: subprocess.Popen[str], timeout: float = 60) -> str:
    """All that a scenario printed, once it has ended."""
    try:
        return process.communicate(timeout=timeout)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def using(folder: Path) -> list[int]:
    """The processes that work below `folder` or name it on their command line, this one excepted."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or entry.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if b"postgres" not in command and b"initdb" not in command:
                continue
            if os.fsencode(folder) in command or (entry / "cwd").readlink().is_relative_to(folder):
                found.append(int(entry.name))
    return found


def true_within(seconds: float, condition: Callable[[], object]) -> bool:
    """Whether the condition becomes true in that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def nothing_uses(folder: Path) -> bool:
    """Whether the last process that uses `folder` ends within 10 s."""
    return true_within(10, lambda: not using(folder))


def listening_inodes() -> set[str]:
    """The sockets on which this machine listens or talks TCP."""
    tables = (Path(f"/proc/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6"))
    return {line.split()[9] for table in tables for line in table}


def listeners(pids: Sequence[int], port: int) -> list[int]:
    """Those of the processes that listen on this TCP port."""
    tables = (Path(f"/proc/net/{table}").read_text().splitlines()[1:] for table in ("tcp", "tcp6"))
    rows = [line.split() for table in tables for line in table]
    inodes = {row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            if socket_inodes(pid) & inodes:
                found.append(pid)
    return found


def socket_inodes(pid: int) -> set[str]:
    """The sockets that a process has open."""
    names = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            names.append(entry.readlink().name)
    return {name.removeprefix("socket:[").removesuffix("]") for name in names if name.startswith("socket:")}


def programs_for_everyone(folder: Path) -> Path:
    """PostgreSQL's programs where every account can execute them: their own place, or a copy in `folder`."""
    programs = binaries.find()
    if all(parent.stat().st_mode & 0o001 for parent in programs.parents):
        return programs
    package = programs.parent.parent
    shutil.copytree(programs.parent, folder / package.name / programs.parent.name)
    shutil.copytree(package.with_name(f"{package.name}.libs"), folder / f"{package.name}.libs")
    return folder / package.name / programs.parent.name / "bin"
