"""A whole log read as its keeper can: every full view, opened with the broker's keys and held to its leaf."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from broker.core.entry import Entry, parse_entry
from broker.core.merkle import EMPTY_RANGE, leaf_hash
from broker.core.model import SubjectRef
from broker.keys import FolderKeys
from broker.store.blind import Blind
from broker.store.packed import unpack
from broker.store.pool import Database
from broker.store.seal import Seals

_PAGE = 2000
_ENTRIES = """
select e.idx, e.id::text, e.leaf, v.key, v.views from entry e join view v using (log, idx)
where e.idx >= $1 and e.idx < $2 order by e.idx
"""


@dataclass
class WholeLog:
    """The database behind a log, and the keys that open it."""

    database: Database
    seals: Seals
    blind: Blind
    leaves: list[bytes] = field(default_factory=list)

    async def entries(self) -> list[tuple[int, Mapping[str, Any]]]:
        """(index, full view) of every entry in order. Fails where a leaf commits to other words."""
        found: list[tuple[int, Mapping[str, Any]]] = []
        while page := await self._page(len(found)):
            found += page
        return found

    async def _page(self, start: int) -> list[tuple[int, Mapping[str, Any]]]:
        async with self.database.connection() as connection:
            rows = await connection.fetch(_ENTRIES, start, start + _PAGE)
        page: list[tuple[int, Mapping[str, Any]]] = []
        for row in rows:
            leaf, key = bytes(row["leaf"]), await self.seals.by_id(row["key"])
            opened = unpack(key.open(row["views"], row["id"], "views"))
            entry = parse_entry(leaf)
            assert isinstance(entry, Entry)
            assert opened.full.opens(entry.full)
            self.leaves.append(leaf_hash(leaf))
            page.append((row["idx"], opened.view))
        return page

    def root(self, size: int) -> bytes:
        """The Merkle root of the first `size` leaves that were read."""
        return EMPTY_RANGE.extend(self.leaves[:size]).root()

    async def changed(self) -> dict[bytes, list[datetime]]:
        """When, by the database's clock under the log's lock, what was said about each blind key changed."""
        async with self.database.connection() as connection:
            rows = await connection.fetch("select key, at from policy_change order by policy")
        times: dict[bytes, list[datetime]] = {}
        for row in rows:
            times.setdefault(bytes(row["key"]), []).append(row["at"])
        return times

    def key(self, scheme: str, value: str) -> bytes:
        """The blind key of an identifier."""
        return self.blind.subject(SubjectRef(scheme, value))


@asynccontextmanager
async def whole_log(dsn: str, keys: Path) -> AsyncIterator[WholeLog]:
    """The log of the database at `dsn`; `keys` is the broker's key folder."""
    ring, database = FolderKeys(keys), Database(dsn, size=2)
    await database.open()
    try:
        yield WholeLog(database, Seals(database, ring), Blind(ring.index_key()))
    finally:
        await database.close()
