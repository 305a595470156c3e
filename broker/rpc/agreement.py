"""AgreementService: applying, listing and suspending agreements."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.agreements import Agreements, Listed
from broker.core.model import Caller
from broker.errors import InvalidRequest
from broker.plans import Plans, Sample
from broker.rpc import parse, parse_agency, plan, signed, wire
from broker.rpc.identity import Identity
from broker.rpc.unary import heavy, streamed, unary
from broker.suspensions import Suspensions
from broker.telemetry import Telemetry
from broker.v1 import agreement_pb2 as pb
from broker.v1 import agreement_pb2_grpc


class AgreementServicer(agreement_pb2_grpc.AgreementServiceServicer):
    """Parses, asks the use case, answers."""

    def __init__(
        self,
        agreements: Agreements,
        suspensions: Suspensions,
        identity: Identity,
        telemetry: Telemetry,
        plans: Plans,
    ) -> None:
        self.identity = identity
        self.telemetry = telemetry
        self._agreements = agreements
        self._suspensions = suspensions
        self._plans = plans

    @unary
    async def ApplyAgreement(
        self, request: pb.ApplyAgreementRequest, caller: Caller
    ) -> pb.ApplyAgreementResponse:
        """Operators only."""
        if not request.file:
            raise InvalidRequest("file", "is required")
        signatures = [signed.signature(s, f"signatures.{n}") for n, s in enumerate(request.signatures)]
        actor = parse_agency.somebody(request)
        listed, made = await self._agreements.apply(caller, request.file, signatures, actor)
        return pb.ApplyAgreementResponse(agreement=_wire(listed), event_id=made.event_id)

    @heavy
    async def ListAgreements(
        self, request: pb.ListAgreementsRequest, caller: Caller
    ) -> pb.ListAgreementsResponse:
        """A partner sees those it is party to; of one that is asked for by id, the file too."""
        if request.version and not request.id:
            raise InvalidRequest("version", "goes with an id")
        if request.id:
            if request.all_versions:
                raise InvalidRequest("all_versions", "goes without an id; name a version")
            one = await self._agreements.shown_to(caller, request.id, request.version)
            return pb.ListAgreementsResponse(agreements=[_wire(one)])
        listed = await self._agreements.visible_to(caller, all_versions=request.all_versions)
        return pb.ListAgreementsResponse(agreements=[_wire(each) for each in listed])

    @streamed
    async def PlanAgreement(
        self, request: pb.PlanAgreementRequest, caller: Caller
    ) -> AsyncIterator[pb.PlanAgreementResponse]:
        """Operators and auditors."""
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        sample = Sample(request.entries, request.days)
        first = True
        async for planned in self._plans.plan(caller, request.files, sample, actor, reason):
            yield plan.message(planned, changes=first, flips=request.list)
            first = False

    @unary
    async def SuspendAgreement(
        self, request: pb.SuspendAgreementRequest, caller: Caller
    ) -> pb.SuspendAgreementResponse:
        """A party for its own agreement, or an operator."""
        agreement = parse.agency_id("id", request.id)
        reason = parse.text("reason", request.reason, 500)
        if not reason:
            raise InvalidRequest("reason", "is required: the other parties read it")
        actor = parse.actor(request.actor)
        change = self._suspensions.lift if request.lift else self._suspensions.suspend
        made = await change(caller, agreement, reason, actor)
        listed = await self._agreements.shown_to(caller, agreement)
        return pb.SuspendAgreementResponse(agreement=_wire(listed), event_id=made.event_id)


def _wire(listed: Listed) -> pb.Agreement:
    message = wire.agreement(listed.agreement, listed.digest, listed.status)
    message.valid_until.FromDatetime(listed.ends)
    message.file = listed.file
    message.lineage.extend(listed.lineage)
    message.superseded_by = listed.successor
    message.signatures.extend(signed.signature_message(each) for each in listed.signatures)
    for each in listed.suspensions:
        stop = message.suspensions.add(
            agency=each.agency, system=each.system, reason=each.reason, operator=each.operator
        )
        stop.suspended_at.FromDatetime(each.at)
    return message
