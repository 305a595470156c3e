"""Runs an adapter as a process: attached until SIGTERM or SIGINT, then drained.

A supervisor sees the line `attached` on standard output (and the ready file, where one is set) once links to
all workers stand, or some seconds after the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from importlib import metadata
from typing import Any

import uvloop

from adapters.sdk.answer import AnswerFunction
from adapters.sdk.attach import Attach
from adapters.sdk.provides import Provides
from adapters.sdk.settings import AdapterSettings
from adapters.sdk.settings import from_environment as settings_from_environment
from broker.errors import BrokerError
from broker.tracing import from_environment as tracing_from_environment

COVERED_WITHIN = 5.0  # seconds after the first link


async def serve(
    answer: AnswerFunction,
    provides: Sequence[Provides],
    *,
    software: str,
    settings: AdapterSettings | None = None,
    settled: Callable[[str, bool], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Answer asks for `provides` until a signal comes (or `stop` is set), then drain and return.

    `settled(effect_key, released)` hears what became of viewings that have an effect.
    Raises SetupError when the settings cannot be used.
    """
    settings = settings or settings_from_environment()
    tracing = tracing_from_environment(software)
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    attach = Attach(
        settings,
        provides,
        answer,
        software=f"{software}/{_version()}",
        settled=settled,
        tracing=tracing,
    )
    announcing = asyncio.create_task(_announce(attach, settings))
    try:
        await attach.run(stop)
    finally:
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        if settings.ready_file is not None:
            settings.ready_file.unlink(missing_ok=True)
        await asyncio.to_thread(tracing.close)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run an adapter's `main` on uvloop; a named failure is one line on standard error and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # It logs every address it fetches, and an address may hold a person's number.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        uvloop.run(main)
    except BrokerError as e:
        sys.stderr.write(f"{e}\n")
        raise SystemExit(1) from e


def _version() -> str:
    try:
        return metadata.version("bluelight-broker")
    except metadata.PackageNotFoundError:
        return "unreleased"


def _settle_memory() -> None:
    """What stands by now stays; garbage is looked for after many answers. As in the broker."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(15_000, 10, 100)


async def _announce(attach: Attach, settings: AdapterSettings) -> None:
    await attach.attached.wait()
    # A worker that cannot be reached from here is the broker's trouble: it says itself that it is not ready.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(attach.covered(), COVERED_WITHIN)
    _settle_memory()
    if settings.ready_file is not None:
        settings.ready_file.touch()
    sys.stdout.write("attached\n")
    sys.stdout.flush()
