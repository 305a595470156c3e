"""RotationService: operators rotate the log and drop what was exported, everybody can follow."""

from __future__ import annotations

from broker.core.model import Caller
from broker.errors import InvalidRequest
from broker.partitions import Partitions
from broker.rotations import Planned, Rotations
from broker.rpc import parse, parse_agency
from broker.rpc.identity import Identity
from broker.rpc.unary import unary
from broker.telemetry import Telemetry
from broker.v1 import rotation_pb2 as pb
from broker.v1 import rotation_pb2_grpc

_NAME = 512


class RotationServicer(rotation_pb2_grpc.RotationServiceServicer):
    """Parses, asks the use case, answers."""

    def __init__(
        self, rotations: Rotations, partitions: Partitions, identity: Identity, telemetry: Telemetry
    ) -> None:
        self.identity = identity
        self.telemetry = telemetry
        self._rotations = rotations
        self._partitions = partitions

    @unary
    async def Rotate(self, request: pb.RotateRequest, caller: Caller) -> pb.RotateResponse:
        """Operators only."""
        if request.dry_run:
            return _message(await self._rotations.plan(caller))
        log = parse.text("log", request.log, _NAME)
        actor, reason = parse_agency.somebody(request), parse.reason(request.reason)
        done = await self._rotations.rotate(caller, log, early=request.early, actor=actor, reason=reason)
        return _message(done)

    @unary
    async def Follow(self, request: pb.FollowRequest, caller: Caller) -> pb.FollowResponse:
        """Every enrolled system."""
        if request.size >= 1 << 63:
            raise InvalidRequest("size", "no log has so many entries")
        link = await self._rotations.follow(parse.text("log", request.log, _NAME), request.size)
        return pb.FollowResponse(
            last=link.last,
            last_proof=link.last_proof,
            final=link.final,
            consistency=link.consistency,
            first=link.first,
            first_proof=link.first_proof,
            head=link.head,
        )

    @unary
    async def DropPartition(self, request: pb.DropPartitionRequest, caller: Caller) -> pb.DropPartitionResponse:
        """Operators only."""
        if request.partition >= 1 << 47:
            raise InvalidRequest("partition", "no log has so many entries")
        made = await self._partitions.drop(
            caller,
            parse.text("log", request.log, _NAME),
            request.partition,
            parse.text("digest", request.digest, 64),
            parse.text("place", request.place, 500),
            parse_agency.somebody(request),
            parse.reason(request.reason),
        )
        return pb.DropPartitionResponse(event_id=made.event_id)


def _message(planned: Planned) -> pb.RotateResponse:
    return pb.RotateResponse(
        log=planned.log,
        size=planned.size,
        due=planned.due,
        next=planned.next,
        vkey=planned.vkey,
        lacking=planned.lacking,
        event_id=planned.event_id,
    )
