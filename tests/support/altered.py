"""The process of a broker that is the product's but for one part, to show what that part is there for."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import uvloop

from broker.compose import Running
from broker.config import Settings
from broker.process import told
from broker.readyfile import write_ready

Made = Callable[[Settings], AbstractAsyncContextManager[Running]]


def serve(made: Made) -> None:
    """Run it by the environment's settings, until SIGTERM or SIGINT."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(made))


async def _serve(made: Made) -> None:
    settings, stop = Settings.model_validate({}), asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with made(settings) as broker:
        assert settings.ready_file is not None
        write_ready(settings.ready_file, told(broker))
        await stop.wait()
