"""Hash tiles made again from what they are made of, past the kept ones, and kept once they are known to be
right.

Level 0 and 1 come from the entries themselves. Above, each of the 256 tiles below counts as it was kept
where its hashes make its own root, and is made again where they do not: one wrong row is found at any
level, and no more than some 65,536 entries are read for a tile. What entries that were dropped hashed to
stands in their kept tile alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg

from broker.core.merkle import HASH_BYTES
from broker.core.tiles import TILE_WIDTH, Tile, hashes_of, subtree_root

_STEP = 16  # tiles of level 0 that one statement makes
_LEAVES = """
select idx / 256 as n, string_agg(sha256('\\x00'::bytea || leaf), ''::bytea order by idx) as hashes
from entry where log = $1 and idx >= $2 and idx < $3 group by 1
"""
_KEPT = "select n, hashes, root from tile where log = $1 and level = $2 and n >= $3 and n < $4"
_KEEP = """
insert into tile as t (log, level, n, hashes, root)
select $1, * from unnest($2::smallint[], $3::bigint[], $4::bytea[], $5::bytea[])
on conflict (log, level, n) do update set hashes = excluded.hashes, root = excluded.root
where (t.hashes, t.root) is distinct from (excluded.hashes, excluded.root)
returning level, n
"""


class Anew:
    """Tiles of one log, made again over one connection. KeyError where entries are not there."""

    def __init__(self, connection: asyncpg.Connection, log: int) -> None:
        self._connection = connection
        self._log = log
        # Full ones only: by level and number, hashes and their root.
        self._made: dict[tuple[int, int], tuple[bytes, bytes]] = {}

    async def read(self, tiles: Iterable[Tile]) -> dict[Tile, bytes]:
        """The bytes of each tile, `width` hashes of 32 bytes."""
        return {tile: await self._tile(tile) for tile in tiles}

    async def keep(self) -> tuple[str, ...]:
        """Put what was made in the place of what is kept; the names of those that were otherwise, or not
        there."""
        rows = []
        places = sorted(self._made)
        for start in range(0, len(places), _STEP):
            some = places[start : start + _STEP]
            columns = [list(column) for column in zip(*((*at, *self._made[at]) for at in some), strict=True)]
            rows += await self._connection.fetch(_KEEP, self._log, *columns)
        return tuple(Tile(row["level"], row["n"]).path for row in rows)

    async def _tile(self, tile: Tile) -> bytes:
        at = tile.level, tile.index
        if at in self._made:
            return self._made[at][0][: tile.width * HASH_BYTES]
        if tile.level == 0:
            await self._from_entries(tile.index, tile.index + 1)
            if at in self._made:
                return self._made[at][0][: tile.width * HASH_BYTES]
            data = await self._partial(tile)
        else:
            data = b"".join(await self._roots(tile))
        if len(data) != tile.width * HASH_BYTES:
            raise KeyError(tile.path)
        if tile.width == TILE_WIDTH:
            self._made[at] = data, subtree_root(hashes_of(tile, data))
        return data

    async def _partial(self, tile: Tile) -> bytes:
        """Of the end of the log, where no tile is kept."""
        first = tile.index * TILE_WIDTH
        rows = await self._connection.fetch(_LEAVES, self._log, first, first + tile.width)
        return bytes(rows[0]["hashes"] or b"") if rows else b""

    async def _roots(self, tile: Tile) -> list[bytes]:
        """The roots of the tiles below."""
        level, first = tile.level - 1, tile.index * TILE_WIDTH
        numbers = range(first, first + tile.width)
        if level == 0:
            for start in range(first, first + tile.width, _STEP):
                await self._from_entries(start, min(start + _STEP, first + tile.width))
        else:
            for start in range(first, first + tile.width, _STEP):
                kept = await self._kept(level, start, min(start + _STEP, first + tile.width))
                self._made |= {
                    (level, n): (hashes, root)
                    for n, (hashes, root) in kept.items()
                    if (level, n) not in self._made and subtree_root(hashes_of(Tile(level, n), hashes)) == root
                }
        for n in numbers:
            if (level, n) not in self._made:
                await self._tile(Tile(level, n))
        return [self._made[level, n][1] for n in numbers]

    async def _from_entries(self, start: int, end: int) -> None:
        """Full tiles of level 0. Where entries were dropped, what was kept of them counts."""
        rows = await self._connection.fetch(_LEAVES, self._log, start * TILE_WIDTH, end * TILE_WIDTH)
        found = {row["n"]: bytes(row["hashes"] or b"") for row in rows}
        if any(len(hashes) < TILE_WIDTH * HASH_BYTES for hashes in found.values()):
            for n, (hashes, _) in (await self._kept(0, start, end)).items():
                if len(found.get(n, b"")) < TILE_WIDTH * HASH_BYTES:
                    found[n] = hashes
        for n, hashes in found.items():
            if len(hashes) == TILE_WIDTH * HASH_BYTES:
                self._made[0, n] = hashes, subtree_root(hashes_of(Tile(0, n), hashes))

    async def _kept(self, level: int, start: int, end: int) -> dict[int, tuple[bytes, bytes]]:
        rows = await self._connection.fetch(_KEPT, self._log, level, start, end)
        return {row["n"]: (bytes(row["hashes"]), bytes(row["root"])) for row in rows}
