"""Proofs in one tree whose root is known: none leaves that does not lead to that root.

The tiles that a proof is made of are a cache, which a bad disk or a hand may change; a partner who is given
a proof that does not hold must take the log for forked, and keeps that for good. So each proof is verified
here first, and where it fails the tiles on its path are made anew from the entries, once. Only tiles that
lead to the root are put in the place of those that do not. Refused, and said by readiness: a path that does
not lead to the root then either.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import asyncpg
import structlog

from broker.core.merkle import EMPTY_ROOT, HASH_BYTES, verify_consistency, verify_inclusion
from broker.core.tiles import (
    TILE_WIDTH,
    Read,
    Tile,
    consistency_proof,
    inclusion_proof,
    tile_in,
    tiles_for_consistency,
    tiles_for_inclusion,
    tiles_for_range,
    tree_root,
)
from broker.errors import AuditUnavailable, IntegrityError
from broker.store.anew import Anew
from broker.store.tiles import TileReader

AGAIN = 60.0  # seconds until a path that could not be mended is tried again: it reads many entries
_LEAF = "select sha256('\\x00'::bytea || leaf) from entry where log = $1 and idx = $2"
_BROKEN = (
    "the entries and tiles of a log do not lead to its head: `broker audit fsck` on the database names what "
    "was changed"
)

_diagnostics = structlog.get_logger("broker")
T = TypeVar("T")
Ask = Callable[["Proofs"], Awaitable[object]]


class Broken:
    """Of which logs this worker could not prove something, and what: until it can, it is not ready."""

    def __init__(self) -> None:
        self.asked: dict[int, Ask] = {}
        self._mending = False
        self._tried: dict[int, float] = {}

    def reasons(self) -> tuple[str, ...]:
        """In words that anybody may read."""
        return (_BROKEN,) if self.asked else ()

    def due(self, log: int) -> bool:
        """Whether what is wrong may be mended, or that be tried again."""
        return time.monotonic() - self._tried.get(log, -AGAIN) >= AGAIN

    @contextmanager
    def mend(self, log: int) -> Iterator[None]:
        """While tiles are made anew, by one at a time. Raises AuditUnavailable where another is at it."""
        if self._mending:
            raise AuditUnavailable("hash tiles of the log are being made anew")
        self._mending = True
        self._tried[log] = time.monotonic()
        try:
            yield
        finally:
            self._mending = False

    def failed(self, log: int, ask: Ask) -> None:
        """What was asked could not be proven, mended or not."""
        if log not in self.asked:
            _diagnostics.error("a log does not lead to its head", log=log)
            self.asked[log] = ask

    def mended(self, log: int) -> None:
        """Another path of the same log may be mended at once."""
        self._tried.pop(log, None)

    def holds(self, log: int) -> None:
        """What could not be proven has been."""
        self.mended(log)
        self.asked.pop(log, None)


class Proofs:
    """Proofs in the tree of the first `size` entries, whose root is known to be `root`.

    All raise IntegrityError where entries and tiles do not lead to it, AuditUnavailable while others mend them.
    """

    def __init__(
        self, connection: asyncpg.Connection, log: int, size: int, root: bytes, broken: Broken
    ) -> None:
        self._connection = connection
        self._log = log
        self._size = size
        self._root = root
        self._broken = broken

    async def holds(self) -> None:
        """Nothing, where the entries make the root."""

        def make(read: Read) -> None:
            if tree_root(self._size, read) != self._root:
                raise IntegrityError("the right edge does not lead to the root")

        await self._made(tiles_for_range(self._size), make, Proofs.holds)

    async def root_at(self, size: int) -> bytes:
        """The root of the first `size` entries."""
        return await self._made(
            self._prefix_tiles(size), lambda read: self._prefix(size, read), lambda proofs: proofs.root_at(size)
        )

    async def consistency(self, old: int, new: int) -> tuple[tuple[bytes, ...], bytes]:
        """Proof that the first `old` entries are a prefix of the first `new` (RFC 6962 section 2.1.2), and the
        root of these."""
        tiles = (*self._prefix_tiles(new), *tiles_for_range(old), *tiles_for_consistency(old, new))

        def make(read: Read) -> tuple[tuple[bytes, ...], bytes]:
            root, proof = self._prefix(new, read), consistency_proof(old, new, read)
            before = root if old == new else tree_root(old, read)
            verify_consistency(old, before, new, root, proof)
            return proof, root

        return await self._made(tiles, make, lambda proofs: proofs.consistency(old, new))

    async def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """Proof of an entry in the first `size`. Of one whose bytes were dropped, its hash that was kept
        counts."""
        own = tile_in(0, index // TILE_WIDTH, self._size)
        tiles = (*self._prefix_tiles(size), *tiles_for_inclusion(index, size), own)
        leaf: bytes | None = await self._connection.fetchval(_LEAF, self._log, index)

        def make(read: Read) -> tuple[bytes, ...]:
            at = index % TILE_WIDTH * HASH_BYTES
            proof = inclusion_proof(index, size, read)
            verify_inclusion(
                leaf or read(own)[at : at + HASH_BYTES], index, size, proof, self._prefix(size, read)
            )
            return proof

        return await self._made(tiles, make, lambda proofs: proofs.inclusion(index, size))

    def _prefix_tiles(self, size: int) -> tuple[Tile, ...]:
        if size == self._size:
            return ()
        return (*tiles_for_range(size), *tiles_for_consistency(size, self._size))

    def _prefix(self, size: int, read: Read) -> bytes:
        """The root of a beginning of the tree. Raises IntegrityError where it is none."""
        if size == self._size:
            return self._root
        root = tree_root(size, read) if size else EMPTY_ROOT
        verify_consistency(size, root, self._size, self._root, consistency_proof(size, self._size, read))
        return root

    async def _made(self, tiles: Iterable[Tile], make: Callable[[Read], T], ask: Ask) -> T:
        """What `make` makes of these tiles, and has verified."""
        # As wide as this tree has them: mostly full ones, which are kept.
        wide = {tile: tile_in(tile.level, tile.index, self._size) for tile in tiles}
        needed = tuple(dict.fromkeys(wide.values()))

        def of(data: dict[Tile, bytes]) -> T:
            return make(lambda tile: data[wide[tile]][: tile.width * HASH_BYTES])

        broken, log = self._broken, self._log
        try:
            try:
                return of(await TileReader(self._connection, log).read(needed))
            except IntegrityError:
                if not broken.due(log):
                    raise
            with broken.mend(log):
                anew = Anew(self._connection, log)
                made = of(await anew.read(needed))
                names = await anew.keep()
        except (IntegrityError, KeyError) as e:
            broken.failed(log, ask)
            raise IntegrityError(_BROKEN) from e
        broken.mended(log)
        _diagnostics.warning("hash tiles that were wrong have been made anew", log=log, tiles=names)
        return made
