"""Every log there is, newest first, each under its name and with its key: what is published, and followed.

Grows by one with each rotation, whoever carried it out; `refresh` notices.
"""

from __future__ import annotations

from broker.store.notary import Notary
from broker.store.onelog import OneLog
from broker.store.pool import Database
from broker.store.reader import HalfYear, LogReader


class Chain:
    """The logs as this worker saw them last. `logs` and `vkeys` are the same objects for ever."""

    def __init__(self, database: Database, notary: Notary, reader: LogReader) -> None:
        self.logs: dict[str, OneLog] = {}
        self.vkeys: list[str] = []
        self.halves: tuple[HalfYear, ...] = ()
        self._database = database
        self._notary = notary
        self._reader = reader

    async def refresh(self) -> None:
        """See whether there is a new log. Raises AuditUnavailable."""
        halves = await self._reader.chain()
        if halves == self.halves:
            return
        known = dict(self.logs)
        # No await in between: who reads sees the old chain or the new one.
        self.halves = halves
        self.logs.clear()
        for each in halves:
            self.logs[each.origin] = known.get(each.origin) or OneLog(self._database, self._notary, each.number)
        self.vkeys[:] = [each.vkey for each in halves]
