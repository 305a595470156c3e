"""A process that dies by SIGKILL at its nth step: `python -m tests.store.killed DSN FOLDER STEP WHAT DIGEST`.

A step is the moment before or after a statement, a signature, or a file's being made durable. It prints `whole`
where it came to its end before that step.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from broker import keys
from broker.administration import Administration
from broker.core.model import Caller, Function
from broker.partitions import Partitions
from broker.store.dropped import DroppedRows
from broker.store.notary import Notary
from tests.keeping.killed import Dying, Steps
from tests.support import evidence
from tests.support.evidence import ORIGIN, Node, node

NEXT = "blue-light.test/log/2027h1"
OPERATOR = Caller("operator", "cli", Function.OPERATOR, "k" * 64)


async def rotate(one: Node, _: str) -> None:
    """On to the next half-year."""
    await one.halves.rotate(ORIGIN, one.halves.prepare(NEXT))


async def drop(one: Node, digest: str) -> None:
    """What was exported of the closed log."""
    rows = DroppedRows(one.database, one.reader, one.notary)
    partitions = Partitions(Administration(one.log, one.clock), rows)
    await partitions.drop(OPERATOR, ORIGIN, 0, digest, "vault 3")


async def main(dsn: str, folder: Path, last: int, what: str, digest: str) -> None:
    """Until the end, or until the last step."""
    steps = Steps(last)
    sync, sign = keys._sync, Notary.sign

    def stepped(call: Any) -> Any:
        def made(*about: Any) -> Any:
            steps.one()
            done = call(*about)
            steps.one()
            return done

        return made

    keys._sync = stepped(sync)
    Notary.sign = stepped(sign)  # type: ignore[method-assign]
    evidence.Database = lambda to, **_: Dying(to, steps)  # type: ignore[misc,assignment]
    async with node(dsn, folder) as one:
        steps.on = True
        await (rotate if what == "rotate" else drop)(one, digest)
        steps.on = False
    print("whole", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:6]))
