"""One log as it is published: C2SP tlog-tiles over a reader of the log.

Owns the published checkpoint, renewed at most once a second, and which tiles and bundles there are: full ones,
and every partial one of a tree up to the committed head, as prefixes. Refuses what no tree up to the head has,
before anything is read for it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from broker.core.bundles import Bundle, encode_bundle
from broker.core.tiles import PARTITION, TILE_HEIGHT, TILE_WIDTH, Tile
from broker.errors import SetupError

RENEW_AFTER = timedelta(seconds=1)
_ORIGIN = re.compile(r"[^/]+/log/([0-9]{4}h[12])", re.ASCII)


Newest = Callable[[], Awaitable[tuple[int, bytes] | None]]


class LogPages(Protocol):
    """What reads one log. Raises AuditUnavailable where its database cannot serve."""

    async def size(self) -> int:
        """Entries that are committed."""

    async def head(self) -> tuple[int, bytes]:
        """Size of the committed head, and the checkpoint signed over it."""

    async def tile(self, tile: Tile) -> bytes:
        """A tile's hashes. KeyError where the log is too small for it."""

    async def bundle(self, index: int, width: int) -> list[bytes]:
        """The first `width` entries of a bundle. KeyError where there are fewer."""

    async def dropped(self) -> list[tuple[int, str]]:
        """First entry of each partition whose entries lie in an export alone, and the digest of its bundles."""


@dataclass(frozen=True, slots=True)
class Head:
    """A signed head: the checkpoint note, its size, and when it was signed."""

    size: int
    note: bytes
    at: datetime


class PublishedLog:
    """One log under its half-year. KeyError for tiles and bundles that it does not have."""

    def __init__(
        self, origin: str, pages: LogPages, now: Callable[[], datetime], published: Newest | None = None
    ) -> None:
        match = _ORIGIN.fullmatch(origin)
        if match is None:
            raise SetupError(f"{origin} is not the name of a log: <trust-domain>/log/<year>h<1 or 2>")
        self.origin = origin
        self.half_year = match[1]
        self._pages = pages
        self._now = now
        self._published = published
        self._renewing = asyncio.Lock()
        self._head: Head | None = None
        self._size = 0

    async def head(self) -> Head:
        """The newest published head: at most a second old, and signed at most once a second.

        Where there are witnesses: the newest that went to them, the same from every worker, and cosigned
        unless they have been silent for seconds.
        """
        if self._published is not None and (newest := await self._published()) is not None:
            self._size = max(self._size, newest[0])
            return Head(*newest, self._now())
        async with self._renewing:  # so that those who come together share one signature
            now = self._now()
            if self._head is None or not timedelta(0) <= now - self._head.at < RENEW_AFTER:
                size, note = await self._pages.head()
                self._head = Head(size, note, now)
                self._size = max(self._size, size)
            return self._head

    async def tile(self, tile: Tile) -> bytes:
        """The first `tile.width` hashes at this place of the tree."""
        await self._require((tile.index * TILE_WIDTH + tile.width) << TILE_HEIGHT * tile.level, tile.path)
        return await self._pages.tile(tile)

    async def bundle(self, bundle: Bundle) -> bytes:
        """The first `bundle.width` entries of this bundle, each behind its length."""
        await self._require(bundle.index * TILE_WIDTH + bundle.width, bundle.path)
        return encode_bundle(await self._pages.bundle(bundle.index, bundle.width))

    async def dropped(self) -> str:
        """A line for each partition that lies in an export alone: first entry, first after it, digest."""
        found = await self._pages.dropped()
        return "".join(f"{first} {first + PARTITION} {digest}\n" for first, digest in found)

    async def _require(self, entries: int, path: str) -> None:
        """A receipt may name a head newer than the published one, so the committed size is what counts."""
        if entries > self._size:
            self._size = max(self._size, await self._pages.size())
        if entries > self._size:
            raise KeyError(path)
