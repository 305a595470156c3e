"""A process that dies by SIGKILL at its nth step: `python -m tests.keeping.killed DSN FOLDER STEP WHAT`.

A step is the moment before or after a statement outside the path of requests, and around a key's end.
It prints `whole` where it came to its end before that step.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from broker import keys
from broker.administration import Administration
from broker.clock import SystemClock
from broker.core.model import Actor, Assurance, Reason, SubjectRef
from broker.core.retention import parse
from broker.disputes import Disputes
from broker.erasable import Finder
from broker.erasing import ErasurePlans
from broker.erasures import Erasures
from broker.heritage import Heritage
from broker.holds import Holds
from broker.retention import Retention
from broker.searches import Searches
from broker.store.pool import Database
from tests.support.durable import Durable, durable
from tests.support.world import OPERATOR, caller

POLICY = b'version=1\ntitle="x"\n[[class]]\nname="standard"\nmonths=12\nschedule="JS 4.2"\n'
PERSON = SubjectRef("nhs-number", "9000000009")
OFFICER = Actor("p.moss", "records", assurance=Assurance.PERSONAL_LOGIN)
SECOND = Actor("a.okafor", "dpo", assurance=Assurance.PERSONAL_LOGIN)
WHY = Reason("schedule", "in words")


class Steps:
    """Counts, and ends the process at the last one."""

    def __init__(self, last: int) -> None:
        self.left, self.on = last, False

    def one(self) -> None:
        """A step has come."""
        if self.on:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)


class Dying(Database):
    """A database whose every use is two steps."""

    def __init__(self, dsn: str, steps: Steps) -> None:
        super().__init__(dsn)
        self._steps = steps

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """As the real one."""
        self._steps.one()
        async with super().connection() as connection:
            yield connection
        self._steps.one()


async def retain(made: Durable) -> None:
    """Apply the policy."""
    clock = SystemClock()
    keeper = Retention(Administration(made.log, clock), made.destroying, made.facts, clock, parse(POLICY))
    async for _ in keeper.apply(OPERATOR, OFFICER, WHY):
        pass


async def erase(made: Durable) -> None:
    """Erase PERSON, as two people of the requester's do."""
    clock = SystemClock()
    administration = Administration(made.log, clock)
    searches = Searches(administration, made.search, Heritage(made.reference, clock))
    holds = Holds(administration, made.keeping, made.facts, made.reference, clock, searches)
    finder = Finder(made.search, made.keeping, holds, clock)
    erasures = Erasures(administration, finder, holds, made.facts)
    disputes = Disputes(made.erasure_plans, made.rows.overrides, made.reference, clock)
    plans = ErasurePlans(
        administration, erasures, finder, holds, made.erasure_plans, disputes, made.facts, clock
    )
    plan, _, _ = await plans.plan(caller("cfrs"), PERSON, "objection", OFFICER, WHY)
    while await made.search.fill():
        pass
    await plans.confirm(caller("cfrs", "records"), plan.id, PERSON, SECOND, WHY)


async def main(dsn: str, folder: Path, last: int, what: str) -> None:
    """Until the end, or until the last step."""
    steps = Steps(last)
    removed = keys._sync

    def sync(path: Path) -> None:
        steps.one()
        removed(path)
        steps.one()

    keys._sync = sync
    async with durable(dsn, folder, lambda to: Dying(to, steps)) as made:
        steps.on = True
        await (retain if what == "retention" else erase)(made)
        steps.on = False
    print("whole", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
