"""One serving process: from its settings until it is told to stop.

Owns signals and the ready file. SIGTERM and SIGINT finish what is in flight and stop; SIGHUP is for the process
that supervises several workers, and is only answered with a sentence here.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from pathlib import Path

import structlog

from broker.compose import Running, running
from broker.config import Settings
from broker.readyfile import write_ready

PULSE = 1.0  # seconds

_diagnostics = structlog.get_logger("broker")


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then stop safely."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    loop.add_signal_handler(signal.SIGHUP, _hung_up)
    async with running(settings) as broker:
        _settle_memory()
        _diagnostics.info("ready", grpc=broker.grpc_port, http=broker.http_port, log=broker.origin)
        if settings.ready_file is not None:
            write_ready(settings.ready_file, told(broker))
        pulse = loop.create_task(_beat(settings.pulse_file)) if settings.pulse_file else None
        await stop.wait()
        if pulse is not None:
            pulse.cancel()
        _diagnostics.info("stopping")


def _settle_memory() -> None:
    """What stands by now stays; look for garbage after many requests, not after every few.

    Nor after too many: everything waits for a look, a millisecond for 50,000 objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 100)


async def _beat(pulse: Path) -> None:
    """Show whoever supervises us that we get round to things."""
    while True:
        pulse.touch()  # noqa: ASYNC240 - one file in memory or a temporary folder
        await asyncio.sleep(PULSE)


def told(broker: Running) -> dict[str, object]:
    """What the ready file says: ports, the log's verifier key, those of all logs, its name, and each worker."""
    worker = {"id": broker.worker.id, "address": broker.worker.address, "http": broker.direct_http_port}
    return {
        "grpc": broker.grpc_port,
        "http": broker.http_port,
        "vkey": broker.vkey,
        "vkeys": list(broker.vkeys),
        "log": broker.origin,
        "workers": [worker],
    }


def _hung_up() -> None:
    _diagnostics.warning("SIGHUP restarts workers one by one: run `broker serve --workers N` for that")
