"""StandingService: who acts for whom, who takes whose place, who leaves."""

from __future__ import annotations

from datetime import date, datetime, time

from broker.core.acting import Acting
from broker.core.directory import Successor
from broker.core.ending import Ending
from broker.core.london import moment
from broker.core.model import Caller, Function
from broker.errors import InvalidRequest
from broker.ports import Clock
from broker.registry import require
from broker.rpc import parse, parse_agency, wire
from broker.rpc.identity import Identity
from broker.rpc.unary import heavy, unary
from broker.standing import Standing
from broker.telemetry import Telemetry
from broker.v1 import standing_pb2 as pb
from broker.v1 import standing_pb2_grpc


class StandingServicer(standing_pb2_grpc.StandingServiceServicer):
    """Parses, asks the use cases, answers."""

    def __init__(self, standing: Standing, clock: Clock, identity: Identity, telemetry: Telemetry) -> None:
        self.identity = identity
        self.telemetry = telemetry
        self._standing = standing
        self._clock = clock

    @unary
    async def Act(self, request: pb.ActRequest, caller: Caller) -> pb.ActResponse:
        """Operators only."""
        require(caller, Function.OPERATOR)  # before anything long is read
        wanted = _acting_from(request.acting, self._clock.now())
        acting, made = await self._standing.act(caller, wanted, parse_agency.somebody(request))
        return pb.ActResponse(acting=_acting(acting, self._clock.now()), event_id=made.event_id)

    @heavy
    async def ListActing(self, request: pb.ListActingRequest, caller: Caller) -> pb.ListActingResponse:
        """A partner sees its own agency's."""
        found = await self._standing.acting(caller, ended=request.all)
        return pb.ListActingResponse(acting=[_acting(each, self._clock.now()) for each in found])

    @unary
    async def EndActing(self, request: pb.EndActingRequest, caller: Caller) -> pb.EndActingResponse:
        """Operators only."""
        identifier = parse.identifier("id", request.id)
        reason = parse.text("reason", request.reason, 500)
        _, made = await self._standing.end_acting(caller, identifier, reason, parse_agency.somebody(request))
        return pb.EndActingResponse(event_id=made.event_id)

    @unary
    async def Succeed(self, request: pb.SucceedRequest, caller: Caller) -> pb.SucceedResponse:
        """Operators only."""
        require(caller, Function.OPERATOR)  # before anything long is read
        agency = parse.agency_id("agency", request.agency)
        if request.take_back:
            return await self._take_back(request, agency, caller)
        at, correct = _day(request.on), request.correct
        into = tuple(_successor(n, each) for n, each in enumerate(request.into))
        if request.dry_run:
            planned = await self._standing.succession(caller, agency, into, at, correct=correct)
            return pb.SucceedResponse(plan=_plan(planned))
        actor = parse_agency.somebody(request)
        ending, made, waits = await self._standing.succeed(
            caller, agency, into, at, correct=correct, actor=actor
        )
        return pb.SucceedResponse(plan=_plan(ending), event_id=made.event_id, proposed=waits)

    async def _take_back(self, request: pb.SucceedRequest, agency: str, caller: Caller) -> pb.SucceedResponse:
        if request.into or request.on or request.correct:
            raise InvalidRequest("take_back", "goes without into, on and correct")
        if request.dry_run:
            return pb.SucceedResponse(plan=_plan(await self._standing.taking_back(caller, agency)))
        ending, made = await self._standing.take_back(caller, agency, parse_agency.somebody(request))
        return pb.SucceedResponse(plan=_plan(ending), event_id=made.event_id)

    @unary
    async def Leave(self, request: pb.LeaveRequest, caller: Caller) -> pb.LeaveResponse:
        """Operators only."""
        agency, at = parse.agency_id("agency", request.agency), _day(request.on)
        if request.dry_run:
            return pb.LeaveResponse(plan=_plan(await self._standing.leaving(caller, agency, at)))
        reason = parse.text("reason", request.reason, 500)
        ending, made = await self._standing.leave(caller, agency, at, reason, parse_agency.somebody(request))
        return pb.LeaveResponse(plan=_plan(ending), event_id=made.event_id)


def _day(text: str) -> datetime:
    """The first moment of a day by the clock in the United Kingdom."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text or not 1900 <= day.year <= 2200:
        raise InvalidRequest("on", "a day between 1900 and 2200, such as 2023-04-01")
    return moment(day, time.min)


def _successor(n: int, message: pb.Successor) -> Successor:
    # Of what form, and of which nation, is looked at with the successor known.
    districts = frozenset(parse.text(f"into.{n}.districts", each, 32) for each in message.districts)
    return Successor(parse.agency_id(f"into.{n}.agency", message.agency), districts)


def _acting_from(message: pb.Acting, now: datetime) -> Acting:
    if not message.contract:
        raise InvalidRequest("acting.contract", "is required: the reference of the contract or request")
    return Acting(
        id="",
        processor=parse.agency_id("acting.processor", message.processor),
        controller=parse.agency_id("acting.controller", message.controller),
        contract=parse.text("acting.contract", message.contract),
        valid_from=parse.when("acting.valid_from", message, "valid_from") or now,
        valid_until=parse.when("acting.valid_until", message, "valid_until"),
        record_types=frozenset(message.record_types),
        purposes=frozenset(message.purposes),
        crews=frozenset(parse.text("acting.crews", each, 64) for each in message.crews),
    )


def _acting(of: Acting, now: datetime) -> pb.Acting:
    status = "in force" if of.in_force(now) else "not yet in force" if now < of.valid_from else "ended"
    return pb.Acting(
        id=of.id,
        processor=of.processor,
        controller=of.controller,
        contract=of.contract,
        record_types=sorted(of.record_types),
        purposes=sorted(of.purposes),
        crews=sorted(of.crews),
        valid_from=wire.timestamp(of.valid_from),
        valid_until=wire.timestamp(of.valid_until),
        status=status,
    )


def _plan(ending: Ending) -> pb.SuccessionPlan:
    return pb.SuccessionPlan(
        ends_at=wire.timestamp(ending.agency.valid_until),
        systems=[each.name for each in ending.systems],
        agreements=ending.agreements,
        routes=ending.routes,
        acting=ending.acting,
        to_do=ending.to_do,
        waiting=ending.waiting,
        warnings=ending.warnings,
    )
