"""Node from the environment's own wheel, and the packages of the lock file, fetched once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# What npm prints where there is no way to a registry, as against a lock file that is wrong.
_UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "EAI_FAIL", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH")


@pytest.fixture(scope="session")
def node_alone() -> Path:
    """The node binary without any package: what needs none is run wherever the environment is."""
    return Path(sys.executable).parent / "node"


@pytest.fixture(scope="session")
def node() -> Path:
    """The node binary, its packages in place; skips, saying why, only where no registry can be reached."""
    binaries = Path(sys.executable).parent
    _install(binaries)
    return binaries / "node"


def _install(binaries: Path) -> None:
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    modules = HERE / "node_modules"
    stamp = modules / ".lock-digest"
    if stamp.exists() and stamp.read_text() == lock:
        return
    shutil.rmtree(modules, ignore_errors=True)
    path = f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        done = subprocess.run(
            [binaries / "npm", "ci"],
            cwd=HERE,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("NO INTEROP TEST WAS RUN: npm had no answer from a registry in 100 seconds")
    if done.returncode:
        if any(word in done.stderr for word in _UNREACHABLE):
            pytest.skip(f"NO INTEROP TEST WAS RUN: npm reaches no registry: {done.stderr.strip()[:500]}")
        pytest.fail(f"npm ci: {done.stderr}")
    stamp.write_text(lock)
