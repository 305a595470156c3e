"""What a status means to the caller, and a sentence where the broker cannot be reached."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from broker.client.failures import read_call, read_status
from broker.errors import (
    AuditUnavailable,
    BrokerError,
    CannotConnect,
    IntegrityError,
    InvalidRequest,
    NotAllowed,
    NotWitnessed,
    NotYetOffered,
    ProviderTimeout,
    ProviderUnavailable,
    QuotaExceeded,
    RevokedCertificate,
    Saturated,
    SetupError,
    UnknownSystem,
    Unsettled,
)
from broker.pki.folder import CertificateFolder
from broker.v1 import exchange_pb2 as wire
from tests.client.conftest import ASK, Setup, rich

Code = grpc.StatusCode
FIELD = error_details_pb2.BadRequest(
    field_violations=[error_details_pb2.BadRequest.FieldViolation(field="subject.value", description="odd")]
)
RETRY = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000))
CASES: list[tuple[grpc.StatusCode, str, tuple[Message, ...], type[BrokerError]]] = [
    (Code.INVALID_ARGUMENT, "InvalidRequest", (FIELD,), InvalidRequest),
    (Code.UNAUTHENTICATED, "UnknownSystem", (), UnknownSystem),
    (Code.UNAUTHENTICATED, "RevokedCertificate", (), RevokedCertificate),
    (Code.PERMISSION_DENIED, "NotAllowed", (), NotAllowed),
    (Code.RESOURCE_EXHAUSTED, "Saturated", (RETRY,), Saturated),
    (Code.RESOURCE_EXHAUSTED, "QuotaExceeded", (RETRY,), QuotaExceeded),
    (Code.UNAVAILABLE, "ProviderUnavailable", (), ProviderUnavailable),
    (Code.UNAVAILABLE, "AuditUnavailable", (), AuditUnavailable),
    (Code.UNAVAILABLE, "Unsettled", (), Unsettled),
    (Code.UNAVAILABLE, "NotWitnessed", (), NotWitnessed),
    (Code.DEADLINE_EXCEEDED, "ProviderTimeout", (), ProviderTimeout),
    (Code.DATA_LOSS, "IntegrityError", (), IntegrityError),
    (Code.UNIMPLEMENTED, "NotYetOffered", (), NotYetOffered),
    (Code.INTERNAL, "BrokerError", (), BrokerError),
]


@pytest.mark.parametrize("unary", [False, True], ids=["stream", "unary"])
async def test_every_status_comes_back_as_the_error_it_was(setup: Setup, unary: bool) -> None:
    """Codes and details on the wire turn into the classes they were made from, over both ways."""
    async with setup.client(unary=unary) as client:
        await client.request(**ASK)
        for code, reason, details, kind in CASES:
            status = rich(code, reason, *details, message="told so")
            setup.broker.answer = lambda request, status=status: wire.Outcome(
                request_id=request.request_id, error=status
            )
            with pytest.raises(BrokerError) as caught:
                await client.request(**ASK)
            assert type(caught.value) is kind, reason
            if isinstance(caught.value, InvalidRequest):
                assert (caught.value.field, caught.value.problem) == ("subject.value", "odd")
            elif isinstance(caught.value, Saturated):
                assert caught.value.retry_after == 2.5
            else:
                assert str(caught.value) == "told so"


async def test_a_stream_that_is_turned_away_for_good_says_why(setup: Setup) -> None:
    """A suspended system is told so at once, in place of reconnecting until time runs out."""

    async def suspended(message: object, context: Any) -> None:
        status = rich(Code.UNAUTHENTICATED, "RevokedCertificate", message="suspended")
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        await context.abort(Code.UNAUTHENTICATED, "suspended")

    setup.broker.before_reply = suspended
    async with setup.client() as client:
        with pytest.raises(RevokedCertificate, match="suspended"):
            await client.request(**ASK, timeout=20)
    assert setup.broker.streams == 1


def test_details_of_another_status_are_passed_over() -> None:
    """Rich details that belong to another code than the call's own say nothing of it."""
    other = rich(Code.UNAUTHENTICATED, "RevokedCertificate").SerializeToString()
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", other))
    call = grpc.aio.AioRpcError(Code.UNAVAILABLE, grpc.aio.Metadata(), trailing, "away")
    failure = read_call(call)
    assert type(failure.error) is CannotConnect
    assert not failure.from_broker


def test_details_of_another_domain_are_not_ours() -> None:
    """A proxy's own ErrorInfo does not pass for the broker's word."""
    status = rich(Code.UNAVAILABLE, "AuditUnavailable")
    info = error_details_pb2.ErrorInfo(reason="AuditUnavailable", domain="proxy.example")
    status.details[0].Pack(info)
    failure = read_status(status)
    assert type(failure.error) is CannotConnect
    assert not failure.from_broker


