"""What leaves: a record made anew of what may, and what a requester is told with it."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from broker.core.model import Decision, Request
from broker.core.receipt import Receipt
from broker.core.record import Record
from broker.core.recordtype import RecordType
from broker.core.redaction import Withheld
from broker.held import Held
from broker.ports.providers import Found


class Release(Struct, frozen=True):
    """What may leave: the record made anew of permitted fields, and which fields it was made without."""

    record: Record
    withheld: tuple[Withheld, ...]


class Releases(Protocol):
    """Approved record types, and redaction by them."""

    def known(self, full_name: str) -> RecordType:
        """The version approved last. Raises InvalidRequest where there is none."""

    def release(self, found: Found, decision: Decision) -> Release:
        """The permitted part of what the provider found. Raises IntegrityError where it is not of its type."""


class Disclosed(Struct, frozen=True):
    """The record released (None in a replay), what was withheld of it, and the evidence. `erased` says of a
    replay that the entry's views are gone, and with them what was decided."""

    request: Request
    decision: Decision
    record: Record | None
    withheld: tuple[Withheld, ...]
    receipt: Receipt
    replayed: bool = False
    erased: bool = False
    # What its record takes of this worker's memory, to be released once it has been written.
    held: Held | None = None
