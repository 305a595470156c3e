"""The state folder: where everything of one deployment lies, and that only one uses it at a time."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.errors import SetupError


@dataclass(frozen=True, slots=True)
class State:
    """Paths under DIR. No folder above it is ever changed."""

    folder: Path

    @property
    def certs(self) -> Path:
        """Certificates and keys of the broker and of every system."""
        return self.folder / "certs"

    @property
    def keys(self) -> Path:
        """Log, index and view keys."""
        return self.folder / "keys"

    def agency(self, agency: str) -> Path:
        """What an agency keeps to itself: its signing key, and its copies of its agreements."""
        return self.folder / "agencies" / agency

    @property
    def guard(self) -> Path:
        """The last signed head."""
        return self.folder / "guard"

    @property
    def logs(self) -> Path:
        """What each process says."""
        return self.folder / "logs"

    @property
    def ports(self) -> Path:
        """Where the broker listens, as JSON."""
        return self.folder / "ports.json"

    @property
    def vkey(self) -> Path:
        """The logs' verifier keys, newest first."""
        return self.folder / "log.vkey"

    def open(self) -> int:
        """Make what is missing and take the lock; the descriptor that holds it. Raises SetupError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.logs,):
                folder.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise SetupError(f"cannot use the state folder {self.folder}: {e.strerror}") from e
        mode = stat.S_IMODE(self.folder.stat().st_mode)
        if mode & 0o022:
            os.close(lock)
            raise SetupError(f"{self.folder} can be written by others; run: chmod 700 {self.folder}")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(lock)
            raise SetupError(
                f"another `broker up` uses {self.folder}; stop it, or name another with --state"
            ) from e
        return lock

    def write_ports(self, ready: Path) -> dict[str, Any]:
        """Publish where the broker listens and its logs' keys; what `broker serve` said when it was ready."""
        said: dict[str, Any] = json.loads(ready.read_text(encoding="utf-8"))
        self.vkey.write_text("".join(f"{each}\n" for each in said["vkeys"]), encoding="ascii")
        self.ports.write_text(json.dumps({"grpc": said["grpc"], "http": said["http"]}), encoding="ascii")
        return said


def require_free(host: str, port: int, option: str) -> None:
    """SetupError, in a sentence, where a port is taken. 0 always is free."""
    if not port:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as e:
            raise SetupError(
                f"port {port} on {host} cannot be had ({e.strerror}); stop the `broker up` (`make run`) that "
                f"has it, or choose another with {option} (0: any)"
            ) from e


def free_port(host: str) -> int:
    """A port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port
