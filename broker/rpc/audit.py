"""AuditService: consistency for everybody, receipts for who may have them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.audits import Audits
from broker.core.model import Caller
from broker.errors import InvalidRequest
from broker.ports import LogView
from broker.rpc import parse, wire
from broker.rpc.identity import Identity
from broker.rpc.search import search
from broker.rpc.unary import streamed, unary
from broker.searches import Searches
from broker.telemetry import Telemetry
from broker.v1 import audit_pb2 as pb
from broker.v1 import audit_pb2_grpc


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """Parses, asks the use case, answers."""

    def __init__(
        self, audits: Audits, searches: Searches, log: LogView, identity: Identity, telemetry: Telemetry
    ) -> None:
        self.identity = identity
        self.telemetry = telemetry
        self._audits = audits
        self._searches = searches
        self._log = log

    @unary
    async def Consistency(self, request: pb.ConsistencyRequest, caller: Caller) -> pb.ConsistencyResponse:
        """RFC 6962 section 2.1.2, between two sizes of the current log."""
        field = "from"  # a Python keyword, so the attribute is asked for by name
        try:
            proof, checkpoint = await self._log.consistency(getattr(request, field), request.to)
        except KeyError as e:
            raise InvalidRequest("to", "the log is smaller, or from is greater than to") from e
        return pb.ConsistencyResponse(proof=proof, checkpoint=checkpoint)

    @unary
    async def GetReceipt(self, request: pb.GetReceiptRequest, caller: Caller) -> pb.GetReceiptResponse:
        """An entry with its proof; opened, where the caller may see a view and says why."""
        if bool(request.event_id) == request.HasField("index"):
            raise InvalidRequest("event_id", "give exactly one of event_id and index")
        if request.HasField("index"):
            event_id = await self._audits.at(request.index)
        else:
            event_id = parse.identifier("event_id", request.event_id)
        if request.open:
            actor, reason = parse.actor(request.actor), parse.reason(request.reason)
            opened = await self._audits.open(caller, event_id, actor, reason)
        else:
            opened = await self._audits.receipt(caller, event_id)
        return pb.GetReceiptResponse(receipt=wire.receipt(opened.receipt), audience=opened.audience)

    @streamed
    def Search(self, request: pb.SearchRequest, caller: Caller) -> AsyncIterator[pb.SearchPage]:
        """What the caller may see, in pages."""
        return search(self._searches, request, caller)
