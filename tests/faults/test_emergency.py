"""One agency floods; another's emergencies are answered as if it did not."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path

import pytest

from broker.client import Broker
from tests.faults.conftest import PER_SECOND, Flooding, flooding
from tests.support.fleet import Fleet, Risks, ask, becomes

ROUNDS = int(os.environ.get("ROUNDS", "7"))
ASKED = 150
PACE = 1.5 / PER_SECOND


def resident(pid: int) -> int:
    """MB of memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) // 1024


async def p99(client: Broker) -> float:
    """Milliseconds within which all but a hundredth of emergencies are answered, asked one at a time."""
    took = []
    for _ in range(ASKED):
        began = time.perf_counter()
        await ask(client)
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(PACE)
    print("p50", f"{sorted(took)[ASKED // 2]:.2f}", end=" ")
    return sorted(took)[int(ASKED * 0.99) - 1]


async def measured(
    worker: Fleet, flood: Flooding, under_way: object
) -> tuple[float, float, int, dict[str, int]]:
    """Medians of the quiet and the flooded p99 in turns, the most memory held, and what the flood was told."""
    quiet, flooded, most, told = [], [], 0, {}
    async with worker.client() as client:
        await p99(client)
        for _ in range(ROUNDS):
            quiet.append(await p99(client))
            await flood.say("start")
            await becomes(lambda: _refused(flood), 60)
            flooded.append(await p99(client))
            most = max(most, resident(worker.child.pid))
            told = await flood.say("stop")
            await asyncio.sleep(1.0)
    print("quiet", [f"{q:.1f}" for q in quiet], "flooded", [f"{f:.1f}" for f in flooded], most, "MB", told)
    return statistics.median(quiet), statistics.median(flooded), most, told


async def _refused(flood: Flooding) -> bool:
    return (await flood.say("look")).get("RESOURCE_EXHAUSTED", 0) > 1000


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("what", ["requests", "calls", "streams"])
async def test_emergencies_are_answered_as_if_nobody_flooded(worker: Fleet, risks: Risks, what: str) -> None:
    """p99 of another agency within twice of quiet, and the worker's memory bounded."""
    before = resident(worker.child.pid)
    async with flooding(worker, what) as flood:
        quiet, flooded, most, told = await measured(worker, flood, None)
    print(what, quiet, flooded, before, most, told)
    assert flooded <= 2 * quiet
