"""When an answer to a party may leave: at multiples of a step after it was asked for.

What was looked at for it and may not be seen takes time, and would show by it. Auditors may see all, and wait
for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.core.model import Caller, Function

# Seconds: longer than a look takes at what a party's page hides from it.
STEP = 0.025


def asked_at() -> float:
    """Now, as the moment at which something was asked for."""
    return asyncio.get_running_loop().time()


async def evenly(caller: Caller, asked: float) -> None:
    """Wait until the next moment at which it may leave."""
    if caller.function is Function.PARTNER:
        spent = asked_at() - asked
        await asyncio.sleep(STEP * (int(spent / STEP) + 1) - spent)


@asynccontextmanager
async def answered_evenly(caller: Caller) -> AsyncIterator[None]:
    """What is answered in here leaves at such a moment, also where it is refused."""
    asked = asked_at()
    try:
        yield
    finally:
        await evenly(caller, asked)
