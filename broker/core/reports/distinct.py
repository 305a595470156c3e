"""How many different people, about, in bounded memory.

The k smallest of their hashes tell it (Bar-Yossef and others, 2002): exact up to k, then within some two in a
hundred. Nothing can be read back from them once the report is made.
"""

from __future__ import annotations

import hashlib
import heapq

KEPT = 4096
_ALL = float(1 << 64)


class Distinct:
    """Counts different values."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._heap: list[int] = []
        self._held: set[int] = set()

    def add(self, value: str) -> None:
        """Take in one."""
        found = int.from_bytes(hashlib.blake2b(value.encode(), digest_size=8).digest(), "big")
        if found in self._held:
            return
        if len(self._heap) < self._kept:
            heapq.heappush(self._heap, -found)
            self._held.add(found)
        elif found < -self._heap[0]:
            self._held.discard(-heapq.heapreplace(self._heap, -found))
            self._held.add(found)

    @property
    def exact(self) -> bool:
        """Whether `count` is no estimate."""
        return len(self._heap) < self._kept

    def count(self) -> int:
        """How many there were."""
        if self.exact:
            return len(self._heap)
        return round((self._kept - 1) * _ALL / -self._heap[0])

    def shown(self) -> str:
        """The same in words."""
        return str(self.count()) if self.exact else f"about {self.count()}"
