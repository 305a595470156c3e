"""Reading the logs: receipts of entries that stand, by id in whichever log, and by place in the current one.

Every proof is made from tiles, and goes to a checkpoint signed over the committed head, or to the final one of
a log that is closed.
"""

from __future__ import annotations

import asyncpg
from msgspec import Struct

from broker.core.canonical import Json
from broker.core.entry import Opening
from broker.core.keys import Signer
from broker.core.receipt import Receipt
from broker.core.rotation import split_origin
from broker.core.tiles import TILE_WIDTH, Tile
from broker.errors import IntegrityError, KeyDestroyed
from broker.keys import KeyRing
from broker.store.elsewhere import kept_elsewhere
from broker.store.notary import Notary, signer_of
from broker.store.onelog import OneLog
from broker.store.packed import unpack
from broker.store.pool import Database, one
from broker.store.seal import Seals
from broker.store.tiles import TileReader

_MISSING = """
select n from generate_series($2::bigint, $3::bigint - 1) n
where not exists (select from tile where log = $1 and level = 0 and tile.n = n.n) order by n
"""
_OPENING = 0x6C_6F67  # "log": workers that start together open it one after the other


class HalfYear(Struct, frozen=True):
    """One log of the chain: its number in the database, its name and key, and whether it is closed."""

    number: int
    origin: str
    vkey: str
    closed: bool


