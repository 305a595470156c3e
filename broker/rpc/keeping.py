"""KeepingService: legal holds, erasures by two people, retention, and what removes erased bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.administration import Made
from broker.core.model import Caller, Function, SubjectRef
from broker.core.retention import MAX_FILE
from broker.core.retention import parse as parse_policy
from broker.erasing import ErasurePlans
from broker.erasureplans import ErasurePlan
from broker.erasures import Erasures
from broker.errors import InvalidRequest
from broker.givenup import Erasable, What
from broker.holds import Holds
from broker.keeping import Hold
from broker.registry import require
from broker.retention import Due, Retention
from broker.rpc import parse, wire
from broker.rpc.identity import Identity
from broker.rpc.unary import heavy, streamed, unary
from broker.scrubbing import Scrubs
from broker.telemetry import Telemetry
from broker.v1 import keeping_pb2 as pb
from broker.v1 import keeping_pb2_grpc

_REFERENCE = 100


class KeepingServicer(keeping_pb2_grpc.KeepingServiceServicer):
    """Parses, asks the use cases, answers."""

    def __init__(
        self,
        holds: Holds,
        erasures: Erasures,
        plans: ErasurePlans,
        retention: Retention,
        scrubs: Scrubs,
        identity: Identity,
        telemetry: Telemetry,
    ) -> None:
        self.identity = identity
        self.telemetry = telemetry
        self._holds = holds
        self._erasures = erasures
        self._plans = plans
        self._retention = retention
        self._scrubs = scrubs

    @unary
    async def PlaceHold(self, request: pb.PlaceHoldRequest, caller: Caller) -> pb.PlaceHoldResponse:
        """By a named human of the controller."""
        what = _what(request)
        reference = parse.text("reference", request.reference, _REFERENCE)
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        hold, made = await self._holds.place(caller, what, reference, actor, reason)
        covers = await self._holds.covers(caller, what, made)
        return pb.PlaceHoldResponse(hold_id=hold, receipt=wire.receipt(made.receipt), covers=covers)

    @unary
    async def ReleaseHold(self, request: pb.ReleaseHoldRequest, caller: Caller) -> pb.ReleaseHoldResponse:
        """By the same."""
        hold = parse.identifier("hold_id", request.hold_id)
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        made = await self._holds.release(caller, hold, actor, reason)
        return pb.ReleaseHoldResponse(receipt=wire.receipt(made.receipt))

    @heavy
    async def ListHolds(self, request: pb.ListHoldsRequest, caller: Caller) -> pb.ListHoldsResponse:
        """Those of the caller's own agency."""
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        found, made = await self._holds.listed(caller, actor, reason)
        return pb.ListHoldsResponse(holds=[_hold(each) for each in found], receipt=wire.receipt(made.receipt))

    @heavy
    async def ErasePerson(self, request: pb.ErasePersonRequest, caller: Caller) -> pb.ErasePersonResponse:
        """A look, and nothing but that."""
        what = _erased(request)
        if request.confirmed:
            raise InvalidRequest(
                "confirmed", "an erasure takes two people: PlanErasure, and ConfirmErasure by somebody else"
            )
        who = parse.actor(request.actor), parse.reason(request.reason)
        told, made = await self._erasures.planned(caller, what, *who, words_only=request.words_only)
        return _told(told, (made,))

    @heavy
    async def PlanErasure(self, request: pb.PlanErasureRequest, caller: Caller) -> pb.PlanErasureResponse:
        """By the first person."""
        what, ground = _erased(request), parse.text("ground", request.ground, _REFERENCE)
        who = parse.actor(request.actor), parse.reason(request.reason)
        plan, told, made = await self._plans.plan(caller, what, ground, *who, words_only=request.words_only)
        return pb.PlanErasureResponse(
            plan_id=plan.id, until=wire.timestamp(self._plans.until(plan)), would=_told(told, (made,))
        )

    @heavy
    async def ConfirmErasure(self, request: pb.ConfirmErasureRequest, caller: Caller) -> pb.ErasePersonResponse:
        """By the second."""
        plan = parse.identifier("plan_id", request.plan_id)
        person = parse.subject(request.person, "person") if request.HasField("person") else None
        who = parse.actor(request.actor), parse.reason(request.reason)
        return _told(*await self._plans.confirm(caller, plan, person, *who))

    @unary
    async def EndErasure(self, request: pb.EndErasureRequest, caller: Caller) -> pb.EndErasureResponse:
        """By anybody of the agency."""
        plan = parse.identifier("plan_id", request.plan_id)
        exemption = parse.text("exemption", request.exemption, _REFERENCE)
        who = parse.actor(request.actor), parse.reason(request.reason)
        made = await self._plans.end(caller, plan, exemption, *who)
        return pb.EndErasureResponse(receipt=wire.receipt(made.receipt))

    @unary
    async def ListErasures(self, request: pb.ListErasuresRequest, caller: Caller) -> pb.ListErasuresResponse:
        """Those of the caller's own agency."""
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        found, made = await self._plans.listed(caller, actor, reason)
        return pb.ListErasuresResponse(
            plans=[_plan(each, self._plans) for each in found], receipt=wire.receipt(made.receipt)
        )

    @heavy
    async def PlanRetention(self, request: pb.PlanRetentionRequest, caller: Caller) -> pb.PlanRetentionResponse:
        """Counts; nothing about anybody."""
        require(caller, Function.OPERATOR)  # before a file is read
        policy = self._retention.policy
        if request.policy:
            if len(request.policy) > MAX_FILE:
                raise InvalidRequest("policy", f"over {MAX_FILE // 1024} KiB")
            policy = parse_policy(request.policy)
        items = await self._retention.plan(caller, policy)
        return pb.PlanRetentionResponse(
            items=[_item(each) for each in items], policy_title=policy.title, policy_digest=policy.digest
        )

    @streamed
    async def ApplyRetention(
        self, request: pb.ApplyRetentionRequest, caller: Caller
    ) -> AsyncIterator[pb.ApplyRetentionResponse]:
        """Each month and class as it is done."""
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        async for each in self._retention.apply(caller, actor, reason):
            yield pb.ApplyRetentionResponse(
                month=each.view.month,
                retention_class=each.view.name,
                event_id=each.entry,
                entries=each.entries,
                set_aside=each.set_aside,
            )

    @streamed
    async def Scrub(self, request: pb.ScrubRequest, caller: Caller) -> AsyncIterator[pb.ScrubResponse]:
        """Each step as it is done."""
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        async for step in self._scrubs.scrub(caller, actor, reason):
            yield pb.ScrubResponse(what=step.what, seconds=step.seconds, size=step.size, problem=step.problem)


