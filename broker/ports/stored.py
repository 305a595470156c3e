"""What decisions read, as it is stored: directives and agreements one by one, all else as a snapshot."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from msgspec import Struct

from broker.catalogue import Catalogue
from broker.core.directive import Directive
from broker.core.model import SubjectRef
from broker.core.reference import Reference
from broker.core.signature import Signature


class StoredDirective(Struct, frozen=True):
    """A directive by id: whose identifier it is about only as a blind key."""

    directive: Directive
    key: bytes
    policy: int


class RecordedDirective(Struct, frozen=True):
    """A directive, and when the broker took it down."""

    directive: Directive
    recorded_at: datetime


class DirectiveStore(Protocol):
    """Directives by id."""

    async def by_id(self, directive_id: str) -> StoredDirective | None:
        """A directive that has not been withdrawn. Raises AuditUnavailable."""

    async def about(self, subject: SubjectRef, recorder: str) -> list[RecordedDirective]:
        """What one agency has recorded about one identifier and nobody has withdrawn, oldest first.

        Raises AuditUnavailable.
        """


class StoredAgreement(Struct, frozen=True):
    """A version of an agreement: its file, who signed it, and whether a later version has taken its place."""

    file: bytes
    digest: str
    superseded: bool
    signatures: tuple[Signature, ...] = ()


class AgreementStore(Protocol):
    """Agreements as files."""

    async def stored(self, *, all_versions: bool) -> list[StoredAgreement]:
        """By id, newest version first. Raises AuditUnavailable."""


class ReferenceSource(Protocol):
    """The snapshot of everything else a decision reads."""

    @property
    def catalogue(self) -> Catalogue:
        """Approved record types, as new as the newest snapshot."""

    @property
    def current(self) -> Reference:
        """The newest snapshot held, without asking."""

    async def refresh(self) -> Reference:
        """A snapshot as of now. Raises AuditUnavailable."""

    async def at_least(self, policy: int) -> Reference:
        """A snapshot that holds every change up to `policy`."""
