"""Partitions of closed logs whose entries were exported and are kept there alone.

Entries lose their bytes and keep their ids and places; all hashes stay, made before the first byte goes. The
first 256 entries of a log are never dropped, nor the 256 with its last: they link it to the logs before and
after. What is begun is said first (migration 0011), so that a drop that was cut off can be told from a loss,
and finished; what is not said is not dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from broker.core.bundles import encode_bundle
from broker.core.tiles import PARTITION, TILE_WIDTH, Tile, may_be_dropped
from broker.store.notary import Notary
from broker.store.onelog import OneLog
from broker.store.pool import Database
from broker.store.reader import LogReader
from broker.store.tiles import TileReader

_SAID = "select digest from dropped where log = $1 and first = $2"
_DROP = """
update entry set leaf = null where log = $1 and idx >= $2 and idx < $3 and leaf is not null
  and exists (select from dropped where log = $1 and first = $2 - $2 % $4)
"""

Step = Callable[[int], None]


class DroppedRows:
    """Implements `partitions.DroppedTable`. `step` hears of each bundle that was dropped."""

    def __init__(
        self, database: Database, reader: LogReader, notary: Notary, step: Step = lambda _bundle: None
    ) -> None:
        self._database = database
        self._reader = reader
        self._notary = notary
        self._step = step

    async def digest(self, log: str, partition: int) -> str:
        """As `DroppedTable.digest`."""
        number = await self._closed(log)
        one = OneLog(self._database, self._notary, number)
        first = partition * PARTITION
        if first + PARTITION > await one.size():
            raise KeyError(partition)
        async with self._database.connection() as connection:
            said: str | None = await connection.fetchval(_SAID, number, first)
        if said is not None:
            return said
        made = hashlib.sha256()
        for n in _bundles(partition):
            made.update(encode_bundle(await one.bundle(n, TILE_WIDTH)))
        return made.hexdigest()

    async def keep_hashes(self, log: str, partition: int) -> None:
        """As `DroppedTable.keep_hashes`."""
        number = await self._closed(log)
        tree = OneLog(self._database, self._notary, number)
        size = await tree.size()
        for n in _bundles(partition):
            # Verified: what a bundle's entries hash to stands in its tile alone, once they are gone.
            await tree.proof_at(n * TILE_WIDTH, size)
        async with self._database.connection() as connection:
            await TileReader(connection, number).read([Tile(1, partition)])

    async def drop(self, log: str, partition: int) -> None:
        """As `DroppedTable.drop`."""
        number = await self._closed(log)
        size = await OneLog(self._database, self._notary, number).size()
        for n in _bundles(partition):
            if may_be_dropped(n, size):
                first = n * TILE_WIDTH
                async with self._database.connection() as connection:
                    await connection.execute(_DROP, number, first, first + TILE_WIDTH, PARTITION)
                self._step(n)

    async def _closed(self, log: str) -> int:
        for each in await self._reader.chain():
            if each.origin == log and each.closed:
                return each.number
        raise KeyError(log)


def _bundles(partition: int) -> range:
    return range(partition * TILE_WIDTH, (partition + 1) * TILE_WIDTH)
