"""One table from errors to statuses, in bounds, with nothing in it that should not be."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from broker import errors
from broker.core.entry import Opening
from broker.core.model import Refused
from broker.core.receipt import Receipt
from broker.rpc.errors import MAX_DETAILS, code_of, status_of
from broker.v1 import exchange_pb2

REFUSED = Refused("person", "message", "remedy")
Code = grpc.StatusCode
TABLE: list[tuple[BaseException, grpc.StatusCode]] = [
    (errors.InvalidRequest("purpose", "unknown"), Code.INVALID_ARGUMENT),
    (errors.KeptElsewhere("x", "log", "folder"), Code.INVALID_ARGUMENT),
    (errors.UnknownSystem("x"), Code.UNAUTHENTICATED),
    (errors.RevokedCertificate("x"), Code.UNAUTHENTICATED),
    (errors.NotAllowed("x"), Code.PERMISSION_DENIED),
    (errors.Denied(REFUSED), Code.PERMISSION_DENIED),
    (errors.Referred(REFUSED), Code.PERMISSION_DENIED),
    (errors.Ambiguous(REFUSED), Code.PERMISSION_DENIED),
    (errors.SubjectNotFound("x"), Code.NOT_FOUND),
    (errors.Saturated("x"), Code.RESOURCE_EXHAUSTED),
    (errors.QuotaExceeded("x"), Code.RESOURCE_EXHAUSTED),
    (errors.TookTooLong("x"), Code.RESOURCE_EXHAUSTED),
    (errors.ProviderUnavailable("x"), Code.UNAVAILABLE),
    (errors.AuditUnavailable("x"), Code.UNAVAILABLE),
    (errors.Draining("x"), Code.UNAVAILABLE),
    (errors.Unsettled("x"), Code.UNAVAILABLE),
    (errors.NotWitnessed("x"), Code.UNAVAILABLE),
    (errors.NotTimestamped("x"), Code.UNAVAILABLE),
    (errors.IndexBehind("x"), Code.UNAVAILABLE),
    (errors.ProviderTimeout("x"), Code.DEADLINE_EXCEEDED),
    (errors.IntegrityError("x"), Code.DATA_LOSS),
    (errors.NotYetOffered("x"), Code.UNIMPLEMENTED),
    (errors.Cancelled("x"), Code.CANCELLED),
    (errors.SetupError("x"), Code.INTERNAL),
    (ValueError("Joss Tyson"), Code.INTERNAL),
    (KeyError("Joss Tyson"), Code.INTERNAL),
]
# As large as a receipt gets: a log of 2^40 entries, a note with eight cosignatures.
RECEIPT = Receipt(b"e" * 420, 2**40, (b"p" * 32,) * 40, b"c" * 1400, Opening(b"s" * 32, b"v" * 700))


def named(status: status_pb2.Status, kind: type[Any]) -> Any:
    """The detail of this kind, or None."""
    for each in status.details:
        made = kind()
        if each.Unpack(made):
            return made
    return None


@pytest.mark.parametrize(("error", "code"), TABLE, ids=[type(e).__name__ for e, _ in TABLE])
def test_every_error_has_its_status(error: BaseException, code: grpc.StatusCode) -> None:
    """With an ErrorInfo that names it, and details under the bound even with the largest receipt."""
    assert code_of(error) is code
    if isinstance(error, errors.BrokerError):
        error.receipt = RECEIPT
    status = status_of(error)
    assert status.code == code.value[0]
    assert status.ByteSize() <= MAX_DETAILS
    info = named(status, error_details_pb2.ErrorInfo)
    assert info.domain == "broker.v1"
    assert info.reason == ("Internal" if code is Code.INTERNAL else type(error).__name__)
    if code is Code.INTERNAL:
        assert "Tyson" not in str(status)
        assert info.metadata["error_id"] in status.message
        assert named(status, exchange_pb2.Receipt) is None
    elif isinstance(error, errors.Denied):
        assert named(status, exchange_pb2.Refusal).receipt.entry == RECEIPT.entry
    else:
        assert named(status, exchange_pb2.Receipt).entry == RECEIPT.entry


def test_the_table_is_whole() -> None:
    """Every error class of ours that can reach the edge stands in the table of this test."""
    ours = {e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.BrokerError)}
    elsewhere = {
        errors.BrokerError,
        errors.MappingError,
        errors.NotAgreed,
        errors.UnsoundAnswer,
        errors.LinkLost,
        errors.CannotConnect,
        errors.KeyDestroyed,
        errors.KeyMissing,
        errors.KeyUnknown,
    }
    assert ours - elsewhere == {type(e) for e, _ in TABLE} - {ValueError, KeyError}


@pytest.mark.parametrize("text", ["\N{FIRE ENGINE}" * 5000, "é" * 5000, "x" * 50_000])
def test_long_texts_are_cut_by_bytes(text: str) -> None:
    """What a caller sent may stand in a message; on the wire it must still fit in a header."""
    status = status_of(errors.InvalidRequest("file", text))
    assert len(status.message.encode()) <= 1000
    assert status.ByteSize() <= MAX_DETAILS


def test_a_replay_says_so() -> None:
    """A client knows that the status is an earlier one."""
    error = errors.SubjectNotFound("x")
    error.replayed = True
    assert named(status_of(error), error_details_pb2.ErrorInfo).metadata["replayed"] == "true"


def test_a_field_and_a_delay_stand_among_the_details() -> None:
    """BadRequest and RetryInfo, as clients expect them."""
    violations = named(status_of(errors.InvalidRequest("purpose", "unknown")), error_details_pb2.BadRequest)
    assert violations.field_violations[0].field == "purpose"
    delay = named(status_of(errors.Saturated("x", 2.5)), error_details_pb2.RetryInfo).retry_delay
    assert (delay.seconds, delay.nanos) == (2, 500_000_000)
