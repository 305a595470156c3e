"""Owns the verification of a receipt, offline: entry, place in the log, signed checkpoint, opening, record.

A receipt is a proof, not a promise: nothing is asked of the log. Each failure says which step failed, as the
first word of the error: `checkpoint`, `inclusion`, `entry`, `opening`, `view` or `record`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Literal, TypeVar

from broker.core.checkpoint import Checkpoint, open_checkpoint
from broker.core.entry import Entry, Opening, Rotation, parse_entry
from broker.core.keys import Verifier
from broker.core.merkle import leaf_hash, verify_inclusion
from broker.core.record import Record
from broker.core.views import RequesterView
from broker.errors import IntegrityError

T = TypeVar("T")


class Held(Enum):
    """Stands for a record that is not at hand: a replay, or an auditor who was not given it."""

    NOT_AT_HAND = "not at hand"


NOT_AT_HAND: Literal[Held.NOT_AT_HAND] = Held.NOT_AT_HAND


class Audience(StrEnum):
    """Whose view an opening opens: an entry commits to one for each."""

    REQUESTER = "requester"
    PROVIDER = "provider"
    FULL = "full"

    def commitment(self, entry: Entry) -> str:
        """The entry's commitment to this view."""
        commitments = {
            Audience.REQUESTER: entry.requester,
            Audience.PROVIDER: entry.provider,
            Audience.FULL: entry.full,
        }
        return commitments[self]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The evidence of one entry: its bytes, its index, its proof to the checkpoint's root, and the opening.

    `opening` is that of the requester's view, in what an auditor or provider was given that of theirs; None
    where it was erased or is not for the holder.
    """

    entry: bytes
    index: int
    proof: tuple[bytes, ...]
    checkpoint: bytes
    opening: Opening | None


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """What a receipt proved. `view` is None when there was no opening.

    Every view has at least the requester's keys; the others' further keys stay in the opening.
    """

    entry: Entry | Rotation
    index: int
    checkpoint: Checkpoint
    view: RequesterView | None


def verify_receipt(
    receipt: Receipt,
    verifiers: Sequence[Verifier],
    *,
    record: Record | Held | None,
    audience: Audience = Audience.REQUESTER,
) -> VerifiedReceipt:
    """Check a receipt against the log's keys, and a record against the receipt.

    `record` is what was received: None says there was none, and then the view may not speak of one;
    `NOT_AT_HAND` leaves the question open. `audience` says whose view the opening must open.

    Raises:
        IntegrityError: naming the first step that failed.
    """
    opened = _step("checkpoint", lambda: open_checkpoint(receipt.checkpoint, verifiers))
    return verify_against(receipt, opened, record=record, audience=audience)


def verify_against(
    receipt: Receipt,
    checkpoint: Checkpoint,
    *,
    record: Record | Held | None,
    audience: Audience = Audience.REQUESTER,
) -> VerifiedReceipt:
    """Check a receipt against a checkpoint already opened, as one serves all the receipts of a batch.

    The receipt's own checkpoint is not looked at. Otherwise as `verify_receipt`.
    """
    _step(
        "inclusion",
        lambda: verify_inclusion(
            leaf_hash(receipt.entry), receipt.index, checkpoint.size, receipt.proof, checkpoint.root
        ),
    )
    entry = _step("entry", lambda: parse_entry(receipt.entry))
    view = None
    if receipt.opening is not None:
        opening = receipt.opening
        _check_opening(entry, opening, audience)
        view = _step("view", lambda: RequesterView.parse(opening.view))
    _check_record(view, record)
    return VerifiedReceipt(entry, receipt.index, checkpoint, view)


def audience_of(entry: bytes, opening: Opening) -> Audience | None:
    """Whose view of the entry this opens, or None. Raises IntegrityError for what is no entry."""
    parsed = parse_entry(entry)
    if isinstance(parsed, Rotation):
        return None
    return next((each for each in Audience if opening.opens(each.commitment(parsed))), None)


def _check_opening(entry: Entry | Rotation, opening: Opening, audience: Audience) -> None:
    if isinstance(entry, Rotation):
        raise IntegrityError("opening: a rotation entry commits to nothing")
    if not opening.opens(audience.commitment(entry)):
        named = "full" if audience is Audience.FULL else f"{audience}'s"
        raise IntegrityError(f"opening: it does not open the entry's commitment to the {named} view")


def _check_record(view: RequesterView | None, record: Record | Held | None) -> None:
    if record is NOT_AT_HAND:
        return
    if view is None:
        if record is not None:
            raise IntegrityError("record: without an opening nothing ties it to the entry")
        return
    if record is None:
        if view.response is not None:
            raise IntegrityError("record: none was received, but the entry commits to one")
        return
    if view.response is None:
        raise IntegrityError("record: one was received, but the entry says that none was released")
    if not hmac.compare_digest(record.digest(), view.response):
        raise IntegrityError("record: it is not the one that the entry commits to")


def _step(name: str, check: Callable[[], T]) -> T:
    try:
        return check()
    except IntegrityError as error:
        text = str(error)
        raise IntegrityError(text if text.startswith(f"{name}: ") else f"{name}: {text}") from error
