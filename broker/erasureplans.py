"""What waits for a second person before it is erased, and what is disputed and so must stay: shapes, a port.

A plan says exactly what it would take. Whom it is about stands blind in it: whoever confirms it names the
person again. It goes with its end, since the entries say all of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from broker.core.model import SubjectRef
from broker.core.signingkey import Proposal


class ErasurePlan(Struct, frozen=True):
    """An erasure that was asked for. `subject` is blind, and empty where entries were named by id (`asked`).

    `entries` and `directives` are all that may go by it; `proposal` is who asked for it, and when.
    """

    id: str
    agency: str
    proposal: Proposal
    ground: str
    subject: bytes
    asked: tuple[str, ...]
    words_only: bool
    entries: tuple[str, ...]
    directives: tuple[str, ...]


class Disputed(Struct, frozen=True):
    """Why something must not be erased now. `kind` is `review`, `finding`, `restriction` or `breach` of the
    override that `entry` is of, or `complaint` or `access`, of which `provider` has `n` and which are about a
    person and of no entry.

    Of an override `provider` owns it and `requester` used it.
    """

    kind: str
    entry: str = ""
    provider: str = ""
    requester: str = ""
    n: int = 1


def names(entries: Iterable[str], directives: Iterable[str]) -> str:
    """Hex SHA-256 of what a plan may take: which entries and directives, in whatever order."""
    listed = "".join(f"{each}\n" for each in (*sorted(entries), "", *sorted(directives)))
    return hashlib.sha256(listed.encode()).hexdigest()


class ErasurePlanStore(Protocol):
    """Plans of erasures that wait, and what stands in their way."""

    def subject(self, subject: SubjectRef) -> bytes:
        """An identifier as plans have it."""

    async def planned(self, agencies: Collection[str], plan: str = "") -> list[ErasurePlan]:
        """Those of these agencies, lapsed ones too, oldest first; or one of them by id. Raises
        AuditUnavailable."""

    async def disputed(
        self,
        entries: Mapping[str, Collection[SubjectRef]],
        subjects: Collection[SubjectRef],
        agencies: Collection[str],
        now: datetime,
    ) -> list[Disputed]:
        """What speaks against erasing these agencies' part of these entries, a bounded number, each with the
        identifiers by which they find it; all are about these subjects.

        Overrides that wait for their review, that these agencies used and were found at fault for, that led to
        a restriction in force or began a breach; open complaints to these agencies about the subjects, or about
        nobody who was named; and open requests for access, at whichever agency, that name an identifier of an
        entry which stood before them. Raises AuditUnavailable."""
