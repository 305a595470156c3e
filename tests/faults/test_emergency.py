"""One agency floods; another's emergencies are answered as if it did not, and the worker does not grow."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.client import Broker
from tests.faults.conftest import PACE, Flooding, flooding
from tests.support.fleet import Fleet, Risks, ask, becomes

ROUNDS = 5
ASKED = 150
GROWS = 128  # MB that a flood may make a worker hold more than before


@dataclass
class Measured:
    """Milliseconds within which all but a hundredth are answered, by round; MB held at most; what was told."""

    quiet: list[float] = field(default_factory=list)
    flooded: list[float] = field(default_factory=list)
    resident: int = 0
    told: dict[str, int] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """The medians of the rounds, flooded to quiet."""
        return statistics.median(self.flooded) / statistics.median(self.quiet)


def resident(pid: int) -> int:
    """MB of memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) // 1024


async def p99(client: Broker) -> float:
    """Milliseconds, of emergencies asked one at a time."""
    took = []
    for _ in range(ASKED):
        began = time.perf_counter()
        await ask(client)
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(PACE)
    return sorted(took)[int(ASKED * 0.99) - 1]


async def measure(worker: Fleet, flood: Flooding, begun: int) -> Measured:
    """Quiet and flooded in turns, from when the flood has been refused so often; with 0 from its very start."""
    measured = Measured()

    async def refused() -> bool:
        measured.told = await flood.say("look")
        # CANCELLED: gRPC itself drops streams where more than a thousand wait to be looked at.
        return measured.told.get("RESOURCE_EXHAUSTED", 0) + measured.told.get("CANCELLED", 0) >= begun

    async def refused_at_all() -> bool:
        return (await flood.say("look")).get("RESOURCE_EXHAUSTED", 0) > 0

    async with worker.client() as client:
        await p99(client)
        for _ in range(ROUNDS):
            measured.quiet.append(await p99(client))
            await flood.say("start")
            await becomes(refused, 120)
            measured.flooded.append(await p99(client))
            measured.resident = max(measured.resident, resident(worker.child.pid))
            await becomes(refused_at_all, 60)
            measured.told = await flood.say("stop")
            await asyncio.sleep(0.5)
    print("\nquiet", [f"{q:.1f}" for q in measured.quiet], "flooded", [f"{f:.1f}" for f in measured.flooded])
    print(f"{measured.ratio:.2f}, {measured.resident} MB, {measured.told}")
    return measured


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("what", "begun"), [("requests", 300), ("calls", 300), ("streams", 0), ("heavy", 50)])
async def test_emergencies_are_answered_as_if_nobody_flooded(
    worker: Fleet, risks: Risks, what: str, begun: int
) -> None:
    """p99 of another agency within twice of quiet, whether the flood is of requests on streams, unary calls,
    lists or of ten thousand streams while they are being opened; and it does not pile up in the worker."""
    before = resident(worker.child.pid)
    async with flooding(worker, what) as flood:
        measured = await measure(worker, flood, begun)
    assert measured.told["RESOURCE_EXHAUSTED"] > 0
    if what == "heavy":
        assert measured.told["told when"] > 0
        assert measured.told["answered"] > 0
    assert measured.resident <= before + GROWS
    assert measured.ratio <= 2.0