def _erased(request: pb.ErasePersonRequest | pb.PlanErasureRequest) -> What:
    """A person, or entries by id."""
    if request.HasField("person") == bool(request.event_ids):
        raise InvalidRequest("person", "give exactly one of person and event_ids")
    if request.HasField("person"):
        return parse.subject(request.person, "person")
    return tuple(parse.identifier("event_ids", each) for each in request.event_ids)


def _told(told: Erasable, every: tuple[Made, ...]) -> pb.ErasePersonResponse:
    return pb.ErasePersonResponse(
        entries=told.entries,
        words=told.words,
        directives=told.directives,
        held=told.held,
        waiting=told.waiting,
        standing=told.standing,
        others=told.others,
        known_by=told.known_by,
        receipts=[wire.receipt(each.receipt) for each in every],
    )


def _plan(of: ErasurePlan, plans: ErasurePlans) -> pb.ErasurePlan:
    return pb.ErasurePlan(
        id=of.id,
        agency=of.agency,
        ground=of.ground,
        planned_at=wire.timestamp(of.proposal.at),
        until=wire.timestamp(plans.until(of)),
        actor=of.proposal.actor,
        system=of.proposal.system,
        entries=len(of.entries),
        directives=len(of.directives),
        words_only=of.words_only,
        by_person=bool(of.subject),
    )


def _what(request: pb.PlaceHoldRequest) -> SubjectRef | tuple[str, str]:
    """The one thing that is to be held."""
    given = [name for name in ("incident", "agreement") if getattr(request, name)]
    if len(given) + request.HasField("person") != 1:
        raise InvalidRequest("person", "give exactly one of person, incident and agreement")
    if request.HasField("person"):
        return parse.subject(request.person, "person")
    return given[0], parse.text(given[0], getattr(request, given[0]), 256)


def _hold(of: Hold) -> pb.Hold:
    return pb.Hold(
        id=of.id,
        agency=of.agency,
        everything=of.everything,
        what=of.what,
        agreement=of.agreement,
        reference=of.reference,
        placed_at=wire.timestamp(of.placed_at),
    )


def _item(of: Due) -> pb.RetentionItem:
    return pb.RetentionItem(
        month=of.view.month,
        retention_class=of.view.name,
        due=wire.timestamp(of.due),
        schedule=of.schedule,
        state=of.state,
        entries=of.counted.entries,
        held=of.counted.held,
        in_use=of.counted.in_use,
    )
