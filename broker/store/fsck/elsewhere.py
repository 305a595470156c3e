"""Entries whose bytes were dropped after an export: their hashes as they were kept, or the bytes of the export.

Owns which partitions of a log were dropped. The table that lists them can be written, so it is held against
what the log says: none is dropped before a last entry has closed the log, none but whole ones, and each by an
entry with its export's digest and place. What it gives is believed by nobody: hashes and entries alike have to
make the root that was signed.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from broker.core.entry import Rotation, parse_entry
from broker.core.merkle import HASH_BYTES
from broker.core.tiles import PARTITION, TILE_WIDTH, may_be_dropped
from broker.errors import IntegrityError, SetupError
from broker.offline.archive import Archive
from broker.offline.source import Unreadable
from broker.store.fsck.report import StoreReport
from broker.store.fsck.snapshot import has
from broker.store.said import Said

_DROPPED = "select first, digest, place from dropped where log = $1 order by first"
_LAST = "select leaf from entry where log = $1 and idx = $2"
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
        self._digests: dict[int, str] = {}
        self._closed = ""  # the month in which the log was
        self.unproven = 0

    async def open(self) -> None:
        """Read what the database says. Raises no error: what cannot be is named."""
        if not await has(self._connection, "dropped"):
            return
        rows = await self._connection.fetch(_DROPPED, self._log)
        if rows:
            self._closed = await self._closed_in()
        for row in rows:
            first = row["first"]
            if not self._closed:
                self._wrong(first, "of a log that is not closed")
            elif first + PARTITION > self._report.size:
                self._wrong(first, "and are no whole partition of this log")
            else:
                self._digests[first] = row["digest"]
                self._report.dropped.append(first)
                self._report.places[first] = row["place"]

    async def _closed_in(self) -> str:
        """The month of the entry that closed the log, which stands where the derivation looks at it as well."""
        leaf = await self._connection.fetchval(_LAST, self._log, self._report.size - 1)
        try:
            last = parse_entry(bytes(leaf or b""))
        except IntegrityError:
            return ""
        return f"{last.at:%Y-%m}" if isinstance(last, Rotation) else ""

    def judge(self, said: Said) -> None:
        """Hold every partition against what has been heard of all logs."""
        for first, place in self._report.places.items():
            if said.dropped(self._report.origin, first // PARTITION, self._digests[first], place):
                continue
            if said.silent(self._closed):
                self._report.unchecked.append(
                    f"whether the log said that entries {first} to {first + PARTITION - 1} were dropped: what "
                    "may have said so has ended itself"
                )
            else:
                self._wrong(first, "and no entry of the log says that they were dropped, of such an export")

    def _wrong(self, first: int, why: str) -> None:
        path = f"entries {first} to {first + PARTITION - 1}"
        self._report.wrong("dropped", first, path, f"are listed as kept in an export alone, {why}")

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
        partition, number = index - index % PARTITION, index // TILE_WIDTH
        if partition not in self._report.places or not may_be_dropped(number, self._report.size):
            text = "has no bytes, and nothing says that it was dropped after an export"
            self._report.wrong("entry", index, "entry", text)
            return None
        at = index % TILE_WIDTH
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