def test_words_from_the_wire_cannot_drive_a_terminal() -> None:
    """Control characters are replaced and text is cut."""
    text = str(read_status(rich(Code.INTERNAL, "BrokerError", message="\x1b[2J" + "x" * 10_000)).error)
    assert text.isprintable()
    assert len(text) <= 500


def test_a_delay_of_no_sense_is_brought_within_bounds() -> None:
    """A retry delay past any calendar, or before now, is a delay of at most an hour and at least nothing."""
    for seconds, given in ((1 << 62, 3600.0), (-(1 << 62), 0.0)):
        odd = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds))
        error = read_status(rich(Code.RESOURCE_EXHAUSTED, "Saturated", odd)).error
        assert isinstance(error, Saturated)
        assert error.retry_after == given


def test_details_that_do_not_parse_are_passed_over() -> None:
    """A broken detail is no detail, and never an exception of another kind."""
    status = rich(Code.RESOURCE_EXHAUSTED, "Saturated", RETRY)
    status.details[1].value = b"\xff\xff"
    error = read_status(status).error
    assert isinstance(error, Saturated)
    assert error.retry_after == 1.0


@pytest.mark.parametrize("unary", [False, True], ids=["stream", "unary"])
async def test_nothing_listening_is_said_in_a_sentence(setup: Setup, unary: bool) -> None:
    """The first failure of a client's life is looked into and explained."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        setup.port = taken.getsockname()[1]
    async with setup.client(unary=unary) as client:
        with pytest.raises(CannotConnect, match="nothing listens at localhost"):
            await client.request(**ASK)


@pytest.mark.parametrize("unary", [False, True], ids=["stream", "unary"])
async def test_a_certificate_that_is_turned_away_is_said_in_a_sentence(
    setup: Setup, tmp_path: Path, unary: bool
) -> None:
    """A certificate of another authority, or one that has expired, is named as the reason."""
    long_ago = datetime.now(UTC) - timedelta(days=200)
    others = CertificateFolder(tmp_path / "others")
    others.init("blue-light.test", long_ago)
    stranger = others.issue_client("cfrs", "mdt", datetime.now(UTC))
    files = {"cert": stranger / "cert.pem", "key": stranger / "key.pem"}
    async with setup.client(unary=unary, **files) as client:
        with pytest.raises(CannotConnect, match="turned our certificate away: it does not lead"):
            await client.request(**ASK)
    async with setup.client(unary=unary, ca=others.ca) as client:
        with pytest.raises(CannotConnect, match="does not come from the authority"):
            await client.request(**ASK)


async def test_files_that_do_not_hold_together_are_refused_before_dialling(
    setup: Setup, tmp_path: Path
) -> None:
    """A missing key or another's is a SetupError when the client is opened."""
    with pytest.raises(SetupError, match="cannot read"):
        await setup.client(key=tmp_path / "none.pem").__aenter__()
    with pytest.raises(SetupError, match="is not the key of"):
        await setup.client(key=setup.certs / "broker" / "key.pem").__aenter__()
    assert setup.broker.streams == 0


@pytest.mark.parametrize("unary", [False, True], ids=["stream", "unary"])
@pytest.mark.parametrize(
    ("code", "kind"), [(Code.UNAVAILABLE, NotWitnessed), (Code.RESOURCE_EXHAUSTED, Saturated)]
)
async def test_a_record_that_was_kept_back_can_be_had_later(
    setup: Setup, unary: bool, code: Code, kind: type[BrokerError]
) -> None:
    """The error carries the verified receipt of the release that did not happen; asked again, it comes."""

    def kept_back(request: wire.RecordRequest) -> wire.Outcome | None:
        setup.broker.disclose(request)
        receipt = setup.broker.receipt(setup.broker.claims[request.request_id])
        receipt.checkpoint = setup.broker.log.note()
        status = rich(code, kind.__name__, receipt)
        return wire.Outcome(request_id=request.request_id, error=status)

    setup.broker.answer = kept_back
    request_id = "3f0e8f5e-6f0a-4a53-9d37-0b8b2f7c1a11"
    async with setup.client(unary=unary) as broker:
        with pytest.raises(kind) as caught:
            await broker.request(**ASK, request_id=request_id)
        assert caught.value.receipt is not None
        setup.broker.answer = None
        disclosure = await broker.request(**ASK, request_id=request_id)
    assert disclosure.earlier is not None
    assert disclosure.earlier.entry == caught.value.receipt.entry
    assert setup.broker.requests[-1].retry_of == request_id
