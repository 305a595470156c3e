"""Entries of the log by the hundred, opened, with their proofs from tiles: for exports.

Implements `broker.entryrows.EntryRows`. What few entries have is looked up in the search index, where that has
a row for every entry; everything else is read entry by entry, so that nothing is left out for an index that has
not come so far, or has lost a row. Takes a connection of the pool for each statement, never for longer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import asyncpg

from broker.core.entry import Opening, parse_entry
from broker.core.receipt import Audience
from broker.core.searchterms import selective, together
from broker.core.tiles import TILE_WIDTH, Tile, inclusion_proof, tile_in, tiles_for_inclusion
from broker.entryrows import MOST, EntryRow, Looked, Wanted
from broker.errors import IntegrityError, KeyDestroyed
from broker.ports import Hit
from broker.store.packed import Openings, unpack
from broker.store.pool import Database
from broker.store.seal import Seals
from broker.store.search import SearchIndex
from broker.store.tiles import TileReader

# Entries are in the order in which they were appended; each has the time at which it was decided, which may lie
# before that of the one before it, by no more than a request can take.
SLACK = timedelta(hours=1)
# Places over which the index is first asked whether it has a row for each.
WINDOW = 1 << 16
# Views opened between two looks at whether somebody waits for a record.
STEP = 8
_TILES, _KNOWN = 64, 8192

_ROWS = """
select e.idx, e.id, e.leaf, v.key, v.views, v.requester_agency, v.provider_agency
from entry e left join view v using (log, idx)
where e.log = $1 and e.idx >= $2 and e.idx < $3 order by e.idx limit $4
"""
# The newest ones of a party are found by reading in order: few others lie between, or many do and cost little.
_OF_PARTY = """
select e.idx, e.id, e.leaf, v.key, v.views, v.requester_agency, v.provider_agency
from entry e join view v using (log, idx)
where e.log = $1 and e.idx >= $2 and e.idx < $3 and $5 in (v.requester_agency, v.provider_agency)
order by e.idx limit $4
"""
_AT = "select leaf from entry where log = $1 and idx = $2"


class PostgresEntryRows:
    """The entries of one log, or of the current one, whichever `log` says that is."""

    def __init__(
        self, database: Database, seals: Seals, index: SearchIndex, log: int | Callable[[], int]
    ) -> None:
        self._database = database
        self._seals = seals
        self._index = index
        self._which = log
        self._last = 0
        self._tiles: OrderedDict[tuple[int, Tile], bytes] = OrderedDict()
        self._known: tuple[int, dict[tuple[int, int], bytes]] = (0, {})

    @property
    def _log(self) -> int:
        """Its number. What is remembered is of one log."""
        number = self._which() if callable(self._which) else self._which
        if number != self._last:
            self._last, self._known = number, (0, {})
            self._tiles.clear()
        return number

    async def size(self) -> int:
        """As `EntryRows.size`."""
        async with self._database.connection() as connection:
            size: int | None = await connection.fetchval("select size from head where log = $1", self._log)
        return size or 0

    async def span(self, wanted: Wanted, start: int, end: int) -> tuple[int, int]:
        """As `EntryRows.span`: halving, as many reads as the log's size has bits."""
        if wanted.since is not None:
            start = await self._first(wanted.since - SLACK, start, end)
        if wanted.until is not None:
            end = await self._first(wanted.until + SLACK, start, end)
        return start, end

    async def rows(self, wanted: Wanted, start: int, end: int) -> Looked:
        """As `EntryRows.rows`."""
        few = all(map(selective, wanted.ways))
        upper = min(end, start + WINDOW) if few or wanted.party else end
        if few and (found := await self._within(wanted.ways, start, upper)) is not None:
            return Looked(await self._fetched(found), found[-1] + 1 if len(found) == MOST else upper)
        sql, more = (_OF_PARTY, [wanted.party]) if wanted.party else (_ROWS, [])
        async with self._database.connection() as connection:
            rows_ = await connection.fetch(sql, self._log, start, upper, MOST, *more)
        made = await self._opened_all(rows_)
        if len(rows_) == MOST:
            return Looked(made, rows_[-1]["idx"] + 1)
        if not wanted.party and len(rows_) != upper - start:
            raise IntegrityError(f"the log has no entry {start + len(rows_)} although it has {end}")
        return Looked(made, upper)

    async def proofs(self, indices: Sequence[int], size: int) -> list[tuple[bytes, ...]]:
        """As `EntryRows.proofs`: each tile is read, and each node of the tree hashed, once for all of them."""
        tiles = await self._read(indices, size)
        if self._known[0] != size or len(self._known[1]) > _KNOWN:
            self._known = (size, {})
        return [inclusion_proof(index, size, tiles.__getitem__, self._known[1]) for index in indices]

    async def _read(self, indices: Sequence[int], size: int) -> dict[Tile, bytes]:
        needed: dict[Tile, None] = {}
        for n in dict.fromkeys(index // TILE_WIDTH for index in indices):
            # Every entry of a tile has the same way up from it.
            needed |= dict.fromkeys((tile_in(0, n, size), *tiles_for_inclusion(n * TILE_WIDTH, size)))
        # Taken out before anything is waited for: another export may put it away meanwhile.
        tiles = {tile: self._tiles[size, tile] for tile in needed if (size, tile) in self._tiles}
        if missing := [tile for tile in needed if tile not in tiles]:
            async with self._database.connection() as connection:
                read = await TileReader(connection, self._log).read(missing)
            tiles |= read
            self._tiles |= {(size, tile): data for tile, data in read.items()}
        while len(self._tiles) > _TILES:
            self._tiles.popitem(last=False)
        return tiles

    async def _within(self, ways: tuple[frozenset[str], ...], start: int, end: int) -> list[int] | None:
        """The first MOST places in [start, end), by the index; None where it is not sure of all of them."""
        looks = []
        for way in ways:
            found = await self._index.within(way, start, end, MOST)
            if found is None:
                return None
            looks.append(found)
        return together(looks, int, MOST, newest_first=False)[:MOST]

    async def _fetched(self, indices: Sequence[int]) -> tuple[EntryRow, ...]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "select e.idx, e.id, e.leaf, v.key, v.views, v.requester_agency, v.provider_agency"
                " from entry e left join view v using (log, idx)"
                " where e.log = $1 and e.idx = any($2::bigint[]) order by e.idx",
                self._log,
                list(indices),
            )
        if len(rows) != len(indices):
            raise IntegrityError("the search index has rows of entries that the log does not have")
        return await self._opened_all(rows)

    async def _first(self, at: datetime, start: int, end: int) -> int:
        """The first place from `start` on at which an entry is of `at` or later; `end` where none is."""
        async with self._database.connection() as connection:
            while start < end:
                middle = (start + end) // 2
                leaf = await connection.fetchval(_AT, self._log, middle)
                if leaf is None:
                    raise IntegrityError(f"the log has no entry {middle}")
                if parse_entry(bytes(leaf)).at < at:
                    start = middle + 1
                else:
                    end = middle
        return start

    async def _opened_all(self, rows: Sequence[asyncpg.Record]) -> tuple[EntryRow, ...]:
        made: list[EntryRow] = []
        for n, row in enumerate(rows):
            if n % STEP == STEP - 1:
                await asyncio.sleep(0)
            made.append(await self._row(row))
        return tuple(made)

    async def _row(self, row: asyncpg.Record) -> EntryRow:
        opened = await self._opened(row)
        openings: dict[str, Opening] = {}
        if opened is not None:
            openings = {each.value: o for each in Audience if (o := opened.of(each.value)) is not None}
        entry = bytes(row["leaf"])
        hit = Hit(
            row["idx"],
            str(row["id"]),
            parse_entry(entry).at,
            row["requester_agency"] or "",
            row["provider_agency"] or "",
            {audience: each.view for audience, each in openings.items()},
            {} if opened is None else opened.view,
        )
        return EntryRow(hit, entry, openings)

    async def _opened(self, row: asyncpg.Record) -> Openings | None:
        """The views; None where they, or the key of their month, are gone, or they were changed."""
        if row["key"] is None:
            return None
        try:
            key = await self._seals.by_id(row["key"])
            return unpack(key.open(row["views"], str(row["id"]), "views"))
        except (KeyDestroyed, IntegrityError):
            return None  # what was changed is for `fsck` to name
