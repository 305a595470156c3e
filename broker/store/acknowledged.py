"""How far the log is known to be where it must be: at every standby that should acknowledge a commit.

A commit whose wait for a standby was cancelled, by whoever, stands in this database and can be read, and a
failover takes it back. Whoever made it hears of that; whoever reads it does not. So a head that this worker
has not itself seen acknowledged is signed only after a write of its own has been: that comes after it in
the write-ahead log. Where no standby is asked for, nobody comes here.
"""

from __future__ import annotations

import asyncio

import asyncpg

from broker.store.kept import committed

# Of any size, in any log: that the write is a transaction's is what has it acknowledged.
_WRITE = "select pg_logical_emit_message(true, 'bluelight-broker', '') is not null as done"


class Acknowledged:
    """Places (log, size) up to which all is acknowledged. Those who ask together share one write."""

    def __init__(self) -> None:
        self._known = (0, 0)
        self._asked = (0, 0)
        self._writing = asyncio.Lock()
        self.writes = 0

    def came_to(self, log: int, size: int) -> None:
        """A commit of ours that made the log so large was acknowledged."""
        self._known = max(self._known, (log, size))

    async def require(self, connection: asyncpg.Connection, log: int, size: int) -> None:
        """Return once the first `size` entries, which have been read, are acknowledged. Raises
        AuditUnavailable."""
        wanted = log, size
        if wanted <= self._known:
            return
        self._asked = max(self._asked, wanted)
        async with self._writing:
            if wanted <= self._known:
                return
            asked = self._asked  # all of it was read before this write begins
            self.writes += 1
            await committed(connection, _WRITE)
            self._known = max(self._known, asked)
