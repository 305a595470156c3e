"""Owns one row: an entry with its opening, its proof and the checkpoint, and what can be said of it in words.

Nothing is said that the receipt does not: where the view is gone, or is not of that audience, a fact is empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from broker.core import canonical
from broker.core.acted import acted_for
from broker.core.checkpoint import Checkpoint
from broker.core.entry import Entry, Opening, Rotation, format_time
from broker.core.merkle import leaf_hash
from broker.core.note import Note
from broker.core.receipt import NOT_AT_HAND, Audience, Receipt, verify_against
from broker.errors import IntegrityError

# What stands in columns of its own, in their order; each is a text of the view, or of one of its parts.
FACTS = (
    *("event", "outcome", "code", "record_type", "requester", "system", "provider", "purpose", "agreement"),
    *("regime", "controller", "actor", "acted_for", "override", "incident", "request_id", "trace", "response"),
)
AUDIENCES = frozenset(each.value for each in Audience)


@dataclass(frozen=True, slots=True)
class Row:
    """One entry as it was taken away by `agency`. `audience` and `opening` are empty where nothing opens it."""

    index: int
    entry: bytes
    agency: str
    audience: str
    opening: bytes
    proof: tuple[bytes, ...]
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class Said:
    """What a row's receipt says, verified: `view` is empty where it was not opened."""

    row: Row
    origin: str
    entry: Entry | Rotation
    view: Mapping[str, Any]

    @property
    def at(self) -> str:
        """When, RFC 3339 in UTC."""
        return format_time(self.entry.at)

    @property
    def leaf(self) -> bytes:
        """The entry's hash in the tree."""
        return leaf_hash(self.row.entry)

    def fact(self, name: str) -> str:
        """One of FACTS, or nothing. `acted_for` is the agency of system and actor."""
        if name == "acted_for":
            return acted_for(self.view)
        value = self.view.get(name)
        if name == "actor":
            value = value.get("id") if isinstance(value, Mapping) else value
        return value if isinstance(value, str) else ""


def said(row: Row, checkpoint: Checkpoint) -> Said:
    """What a row says, after everything in it has been verified against a checkpoint that is believed.

    Raises IntegrityError naming what does not hold.
    """
    if (row.audience == "") is not (row.opening == b"") or (row.audience and row.audience not in AUDIENCES):
        raise IntegrityError("opening: an audience without one, or one without an audience")
    opening = Opening.from_bytes(row.opening) if row.opening else None
    receipt = Receipt(row.entry, row.index, row.proof, row.checkpoint, opening)
    audience = Audience(row.audience or Audience.REQUESTER)
    verified = verify_against(receipt, checkpoint, record=NOT_AT_HAND, audience=audience)
    view = canonical.decode_object(opening.view) if opening else {}
    return Said(row, checkpoint.origin, verified.entry, view)


@lru_cache(maxsize=8)
def unverified(note: bytes) -> Checkpoint:
    """The checkpoint of a note, its signature not looked at. Raises IntegrityError."""
    return Checkpoint.parse(Note.parse(note).text)
