"""A log taken from its database and held to RFC 6962 by hand, apart from the product's own code."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import asyncpg

from broker.core.entry import parse_entry
from broker.core.views import RequesterView
from broker.keys import FolderKeys
from broker.store.packed import unpack
from broker.store.pool import Database
from broker.store.seal import Seals

# Ends of a request that bind its id: there is one at most.
FINAL = frozenset({"disclosure", "refusal", "not-found"})


class Tree:
    """Merkle trees over prefixes of `entries`, straight from RFC 6962 section 2.1."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self._entries = entries
        self._hash = lru_cache(maxsize=None)(self._mth)

    def root(self, size: int) -> bytes:
        """MTH of the first `size` entries."""
        return self._hash(0, size)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """PROOF(old, D[new]), section 2.1.2; `old` above 0."""
        return self._subproof(old, 0, new, True)

    def _mth(self, start: int, end: int) -> bytes:
        if end == start:
            return hashlib.sha256(b"").digest()
        if end - start == 1:
            return hashlib.sha256(b"\x00" + self._entries[start]).digest()
        middle = start + _split(end - start)
        return hashlib.sha256(b"\x01" + self._hash(start, middle) + self._hash(middle, end)).digest()

    def _subproof(self, old: int, start: int, end: int, whole: bool) -> list[bytes]:
        if old == end - start:
            return [] if whole else [self._hash(start, end)]
        k = _split(end - start)
        if old <= k:
            return [*self._subproof(old, start, start + k, whole), self._hash(start + k, end)]
        return [*self._subproof(old - k, start + k, end, False), self._hash(start, start + k)]


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


async def entries_of(dsn: str) -> list[bytes]:
    """The leaves, in order; fails where an index is missing or the head is of another size."""
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        # Workers that wind down may append yet: both are of one moment.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            rows = await connection.fetch("select idx, leaf from entry order by idx", timeout=60)
            size = await connection.fetchval("select size from head")
    finally:
        await connection.close()
    assert [row["idx"] for row in rows] == list(range(size))
    return [bytes(row["leaf"]) for row in rows]


async def ends_of(dsn: str, keys: Path, entries: Sequence[bytes]) -> dict[str, list[int]]:
    """Indexes of the entries that end each request for good, by request id, from the opened views.

    Fails where a view is not the one that its entry commits to.
    """
    database = Database(dsn, size=2)
    await database.open()
    found: defaultdict[str, list[int]] = defaultdict(list)
    try:
        seals = Seals(database, FolderKeys(keys))
        async with database.connection() as connection:
            rows = await connection.fetch("select idx, key, views from view where idx < $1", len(entries))
        for row in rows:
            entry = parse_entry(entries[row["idx"]])
            key = await seals.by_id(row["key"])
            opening = unpack(key.open(row["views"], entry.id, "views")).requester
            if opening is None:
                continue
            assert opening.opens(entry.requester)
            view = RequesterView.parse(opening.view)
            if view.event in FINAL and view.request_id is not None:
                found[view.request_id].append(row["idx"])
    finally:
        await database.close()
    return found
