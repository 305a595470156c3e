"""Outcomes of a stream and disclosures, written as bytes: what is sent most costs most to build as messages.

Owns their wire form (protobuf.dev, "Encoding"), which is what the generated code would read; a test holds it to
that. What is the same for every record under an agreement is written once. Refuses nothing: its input is ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache

from google.protobuf.message import Message
from google.rpc import status_pb2
from msgspec import Struct

from broker.core.memo import ByIdentity
from broker.core.model import Decision
from broker.core.receipt import Receipt
from broker.core.redaction import Withheld
from broker.errors import Denied
from broker.ports import Disclosed
from broker.rpc import wire
from broker.v1 import exchange_pb2

# A field's tag is its number times eight and its wire type; 2 is a length and so many bytes.
_DISCLOSURE, _REFUSAL, _ERROR = b"\x12", b"\x1a", b"\x22"  # of Outcome
_RECEIPT = b"\x2a"  # field 5 of Disclosure and of Refusal
_CHECKPOINT = b"\x22"  # field 4 of Receipt
_HASH = b"\x1a\x20"  # field 3 of Receipt: 32 bytes
_SLACK = 16  # bytes of tags and lengths around an outcome's parts
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SMALL = tuple(bytes((n,)) for n in range(128))


def varint(number: int) -> bytes:
    """A number, seven bits a byte, least first."""
    if number < 128:
        return _SMALL[number]
    if number < 16384:
        return bytes((number & 127 | 128, number >> 7))
    return bytes((number & 127 | 128,)) + varint(number >> 7)


class Outcome(Struct, frozen=True):
    """One Outcome, but for its receipt's checkpoint, which a whole reply may share."""

    lead: bytes  # its request id, and the tag of its result
    result: bytes  # the result's fields without the receipt
    receipt: bytes = b""
    checkpoint: bytes = b""

    @property
    def size(self) -> int:
        """Bytes, or a few more."""
        return len(self.lead) + len(self.result) + len(self.receipt) + len(self.checkpoint) + _SLACK

    def written(self, shared: bytes) -> tuple[bytes, ...]:
        """Its bytes in parts, with its length before them; without the checkpoint where it is `shared`."""
        lead, result, receipt = self.lead, self.result, self.receipt
        if not receipt:
            size = varint(len(result))
            return varint(len(lead) + len(size) + len(result)), lead, size, result
        if self.checkpoint and self.checkpoint != shared:
            receipt += _CHECKPOINT + varint(len(self.checkpoint)) + self.checkpoint
        inner = varint(len(receipt))
        held = len(result) + 1 + len(inner) + len(receipt)
        size = varint(held)
        return varint(len(lead) + len(size) + held), lead, size, result, _RECEIPT, inner, receipt


def reply(outcomes: Sequence[Outcome]) -> bytes:
    """An ExchangeReply, in which the commonest checkpoint stands once."""
    common = Counter(each.checkpoint for each in outcomes if each.checkpoint).most_common(1)
    shared = common[0][0] if common else b""
    parts: list[bytes] = []
    for each in outcomes:
        parts.append(b"\x0a")
        parts += each.written(shared)
    if shared:
        parts += (b"\x12", varint(len(shared)), shared)
    return b"".join(parts)


def disclosed(request_id: str, of: Disclosed) -> Outcome:
    """The outcome of a request whose record was released, or replayed."""
    return Outcome(_lead(request_id, _DISCLOSURE), _fields(of), _receipt(of.receipt), of.receipt.checkpoint)


def denied(request_id: str, of: Denied) -> Outcome:
    """The outcome of a request that was refused."""
    receipt = of.receipt
    if receipt is None:
        return Outcome(_lead(request_id, _REFUSAL), wire.refusal(of).SerializeToString())
    return Outcome(
        _lead(request_id, _REFUSAL),
        wire.refusal(of, whole=False).SerializeToString(),
        _receipt(receipt),
        receipt.checkpoint,
    )


def failed(request_id: str, of: status_pb2.Status) -> Outcome:
    """The outcome of a request that ended in an error."""
    return Outcome(_lead(request_id, _ERROR), of.SerializeToString())


