"""What a worker does again and again beside its requests, so that nothing of it ever ends unnoticed.

Each job has a name and goes on for as long as the worker lives, whatever one turn of it raises; what that
was stands in the diagnostics, and readiness says it until the job has gone well again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import structlog

from broker.errors import BrokerError, frames_of

# A job that is a loop of its own never returns: after so many seconds it goes well.
SETTLED = 30.0
Step = Callable[[], Awaitable[object]]

_diagnostics = structlog.get_logger("broker.upkeep")


class Troubles:
    """What fails beside the requests without keeping anybody from being served, by name.

    Each is said once when it changes, under `event`, and readiness tells it until it has gone well again.
    """

    def __init__(self, event: str) -> None:
        self._event = event
        self._wrong: dict[str, str] = {}

    def reasons(self) -> tuple[str, ...]:
        """What fails, in words that anybody may read; each once."""
        return tuple(f"{self._event}: {why}" for why in dict.fromkeys(self._wrong.values()))

    def fails(self, name: str, why: str) -> None:
        """This fails, and why."""
        if self._wrong.get(name) != why:
            self._wrong[name] = why
            _diagnostics.error(self._event, log=name, why=why)

    def well(self, name: str) -> None:
        """This has gone well."""
        if self._wrong.pop(name, None):
            _diagnostics.info(f"{self._event}: no longer so", log=name)


class Upkeep:
    """Runs jobs, and knows which of them fail."""

    def __init__(self) -> None:
        self._wrong: dict[str, str] = {}

    def reasons(self) -> tuple[str, ...]:
        """Why this worker is not ready, in words that anybody may read; each once."""
        return tuple(dict.fromkeys(self._wrong.values()))

    async def forever(self, name: str, step: Step, every: float) -> NoReturn:
        """Take the step, and again `every` so many seconds after it has ended, however it did."""
        loop = asyncio.get_running_loop()
        while True:
            settled = loop.call_later(SETTLED, self._well, name)
            try:
                await step()
                self._well(name)
            except BrokerError as e:
                self._say(name, str(e), e)
            except Exception as e:  # noqa: BLE001 - named, said by readiness, and the job goes on
                self._say(name, f"the upkeep of {name} fails ({type(e).__name__})", e)
            finally:
                settled.cancel()
            await asyncio.sleep(every)

    def _well(self, name: str) -> None:
        if self._wrong.pop(name, None):
            _diagnostics.info("upkeep goes on", name=name)

    def _say(self, name: str, why: str, error: Exception) -> None:
        if self._wrong.get(name) != why:
            self._wrong[name] = why
            _diagnostics.error(
                "upkeep fails", name=name, why=why, kind=type(error).__name__, at=frames_of(error)
            )
