"""Refuses every answer that its receipt does not bear out. Pure: what was asked, what came, what was signed.

A disclosure must come with a receipt that verifies, whose opened view speaks of this request, and which commits
to the very bytes of the record; a refusal and a "not found" must come with a receipt that says so. There is no
way round: an answer leaves this module verified or as IntegrityError.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from broker.client.asking import Asked
from broker.client.disclosure import Decision, Disclosure
from broker.client.failures import Failure, refused
from broker.client.paths import paths_to
from broker.client.recordclass import record_class
from broker.core import canonical
from broker.core.checkpoint import Checkpoint
from broker.core.entry import Opening, requester_commitment
from broker.core.merkle import leaf_hash
from broker.core.model import Obligation
from broker.core.receipt import NOT_AT_HAND, Held, Receipt, VerifiedReceipt, verify_against
from broker.core.record import Record
from broker.core.stamp import utc
from broker.core.views import RequesterView
from broker.errors import (
    BrokerError,
    IntegrityError,
    NotWitnessed,
    ProviderTimeout,
    ProviderUnavailable,
    Saturated,
    SubjectNotFound,
)
from broker.v1 import exchange_pb2 as wire

Open = Callable[[bytes], Checkpoint]
"""Opens a checkpoint note and holds it against what the log has shown before. Raises IntegrityError."""

FollowTo = Callable[[bytes], Awaitable[None]]
"""Follows the log to the one that a checkpoint is of, where that could not be opened (Unlinked)."""

# What a refusal's code says of the decision's outcome in the view; any other code means "refuse".
_OUTCOMES = {"referred": {"refer"}, "ambiguous": {"permit", "refuse"}}
# Errors that end a request which may have been committed, and the event their entry must speak of.
_EVENTS: dict[type[BrokerError], str] = {
    SubjectNotFound: "not-found",
    ProviderUnavailable: "provider-failure",
    ProviderTimeout: "provider-failure",
    # Committed, and kept back: the entry speaks of a record that did not leave.
    NotWitnessed: "disclosure",
}


@dataclass(frozen=True, slots=True)
class Replayed:
    """An earlier answer to the same request id: its receipt verified, its record not kept by the broker."""

    request_id: str
    receipt: Receipt


Answer = Disclosure | Replayed


def disclosed(asked: Asked, said: wire.Disclosure, shared: bytes, open_note: Open) -> Answer:
    """The disclosure, verified; `shared` is the checkpoint that serves a receipt without its own.

    Raises IntegrityError.
    """
    _require(said.request_id == asked.request_id, "the disclosure is of another request")
    _require(said.HasField("receipt"), "a disclosure without a receipt")
    if said.replayed:
        _require(not said.HasField("record"), "a replay with a record, which no broker keeps")
        receipt, verified = _verify(said.receipt, shared, open_note, NOT_AT_HAND)
        if verified.view is not None:
            _check_disclosure(asked, verified.view)
        return Replayed(asked.request_id, receipt)
    _require(said.HasField("record"), "a disclosure without a record")
    record = Record(said.record.type_url, said.record.value)
    _require(record.type_url.rpartition("/")[2] == asked.record_type, "the record is of another type")
    receipt = _receipt(said.receipt, shared)
    if not _borne_out(asked, said.decision, record, receipt, open_note(receipt.checkpoint)):
        # Not as it is with nearly all, which need not be wrong: look closely, and say what is.
        verified = verify_against(receipt, open_note(receipt.checkpoint), record=record)
        view = _opened(verified)
        _check_disclosure(asked, view)
        _check_decision(said.decision, view)
    return Disclosure(
        asked.request_id,
        _parsed(asked.record_type, record.value),
        record,
        said.withheld,
        _decision(said.decision),
        receipt,
    )


def denied(asked: Asked, said: wire.Refusal, shared: bytes, open_note: Open) -> BrokerError:
    """The refusal as an error that carries its verified receipt. Raises IntegrityError."""
    _require(said.HasField("receipt"), "a refusal without a receipt")
    receipt, verified = _verify(said.receipt, shared, open_note, None)
    # Openings are erased in time: a repeat may have none, and then the entry's place is all that is proven.
    if verified.view is not None or not said.replayed:
        view = _opened(verified)
        _check_request(asked, view)
        _require(view.event == "refusal" and view.code == said.code, "the entry speaks of another refusal")
        _require(view.outcome in _OUTCOMES.get(said.code, {"refuse"}), "the entry speaks of another outcome")
    error = refused(said)
    error.receipt, error.replayed = receipt, said.replayed
    return error


def failed(asked: Asked, failure: Failure, shared: bytes, open_note: Open) -> BrokerError:
    """The failure as an error, with its verified receipt where one came. Raises IntegrityError."""
    if failure.refusal is not None:
        return denied(asked, failure.refusal, shared, open_note)
    error = failure.error
    event = _EVENTS.get(type(error))
    if failure.receipt is None:
        _require(event != "not-found", "a 'not found' without a receipt")
        return error
    # Both stand behind the entry of a release that did not leave; the same record may be asked for again.
    kept_back = isinstance(error, NotWitnessed | Saturated)
    receipt, verified = _verify(failure.receipt, shared, open_note, NOT_AT_HAND if kept_back else None)
    if (view := verified.view) is not None:
        _check_request(asked, view)
        _require(event is None or view.event == event, "the entry speaks of another end")
    error.receipt = receipt
    return error


def _verify(
    said: wire.Receipt, shared: bytes, open_note: Open, record: Record | Held | None
) -> tuple[Receipt, VerifiedReceipt]:
    receipt = _receipt(said, shared)
    return receipt, verify_against(receipt, open_note(receipt.checkpoint), record=record)


def _receipt(said: wire.Receipt, shared: bytes) -> Receipt:
    note = said.checkpoint or shared
    _require(bool(note), "a receipt without a checkpoint")
    opening = Opening.from_bytes(said.opening) if said.opening else None
    return Receipt(said.entry, said.index, tuple(said.proof), note, opening)


def _borne_out(
    asked: Asked, decision: wire.Decision, record: Record, receipt: Receipt, checkpoint: Checkpoint
) -> bool:
    """Whether the entry commits to the one view that says exactly this, and stands in the log.

    Everything that `verify_against` and the checks of the view ask for, in one comparison: a view of these
    bytes has these values. Raises IntegrityError where the entry does not stand where the receipt says.
    """
    opening = receipt.opening
    commitment = requester_commitment(receipt.entry) if decision.outcome == "permit" else None
    if opening is None or commitment is None or opening.view != _view(asked, decision, record.digest()):
        return False
    paths_to(checkpoint.size, checkpoint.root).verify(leaf_hash(receipt.entry), receipt.index, receipt.proof)
    return opening.opens(commitment)


def _view(asked: Asked, decision: wire.Decision, response: str) -> bytes:
    """The bytes of the requester's view of this very disclosure, as far as it is known what they must be."""
    agreement = f"{decision.agreement}/{decision.agreement_version}" if decision.agreement else None
    same = _same(agreement, decision.controller, asked.provider, asked.record_type, decision.regime)
    trace = f'"{asked.trace}"' if asked.trace.isalnum() else "null"
    # Ids and digests are letters, digits and hyphens. What is not is no view's, and compares unequal.
    own = f'"request_id":"{asked.request_id}","response":"{response}","trace":{trace},"v":1}}'
    return same + own.encode()


