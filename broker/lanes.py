"""The emergency lane of a plain queue: what is urgent leaves first, and there is room kept for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain
from typing import Generic, TypeVar

Item = TypeVar("Item")


def reserve(most: int) -> int:
    """How much of or beside `most` is kept for what is urgent: an eighth."""
    return most // 8


class Lanes(Generic[Item]):
    """Two lines: urgent items in order of arrival, then all others in theirs."""

    def __init__(self) -> None:
        self._urgent: deque[Item] = deque()
        self._ordinary: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._ordinary)

    def __iter__(self) -> Iterator[Item]:
        return chain(self._urgent, self._ordinary)

    @property
    def first(self) -> Item:
        """What leaves next; IndexError where nothing waits."""
        return (self._urgent or self._ordinary)[0]

    def append(self, item: Item, *, urgent: bool = False) -> None:
        """Queue it behind its like."""
        (self._urgent if urgent else self._ordinary).append(item)

    def popleft(self) -> Item:
        """Take what leaves next; IndexError where nothing waits."""
        return (self._urgent or self._ordinary).popleft()
