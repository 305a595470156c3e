"""The queues of a provider's named humans: what is stored of them, and the ports over it.

Owns the shapes only. A row is made in the statement that appends its entry (`ports.Queued`), and changes
through `Administration.make` like everything else that decisions read.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from msgspec import Struct

from broker.core.canonical import Json


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


class ReferralStore(Protocol):
    """Requests referred to humans."""

    async def of(self, provider: str) -> list[StoredReferral]:
        """Those of one provider: what is open first, in rounds of one of each requester, what is due first; a
        bounded number, so that no requester's many hide another's few. Raises AuditUnavailable."""

    async def by_id(self, referral: str) -> StoredReferral | None:
        """One of them. Raises AuditUnavailable."""


class StoredOverride(Struct, frozen=True):
    """An override that was used, and what its review said."""

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


class OverrideStore(Protocol):
    """Overrides that were used, and restrictions of further ones."""

    async def of(self, provider: str) -> list[StoredOverride]:
        """Those of one provider, in the order of referrals; a bounded number. Raises AuditUnavailable."""

    async def by_id(self, override: str) -> StoredOverride | None:
        """One of them. Raises AuditUnavailable."""

    async def restrictions(self, provider: str) -> list[StoredRestriction]:
        """Those that one provider has made, what is not lifted first, then newest first; a bounded number.

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


class NoticeTable(Protocol):
    """Overrides of which the owner's software has not been told."""

    async def claim(self, most: int, again_after: float) -> list[Notice]:
        """Some that are due, nobody else's for `again_after` seconds, longer with each try. Raises
        AuditUnavailable."""

    async def told(self, override: str) -> None:
        """It has been told. Raises AuditUnavailable."""
