"""Time as the system tells it. The one place outside tests that asks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime


class SystemClock:
    """Implements `ports.Clock`."""

    def now(self) -> datetime:
        """UTC, aware."""
        return datetime.now(UTC)

    def loop_time(self) -> float:
        """Seconds of the running event loop's clock."""
        return asyncio.get_running_loop().time()

    async def until(self, loop_time: float) -> None:
        """Wait until the event loop's clock shows this."""
        await asyncio.sleep(max(0.0, loop_time - self.loop_time()))