@lru_cache(maxsize=1024)
def _same(agreement: str | None, controller: str, provider: str, record_type: str, regime: str) -> bytes:
    """The beginning of that view: what is the same for many."""
    view = RequesterView(
        "disclosure",
        outcome="permit",
        record_type=record_type,
        provider=provider,
        agreement=agreement,
        regime=regime or None,
        controller=controller or None,
    )
    written = canonical.encode(view.as_json())
    return written[: written.index(b'"request_id":')]


def _opened(verified: VerifiedReceipt) -> RequesterView:
    if verified.view is None:
        raise IntegrityError("answer: a receipt without its opening")
    return verified.view


def _check_request(asked: Asked, view: RequesterView) -> None:
    _require(view.request_id == asked.request_id, "the entry speaks of another request")
    _require(view.record_type == asked.record_type, "the entry speaks of another record type")
    if asked.provider:
        _require(view.provider == asked.provider, "the entry speaks of another provider")


def _check_disclosure(asked: Asked, view: RequesterView) -> None:
    _check_request(asked, view)
    speaks = view.event == "disclosure" and view.outcome == "permit" and view.code is None
    _require(speaks and view.response is not None, "the entry speaks of no disclosure")


def _check_decision(said: wire.Decision, view: RequesterView) -> None:
    agreement = f"{said.agreement}/{said.agreement_version}" if said.agreement else None
    same = (
        said.outcome == view.outcome
        and agreement == view.agreement
        and (said.controller or None) == view.controller
        and (said.regime or None) == view.regime
    )
    _require(same, "the decision is not the one that the entry commits to")


def _decision(said: wire.Decision) -> Decision:
    return Decision(
        said.outcome,
        said.agreement,
        said.agreement_version,
        said.controller,
        said.regime,
        said.basis,
        said.condition,
        said.gateway,
        tuple(
            Obligation(each.code, each.detail, _time(each.due) if each.HasField("due") else None)
            for each in said.obligations
        ),
        _time(said.decided_at) if said.HasField("decided_at") else None,
    )


def _time(said: Timestamp) -> datetime:
    try:
        return utc(said.seconds, said.nanos)
    except (ValueError, OverflowError) as error:
        raise IntegrityError("answer: a time that is none") from error


def _parsed(record_type: str, value: bytes) -> Message | bytes:
    kind = record_class(record_type)
    if kind is None:
        return value
    try:
        return kind.FromString(value)
    except DecodeError as error:
        raise IntegrityError("answer: the record is not a message of its type") from error


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise IntegrityError(f"answer: {problem}")
