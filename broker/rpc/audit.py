"""AuditService: consistency for everybody, receipts for who may have them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from broker.audits import Audits
from broker.core.model import Caller
from broker.errors import InvalidRequest
from broker.explanations import Explanations
from broker.exports import Exports
from broker.late import LateRecords
from broker.limits import Limits
from broker.replays import Replays
from broker.rotations import Rotations
from broker.rpc import explain, parse, wire
from broker.rpc.export import export
from broker.rpc.identity import Identity
from broker.rpc.parse_late import late
from broker.rpc.search import search
from broker.rpc.unary import heavy, streamed, unary
from broker.searches import Searches
from broker.telemetry import Telemetry
from broker.v1 import audit_pb2 as pb
from broker.v1 import audit_pb2_grpc

_NAME = 512


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """Parses, asks the use case, answers."""

    def __init__(
        self,
        audits: Audits,
        searches: Searches,
        rotations: Rotations,
        identity: Identity,
        telemetry: Telemetry,
        explanations: Explanations,
        replays: Replays,
        exports: Exports,
        late: LateRecords,
        limits: Limits,
    ) -> None:
        self.identity = identity
        self.telemetry = telemetry
        self._audits = audits
        self._searches = searches
        self._rotations = rotations
        self._explanations = explanations
        self._replays = replays
        self._exports = exports
        self._late = late
        self._limits = limits

    @unary
    async def Consistency(self, request: pb.ConsistencyRequest, caller: Caller) -> pb.ConsistencyResponse:
        """RFC 6962 section 2.1.2, between two sizes of a log."""
        field = "from"  # a Python keyword, so the attribute is asked for by name
        sizes = getattr(request, field), request.to
        try:
            proof, checkpoint = await self._rotations.consistency(request.log, *sizes)
        except KeyError as e:
            raise InvalidRequest("to", "the log is smaller, or from is greater than to") from e
        return pb.ConsistencyResponse(proof=proof, checkpoint=checkpoint)

    @unary
    async def GetReceipt(self, request: pb.GetReceiptRequest, caller: Caller) -> pb.GetReceiptResponse:
        """An entry with its proof; opened, where the caller may see a view and says why."""
        event_id = await self._named(request)
        if request.witnessed and request.timestamped:
            raise InvalidRequest("timestamped", "ask for one of witnessed and timestamped at a time")
        if request.open:
            actor, reason = parse.actor(request.actor), parse.reason(request.reason)
            opened = await self._audits.open(caller, event_id, actor, reason, archived=request.archived)
        else:
            opened = await self._audits.receipt(caller, event_id, archived=request.archived)
        if request.witnessed:
            opened = await self._audits.witnessed(opened)
        elif request.timestamped:
            opened = await self._audits.timestamped(opened)
        return pb.GetReceiptResponse(
            receipt=wire.receipt(opened.receipt), audience=opened.audience, timestamp=opened.timestamp
        )

    @streamed
    def Search(self, request: pb.SearchRequest, caller: Caller) -> AsyncIterator[pb.SearchPage]:
        """What the caller may see, in pages."""
        return search(self._searches, request, caller)

    @streamed
    def Export(self, request: pb.ExportRequest, caller: Caller) -> AsyncIterator[pb.ExportPage]:
        """What the caller may see, to take away."""
        return export(self._exports, request, caller)

    @unary
    async def ExplainEntry(self, request: pb.ExplainEntryRequest, caller: Caller) -> pb.ExplainEntryResponse:
        """Why an entry's request was decided so, to whom it is to be told."""
        event_id = await self._named(request)
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        told = await self._explanations.of_entry(caller, event_id, actor, reason)
        return pb.ExplainEntryResponse(explanation=explain.message(told))

    @streamed
    async def ReplayDecisions(
        self, request: pb.ReplayDecisionsRequest, caller: Caller
    ) -> AsyncIterator[pb.ReplayDecisionsResponse]:
        """Auditors only."""
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        if max(request.since, request.until) >= 1 << 63:
            raise InvalidRequest("since", "the log has fewer entries; places are counted from 0")
        log = parse.text("log", request.log, _NAME)
        async for progress in self._replays.log(caller, request.since, request.until, actor, reason, log):
            yield explain.progress(progress)

    @heavy
    async def RecordLate(self, request: pb.RecordLateRequest, caller: Caller) -> pb.RecordLateResponse:
        """All of them, or none; each counts as a request."""
        now = asyncio.get_running_loop().time()
        for _ in request.records:
            self._limits.spend(caller.agency, now)
        lates = await late(request)
        if request.check_only:
            return pb.RecordLateResponse(warnings=await self._late.check(caller, lates))
        made = await self._late.record(caller, lates, parse.actor(request.actor))
        return pb.RecordLateResponse(
            recorded=[
                pb.RecordedLate(
                    id=each.id,
                    event_id=each.event_id,
                    receipt=wire.receipt(each.receipt),
                    replayed=each.replayed,
                )
                for each in made
            ]
        )

    @unary
    async def AliasIncident(self, request: pb.AliasIncidentRequest, caller: Caller) -> pb.AliasIncidentResponse:
        """A word of the agency that gave one of the numbers; it counts as a look."""
        made = await self._searches.incidents.say(
            caller,
            parse.incident(request.incident),
            parse.incident(request.also, "also"),
            not request.not_the_same,
            parse.actor(request.actor),
            parse.reason(request.reason),
        )
        return pb.AliasIncidentResponse(event_id=made.event_id)

    async def _named(self, request: pb.GetReceiptRequest | pb.ExplainEntryRequest) -> str:
        """The id of the entry that is asked for."""
        if bool(request.event_id) == request.HasField("index"):
            raise InvalidRequest("event_id", "give exactly one of event_id and index")
        if request.HasField("index"):
            log = parse.text("log", request.log, _NAME) if isinstance(request, pb.GetReceiptRequest) else ""
            return await self._audits.at(request.index, log)
        return parse.identifier("event_id", request.event_id)
