"""What is read of the log afterwards: proofs, what a search finds, cosignatures and time stamps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from broker.core.canonical import Json
from broker.core.receipt import Receipt


class LogView(Protocol):
    """What auditors need of the log."""

    async def receipt(
        self, entry: str, audience: str, *, archived: bool = False
    ) -> tuple[Receipt, dict[str, Json]]:
        """As `Log.receipt`. `archived` says that whoever asks has the entries that are kept in an export alone:
        then the receipt of one of these comes, with no entry in it."""

    async def parties(self, entry: str) -> tuple[str, str]:
        """Requester and provider agency, empty where there is none. KeyError if no such entry."""

    async def id_at(self, index: int, log: str = "") -> str:
        """The id of the entry at this place, from 0, of the log of that name (empty: the current one). KeyError
        if there is no such log or entry."""

    async def consistency(self, old: int, new: int, log: str = "") -> tuple[tuple[bytes, ...], bytes]:
        """Consistency proof from `old` to `new` entries (0: all) of the log of that name (empty: the current
        one), and the checkpoint of `new`, or of a log that is closed its final one. KeyError where the log is
        smaller, or there is none."""

    async def root(self, size: int, log: str) -> bytes:
        """The root over the first entries of the log of that name; nothing is signed. KeyError where it is
        smaller, or there is none."""


class Hit(Struct, frozen=True):
    """An entry that a search found: its parties (empty where there is none), its views' bytes by audience, and
    the full one read. Views are empty where they have been erased. `index` is of the log of that name."""

    index: int
    id: str
    at: datetime
    requester: str
    provider: str
    views: dict[str, bytes]
    full: dict[str, Json]
    log: str = ""


class Hits(Struct, frozen=True):
    """What a search found in one log, in order; of its `size` entries those from `done` on are not in the
    index yet.

    `log` is its name, `older` that of the log before it; empty where there is none.
    """

    found: tuple[Hit, ...]
    done: int
    size: int
    log: str = ""
    older: str = ""


class Remains(Struct, frozen=True):
    """What there is of an entry: when it was made, and whether any party keeps its views; its log and place."""

    at: datetime
    kept: bool
    log: str = ""
    index: int = -1


class LogSearch(Protocol):
    """The search index of all logs, each by itself."""

    async def find(
        self,
        terms: frozenset[str],
        beyond: int,
        limit: int,
        *,
        newest_first: bool,
        since: datetime | None,
        until: datetime | None,
        log: str = "",
        party: str = "",
    ) -> Hits:
        """Entries with all these terms, below `beyond` newest first, or above it in their order.

        Of the log of that name; empty: the current one. KeyError where there is none. Of `party` (empty: of
        anybody) those alone whose requester or provider it is: what it may not see is not read for it either.
        """

    async def entry(self, entry: str) -> Hit:
        """An entry by its id, in whichever log. KeyError where there is none."""

    async def remains(self, entries: Sequence[str]) -> dict[str, Remains]:
        """What there is of these entries, a bounded number, by id; those that do not exist are left out."""

    async def progress(self) -> tuple[int, int]:
        """Entries in the index, and in the log, of the current one."""


class Witnesses(Protocol):
    """What partner agencies have cosigned of the log."""

    async def witnessed(self, receipt: Receipt, until: float) -> Receipt | None:
        """The receipt, proven to a witnessed checkpoint; None where there is none by `until` (event loop).

        Raises AuditUnavailable, IntegrityError.
        """


class TimeStamps(Protocol):
    """What a time-stamp authority has dated of the log."""

    async def timestamped(self, receipt: Receipt) -> tuple[Receipt, bytes] | None:
        """The receipt, proven to the first time-stamped checkpoint with its entry, and the time stamp.

        None where there is none yet. Raises AuditUnavailable.
        """
