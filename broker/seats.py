"""So many at once: seats, each taken for the length of a block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from broker.errors import Saturated


class Seats:
    """So many at once of each key, and of none for longer than it is held."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._held: Counter[str] = Counter()

    @contextmanager
    def one(self, key: str) -> Iterator[None]:
        """One seat for as long as the block lasts. Raises Saturated."""
        if self._held[key] >= self._most:
            raise Saturated(f"{key} has as many {self._what} open here as it may: {self._most}", 5.0)
        self._held[key] += 1
        try:
            yield
        finally:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]
