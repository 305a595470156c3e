"""Entries as they stand in the log, opened and proven, many at a time: the port for whoever takes them away.

Never asked while somebody waits for a record; every call is bounded by its arguments and gives at most MOST.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct

from broker.core.entry import Opening
from broker.ports import Hit

# Entries are in the order in which they were appended; each has the time at which it was decided, which may lie
# before that of the one before it, by no more than a request can take.
SLACK = timedelta(hours=1)
# Entries that one call gives.
MOST = 128
# Places that one call looks over at most by the index.
WINDOW = 1 << 16


class Wanted(Struct, frozen=True):
    """Which entries may be of interest: those with all the terms of one of these sets, of this party (empty: of
    any), made in [since, until). More may be given; never fewer."""

    ways: tuple[frozenset[str], ...] = (frozenset(),)
    party: str = ""
    since: datetime | None = None
    until: datetime | None = None


class Half(Struct, frozen=True):
    """A log: its name, how many entries it has, and when it was opened and closed (None: it is current)."""

    origin: str
    size: int
    opened_at: datetime
    closed_at: datetime | None = None


class EntryRow(Struct, frozen=True):
    """An entry's exact bytes, and what opens it by audience: nothing where its views are gone or damaged.

    No bytes where they are kept in an export alone.
    """

    hit: Hit
    entry: bytes
    openings: dict[str, Opening]


class Looked(Struct, frozen=True):
    """Rows in the log's order; every entry of interest below `up_to` is among them."""

    rows: tuple[EntryRow, ...]
    up_to: int


class EntryRows(Protocol):
    """The entries of each log, by its name. KeyError where there is none of that name."""

    async def halves(self) -> tuple[Half, ...]:
        """Every log there is, newest first. Raises AuditUnavailable."""

    async def span(self, log: str, wanted: Wanted, start: int, end: int) -> tuple[int, int]:
        """The part of [start, end) outside of which nothing was made in the time that is wanted."""

    async def rows(self, log: str, wanted: Wanted, start: int, end: int) -> Looked:
        """The next entries of interest from `start` on, before `end`. Raises AuditUnavailable."""

    async def proofs(self, log: str, indices: Sequence[int], size: int) -> list[tuple[bytes, ...]]:
        """Inclusion proofs in the tree of the first `size` entries. Raises AuditUnavailable."""
