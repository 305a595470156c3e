"""`python -m tests.support.impatient`: a broker that answers what it may neither confirm nor deny at once.

Everything is the product's but for its clock, which never waits.
"""

from __future__ import annotations

import asyncio
import signal

import uvloop

from broker.clock import SystemClock
from broker.compose import as_read, running
from broker.config import Settings
from broker.process import told
from broker.readyfile import write_ready


class Impatient(SystemClock):
    """Time as it is, and nobody who waits for it."""

    async def until(self, loop_time: float) -> None:
        """Not a moment."""


async def _main() -> None:
    settings, stop = Settings.model_validate({}), asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with running(settings, as_read, Impatient()) as broker:
        assert settings.ready_file is not None
        write_ready(settings.ready_file, told(broker))
        await stop.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main())
