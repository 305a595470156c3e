"""Reading one log: its tree, its tiles and entries, and the checkpoint over it.

The current log is signed as it grows. One that is closed has an end, and one last checkpoint, which serves for
all that is asked of it: its key signs nothing more.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import asyncpg

from broker.core.checkpoint import Checkpoint
from broker.core.merkle import CompactRange
from broker.core.note import Note
from broker.core.tiles import Tile
from broker.errors import IntegrityError
from broker.store.guard import LogClosed
from broker.store.history import Head
from broker.store.notary import Notary
from broker.store.pool import Database, one
from broker.store.proofs import Proofs
from broker.store.tiles import TileReader

_TRIES = 3
_HEAD = """
select h.log, h.size, h.range, h.closed, current_setting('synchronous_standby_names') <> '' as standby,
    case when h.closed then (select leaf from entry e where e.log = h.log and e.idx = h.size - 1) end as leaf
from head h
"""


@dataclass(frozen=True, slots=True)
class Tree:
    """A log as it stands: its number, its size and root, and of one that is closed its final checkpoint.
    `standby`: whether one should acknowledge what is committed. `range` is that of a log that is not closed,
    and `closing` says that its last entry names the next log's key, which this node holds."""

    log: int
    size: int
    root: bytes
    final: bytes = b""
    standby: bool = False
    range: CompactRange | None = None
    closing: bool = False


def final_tree(log: int, size: int, final: bytes) -> Tree:
    """The tree of a log that is closed."""
    checkpoint = Checkpoint.parse(Note.parse(final).text)
    if checkpoint.size != size:
        raise IntegrityError(f"a log of {size} entries has a final checkpoint of {checkpoint.size}")
    return Tree(log, size, checkpoint.root, final)


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
                proof, root = await self._proofs(connection, tree).consistency(old, end)
                try:
                    return proof, tree.final or await self._sign(connection, tree, end, root)
                except LogClosed:
                    continue  # by another worker, since we looked
        raise IntegrityError("this database holds an earlier log than the one that was signed last")

    async def root_of(self, size: int) -> bytes:
        """The root over the first entries; nothing is signed. KeyError where the log is smaller."""
        async with self._database.connection() as connection:
            tree = await self._tree(connection)
            if not 0 < size <= tree.size:
                raise KeyError(size)
            return await self._proofs(connection, tree).root_at(size)

    async def proof_between(self, old: int, new: int) -> tuple[bytes, ...]:
        """Proof that the first `old` entries are a prefix of the first `new`; nothing is signed. KeyError where
        the log is smaller."""
        async with self._database.connection() as connection:
            tree = await self._tree(connection)
            if not 0 <= old <= new <= tree.size:
                raise KeyError(new)
            return (await self._proofs(connection, tree).consistency(old, new))[0]

    async def proof_at(self, index: int, size: int) -> tuple[bytes, ...]:
        """Inclusion proof of an entry in the first `size`. KeyError where the log is smaller."""
        async with self._database.connection() as connection:
            tree = await self._tree(connection)
            if not 0 <= index < size <= tree.size:
                raise KeyError(size)
            return await self._proofs(connection, tree).inclusion(index, size)

    async def prove_again(self) -> None:
        """Ask again for what could not be proven of any log, where that may hold now."""
        broken = self._notary.broken
        for log, ask in list(broken.asked.items()):
            if broken.due(log):
                async with self._database.connection() as connection:
                    await ask(self._proofs(connection, await self._tree(connection, log)))
                broken.holds(log)

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
                    return final_tree(number, row["entries"], bytes(row["final"]))
            row = await one(connection, _HEAD)
            if row["log"] != self._notary.log:
                await self._notary.turn(connection)
            if number in (0, row["log"]):
                held = CompactRange(row["size"], tuple(bytes(h) for h in row["range"]))
                if row["closed"]:  # and the next one is about to be opened
                    self._notary.require_next(bytes(row["leaf"] or b""))
                return Tree(
                    row["log"], row["size"], held.root(), b"", row["standby"], held, closing=row["closed"]
                )
        raise IntegrityError("a log that is neither closed nor the current one")

    async def _signed(self, connection: asyncpg.Connection, number: int) -> tuple[Tree, bytes]:
        """The tree and its checkpoint."""
        for _ in range(_TRIES):
            tree = await self._tree(connection, number)
            try:
                return tree, tree.final or await self._sign(connection, tree, tree.size, tree.root)
            except LogClosed:
                continue  # by another worker, since we looked
        raise IntegrityError("this database holds an earlier log than the one that was signed last")

    async def _prove(
        self, connection: asyncpg.Connection, number: int, index: int
    ) -> tuple[tuple[bytes, ...], bytes]:
        tree, note = await self._signed(connection, number)
        return await self._proofs(connection, tree).inclusion(index, tree.size), note

    def _proofs(self, connection: asyncpg.Connection, tree: Tree) -> Proofs:
        return Proofs(connection, tree.log, tree.size, tree.root, self._notary.broken)

    async def _sign(self, connection: asyncpg.Connection, tree: Tree, size: int, root: bytes) -> bytes:
        """The checkpoint of a size whose root is known, once every standby that should has it."""
        if tree.standby:
            await self._database.acknowledged.require(connection, tree.log, size)
        if tree.log != self._notary.log:
            raise LogClosed("the log has been rotated since it was read")
        if tree.range is None:
            raise IntegrityError("a head without its range")
        head = Head(tree.log, tree.range, tree.root, closing=tree.closing)
        part = None if size == tree.size else (size, root)
        return await self._notary.sign(head, lambda: nullcontext(connection), part)
