"""A bounded queue that serves its owners in turn: deficit round-robin (Shreedhar and Varghese, 1995).

However much one agency has waiting, another's next item comes within one round. Each owner has a bound of its
own below the queue's, so that a flood is refused to whoever makes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from broker.errors import Saturated

QUANTUM = 16 * 1024  # bytes that one owner may have in one turn
LEAST = 256  # bytes that an item counts for at least, so that small ones take turns too

Item = TypeVar("Item")


@dataclass(slots=True)
class _Line(Generic[Item]):
    """What one owner has waiting, and what is left of its turn."""

    items: deque[tuple[Item, int]] = field(default_factory=deque)
    left: int = 0


class FairQueue(Generic[Item]):
    """Items by owner, `most` in all and `most_of_one` of one owner."""

    def __init__(self, name: str, *, most: int, most_of_one: int) -> None:
        self._name = name
        self._most = most
        self._most_of_one = most_of_one
        self._lines: dict[str, _Line[Item]] = {}
        self._turns: deque[str] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, item: Item, size: int, owner: str) -> None:
        """Queue an item of `size` bytes. Raises Saturated."""
        line = self._lines.get(owner)
        if self._count >= self._most or (line is not None and len(line.items) >= self._most_of_one):
            whose = "" if self._count >= self._most else f" of {owner or 'this kind'}"
            raise Saturated(f"{self._name}: as many items{whose} as may wait are waiting already")
        if line is None:
            line = self._lines[owner] = _Line(left=QUANTUM)
            self._turns.append(owner)
        line.items.append((item, size))
        self._count += 1

    def take(self, max_items: int, max_bytes: int, wanted: Callable[[Item], bool]) -> list[Item]:
        """The next batch: owners in turn, each in its own order. What is not `wanted` any more is dropped.

        An item larger than `max_bytes` travels alone.
        """
        batch: list[Item] = []
        size = 0
        while self._turns and len(batch) < max_items:
            owner = self._turns[0]
            line = self._lines[owner]
            while line.items:
                item, item_size = line.items[0]
                cost = max(item_size, LEAST)
                if cost > line.left:
                    break
                if batch and (len(batch) >= max_items or size + item_size > max_bytes):
                    return batch
                line.items.popleft()
                self._count -= 1
                if wanted(item):
                    line.left -= cost
                    size += item_size
                    batch.append(item)
            self._turns.popleft()
            if line.items:
                line.left += QUANTUM  # for its next turn, behind all others
                self._turns.append(owner)
            else:
                del self._lines[owner]
        return batch

    def drain(self) -> Iterator[Item]:
        """Everything, in whatever order; the queue is empty afterwards."""
        lines, self._lines = self._lines, {}
        self._turns.clear()
        self._count = 0
        for line in lines.values():
            yield from (item for item, _ in line.items)
