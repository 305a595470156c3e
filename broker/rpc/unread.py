"""How many bytes of answers each agency has not read, over all its streams at this worker.

Owns the counts only. What is bounded by number alone is not bounded: a thousand answers on each of some hundred
streams may be records of 1 MiB.
"""

from __future__ import annotations

from collections import Counter

from broker.core.model import Request
from broker.errors import Saturated
from broker.rpc.door import room

MAX_UNREAD = 64 * 1024 * 1024  # bytes, of one agency
MAX_OF_ALL = 256 * 1024 * 1024  # and of all, of which each may have as much as is left free


class Unread:
    """Bytes that wait to be written, or are being written."""

    def __init__(self, most: int = MAX_UNREAD, of_all: int = MAX_OF_ALL) -> None:
        self._most = most
        self._of_all = of_all
        self.total = 0
        self.bytes: Counter[str] = Counter()

    def check(self, asked: Request, size: int = 0) -> None:
        """Raises Saturated where an answer of this size would be more than its agency may leave unread."""
        unread = self.bytes[asked.requester] + size
        if unread > room(self._most, asked) or unread > room(self._of_all, asked) - self.total - size:
            most = f"{self._most // 1024**2} MiB"
            raise Saturated(f"{asked.requester} leaves more than {most} of answers unread at this worker")

    def add(self, agency: str, size: int) -> None:
        """So much more waits."""
        self.bytes[agency] += size
        self.total += size

    def release(self, agency: str, size: int) -> None:
        """So much has been written, or is given up."""
        self.bytes[agency] -= size
        self.total -= size
        if not self.bytes[agency]:
            del self.bytes[agency]
