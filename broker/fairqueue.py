"""A bounded queue that serves its owners in turn: deficit round-robin (Shreedhar and Varghese, 1995).

However much one agency has waiting, another's next item comes within one round. Each owner has a bound of its
own below the queue's, so that a flood is refused to whoever makes it. What is urgent has lines of its own, in
turns too and with room of their own, and is taken first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from broker.errors import Saturated
from broker.lanes import reserve

QUANTUM = 16 * 1024  # bytes that one owner may have in one turn
LEAST = 256  # bytes that an item counts for at least, so that small ones take turns too

Item = TypeVar("Item")


@dataclass(slots=True)
class _Line(Generic[Item]):
    """What one owner has waiting, and what is left of its turn."""

    items: deque[tuple[Item, int]] = field(default_factory=deque)
    left: int = 0


@dataclass(slots=True)
class _Batch(Generic[Item]):
    """What has been taken, within the bounds of a batch."""

    most: int
    max_bytes: int
    items: list[Item] = field(default_factory=list)
    size: int = 0

    @property
    def full(self) -> bool:
        """Whether nothing more goes in, however small."""
        return len(self.items) >= self.most

    def holds(self, size: int) -> bool:
        """Whether an item of this size goes in; any does where it is the first."""
        return not self.items or (not self.full and self.size + size <= self.max_bytes)

    def add(self, item: Item, size: int) -> None:
        """Take it."""
        self.items.append(item)
        self.size += size


class _Round(Generic[Item]):
    """The lines of all owners and whose turn it is: `most` items in all and `most_of_one` of one owner."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._lines: dict[str, _Line[Item]] = {}
        self._turns: deque[str] = deque()
        self.count = 0

    @property
    def full(self) -> bool:
        """Whether there is no room for anybody."""
        return self.count >= self._most

    def has_room(self, owner: str) -> bool:
        """Whether one more of this owner's may wait."""
        line = self._lines.get(owner)
        return not self.full and (line is None or len(line.items) < self._most_of_one)

    def put(self, item: Item, size: int, owner: str) -> None:
        """Queue it, whether there is room or not."""
        line = self._lines.get(owner)
        if line is None:
            line = self._lines[owner] = _Line(left=QUANTUM)
            self._turns.append(owner)
        line.items.append((item, size))
        self.count += 1

    def fill(self, batch: _Batch[Item], wanted: Callable[[Item], bool]) -> bool:
        """Move what fits into the batch; False where what comes next does not fit."""
        while self._turns and not batch.full:
            owner = self._turns[0]
            line = self._lines[owner]
            while line.items:
                item, size = line.items[0]
                cost = max(size, LEAST)
                if cost > line.left:
                    break
                if not batch.holds(size):
                    return False
                line.items.popleft()
                self.count -= 1
                if wanted(item):
                    line.left -= cost
                    batch.add(item, size)
            self._turns.popleft()
            if line.items:
                line.left += QUANTUM  # for its next turn, behind all others
                self._turns.append(owner)
            else:
                del self._lines[owner]
        return not batch.full

    def drain(self) -> Iterator[Item]:
        """Everything, in whatever order; nothing waits afterwards."""
        lines, self._lines = self._lines, {}
        self._turns.clear()
        self.count = 0
        for line in lines.values():
            yield from (item for item, _ in line.items)


class FairQueue(Generic[Item]):
    """Items by owner, `most` in all and `most_of_one` of one owner, and an eighth of that of urgent ones."""

    def __init__(self, name: str, *, most: int, most_of_one: int) -> None:
        self._name = name
        self._ordinary: _Round[Item] = _Round(most, most_of_one)
        self._urgent: _Round[Item] = _Round(reserve(most), reserve(most_of_one))

    def __len__(self) -> int:
        return self._ordinary.count + self._urgent.count

    @property
    def urgent(self) -> int:
        """How many of them are urgent."""
        return self._urgent.count

    def put(self, item: Item, size: int, owner: str, *, urgent: bool = False) -> None:
        """Queue an item of `size` bytes; an urgent one among the others where its own line is full.

        Raises Saturated.
        """
        into = self._urgent if urgent and self._urgent.has_room(owner) else self._ordinary
        if not into.has_room(owner):
            whose = "" if into.full else f" of {owner or 'this kind'}"
            raise Saturated(f"{self._name}: as many items{whose} as may wait are waiting already")
        into.put(item, size, owner)

    def take(self, max_items: int, max_bytes: int, wanted: Callable[[Item], bool]) -> list[Item]:
        """The next batch: what is urgent first, owners in turn, each in its own order. What is not `wanted`
        any more is dropped.

        An item larger than `max_bytes` travels alone.
        """
        batch: _Batch[Item] = _Batch(max_items, max_bytes)
        if self._urgent.fill(batch, wanted):
            self._ordinary.fill(batch, wanted)
        return batch.items

    def drain(self) -> Iterator[Item]:
        """Everything, in whatever order; the queue is empty afterwards."""
        yield from self._urgent.drain()
        yield from self._ordinary.drain()
