"""One table from our errors to gRPC statuses, with rich details that a client can act on.

Every status carries an ErrorInfo naming the error. Public text is what the error class was given; anything
that is not one of ours becomes INTERNAL with a fixed text and an id that the broker's own diagnostics can be
searched for. Details stay well below the 8 KiB at which gRPC starts to lose them.
"""

from __future__ import annotations

import math
import uuid
from functools import lru_cache

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from broker import errors
from broker.errors import BrokerError
from broker.rpc import wire
from broker.rpc.context import Context
from broker.telemetry import Edge, Telemetry

DOMAIN = "broker.v1"
MAX_DETAILS = 6 * 1024
_MAX_MESSAGE = 1000  # bytes: on the wire each that is not ASCII takes three

# The most specific class that matches counts.
STATUSES: dict[type[BaseException], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnknownSystem: grpc.StatusCode.UNAUTHENTICATED,
    errors.NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    errors.Denied: grpc.StatusCode.PERMISSION_DENIED,
    errors.SubjectNotFound: grpc.StatusCode.NOT_FOUND,
    errors.Saturated: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.ProviderUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.AuditUnavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Draining: grpc.StatusCode.UNAVAILABLE,
    errors.ProviderTimeout: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.IntegrityError: grpc.StatusCode.DATA_LOSS,
    errors.NotYetOffered: grpc.StatusCode.UNIMPLEMENTED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
}

_diagnostics = structlog.get_logger("broker.rpc")


def code_of(error: BaseException) -> grpc.StatusCode:
    """The status of an error; INTERNAL for what is not ours."""
    for kind in type(error).__mro__:
        if kind in STATUSES:
            return STATUSES[kind]
    return grpc.StatusCode.INTERNAL


def status_of(error: BaseException) -> status_pb2.Status:
    """The whole status, details included."""
    code = code_of(error)
    if code is grpc.StatusCode.INTERNAL or not isinstance(error, BrokerError):
        return _internal(error)
    if isinstance(error, errors.Saturated) and error.receipt is None:
        quota = error.quota if isinstance(error, errors.QuotaExceeded) else ""
        return _too_much(type(error).__name__, str(error), math.ceil(error.retry_after * 1000), quota)
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=type(error).__name__,
            domain=DOMAIN,
            metadata={"replayed": "true"} if error.replayed else {},
        )
    ]
    if isinstance(error, errors.InvalidRequest):
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.problem)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, errors.Saturated | errors.Draining):
        details.append(_retry_in(math.ceil(error.retry_after * 1000)))
    if isinstance(error, errors.Denied):
        details.append(wire.refusal(error))
    elif error.receipt is not None:
        details.append(wire.receipt(error.receipt))
    return _status(code, str(error), details)


@lru_cache(maxsize=1024)
def _too_much(reason: str, text: str, milliseconds: int, quota: str) -> status_pb2.Status:
    """Made once for many: a flood's refusals must cost next to nothing. Not to be changed by who gets it."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata={"quota": quota} if quota else {})
    code = STATUSES[errors.Saturated]
    return _status(code, text, [info, _retry_in(milliseconds)])


def _retry_in(milliseconds: int) -> error_details_pb2.RetryInfo:
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(milliseconds)
    return error_details_pb2.RetryInfo(retry_delay=delay)


def count(telemetry: Telemetry, error: BaseException, method: str, system: str = "") -> None:
    """Count what was refused before it could be decided on, and has no entry of its own.

    `method` as in `AuditService/Search`; `system` is agency/system, empty where it is not known.
    """
    said = (method, type(error).__name__, system)
    if isinstance(error, BrokerError) and error.receipt is not None:
        return
    if isinstance(error, errors.UnknownSystem):
        telemetry.unauthenticated(Edge.GRPC, *said)
    elif isinstance(error, errors.InvalidRequest):
        telemetry.malformed(Edge.GRPC, *said)
    elif isinstance(error, errors.NotAllowed | errors.Denied):
        telemetry.not_allowed(Edge.GRPC, *said)
    elif isinstance(error, errors.Saturated):
        limit = error.quota if isinstance(error, errors.QuotaExceeded) else "room"
        telemetry.over_quota(Edge.GRPC, system.partition("/")[0], limit, *said)


def refuse(context: Context, error: BaseException) -> None:
    """Have a call end with this error once its handler returns.

    What grpc.aio's own `abort` raises leaves some forty objects that only the collector of garbage finds, and
    everything waits for it; and, until then, all that was sent. Nor does the error keep where it came from.
    """
    status = rpc_status.to_status(status_of(error))
    error.__traceback__ = None
    context.set_code(status.code)
    context.set_details(status.details)
    context.set_trailing_metadata(status.trailing_metadata)


def _internal(error: BaseException) -> status_pb2.Status:
    error_id = uuid.uuid4().hex
    where = errors.frames_of(error)[-12:]
    _diagnostics.error("internal error", error_id=error_id, kind=type(error).__name__, where=where)
    info = error_details_pb2.ErrorInfo(reason="Internal", domain=DOMAIN, metadata={"error_id": error_id})
    text = f"internal error; give the operator this id: {error_id}"
    return _status(grpc.StatusCode.INTERNAL, text, [info])


def _status(code: grpc.StatusCode, text: str, details: list[Message]) -> status_pb2.Status:
    message = text.encode("utf-8", "replace")[:_MAX_MESSAGE].decode("utf-8", "ignore")
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        if status.ByteSize() + packed.ByteSize() <= MAX_DETAILS:
            status.details.append(packed)
    return status
