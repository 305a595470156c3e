"""What the port counts of calls that it refuses: by method, status and system, and of whom it does not know."""

from __future__ import annotations

import uuid

import grpc
import pytest

from broker.core.model import Function
from broker.refused import Refused
from broker.v1 import audit_pb2, audit_pb2_grpc, directory_pb2, directory_pb2_grpc, exchange_pb2
from tests.rpc.conftest import Edge
from tests.support.values import AT_THE_DESK


async def refused(call: grpc.aio.UnaryUnaryCall) -> grpc.StatusCode:
    """The status of a call that is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_each_refusal_is_counted_where_it_happened(edge: Edge) -> None:
    """For its form, for who asks, for an unknown certificate, and for one that was suspended."""
    await refused(edge.exchange().Request(exchange_pb2.RecordRequest()))
    await refused(
        directory_pb2_grpc.DirectoryServiceStub(edge.channel()).AddAgency(
            directory_pb2.AddAgencyRequest(
                actor=AT_THE_DESK, agency=directory_pb2.Agency(id="x", name="X", kind="fire")
            )
        )
    )
    search = audit_pb2_grpc.AuditServiceStub(edge.channel("operator-cli")).Search(audit_pb2.SearchRequest())
    with pytest.raises(grpc.aio.AioRpcError):
        async for _ in search:
            pass
    stranger = audit_pb2_grpc.AuditServiceStub(edge.channel("nwas-new"))
    await refused(stranger.GetReceipt(audit_pb2.GetReceiptRequest()))
    await edge.enrol("cfrs-cad", Function.PARTNER, suspended=True)
    await refused(edge.exchange("cfrs-cad").Request(exchange_pb2.RecordRequest()))
    assert edge.telemetry.refused.take() == {
        Refused("ExchangeService/Request", "INVALID_ARGUMENT", "InvalidRequest", "nwas/cad"): 1,
        Refused("DirectoryService/AddAgency", "PERMISSION_DENIED", "NotAllowed", "nwas/cad"): 1,
        Refused("AuditService/Search", "INVALID_ARGUMENT", "InvalidRequest", "operator/cli"): 1,
        Refused("AuditService/GetReceipt", "UNAUTHENTICATED", "UnknownSystem", ""): 1,
        Refused("ExchangeService/Request", "UNAUTHENTICATED", "RevokedCertificate", "cfrs/cad"): 1,
    }


async def test_a_refusal_with_an_entry_is_not_counted_too(edge: Edge) -> None:
    """The log has it already."""
    asked = exchange_pb2.RecordRequest(
        request_id=str(uuid.uuid4()),
        record_type="records.fire.v1.PremisesRisk",
        provider="cfrs",
        subject=exchange_pb2.SubjectRef(scheme="uprn", value="10000000001"),
        purpose="direct-care",
        actor=exchange_pb2.Actor(id="ann", role="ambulance-crew"),
    )
    assert await refused(edge.exchange().Request(asked)) is grpc.StatusCode.PERMISSION_DENIED
    assert edge.telemetry.refused.take() == {}
