"""Jobs beside the requests: nothing of them ends unnoticed, and nothing is said that is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from broker import upkeep
from broker.errors import AuditUnavailable
from broker.upkeep import Upkeep


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110 - it is told by nobody
            await asyncio.sleep(0.005)


async def _at_work(made: Upkeep, step: Callable[[], Awaitable[object]], true: Callable[[], bool]) -> None:
    task = asyncio.create_task(made.forever("tiles", step, 0.01))
    try:
        await _until(true)
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (
            AuditUnavailable("the guard file cannot be read and written"),
            "the guard file cannot be read and written",
        ),
        (KeyError("tile/0/001"), "the upkeep of tiles fails (KeyError)"),
        (OSError(5, "a path"), "the upkeep of tiles fails (OSError)"),
    ],
    ids=["named", "key", "os"],
)
async def test_whatever_a_turn_raises_is_said_and_the_job_goes_on(error: Exception, why: str) -> None:
    """Once in the diagnostics, without its own words where it is none of ours; a reason until it goes well."""
    made, turns, reasons = Upkeep(), 0, list[tuple[str, ...]]()

    async def step() -> None:
        nonlocal turns
        turns += 1
        reasons.append(made.reasons())
        if turns in (2, 3, 4):
            raise error

    with capture_logs() as logs:
        await _at_work(made, step, lambda: turns > 6)
    assert reasons[:6] == [(), (), (why,), (why,), (why,), ()]
    said = [each for each in logs if each["log_level"] == "error"]
    assert [(each["name"], each["why"], each["kind"]) for each in said] == [
        ("tiles", why, type(error).__name__)
    ]


async def test_a_loop_of_its_own_is_begun_again_and_goes_well_once_it_has_run_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job that never returns is not called failing for ever because it failed once."""
    monkeypatch.setattr(upkeep, "SETTLED", 0.1)
    made, begun = Upkeep(), 0

    async def loop() -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            raise RuntimeError
        assert made.reasons()
        await asyncio.sleep(60)

    await _at_work(made, loop, lambda: begun == 2 and not made.reasons())


async def test_two_jobs_with_the_same_trouble_say_it_once() -> None:
    """A database that is away is one reason."""
    made = Upkeep()

    async def away() -> None:
        raise AuditUnavailable("the evidence store cannot be reached")

    tasks = [asyncio.create_task(made.forever(name, away, 60)) for name in ("tiles", "guard")]
    await _until(lambda: bool(made.reasons()))
    await asyncio.sleep(0.01)
    assert made.reasons() == ("the evidence store cannot be reached",)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
