"""What was true at a count of changes, and what the log holds: the port for whoever makes decisions again.

Never asked while somebody waits for a record; every call is bounded by its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from broker.core.directive import Directive
from broker.core.entry import Opening
from broker.core.model import SubjectRef
from broker.core.reference import Reference

# Entries, or identifiers, that one call may ask for.
MOST = 500


class Leaf(Struct, frozen=True):
    """An entry's exact bytes at its place, and the opening of its full view.

    None where that has been erased, or, with what is `wrong`, where it does not open.
    """

    index: int
    entry: bytes
    opening: Opening | None
    wrong: str = ""


class Past(Protocol):
    """Everything that decisions were made of, as at a count of changes."""

    async def reference(self, policy: int) -> Reference:
        """Agencies, systems, agreements, suspensions and record types as they were known at `policy`, under
        the law files of this release. Raises AuditUnavailable, InvalidRequest where those no longer know what
        an agreement names."""

    async def directives(
        self, asked: Sequence[tuple[SubjectRef, int]]
    ) -> Mapping[tuple[SubjectRef, int], tuple[Directive, ...]]:
        """What had been said about each identifier, and not withdrawn, at each count.

        Raises AuditUnavailable.
        """

    async def chain(self) -> tuple[str, ...]:
        """The names of all logs, newest first. Raises AuditUnavailable."""

    async def erased_by(self, items: Sequence[tuple[str, datetime | None]]) -> Mapping[str, str]:
        """The entry that says that something was erased, by the id of a directive, or of an entry with the time
        it was made. What none says is not among them. Raises AuditUnavailable."""

    async def leaves(self, start: int, end: int, log: str = "") -> list[Leaf]:
        """The entries of a log (empty: the current one) from `start` up to `end` (exclusive) that there are, at
        most MOST. KeyError where there is no such log. Raises AuditUnavailable, and KeptElsewhere where the
        bytes of one are kept in an export alone."""

    async def head(self, log: str = "") -> tuple[int, bytes]:
        """How many entries a log (empty: the current one) has, and the root of the tree over them. Nothing is
        signed, so that a look at a log that was tampered with cannot sign what it finds. KeyError where there
        is no such log. Raises AuditUnavailable."""
