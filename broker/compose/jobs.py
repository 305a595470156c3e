"""What a broker does beside its requests: the jobs of a worker, and how they begin and end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import NoReturn, Self

import structlog

from broker.acknowledge import Acknowledgements
from broker.anchor.hourly import Anchoring
from broker.compose.ground import Ground
from broker.compose.stored import Stored, anchoring_of, witnessing_of
from broker.escalations import Desks, Escalations
from broker.notices import Notices
from broker.refusals import Refusals
from broker.rotations import Rotations
from broker.upkeep import Step, Upkeep
from broker.vouching import Vouching
from broker.witnesschain import WitnessChain

REFRESH = 1.0  # seconds between looks for what other processes have changed
KEYS = 60.0  # seconds between looks for keys that are not there
VOUCH = 10.0  # seconds between looks at whether systems are to be held against the log
FORGET = 300.0  # seconds between looks for what is due to be forgotten
REMIND = 24 * 3600.0  # seconds between two words about a rotation that is due

Job = tuple[str, Step, float]  # its name, and the seconds between two turns of it

_diagnostics = structlog.get_logger("broker")


@dataclass(frozen=True, slots=True)
class Beside:
    """What comes of requests, and none waits for: what is written down, told to humans, or taken outside."""

    acknowledgements: Acknowledgements
    refusals: Refusals
    notices: Notices
    escalations: Escalations
    witnessing: WitnessChain | None
    anchoring: Anchoring | None
    vouching: Vouching

    @classmethod
    def of(cls, ground: Ground, own: str, stack: AsyncExitStack) -> Self:
        """Those of the worker of this id, until the stack ends: what still waits then is written down."""
        settings, store, clock, telemetry = ground.settings, ground.store, ground.clock, ground.telemetry
        witnessing = witnessing_of(store, own, clock, telemetry)
        anchoring = anchoring_of(settings, store, own, witnessing, telemetry, stack)
        acknowledgements = Acknowledgements(ground.administration, store.facts)
        stack.push_async_callback(acknowledgements.drain)
        refusals = Refusals(store.log, telemetry.refused, clock, own)
        stack.push_async_callback(refusals.drain)
        rows, reference = store.rows, store.reference
        notices = Notices(
            rows.overrides, settings.override_webhook, telemetry.noticed, reference, clock, rows.escalations
        )
        stack.push_async_callback(notices.close)
        desks = Desks(rows.referrals, rows.overrides, rows.complaints)
        escalations = Escalations(store.log, rows.escalations, desks, store.facts, reference, clock)
        vouching = Vouching(store.index, reference, clock)
        return cls(acknowledgements, refusals, notices, escalations, witnessing, anchoring, vouching)

    def second_stage(self) -> tuple[str, ...]:
        """What of the second stage of evidence fails."""
        parts = [each for each in (self.witnessing, self.anchoring) if each is not None]
        return tuple(why for each in parts for why in each.reasons())

    def told(self) -> tuple[str, ...]:
        """What is wrong and no reason to take anybody out of service."""
        return (*self.second_stage(), *self.vouching.reasons())

    def jobs(self) -> list[Job]:
        """What of it goes on by itself."""
        jobs: list[Job] = [
            ("notices", self.notices.run, REFRESH),
            ("escalations", self.escalations.run, REFRESH),
            ("refusals", self.refusals.run, REFRESH),
            ("what the log says of systems", self.vouching.step, VOUCH),
        ]
        if self.witnessing is not None:
            jobs.append(("witnessing", self.witnessing.run, REFRESH))
        if self.anchoring is not None:
            jobs.append(("anchoring", self.anchoring.run, REFRESH))
        return jobs


def begin(stack: AsyncExitStack, upkeep: Upkeep, jobs: Sequence[Job]) -> None:
    """Every job from now on, until the stack ends."""
    for job in jobs:
        task = asyncio.get_running_loop().create_task(upkeep.forever(*job))
        stack.push_async_callback(_cancel, task)


def kept(store: Stored) -> list[Job]:
    """What other processes change is seen even while nobody asks, since a suspension must reach silent
    streams; a rotation is noticed, also one that nobody has finished; what was signed last outlasts us;
    full tiles are made as the log grows, so that readers of it cost little. Each by itself: none waits for
    what keeps another."""

    async def turn() -> None:
        await store.halves.finish()
        await store.chain.refresh()

    async def tiles() -> None:
        await store.reader.fill_tiles()
        await store.reader.prove_again()

    return [
        ("what decisions read", store.reference.refresh, REFRESH),
        ("the rotation", turn, REFRESH),
        ("the guard file", store.notary.remember, REFRESH),
        ("the tiles", tiles, REFRESH),
        ("the keys of views", store.seals.look, KEYS),
        ("what was said of people", store.keeping.forget, FORGET),
    ]


async def remind(rotations: Rotations) -> NoReturn:
    """Say once a day that the log is to be rotated, while it is: nothing waits for it, so nobody is woken."""
    while True:
        if due := rotations.due():
            _diagnostics.warning("rotation is due", why=due)
        await asyncio.sleep(REMIND if due else REMIND / 24)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
