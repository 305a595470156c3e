"""Entries whose bytes were dropped after an export: their hashes as they were kept, or the bytes of the export.

Owns which partitions of a log the database says were dropped. What it gives is believed by nobody: hashes and
entries alike have to make the root that was signed.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from broker.core.merkle import HASH_BYTES
from broker.core.tiles import PARTITION, TILE_WIDTH
from broker.errors import IntegrityError, SetupError
from broker.offline.archive import Archive
from broker.offline.source import Unreadable
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import has

_DROPPED = "select first, place from dropped where log = $1 order by first"
_HASHES = "select hashes from tile where log = $1 and level = 0 and n = $2"


class Elsewhere:
    """What is known of the entries of one log that have no bytes."""

    def __init__(
        self, connection: asyncpg.Connection, log: int, report: StoreReport, archives: Sequence[Archive]
    ) -> None:
        self._connection = connection
        self._log = log
        self._report = report
        self._archives = [each for each in archives if each.checkpoint.origin == report.origin]
        self._hashes: tuple[int, bytes] = (-1, b"")
        self.unproven = 0

    async def open(self) -> None:
        """Read what the database says."""
        if not await has(self._connection, "dropped"):
            return
        for row in await self._connection.fetch(_DROPPED, self._log):
            self._report.dropped.append(row["first"])
            self._report.places[row["first"]] = row["place"]

    def entry(self, index: int) -> bytes:
        """The bytes of an entry that has none here; empty where no export at hand has them."""
        for each in self._archives:
            try:
                return each.entry(self._report.origin, index)
            except (SetupError, IntegrityError, Unreadable):
                continue
        return b""

    async def hash(self, index: int) -> bytes | None:
        """The leaf hash of an entry that has no bytes; None, and said, where it should have some."""
        if index - index % PARTITION not in self._report.places:
            text = "has no bytes, and nothing says that it was dropped after an export"
            self._report.wrong("entry", index, "entry", text)
            return None
        number, at = divmod(index, TILE_WIDTH)
        if number != self._hashes[0]:
            kept = await self._connection.fetchval(_HASHES, self._log, number)
            self._hashes = number, bytes(kept or b"")
        found = self._hashes[1][at * HASH_BYTES : (at + 1) * HASH_BYTES]
        if len(found) != HASH_BYTES:
            self._report.wrong(
                "entry", index, "entry", "was dropped after an export, and its hash was not kept"
            )
            return None
        self.unproven += 1
        return found
