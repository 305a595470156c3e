"""Cases that people of a controller work on after the fact: requests for access, breaches, complaints.

Owns the shapes of what is stored and the ports over it. Rows are made and changed in the statement that appends
their entry, through `Administration.make`; a case's id is that of the entry that began it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from broker.core.canonical import Json


class StoredAccess(Struct, frozen=True):
    """A request for access. `index` is the place in `log` of the entry that began it: what stood before it,
    there and in the logs before, is answered about. `asked` is empty where it, or its key, has been erased."""

    id: str
    agency: str
    started_at: datetime
    due_at: datetime
    log: str
    index: int
    asked: dict[str, Json]
    issued_at: datetime | None = None


class StoredClearing(Struct, frozen=True):
    """What a controller has decided of one entry; `code` is the exemption, empty where it is told. `by` is the
    agency whose human decided: another than `agency` only where it has taken that one's place."""

    entry: str
    agency: str
    code: str
    cleared_at: datetime
    by: str


class AccessStore(Protocol):
    """Requests for access and what was cleared for them. All raise AuditUnavailable."""

    async def open(self, most: int) -> list[StoredAccess]:
        """Those not yet answered, in rounds of one of each controller, what is due first."""

    async def waiting(self, agency: str) -> int:
        """How many of one controller are not yet answered."""

    async def by_id(self, access: str) -> StoredAccess | None:
        """One of them."""

    async def cleared(self, access: str, agency: str) -> list[StoredClearing]:
        """What one controller has decided."""

    async def rulings(self, access: str) -> list[StoredClearing]:
        """What every controller has decided."""

    async def told(self, access: str) -> list[str]:
        """The entries that the answer held when it was first given: fixed from then on."""


class StoredBreach(Struct, frozen=True):
    """A suspected breach that a review found: the record of another person was opened.

    `id` is the entry of the override, `aware_at` when its owner found out.
    """

    id: str
    provider: str
    requester: str
    system: str
    used_at: datetime
    aware_at: datetime
    due_at: datetime


class BreachStore(Protocol):
    """Suspected breaches. All raise AuditUnavailable."""

    async def of(self, agency: str, most: int) -> list[StoredBreach]:
        """Those in which this agency is the owner or asked; of everybody where it is empty. Newest first."""

    async def by_id(self, breach: str) -> StoredBreach | None:
        """One of them."""


class StoredComplaint(Struct, frozen=True):
    """A complaint that a controller has received. `detail` is empty where it, or its key, has been erased."""

    id: str
    agency: str
    received_at: datetime
    due_at: datetime
    detail: dict[str, Json]
    acknowledged_at: datetime | None = None
    closed_at: datetime | None = None
    outcome: str = ""


class ComplaintStore(Protocol):
    """Complaints. All raise AuditUnavailable."""

    async def of(
        self, agency: str, since: datetime | None, until: datetime | None, most: int
    ) -> Sequence[StoredComplaint]:
        """Those of one controller, or of all where it is empty, received in [since, until); newest first."""

    async def waiting(self, agency: str) -> int:
        """How many to one controller are not yet closed."""

    async def by_id(self, complaint: str) -> StoredComplaint | None:
        """One of them."""
