"""One worker process as its supervisor sees it: running, ready, leaving, ended."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.children import Child, spawn
from broker.config import Settings


@dataclass(slots=True, eq=False)
class Member:
    """A worker. `said` is what it wrote when it was ready; times are monotonic seconds.

    `pulse_file` is one that it touches as long as it gets round to it.
    """

    number: int
    child: Child
    ready_file: Path
    pulse_file: Path
    started: float = field(default_factory=time.monotonic)
    said: dict[str, Any] | None = None
    told_to_leave: float | None = None
    _pulse: int = 0
    _felt: float = field(default_factory=time.monotonic)

    @property
    def ready(self) -> bool:
        """Whether it has ever been ready."""
        if self.said is None and self.ready_file.exists():
            self.said = json.loads(self.ready_file.read_text(encoding="utf-8"))
            self.ready_file.unlink()
        return self.said is not None

    @property
    def age(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.started

    def silent(self, seconds: float) -> bool:
        """Whether its pulse has not been felt for longer than that: it is stopped, or stuck."""
        try:
            pulse = self.pulse_file.stat().st_mtime_ns
        except FileNotFoundError:
            pulse = 0
        if pulse != self._pulse:
            self._pulse, self._felt = pulse, time.monotonic()
        return time.monotonic() - self._felt > seconds

    def leave(self) -> None:
        """Tell it to finish what it has in flight and end."""
        if self.told_to_leave is None:
            self.told_to_leave = time.monotonic()
            self.child.send(signal.SIGTERM)

    def overdue(self, seconds: float) -> bool:
        """Whether it was told to leave longer ago than that."""
        return self.told_to_leave is not None and time.monotonic() - self.told_to_leave > seconds

    def kill(self) -> None:
        """End it now. Raises SetupError if even that has no effect within seconds."""
        if self.child.alive:
            self.child.send(signal.SIGKILL)
        self.child.stop(timeout=1.0)


def start(settings: Settings, number: int, generation: int, ports: tuple[int, int], folder: Path) -> Member:
    """Start worker `number` on the shared `ports` (gRPC, HTTPS). Raises SetupError.

    Its own ports, where they are chosen, alternate between generations: while a worker is replaced both run.
    """
    ready, pulse = (folder / f"{number}.{generation}.{kind}" for kind in ("json", "pulse"))
    direct = settings.direct_port and settings.direct_port + 4 * number + 2 * (generation % 2)
    env = os.environ | {
        "BROKER_WORKER": str(number),
        "BROKER_GRPC_PORT": str(ports[0]),
        "BROKER_HTTP_PORT": str(ports[1]),
        "BROKER_DIRECT_PORT": str(direct),
        "BROKER_READY_FILE": str(ready),
        "BROKER_PULSE_FILE": str(pulse),
    }
    argv = (sys.executable, "-m", "broker", "serve")
    return Member(number, spawn(argv, name=f"worker {number}", log=None, env=env), ready, pulse)
