"""Calls that were refused before anything was decided, counted until somebody writes them down.

Owns the counts of one process, by method, status, error and system. Refuses to grow: past so many different
ones a call counts under `other`, so that whoever varies what they send fills no memory and no disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

MOST = 256
OTHER = "other"


class Refused(NamedTuple):
    """What was refused: `system` is who called, empty for nobody that we know; the rest are names of ours."""

    method: str
    status: str
    error: str
    system: str


class RefusedCalls:
    """The counts since they were last taken."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._counts: Counter[Refused] = Counter()

    def add(self, refused: Refused, count: int = 1) -> None:
        """Count calls."""
        if refused not in self._counts and len(self._counts) >= self._most:
            refused = refused._replace(method=OTHER, error=OTHER, system=OTHER)
        self._counts[refused] += count

    def take(self) -> Mapping[Refused, int]:
        """What there is; from now on it is counted anew."""
        taken, self._counts = self._counts, Counter()
        return taken
