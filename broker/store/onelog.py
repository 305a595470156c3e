"""Reading one log: its tree, its tiles and entries, and the checkpoint over it.

The current log is signed as it grows. One that is closed has an end, and one last checkpoint, which serves for
all that is asked of it: its key signs nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from broker.core.merkle import CompactRange
from broker.core.tiles import Tile, inclusion_proof, tiles_for_inclusion, tiles_for_range, tree_root
from broker.errors import IntegrityError
from broker.store.guard import LogClosed
from broker.store.notary import Notary
from broker.store.pool import Database, one
from broker.store.tiles import TileReader

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Tree:
    """A log as it stands: its number, its size, and its root, or of one that is closed the final checkpoint."""

    log: int
    size: int
    root: bytes
    final: bytes = b""


class OneLog:
    """Reads one log, by its number; 0: the current one, whichever that is."""

    def __init__(self, database: Database, notary: Notary, number: int = 0) -> None:
        self._database = database
        self._notary = notary
        self._number = number

    @property
    def log(self) -> int:
        """The log's number in the database."""
        return self._number or self._notary.log

    async def size(self) -> int:
        """Entries committed; unlike `head`, nothing is signed."""
        async with self._database.connection() as connection:
            return (await self._tree(connection)).size

    async def head(self) -> tuple[int, bytes]:
        """Size of the committed head and the signed checkpoint over it."""
        async with self._database.connection() as connection:
            tree, note = await self._signed(connection, self._number)
        return tree.size, note

    async def prove(self, index: int) -> tuple[tuple[bytes, ...], bytes]:
        """Inclusion proof of an entry in the newest head, and the checkpoint over it."""
        async with self._database.connection() as connection:
            return await self._prove(connection, self._number, index)

    async def consistency(self, old: int, new: int) -> tuple[tuple[bytes, ...], bytes]:
        """Proof that the first `old` entries are a prefix of the first `new` (0: of all), and the checkpoint
        of `new`, or of a closed log its final one. KeyError where the log is smaller."""
        async with self._database.connection() as connection:
            for _ in range(_TRIES):
                tree = await self._tree(connection)
                end = new or tree.size
                if not 0 <= old <= end <= tree.size:
                    raise KeyError(end)
                reader, root = TileReader(connection, tree.log), tree.root
                if end != tree.size and not tree.final:
                    tiles = await reader.read(tiles_for_range(end))
                    root = tree_root(end, tiles.__getitem__)
                proof = await reader.consistency(old, end)
                try:
                    return proof, tree.final or self._sign(tree, end, root)
                except LogClosed:
                    continue  # by another worker, since we looked
        raise IntegrityError("this database holds an earlier log than the one that was signed last")

    async def root_of(self, size: int) -> bytes:
        """The root over the first entries; nothing is signed. KeyError where the log is smaller."""
        async with self._database.connection() as connection:
            tree = await self._tree(connection)
            if not 0 < size <= tree.size:
                raise KeyError(size)
            tiles = await TileReader(connection, tree.log).read(tiles_for_range(size))
        return tree_root(size, tiles.__getitem__)

    async def proof_between(self, old: int, new: int) -> tuple[bytes, ...]:
        """Proof that the first `old` entries are a prefix of the first `new`; nothing is signed. KeyError where
        the log is smaller."""
        async with self._database.connection() as connection:
            tree = await self._tree(connection)
            if not 0 <= old <= new <= tree.size:
                raise KeyError(new)
            return await TileReader(connection, tree.log).consistency(old, new)

    async def proof_at(self, index: int, size: int) -> tuple[bytes, ...]:
        """Inclusion proof of an entry in the first `size`. KeyError where the log is smaller."""
        async with self._database.connection() as connection:
            tree = await self._tree(connection)
            if not 0 <= index < size <= tree.size:
                raise KeyError(size)
            tiles = await TileReader(connection, tree.log).read(tiles_for_inclusion(index, size))
        return inclusion_proof(index, size, tiles.__getitem__)

    async def tile(self, tile: Tile) -> bytes:
        """A tile's bytes. KeyError where the log is too small for it."""
        async with self._database.connection() as connection:
            return (await TileReader(connection, self.log).read([tile]))[tile]

    async def bundle(self, index: int, width: int) -> list[bytes]:
        """A bundle's entries. KeyError where there are fewer than `width`."""
        async with self._database.connection() as connection:
            return await TileReader(connection, self.log).bundle(index, width)

    async def dropped(self) -> list[tuple[int, str]]:
        """First entry of each partition whose entries lie in an export alone, and the digest of its bundles."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "select first, digest from dropped where log = $1 order by first", self.log
            )
        return [(row["first"], row["digest"]) for row in rows]

    async def _tree(self, connection: asyncpg.Connection, number: int | None = None) -> Tree:
        """The log of that number (0: the current one), as it is now."""
        number = self._number if number is None else number
        for _ in range(_TRIES):
            if number:
                row = await one(connection, "select entries, final from log where id = $1", number)
                if row["final"] is not None:
                    return Tree(number, row["entries"], b"", bytes(row["final"]))
            row = await one(connection, "select log, size, range from head")
            if row["log"] != self._notary.log:
                await self._notary.turn(connection)
            if number in (0, row["log"]):
                root = CompactRange(row["size"], tuple(bytes(h) for h in row["range"])).root()
                return Tree(row["log"], row["size"], root)
        raise IntegrityError("a log that is neither closed nor the current one")

    async def _signed(self, connection: asyncpg.Connection, number: int) -> tuple[Tree, bytes]:
        """The tree and its checkpoint."""
        for _ in range(_TRIES):
            tree = await self._tree(connection, number)
            try:
                return tree, tree.final or self._sign(tree, tree.size, tree.root)
            except LogClosed:
                continue  # by another worker, since we looked
        raise IntegrityError("this database holds an earlier log than the one that was signed last")

    async def _prove(
        self, connection: asyncpg.Connection, number: int, index: int
    ) -> tuple[tuple[bytes, ...], bytes]:
        tree, note = await self._signed(connection, number)
        tiles = await TileReader(connection, tree.log).read(tiles_for_inclusion(index, tree.size))
        return inclusion_proof(index, tree.size, tiles.__getitem__), note

    def _sign(self, tree: Tree, size: int, root: bytes) -> bytes:
        if tree.log != self._notary.log:
            raise LogClosed("the log has been rotated since it was read")
        return self._notary.sign(size, root)
