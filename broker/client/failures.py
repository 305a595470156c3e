"""What a gRPC status means: the one table from codes and rich details back to `broker.errors`.

Every detail is the broker's word; a receipt among them is handed on unverified (`evidence` judges it). Refuses
nothing: a status that makes no sense is still a failure, and releases nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from broker.core.model import Refused
from broker.errors import (
    Ambiguous,
    AuditUnavailable,
    BrokerError,
    CannotConnect,
    Denied,
    IntegrityError,
    InvalidRequest,
    NotAllowed,
    NotWitnessed,
    NotYetOffered,
    ProviderTimeout,
    ProviderUnavailable,
    QuotaExceeded,
    Referred,
    RevokedCertificate,
    Saturated,
    SubjectNotFound,
    UnknownSystem,
    Unsettled,
)
from broker.v1 import exchange_pb2 as wire

Detail = TypeVar("Detail", bound=Message)

DOMAIN: Final = "broker.v1"
_DETAILS = "grpc-status-details-bin"
_LONGEST = 500
_LONGEST_RETRY = 3600.0
_MAX_DETAILS = 16

# For each status the class where no reason is given, and those a reason may name.
_TABLE: dict[grpc.StatusCode, tuple[type[BrokerError], tuple[type[BrokerError], ...]]] = {
    grpc.StatusCode.UNAUTHENTICATED: (UnknownSystem, (RevokedCertificate,)),
    grpc.StatusCode.PERMISSION_DENIED: (NotAllowed, ()),
    grpc.StatusCode.NOT_FOUND: (SubjectNotFound, ()),
    grpc.StatusCode.UNAVAILABLE: (
        CannotConnect,
        (ProviderUnavailable, AuditUnavailable, Unsettled, NotWitnessed),
    ),
    grpc.StatusCode.DEADLINE_EXCEEDED: (ProviderTimeout, ()),
    grpc.StatusCode.DATA_LOSS: (IntegrityError, ()),
    grpc.StatusCode.UNIMPLEMENTED: (NotYetOffered, ()),
    grpc.StatusCode.CANCELLED: (CannotConnect, ()),
}
_REFUSALS: dict[str, type[Denied]] = {"referred": Referred, "ambiguous": Ambiguous}
_DEFINITE = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.DATA_LOSS,
    }
)
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Failure:
    """A status, read. `from_broker` says that the broker itself spoke, not the transport on the way.

    `refusal` and `receipt` are as received; `definite` that asking again on another connection cannot help.
    """

    code: grpc.StatusCode
    error: BrokerError
    refusal: wire.Refusal | None
    receipt: wire.Receipt | None
    from_broker: bool

    @property
    def definite(self) -> bool:
        """Whether the same call would end the same way again."""
        return self.code in _DEFINITE


def read_call(error: grpc.aio.AioRpcError) -> Failure:
    """The failure of a whole call."""
    code = error.code()
    status = status_pb2.Status(code=code.value[0], message=error.details() or "")
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            try:
                rich = status_pb2.Status.FromString(value)
            except DecodeError:
                continue
            # Details of another status than the one the call ended with belong to nothing.
            if rich.code == status.code:
                status = rich
    return read_status(status)


def read_status(status: status_pb2.Status) -> Failure:
    """The failure that a `google.rpc.Status` stands for."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    details = list(status.details)[:_MAX_DETAILS]
    info = _detail(details, error_details_pb2.ErrorInfo)
    reason = info.reason if info is not None and info.domain == DOMAIN else ""
    refusal = _detail(details, wire.Refusal)
    text = printable(status.message) or code.name
    return Failure(
        code,
        refused(refusal) if refusal is not None else _named(code, reason, text, details),
        refusal,
        _detail(details, wire.Receipt),
        from_broker=bool(reason),
    )


def refused(refusal: wire.Refusal) -> Denied:
    """The refusal as an error: Referred, Ambiguous, or Denied."""
    said = Refused(printable(refusal.code), printable(refusal.message), printable(refusal.remedy))
    return _REFUSALS.get(refusal.code, Denied)(said)


def printable(text: str) -> str:
    """What a stranger wrote, fit for a terminal and a log line: at most 500 printable characters."""
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in cut)


def _named(code: grpc.StatusCode, reason: str, text: str, details: Iterable[Any]) -> BrokerError:
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return _invalid(text, details)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _saturated(reason, text, details)
    if code not in _TABLE:
        return BrokerError(text)
    default, others = _TABLE[code]
    for kind in others:
        if kind.__name__ == reason:
            return kind(text)
    return default(text)


def _invalid(text: str, details: Iterable[Any]) -> InvalidRequest:
    bad = _detail(details, error_details_pb2.BadRequest)
    if bad is None or not bad.field_violations:
        return InvalidRequest("request", text)
    violation = bad.field_violations[0]
    return InvalidRequest(printable(violation.field), printable(violation.description))


def _saturated(reason: str, text: str, details: Iterable[Any]) -> Saturated:
    details = list(details)
    seconds, retry = 1.0, _detail(details, error_details_pb2.RetryInfo)
    if retry is not None:
        # Taken apart by hand: a stranger's duration may be past what a timedelta holds.
        seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    seconds = min(max(seconds, 0.0), _LONGEST_RETRY)
    if reason != QuotaExceeded.__name__:
        return Saturated(text, seconds)
    info = _detail(details, error_details_pb2.ErrorInfo)
    return QuotaExceeded(text, seconds, printable(info.metadata.get("quota", "")) if info else "")


def _detail(details: Iterable[Any], kind: type[Detail]) -> Detail | None:
    for each in details:
        found = kind()
        try:
            if each.Unpack(found):
                return found
        except DecodeError:
            continue
    return None
