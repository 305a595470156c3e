"""`broker audit witness` that ends as by a power cut at one step; run as a program: STEP, then its arguments.

Steps: `before` what is cosigned is kept, `staged` half way (written, not yet in place), `kept` before it is
signed, `signed` before it is answered.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from broker.cli.commands import build
from broker.core.checkpoint import Checkpoint
from broker.core.witness import Accepted
from broker.witness import process
from broker.witness.service import Service
from broker.witness.state import WitnessState

STEP = sys.argv.pop(1)
ARMED = Path(sys.argv.pop(1))


def die(step: str) -> None:
    """Here, if it is the step and the test has armed it."""
    if step == STEP and ARMED.exists():
        ARMED.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


class DyingState(WitnessState):
    """Keeps, unless it dies."""

    def keep(self, checkpoint: Checkpoint, note: bytes) -> None:
        die("before")
        super().keep(checkpoint, note)
        die("kept")

    def _path(self, origin: str) -> Path:
        return _Dying(super()._path(origin))


class _Dying(type(Path())):  # type: ignore[misc]
    def with_name(self, name: str) -> Path:
        return _Staged(super().with_name(name))


class _Staged(type(Path())):  # type: ignore[misc]
    def replace(self, target: object) -> Path:
        die("staged")
        return Path(self).replace(Path(str(target)))


class DyingService(Service):
    """Signs, unless it dies."""

    def cosign(self, accepted: Accepted, note: bytes) -> str:
        line = super().cosign(accepted, note)
        die("signed")
        return line


if __name__ == "__main__":
    process.WitnessState = DyingState  # type: ignore[misc]
    process.Service = DyingService  # type: ignore[misc]
    sys.argv[0] = "broker"
    build()(["audit", "witness", *sys.argv[1:]])