def disclosure(of: Disclosed) -> bytes:
    """A Disclosure, whole."""
    checkpoint = of.receipt.checkpoint
    receipt = _receipt(of.receipt)
    if checkpoint:
        receipt += _CHECKPOINT + varint(len(checkpoint)) + checkpoint
    return b"".join((_fields(of), _RECEIPT, varint(len(receipt)), receipt))


def as_bytes(message: Message | bytes) -> bytes:
    """For gRPC: what is written already, or else a message."""
    return message if type(message) is bytes else message.SerializeToString()  # type: ignore[union-attr]


def _lead(request_id: str, tag: bytes) -> bytes:
    name = request_id.encode()
    return b"".join((b"\x0a", varint(len(name)), name, tag))


# Nothing is known of it any more: neither what was decided nor when.
_ERASED = exchange_pb2.Decision(outcome="erased").SerializeToString()


def _fields(of: Disclosed) -> bytes:
    """A Disclosure's fields without the receipt."""
    name = of.request.request_id.encode()
    record, decided = of.record, _ERASED if of.erased else _decision(of.decision)
    parts = [b"\x0a", varint(len(name)), name]
    if record is not None:
        url, value = _text(b"\x0a", record.type_url), record.value
        size = varint(len(value))
        parts += (b"\x12", varint(len(url) + 1 + len(size) + len(value)), url, b"\x12", size, value)
    parts += (_withheld(of.withheld), b"\x22", varint(len(decided)), decided)
    if of.replayed:
        parts.append(b"\x30\x01")
    return b"".join(parts)


def _listed(withheld: tuple[Withheld, ...]) -> bytes:
    return exchange_pb2.Disclosure(
        withheld=[exchange_pb2.Withheld(path=w.path, rule=w.rule) for w in withheld]
    ).SerializeToString()


# The list is the same for every record of a type under an agreement, and long.
_withheld = ByIdentity(_listed)


def _decision(made: Decision) -> bytes:
    """The requester's view of a decision."""
    parts = [
        _said(
            made.outcome.value,
            made.agreement,
            made.agreement_version,
            made.controller,
            made.regime,
            made.basis,
            made.condition,
            made.gateway,
        )
    ]
    for each in made.obligations:
        owed = _owed(each.code, each.detail)
        if each.due is not None:
            due = _time(each.due)
            owed += b"\x1a" + varint(len(due)) + due
        parts += (b"\x4a", varint(len(owed)), owed)
    at = _time(made.decided_at)
    parts += (b"\x52", varint(len(at)), at)
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _said(
    outcome: str,
    agreement: str,
    agreement_version: int,
    controller: str,
    regime: str,
    basis: str,
    condition: str,
    gateway: str,
) -> bytes:
    """A Decision without its times: the same for many."""
    return exchange_pb2.Decision(
        outcome=outcome,
        agreement=agreement,
        agreement_version=agreement_version,
        controller=controller,
        regime=regime,
        basis=basis,
        condition=condition,
        gateway=gateway,
    ).SerializeToString()


@lru_cache(maxsize=1024)
def _owed(code: str, detail: str) -> bytes:
    """An Obligation but for the day it is due."""
    return exchange_pb2.Obligation(code=code, detail=detail).SerializeToString()


def _time(at: datetime) -> bytes:
    """A Timestamp, of 1970 or later."""
    since = at - _EPOCH
    seconds, micros = since.days * 86400 + since.seconds, since.microseconds
    whole = b"\x08" + varint(seconds) if seconds else b""
    return whole + b"\x10" + varint(micros * 1000) if micros else whole


def _receipt(of: Receipt) -> bytes:
    """A Receipt's fields without the checkpoint."""
    entry = of.entry
    parts = [b"\x0a", varint(len(entry)), entry]
    if of.index:
        parts += (b"\x10", varint(of.index))
    if of.proof:
        parts += (_HASH, _HASH.join(of.proof))
    if of.opening is not None:
        salt, view = of.opening.salt, of.opening.view
        parts += (b"\x2a", varint(len(salt) + len(view)), salt, view)
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _text(tag: bytes, text: str) -> bytes:
    data = text.encode()
    return tag + varint(len(data)) + data
