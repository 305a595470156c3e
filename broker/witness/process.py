"""One witness process: from its key, logs and folder until it is told to stop (SIGTERM, SIGINT)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from broker.console.server import HttpsServer
from broker.core.checkpoint import Cosigner, Verifier
from broker.pki.tls import TlsFiles
from broker.readyfile import write_ready
from broker.witness.service import Service
from broker.witness.state import WitnessState

_diagnostics = structlog.get_logger("broker.witness")


@dataclass(frozen=True, slots=True)
class WitnessSettings:
    """What one witness needs to know."""

    state: Path
    cosigner: Cosigner
    logs: Mapping[str, tuple[Verifier, ...]]
    host: str
    port: int
    tls: TlsFiles
    ready_file: Path | None = None


async def serve(settings: WitnessSettings) -> None:
    """Serve until told to stop; what is being answered is finished. Raises SetupError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    state = WitnessState(settings.state, settings.logs)
    try:
        service = Service(settings.cosigner, settings.logs, state, lambda: datetime.now(UTC))
        server = await HttpsServer.start(
            service.app(), settings.tls, settings.host, settings.port, elsewhere="--listen"
        )
        try:
            _diagnostics.info("ready", port=server.port, witness=settings.cosigner.vkey)
            if settings.ready_file is not None:
                write_ready(settings.ready_file, {"port": server.port, "vkey": settings.cosigner.vkey})
            stopped, ended = loop.create_task(stop.wait()), loop.create_task(server.ended())
            await asyncio.wait({stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            ended.cancel()
        finally:
            await server.stop()
    finally:
        state.close()
