"""Reading the log: receipts of entries that stand, consistency between sizes, tiles and bundles.

Every proof is made from tiles and goes to a checkpoint signed over the committed head.
"""

from __future__ import annotations

import asyncpg

from broker.core.canonical import Json
from broker.core.entry import Opening
from broker.core.merkle import CompactRange
from broker.core.receipt import Receipt
from broker.core.tiles import (
    TILE_WIDTH,
    Tile,
    inclusion_proof,
    tiles_for_inclusion,
    tiles_for_range,
    tree_root,
)
from broker.errors import IntegrityError, KeyDestroyed
from broker.store.notary import Notary
from broker.store.packed import unpack
from broker.store.pool import Database, one
from broker.store.seal import Seals
from broker.store.tiles import TileReader

_MISSING = """
select n from generate_series($2::bigint, $3::bigint - 1) n
where not exists (select from tile where log = $1 and level = 0 and tile.n = n.n) order by n
"""
_OPENING = 0x6C_6F67  # "log": workers that start together open it one after the other


class LogReader:
    """Reads the current log."""

    def __init__(self, database: Database, seals: Seals, notary: Notary) -> None:
        self._database = database
        self._seals = seals
        self._notary = notary
        self._log = 0
        self._filled = 0

    async def open(self) -> None:
        """Find or make the log of our key's origin; from now on every new connection is held to the guard."""
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", _OPENING)
            await connection.execute(
                "insert into log (origin) select $1 where not exists (select from log)", self._notary.origin
            )
            row = await one(connection, "select id, origin, vkey from log where closed_at is null")
            if row["origin"] != self._notary.origin:
                raise IntegrityError(
                    f"the database holds the log {row['origin']}; this key signs {self._notary.origin}"
                )
            self._log = row["id"]
            if row["vkey"] is None:
                await connection.execute("update log set vkey = $2 where id = $1", self._log, self._notary.vkey)
            elif row["vkey"] != self._notary.vkey:
                raise IntegrityError(
                    f"this log is signed by {row['vkey']}, and the key folder holds another key: bring back "
                    "the key folder from before"
                )
            await connection.execute("insert into head (log) values ($1) on conflict do nothing", self._log)
            await self._notary.check(connection)
        self._database.check = self._notary.check

    @property
    def log(self) -> int:
        """The current log's number in the database."""
        return self._log

    async def size(self) -> int:
        """Entries committed; unlike `head`, nothing is signed."""
        async with self._database.connection() as connection:
            return (await _head(connection))[0]

    async def head(self) -> tuple[int, bytes]:
        """Size of the committed head and the signed checkpoint over it."""
        async with self._database.connection() as connection:
            size, root = await _head(connection)
        return size, self._notary.sign(size, root)

    async def receipt(self, entry: str, audience: str) -> tuple[Receipt, dict[str, Json]]:
        """An entry's receipt with the opening of one view, and the full view. KeyError where there is none.

        `audience` is requester, provider or full. The opening is None, and the full view empty, where they
        have been erased.
        """
        async with self._database.connection() as connection:
            columns = "e.idx, e.leaf, v.key, v.views, v.requester_agency, v.provider_agency"
            row = await _entry(connection, columns, entry)
            proof, note = await self._prove(connection, row["idx"])
        opening, full = await self._opened(row, entry, audience)
        return Receipt(bytes(row["leaf"]), row["idx"], proof, note, opening), full

    async def parties(self, entry: str) -> tuple[str, str]:
        """Requester and provider agency of an entry, empty where there is none. KeyError if no such entry."""
        async with self._database.connection() as connection:
            row = await _entry(connection, "v.requester_agency, v.provider_agency", entry)
        return row["requester_agency"] or "", row["provider_agency"] or ""

    async def id_at(self, index: int) -> str:
        """The id of the entry at this place of the current log, from 0. KeyError if no such entry."""
        if index >= 1 << 63:
            raise KeyError(index)
        async with self._database.connection() as connection:
            found = await connection.fetchval(
                "select id from entry where log = $1 and idx = $2", self._log, index
            )
        if found is None:
            raise KeyError(index)
        return str(found)

    async def prove(self, index: int) -> tuple[tuple[bytes, ...], bytes]:
        """Inclusion proof of an entry in the newest head, and the checkpoint over it."""
        async with self._database.connection() as connection:
            return await self._prove(connection, index)

    async def consistency(self, old: int, new: int) -> tuple[tuple[bytes, ...], bytes]:
        """Proof that the first `old` entries are a prefix of the first `new` (0: of all), and the checkpoint
        of `new`. KeyError where the log is smaller."""
        async with self._database.connection() as connection:
            size, root = await _head(connection)
            new = new or size
            if not 0 <= old <= new <= size:
                raise KeyError(new)
            reader = TileReader(connection, self._log)
            if new != size:
                tiles = await reader.read(tiles_for_range(new))
                root = tree_root(new, tiles.__getitem__)
            proof = await reader.consistency(old, new)
        return proof, self._notary.sign(new, root)

    async def proof_between(self, old: int, new: int) -> tuple[bytes, ...]:
        """Proof that the first `old` entries are a prefix of the first `new`; nothing is signed. KeyError where
        the log is smaller."""
        async with self._database.connection() as connection:
            if not 0 <= old <= new <= (await _head(connection))[0]:
                raise KeyError(new)
            return await TileReader(connection, self._log).consistency(old, new)

    async def proof_at(self, index: int, size: int) -> tuple[bytes, ...]:
        """Inclusion proof of an entry in the first `size`. KeyError where the log is smaller."""
        async with self._database.connection() as connection:
            if not 0 <= index < size <= (await _head(connection))[0]:
                raise KeyError(size)
            tiles = await TileReader(connection, self._log).read(tiles_for_inclusion(index, size))
        return inclusion_proof(index, size, tiles.__getitem__)

    async def tile(self, tile: Tile) -> bytes:
        """A tile's bytes. KeyError where the log is too small for it."""
        async with self._database.connection() as connection:
            return (await TileReader(connection, self._log).read([tile]))[tile]

    async def bundle(self, index: int, width: int) -> list[bytes]:
        """A bundle's entries. KeyError where there are fewer than `width`."""
        async with self._database.connection() as connection:
            return await TileReader(connection, self._log).bundle(index, width)

    async def fill_tiles(self) -> None:
        """Make the full tiles that are missing up to the head, so that no reader has to."""
        async with self._database.connection() as connection:
            size, _ = await _head(connection)
            full = size // TILE_WIDTH
            missing = await connection.fetch(_MISSING, self._log, self._filled, full)
            reader = TileReader(connection, self._log)
            for row in missing:
                await reader.read([Tile(0, row["n"])])
                self._filled = row["n"] + 1
            self._filled = full

    async def _opened(
        self, row: asyncpg.Record, entry: str, audience: str
    ) -> tuple[Opening | None, dict[str, Json]]:
        """One view's opening and the full view; nothing where they, or the key of their month, are gone."""
        if row["key"] is None:
            return None, {}
        try:
            key = await self._seals.by_id(row["key"])
        except KeyDestroyed:
            return None, {}
        opened = unpack(key.open(row["views"], entry, "views"))
        if audience != "full" and row[f"{audience}_agency"] is None:
            return None, opened.view  # a party that gave its part up, or that there never was
        return opened.of(audience), opened.view

    async def _prove(self, connection: asyncpg.Connection, index: int) -> tuple[tuple[bytes, ...], bytes]:
        size, root = await _head(connection)
        tiles = await TileReader(connection, self._log).read(tiles_for_inclusion(index, size))
        return inclusion_proof(index, size, tiles.__getitem__), self._notary.sign(size, root)


async def _entry(connection: asyncpg.Connection, columns: str, entry: str) -> asyncpg.Record:
    """An entry and its view by id, or KeyError; what is no id is no entry's."""
    sql = f"select {columns} from entry e left join view v using (log, idx) where e.id = $1"  # noqa: S608 - ours
    try:
        row = await connection.fetchrow(sql, entry)
    except asyncpg.DataError as e:
        raise KeyError(entry) from e
    if row is None:
        raise KeyError(entry)
    return row


async def _head(connection: asyncpg.Connection) -> tuple[int, bytes]:
    row = await one(connection, "select size, range from head")
    return row["size"], CompactRange(row["size"], tuple(bytes(h) for h in row["range"])).root()


async def current_origin(database: Database) -> str | None:
    """The name of the log this database holds; None in a fresh one."""
    async with database.connection() as connection:
        origin: str | None = await connection.fetchval("select origin from log where closed_at is null")
    return origin
