"""DirectoryService: agencies, systems and record types."""

from __future__ import annotations

from broker.core.model import Caller, Function
from broker.enrolling import people
from broker.errors import InvalidRequest
from broker.ports import Clock, ReferenceSource
from broker.registry import Registry
from broker.rpc import parse, parse_agency, signed, wire
from broker.rpc.identity import Identity
from broker.rpc.unary import heavy, unary
from broker.signing import SigningKeys
from broker.telemetry import Telemetry
from broker.v1 import directory_pb2 as pb
from broker.v1 import directory_pb2_grpc


class DirectoryServicer(directory_pb2_grpc.DirectoryServiceServicer):
    """Parses, asks the registry, answers."""

    def __init__(
        self,
        registry: Registry,
        reference: ReferenceSource,
        clock: Clock,
        identity: Identity,
        telemetry: Telemetry,
        signing: SigningKeys,
    ) -> None:
        self.identity = identity
        self.telemetry = telemetry
        self._registry = registry
        self._reference = reference
        self._clock = clock
        self._signing = signing

    @unary
    async def AddAgency(self, request: pb.AddAgencyRequest, caller: Caller) -> pb.AddAgencyResponse:
        """Operators only."""
        agency = parse_agency.agency(request.agency, self._clock.now())
        made = await self._registry.add_agency(caller, agency, parse_agency.somebody(request))
        return pb.AddAgencyResponse(event_id=made.event_id)

    @heavy
    async def ListAgencies(self, request: pb.ListAgenciesRequest, caller: Caller) -> pb.ListAgenciesResponse:
        """Open to every enrolled system."""
        reference = await self._reference.refresh()
        agencies = sorted(reference.agencies.values(), key=lambda a: a.id)
        return pb.ListAgenciesResponse(agencies=[wire.agency(a) for a in agencies])

    @unary
    async def EnrolSystem(self, request: pb.EnrolSystemRequest, caller: Caller) -> pb.EnrolSystemResponse:
        """Operators only; by two, where there are two."""
        made, waits = await self._registry.enrol(
            caller,
            parse.agency_id("agency", request.agency),
            parse.agency_id("system", request.system),
            parse_agency.function(request.function),
            parse.key_digest("key_digest", request.key_digest),
            parse.when("valid_from", request, "valid_from"),
            parse.when("valid_until", request, "valid_until"),
            parse_agency.somebody(request),
            parse_agency.roles(request.roles),
            whose=parse_agency.whose(request.whose),
        )
        return pb.EnrolSystemResponse(event_id=made.event_id, proposed=waits)

    @unary
    async def SuspendSystem(self, request: pb.SuspendSystemRequest, caller: Caller) -> pb.SuspendSystemResponse:
        """Operators only."""
        made = await self._registry.suspend(
            caller,
            parse.agency_id("agency", request.agency),
            parse.agency_id("system", request.system),
            parse.text("reason", request.reason, 500),
            request.lift,
            parse_agency.somebody(request),
        )
        return pb.SuspendSystemResponse(event_id=made.event_id)

    @unary
    async def RevokeKey(self, request: pb.RevokeKeyRequest, caller: Caller) -> pb.RevokeKeyResponse:
        """Operators only."""
        made = await self._registry.revoke(
            caller,
            parse.agency_id("agency", request.agency),
            parse.agency_id("system", request.system),
            parse.key_digest("key_digest", request.key_digest),
            parse.text("reason", request.reason, 500),
            parse_agency.somebody(request),
        )
        return pb.RevokeKeyResponse(event_id=made.event_id)

    @heavy
    async def ListSystems(self, request: pb.ListSystemsRequest, caller: Caller) -> pb.ListSystemsResponse:
        """A partner sees its own agency's."""
        reference = await self._reference.refresh()
        own_only = caller.function is Function.PARTNER
        systems = [
            s
            for s in reference.systems.values()
            if request.agency in ("", s.agency) and (not own_only or s.agency == caller.agency)
        ]
        found = sorted(systems, key=lambda s: s.name)
        return pb.ListSystemsResponse(systems=[wire.system(s, people(reference, s)) for s in found])

    @unary
    async def ApproveRecordType(
        self, request: pb.ApproveRecordTypeRequest, caller: Caller
    ) -> pb.ApproveRecordTypeResponse:
        """Operators only."""
        if not request.descriptor_set:
            raise InvalidRequest("descriptor_set", "is required")
        record_type, made = await self._registry.approve(
            caller, request.full_name, request.descriptor_set, parse_agency.somebody(request)
        )
        return pb.ApproveRecordTypeResponse(
            record_type=wire.record_type(record_type, None), event_id=made.event_id if made else ""
        )

    @heavy
    async def ListRecordTypes(
        self, request: pb.ListRecordTypesRequest, caller: Caller
    ) -> pb.ListRecordTypesResponse:
        """Open to every enrolled system: adapters learn digests here."""
        await self._reference.refresh()
        versions = self._reference.catalogue.versions(request.full_name)
        found = [wire.record_type(v.record_type, v.approved_at) for v in versions]
        if request.full_name and found:
            found[-1].descriptor_set = versions[-1].record_type.descriptor_set
        return pb.ListRecordTypesResponse(record_types=found)

    @unary
    async def EnrolAgencyKey(
        self, request: pb.EnrolAgencyKeyRequest, caller: Caller
    ) -> pb.EnrolAgencyKeyResponse:
        """Operators only."""
        key = signed.signing_key(request, self._signing.today())
        endorsement = signed.endorsement(request, key)
        stored, made = await self._signing.enrol(caller, key, endorsement, parse.actor(request.actor))
        message = signed.key_message(stored, self._signing.today())
        return pb.EnrolAgencyKeyResponse(key=message, event_id=made.event_id)

    @heavy
    async def ListAgencyKeys(
        self, request: pb.ListAgencyKeysRequest, caller: Caller
    ) -> pb.ListAgencyKeysResponse:
        """Open to every enrolled system: by which keys each agency signs is for all to know."""
        reference = await self._reference.refresh()
        keys = [
            signed.key_message(key, self._signing.today())
            for agency in sorted(reference.signing_keys)
            for key in reference.signing_keys[agency]
            if request.agency in ("", agency)
        ]
        return pb.ListAgencyKeysResponse(keys=keys)

    @unary
    async def EndAgencyKey(self, request: pb.EndAgencyKeyRequest, caller: Caller) -> pb.EndAgencyKeyResponse:
        """Operators only."""
        made = await self._signing.end(
            caller,
            parse.agency_id("agency", request.agency),
            parse.key_digest("key_id", request.key_id),
            parse.text("reason", request.reason, 500),
            parse.actor(request.actor),
        )
        return pb.EndAgencyKeyResponse(event_id=made.event_id)
