"""What was made of a value, remembered by which object it is, not by what it holds.

For values that are made once and asked about with every request, such as the fields an agreement permits: to
compare them would cost as much as to make the result again. Bounded: past `most` it starts anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")
Made = TypeVar("Made")


class ByIdentity(Generic[Value, Made]):
    """A function of one immutable value, remembered."""

    def __init__(self, make: Callable[[Value], Made], most: int = 4096) -> None:
        self._make = make
        self._most = most
        # The value is kept too: as long as it is, no other object has its address.
        self._known: dict[int, tuple[Value, Made]] = {}

    def __call__(self, value: Value) -> Made:
        """What was made of it, now or before."""
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        made = self._make(value)
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[id(value)] = (value, made)
        return made
