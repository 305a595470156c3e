"""Entries of the log by the hundred, opened, with their proofs from tiles: for exports.

Implements `broker.entryrows.EntryRows`. What few entries have is looked up in the search index, where that has
a row for every entry; everything else is read entry by entry, so that nothing is left out for an index that has
not come so far, or has lost a row. Takes a connection of the pool for each statement, never for longer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime

import asyncpg

from broker.core.entry import Opening
from broker.core.receipt import Audience
from broker.core.searchterms import selective, together
from broker.core.tiles import TILE_WIDTH, Tile, inclusion_proof, tile_in, tiles_for_inclusion
from broker.entryrows import MOST, SLACK, WINDOW, EntryRow, Half, Looked, Wanted
from broker.errors import IndexBehind, IntegrityError, KeyDestroyed
from broker.lanes import by_steps
from broker.ports import Hit
from broker.store.indexing import NO_TIME, made_at
from broker.store.packed import Openings, unpack
from broker.store.pool import Database
from broker.store.seal import Seals
from broker.store.search import SearchIndex
from broker.store.tiles import TileReader

_TILES, _KNOWN = 64, 8192
_Tree = tuple[int, int]  # a log's number, and of how many of its entries

_HALVES = """
select l.origin, coalesce(l.entries, h.size) as size, l.opened_at, l.closed_at
from log l left join head h on h.log = l.id order by l.id desc
"""
_COLUMNS = "e.idx, e.id, e.leaf, v.key, v.views, v.requester_agency, v.provider_agency, s.at"
_ROWS = f"""
select {_COLUMNS}
from entry e left join view v using (log, idx) left join search s on (s.log, s.idx) = (e.log, e.idx)
where e.log = $1 and e.idx >= $2 and e.idx < $3 order by e.idx limit $4
"""  # noqa: S608 - ours
# The newest ones of a party are found by reading in order: few others lie between, or many do and cost little.
_OF_PARTY = f"""
select {_COLUMNS}
from entry e join view v using (log, idx) left join search s on (s.log, s.idx) = (e.log, e.idx)
where e.log = $1 and e.idx >= $2 and e.idx < $3 and $5 in (v.requester_agency, v.provider_agency)
order by e.idx limit $4
"""  # noqa: S608 - ours
_THESE = f"""
select {_COLUMNS}
from entry e left join view v using (log, idx) left join search s on (s.log, s.idx) = (e.log, e.idx)
where e.log = $1 and e.idx = any($2::bigint[]) order by e.idx
"""  # noqa: S608 - ours


class PostgresEntryRows:
    """The entries of every log, each by its name."""

    def __init__(self, database: Database, seals: Seals, index: SearchIndex) -> None:
        self._database = database
        self._seals = seals
        self._index = index
        self._numbers: dict[str, int] = {}
        self._tiles: OrderedDict[tuple[_Tree, Tile], bytes] = OrderedDict()
        self._known: tuple[_Tree, dict[tuple[int, int], bytes]] = ((0, 0), {})

    async def halves(self) -> tuple[Half, ...]:
        """As `EntryRows.halves`."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_HALVES)
        return tuple(Half(row["origin"], row["size"], row["opened_at"], row["closed_at"]) for row in rows)

    async def span(self, log: str, wanted: Wanted, start: int, end: int) -> tuple[int, int]:
        """As `EntryRows.span`: halving, as many reads as the log's size has bits."""
        number = await self._number(log)
        if wanted.since is not None:
            start = await self._first(number, wanted.since - SLACK, start, end)
        if wanted.until is not None:
            end = await self._first(number, wanted.until + SLACK, start, end)
        return start, end

    async def rows(self, log: str, wanted: Wanted, start: int, end: int) -> Looked:
        """As `EntryRows.rows`."""
        number = await self._number(log)
        few = all(map(selective, wanted.ways))
        upper = min(end, start + WINDOW) if few or wanted.party else end
        if few and (found := await self._within(number, wanted, start, upper)) is not None:
            rows = await self._fetched(number, found)
            return Looked(rows, found[-1] + 1 if len(found) == MOST else upper)
        sql, more = (_OF_PARTY, [wanted.party]) if wanted.party else (_ROWS, [])
        async with self._database.connection() as connection:
            rows_ = await connection.fetch(sql, number, start, upper, MOST, *more)
        made = await self._opened_all(rows_)
        if len(rows_) == MOST:
            return Looked(made, rows_[-1]["idx"] + 1)
        if not wanted.party and len(rows_) != upper - start:
            raise IntegrityError(f"the log has no entry {start + len(rows_)} although it has {end}")
        return Looked(made, upper)

    async def proofs(self, log: str, indices: Sequence[int], size: int) -> list[tuple[bytes, ...]]:
        """As `EntryRows.proofs`: each tile is read, and each node of the tree hashed, once for all of them."""
        tree = await self._number(log), size
        tiles = await self._read(tree, indices)
        if self._known[0] != tree or len(self._known[1]) > _KNOWN:
            self._known = (tree, {})
        return [inclusion_proof(index, size, tiles.__getitem__, self._known[1]) for index in indices]

    async def _number(self, log: str) -> int:
        """The log's number in the database. KeyError where there is none of that name."""
        if log not in self._numbers:
            async with self._database.connection() as connection:
                number: int | None = await connection.fetchval("select id from log where origin = $1", log)
            if number is None:
                raise KeyError(log)
            self._numbers[log] = number
        return self._numbers[log]

    async def _read(self, tree: _Tree, indices: Sequence[int]) -> dict[Tile, bytes]:
        number, size = tree
        needed: dict[Tile, None] = {}
        for n in dict.fromkeys(index // TILE_WIDTH for index in indices):
            # Every entry of a tile has the same way up from it.
            needed |= dict.fromkeys((tile_in(0, n, size), *tiles_for_inclusion(n * TILE_WIDTH, size)))
        # Taken out before anything is waited for: another export may put it away meanwhile.
        tiles = {tile: self._tiles[tree, tile] for tile in needed if (tree, tile) in self._tiles}
        if missing := [tile for tile in needed if tile not in tiles]:
            async with self._database.connection() as connection:
                read = await TileReader(connection, number).read(missing)
            tiles |= read
            self._tiles |= {(tree, tile): data for tile, data in read.items()}
        while len(self._tiles) > _TILES:
            self._tiles.popitem(last=False)
        return tiles

    async def _within(self, number: int, wanted: Wanted, start: int, end: int) -> list[int] | None:
        """The first MOST places in [start, end), by the index; None where it is not sure of all of them."""
        looks = []
        for way in wanted.ways:
            found = await self._index.within(way, start, end, MOST, number, wanted.party)
            if found is None:
                return None
            looks.append(found)
        return together(looks, int, MOST, newest_first=False)[:MOST]

    async def _fetched(self, number: int, indices: Sequence[int]) -> tuple[EntryRow, ...]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_THESE, number, list(indices))
        if len(rows) != len(indices):
            raise IntegrityError("the search index has rows of entries that the log does not have")
        return await self._opened_all(rows)

    async def _first(self, number: int, at: datetime, start: int, end: int) -> int:
        """The first place from `start` on at which an entry is of `at` or later; `end` where none is."""
        async with self._database.connection() as connection:
            while start < end:
                middle = (start + end) // 2
                row = await connection.fetchrow(_THESE, number, [middle])
                if row is None:
                    raise IntegrityError(f"the log has no entry {middle}")
                if _at(row) < at:
                    start = middle + 1
                else:
                    end = middle
        return start

    async def _opened_all(self, rows: Sequence[asyncpg.Record]) -> tuple[EntryRow, ...]:
        return tuple([await self._row(row) async for row in by_steps(rows)])

    async def _row(self, row: asyncpg.Record) -> EntryRow:
        opened = await self._opened(row)
        openings: dict[str, Opening] = {}
        if opened is not None:
            openings = {each.value: o for each in Audience if (o := opened.of(each.value)) is not None}
        hit = Hit(
            row["idx"],
            str(row["id"]),
            _at(row),
            row["requester_agency"] or "",
            row["provider_agency"] or "",
            {audience: each.view for audience, each in openings.items()},
            {} if opened is None else opened.view,
        )
        return EntryRow(hit, bytes(row["leaf"] or b""), openings)

    async def _opened(self, row: asyncpg.Record) -> Openings | None:
        """The views; None where they, or the key of their month, are gone, or they were changed."""
        if row["key"] is None:
            return None
        try:
            key = await self._seals.by_id(row["key"])
            return unpack(key.open(row["views"], str(row["id"]), "views"))
        except (KeyDestroyed, IntegrityError):
            return None  # what was changed is for `fsck` to name


def _at(row: asyncpg.Record) -> datetime:
    """When it was made: of one whose bytes are kept in an export alone, as the index says."""
    at = made_at(row["leaf"], row["at"])
    if at is None:
        raise IndexBehind(NO_TIME.format(row["idx"]))
    return at
