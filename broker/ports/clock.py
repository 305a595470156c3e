"""Time, so that tests own it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time, so that tests own it."""

    def now(self) -> datetime:
        """UTC, aware."""

    def loop_time(self) -> float:
        """Seconds of the event loop's clock, in which deadlines are given."""

    async def until(self, loop_time: float) -> None:
        """Wait until the event loop's clock shows this."""
