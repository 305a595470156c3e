"""`python -m tests.support.impatient`: a broker that answers what it may neither confirm nor deny at once.

Everything is the product's but for its clock, which never waits.
"""

from __future__ import annotations

from broker.clock import SystemClock
from broker.compose import as_read, running
from tests.support.altered import serve


class Impatient(SystemClock):
    """Time as it is, and nobody who waits for it."""

    async def until(self, loop_time: float) -> None:
        """Not a moment."""


if __name__ == "__main__":
    serve(lambda settings: running(settings, as_read, Impatient()))
