"""Hash tiles of the log (C2SP tlog-tiles), read from the cache and rebuilt from the entries where missing.

A full tile never changes, so it is kept once made; partial ones are made when asked for. Nothing here is
trusted by anybody: readers check every tile against a signed root, and so do we (`proofs`).
"""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

from broker.core.merkle import HASH_BYTES, MAX_SIZE
from broker.core.tiles import (
    TILE_WIDTH,
    Tile,
    hashes_of,
    subtree_root,
)

_LEAVES = """
select string_agg(sha256('\\x00'::bytea || leaf), ''::bytea order by idx) as hashes
from entry where log = $1 and idx >= $2 and idx < $3
"""
_KEPT = "select hashes from tile where log = $1 and level = $2 and n = $3"


class TileReader:
    """Reads tiles of one log over one connection. KeyError where the log is too small for a tile."""

    def __init__(self, connection: asyncpg.Connection, log: int) -> None:
        self._connection = connection
        self._log = log

    async def read(self, tiles: Iterable[Tile]) -> dict[Tile, bytes]:
        """The bytes of each tile, `width` hashes of 32 bytes."""
        return {tile: await self._tile(tile) for tile in tiles}

    async def bundle(self, index: int, width: int = TILE_WIDTH) -> list[bytes]:
        """The entries of one bundle. KeyError where there are fewer than `width`."""
        if (index + 1) * TILE_WIDTH > MAX_SIZE:
            raise KeyError(index)
        rows = await self._connection.fetch(
            "select leaf from entry where log = $1 and idx >= $2 and idx < $3 order by idx",
            self._log,
            index * TILE_WIDTH,
            index * TILE_WIDTH + width,
        )
        if len(rows) != width or any(row["leaf"] is None for row in rows):
            raise KeyError(index)
        return [row["leaf"] for row in rows]

    async def _tile(self, tile: Tile) -> bytes:
        if tile.width == TILE_WIDTH:
            kept = await self._connection.fetchval(_KEPT, self._log, tile.level, tile.index)
            if kept is not None:
                return bytes(kept)
        data = await self._made(tile)
        if len(data) != tile.width * HASH_BYTES and tile.width < TILE_WIDTH:
            # Of entries that were dropped: their full tile was kept.
            kept = await self._connection.fetchval(_KEPT, self._log, tile.level, tile.index)
            data = bytes(kept or b"")[: tile.width * HASH_BYTES]
        if len(data) != tile.width * HASH_BYTES:
            raise KeyError(tile.path)
        if tile.width == TILE_WIDTH:
            await self._connection.execute(
                "insert into tile (log, level, n, hashes, root) values ($1, $2, $3, $4, $5)"
                " on conflict do nothing",
                self._log,
                tile.level,
                tile.index,
                data,
                subtree_root(hashes_of(tile, data)),
            )
        return data

    async def _made(self, tile: Tile) -> bytes:
        first, last = tile.index * TILE_WIDTH, tile.index * TILE_WIDTH + tile.width
        if last > MAX_SIZE:
            raise KeyError(tile.path)
        if tile.level == 0:
            return await self._connection.fetchval(_LEAVES, self._log, first, last) or b""
        rows = await self._connection.fetch(
            "select n, root from tile where log = $1 and level = $2 and n >= $3 and n < $4",
            self._log,
            tile.level - 1,
            first,
            last,
        )
        roots = {row["n"]: bytes(row["root"]) for row in rows}
        for n in range(first, last):
            if n not in roots:
                below = Tile(tile.level - 1, n)
                roots[n] = subtree_root(hashes_of(below, await self._tile(below)))
        return b"".join(roots[n] for n in range(first, last))
