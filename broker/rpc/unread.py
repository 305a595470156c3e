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


class Unread:
    """Bytes that wait to be written, or are being written."""

    def __init__(self, most: int = MAX_UNREAD) -> None:
        self._most = most
        self.bytes: Counter[str] = Counter()

    def check(self, asked: Request, size: int = 0) -> None:
        """Raises Saturated where an answer of this size would be more than its agency may leave unread."""
        if self.bytes[asked.requester] + size > room(self._most, asked):
            most = f"{self._most // 1024**2} MiB"
            raise Saturated(f"{asked.requester} leaves more than {most} of answers unread at this worker")

    def add(self, agency: str, size: int) -> None:
        """So much more waits."""
        self.bytes[agency] += size

    def release(self, agency: str, size: int) -> None:
        """So much has been written, or is given up."""
        self.bytes[agency] -= size
        if not self.bytes[agency]:
            del self.bytes[agency]
