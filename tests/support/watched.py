"""A search index that is watched: what is read of it for whom."""

from __future__ import annotations

from typing import Any

from broker.ports import Hit, Hits, LogSearch


class Watched:
    """The finding of a `LogSearch`, with all that came of it."""

    def __init__(self, index: LogSearch) -> None:
        self._index = index
        self.read: list[Hit] = []

    async def find(self, *args: Any, **named: Any) -> Hits:
        """Look, and keep what came."""
        hits = await self._index.find(*args, **named)
        self.read += hits.found
        return hits
