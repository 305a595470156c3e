"""Counting by several keys at once, in bounded memory."""

from __future__ import annotations

from collections import Counter

from broker.errors import InvalidRequest

KEYS = 50_000


class Tally:
    """Counts under tuples of texts. Raises InvalidRequest past `KEYS` different ones."""

    def __init__(self, most: int = KEYS) -> None:
        self._most = most
        self._counts: Counter[tuple[str, ...]] = Counter()

    def add(self, *key: str) -> int:
        """Count one; how many there are under this key now."""
        if key not in self._counts and len(self._counts) >= self._most:
            raise InvalidRequest("since", "too much at once for one report: ask for a shorter time")
        self._counts[key] += 1
        return self._counts[key]

    def rows(self) -> tuple[tuple[str | int, ...], ...]:
        """Each key with its count, by key."""
        return tuple((*key, count) for key, count in sorted(self._counts.items()))

    def total(self) -> int:
        """All of them."""
        return sum(self._counts.values())

    def __getitem__(self, key: tuple[str, ...]) -> int:
        return self._counts[key]
