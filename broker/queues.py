"""The queues of a provider's named humans: what is stored of them, and the ports over it.

Owns the shapes only. A row is made in the statement that appends its entry (`ports.Queued`), and changes
through `Administration.make` like everything else that decisions read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from broker.core.canonical import Json
from broker.core.succession import Share


class StoredReferral(Struct, frozen=True):
    """A request referred to a human of the provider.

    `asked`, `words` and `decision` are empty where they, or their key, have been erased.
    """

    id: str
    provider: str
    requester: str
    system: str
    request: str
    opened_at: datetime
    due_at: datetime
    status: str
    asked: dict[str, Json]
    words: str = ""
    decided_at: datetime | None = None
    until: datetime | None = None
    decision: dict[str, Json] = {}
    # Of the place that was asked about; empty where it named none.
    district: str = ""


class ReferralStore(Protocol):
    """Requests referred to humans."""

    async def of(self, shares: Sequence[Share]) -> list[StoredReferral]:
        """Those of one agency, its shares of what others left to it among them: what is open first, in rounds
        of one of each requester, what is due first; a bounded number, so that no requester's many hide
        another's few. Raises AuditUnavailable."""

    async def by_id(self, referral: str) -> StoredReferral | None:
        """One of them. Raises AuditUnavailable."""

    async def open(self, shares: Sequence[Share]) -> dict[str, int]:
        """How many of these wait, by district. Raises AuditUnavailable."""

    async def asked(self, agency: str) -> int:
        """How many wait elsewhere that an agency asked for. Raises AuditUnavailable."""


class StoredOverride(Struct, frozen=True):
    """An override that was used, and what its review said. `used` is empty where it, or its key, is gone."""

    id: str
    provider: str
    requester: str
    system: str
    request: str
    code: str
    used_at: datetime
    due_at: datetime
    status: str
    used: dict[str, Json]
    words: str = ""
    reviewed_at: datetime | None = None
    review: dict[str, Json] = {}
    # Of the place that was asked about; empty where it named none.
    district: str = ""
    # The agency whose human reviewed it: the provider, or who has taken its place.
    reviewed_by: str = ""
    # Whether the requester was told of the review.
    told: bool = False


class StoredRestriction(Struct, frozen=True):
    """A provider's restriction of overrides by an actor, a role or a system of a requester."""

    id: str
    override: str
    provider: str
    requester: str
    what: str
    made_at: datetime
    until: datetime | None
    lifted_at: datetime | None
    detail: dict[str, Json]
    # Of the override that led to it.
    district: str = ""


class OverrideStore(Protocol):
    """Overrides that were used, and restrictions of further ones."""

    async def of(self, shares: Sequence[Share]) -> list[StoredOverride]:
        """Those of one agency, in the order of referrals; a bounded number. Raises AuditUnavailable."""

    async def by_id(self, override: str) -> StoredOverride | None:
        """One of them. Raises AuditUnavailable."""

    async def open(self, shares: Sequence[Share]) -> dict[str, int]:
        """How many of these wait for their review, by district. Raises AuditUnavailable."""

    async def restrictions(self, providers: Collection[str]) -> list[StoredRestriction]:
        """Those that these providers have made, what is not lifted first, then newest first; a bounded number
        of each.

        Raises AuditUnavailable.
        """


class Notice(Struct, frozen=True):
    """What the owner's own software is told of an override: nothing about a person."""

    override: str
    provider: str
    requester: str
    code: str
    used_at: datetime
    due_at: datetime
    district: str = ""


class NoticeTable(Protocol):
    """Overrides of which the owner's software has not been told."""

    async def claim(self, most: int, again_after: float) -> list[Notice]:
        """Some that are due, nobody else's for `again_after` seconds, longer with each try. Raises
        AuditUnavailable."""

    async def told(self, override: str) -> None:
        """It has been told. Raises AuditUnavailable."""