class LogReader(OneLog):
    """Reads the current log, and entries of every log by their ids."""

    def __init__(self, database: Database, seals: Seals, notary: Notary) -> None:
        super().__init__(database, notary)
        self._seals = seals
        self._filled: dict[int, int] = {}
        self._whole = set[int]()

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
            self._notary.log = row["id"]
            if row["vkey"] is None:
                await connection.execute("update log set vkey = $2 where id = $1", self.log, self._notary.vkey)
            elif row["vkey"] != self._notary.vkey:
                raise IntegrityError(
                    f"this log is signed by {row['vkey']}, and the key folder holds another key: bring back "
                    "the key folder from before"
                )
            await connection.execute("insert into head (log) values ($1) on conflict do nothing", self.log)
            await self._notary.check(connection)
        self._database.check = self._notary.check

    async def chain(self) -> tuple[HalfYear, ...]:
        """Every log there is, newest first. Raises AuditUnavailable."""
        async with self._database.connection() as connection:
            rows = await connection.fetch("select id, origin, vkey, closed_at from log order by id desc")
        return tuple(
            HalfYear(row["id"], row["origin"], row["vkey"] or "", row["closed_at"] is not None) for row in rows
        )

    async def receipt(
        self, entry: str, audience: str, *, archived: bool = False
    ) -> tuple[Receipt, dict[str, Json]]:
        """An entry's receipt with the opening of one view, and the full view. KeyError where there is none.

        `audience` is requester, provider or full. The opening is None, and the full view empty, where they
        have been erased. Of one that was dropped after an export the receipt comes without the entry where the
        caller has that (`archived`); else KeptElsewhere is raised, saying where it is.
        """
        async with self._database.connection() as connection:
            columns = "e.log, e.idx, e.leaf, v.key, v.views, v.requester_agency, v.provider_agency"
            row = await _entry(connection, columns, entry)
            if row["leaf"] is None and not archived:
                raise await kept_elsewhere(connection, row["log"], row["idx"])
            proof, note = await self._prove(connection, row["log"], row["idx"])
        opening, full = await self._opened(row, entry, audience)
        return Receipt(bytes(row["leaf"] or b""), row["idx"], proof, note, opening), full

    async def consistency(self, old: int, new: int, log: str = "") -> tuple[tuple[bytes, ...], bytes]:
        """As `OneLog.consistency`, of the log of that name (empty: the current one). KeyError if none too."""
        if not log:
            return await super().consistency(old, new)
        return await (await self._one(log)).consistency(old, new)

    async def proof_at(self, index: int, size: int, log: str = "") -> tuple[bytes, ...]:
        """As `OneLog.proof_at`, of the log of that name (empty: the current one). KeyError if none too."""
        if not log:
            return await super().proof_at(index, size)
        return await (await self._one(log)).proof_at(index, size)

    async def root(self, size: int, log: str) -> bytes:
        """As `OneLog.root_of`, of the log of that name. KeyError if none too."""
        return await (await self._one(log)).root_of(size)

    async def _one(self, log: str) -> OneLog:
        return OneLog(self._database, self._notary, await self.numbered(log))

    async def place(self, entry: str) -> tuple[int, tuple[bytes, ...], bytes]:
        """Where an entry stands in its log, with the proof and the checkpoint. KeyError if no such entry."""
        async with self._database.connection() as connection:
            row = await _entry(connection, "e.log, e.idx", entry)
            return row["idx"], *await self._prove(connection, row["log"], row["idx"])

    async def parties(self, entry: str) -> tuple[str, str]:
        """Requester and provider agency of an entry, empty where there is none. KeyError if no such entry."""
        async with self._database.connection() as connection:
            row = await _entry(connection, "v.requester_agency, v.provider_agency", entry)
        return row["requester_agency"] or "", row["provider_agency"] or ""

    async def numbered(self, name: str) -> int:
        """The number of the log of this origin or half-year; empty: of the current one. KeyError if none."""
        if not name:
            return (await self.chain())[0].number
        for each in await self.chain():
            if name in (each.origin, split_origin(each.origin)[1]):
                return each.number
        raise KeyError(name)

    async def id_at(self, index: int, log: str = "") -> str:
        """The id of the entry at this place, from 0, of the log of that name (empty: the current one). KeyError
        if there is no such log or entry."""
        if index >= 1 << 63:
            raise KeyError(index)
        number = await self.numbered(log)
        async with self._database.connection() as connection:
            found = await connection.fetchval("select id from entry where log = $1 and idx = $2", number, index)
        if found is None:
            raise KeyError(index)
        return str(found)

    async def fill_tiles(self) -> None:
        """Make the full tiles that are missing up to the end of each log, so that no reader has to.

        Raises IntegrityError once all others are made, where the entries of some are not there.
        """
        gone: list[str] = []
        for half in reversed(await self.chain()):
            if half.closed and half.number in self._whole:
                continue
            async with self._database.connection() as connection:
                full = (await self._tree(connection, half.number)).size // TILE_WIDTH
                filled = self._filled.get(half.number, 0)
                reader, lacking = TileReader(connection, half.number), list[int]()
                for row in await connection.fetch(_MISSING, half.number, filled, full):
                    try:
                        await reader.read([Tile(0, row["n"])])
                    except KeyError:
                        lacking.append(row["n"])
                    self._filled[half.number] = min(lacking, default=row["n"] + 1)
                self._filled[half.number] = min(lacking, default=full)
            if half.closed and not lacking:
                self._whole.add(half.number)
            gone += [f"{half.origin}/{Tile(0, n).path}" for n in lacking]
        if gone:
            text = f"entries of the log are not there, so {gone[0]} cannot be made ({len(gone)} in all)"
            raise IntegrityError(text)

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


async def current_signer(database: Database, ring: KeyRing, fresh: str) -> Signer:
    """The signer of the log that this database holds, or of the first one, under the name `fresh`.

    Raises AuditUnavailable where the key ring does not hold the key of a log that was opened by a rotation.
    """
    async with database.connection() as connection:
        row = await connection.fetchrow("select id, origin, vkey from log where closed_at is null")
        rotated = await connection.fetchval("select exists (select from log where closed_at is not null)")
    if row is None or not rotated:
        return Signer.from_seed(row["origin"] if row else fresh, ring.signing_seed())
    return signer_of(row["origin"], row["vkey"], ring.log_seed)
