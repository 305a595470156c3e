"""Turns at long work: so many owners at once, each with one thing at a time, and whoever waits in rounds.

However much one owner has waiting, another's next comes within one round; and where one owner's is slow, the
other places go on. How many may wait is the bound of whoever lets them in (`seats.py`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """`at_once` places, of which an owner has one at a time."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._busy: set[str] = set()
        # Whose turn is next stands first.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def waiting(self, owner: str) -> int:
        """How many of an owner's wait for their turn."""
        return len(self._waiting.get(owner, ()))

    @asynccontextmanager
    async def one(self, owner: str) -> AsyncIterator[None]:
        """A turn of this owner's, once it comes, for as long as the block lasts."""
        await self._wait(owner)
        try:
            yield
        finally:
            self._leave(owner)

    async def _wait(self, owner: str) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(turn)
        self._give()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came at the same moment
                self._leave(owner)
            else:
                self._forget(owner, turn)
            raise

    def _leave(self, owner: str) -> None:
        self._busy.discard(owner)
        self._free += 1
        self._give()

    def _give(self) -> None:
        """Give the free places to those who may have them."""
        while self._free:
            owner = next((each for each in self._waiting if each not in self._busy), None)
            if owner is None:
                return
            line = self._waiting.pop(owner)
            turn = line.popleft()
            if line:
                self._waiting[owner] = line  # behind all others
            if turn.done():  # given up, and not told yet
                continue
            self._busy.add(owner)
            self._free -= 1
            turn.set_result(None)

    def _forget(self, owner: str, turn: asyncio.Future[None]) -> None:
        line = self._waiting.get(owner, deque())
        if turn in line:
            line.remove(turn)
            if not line:
                del self._waiting[owner]
