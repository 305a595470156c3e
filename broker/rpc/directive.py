"""DirectiveService: what people have said."""

from __future__ import annotations

from broker.core.model import Caller
from broker.directives import Directives
from broker.errors import InvalidRequest
from broker.limits import Limits
from broker.ports import Clock
from broker.rpc import parse, wire
from broker.rpc.identity import Identity
from broker.rpc.parse_directive import directive as parsed
from broker.rpc.unary import unary
from broker.telemetry import Telemetry
from broker.v1 import directive_pb2 as pb
from broker.v1 import directive_pb2_grpc


class DirectiveServicer(directive_pb2_grpc.DirectiveServiceServicer):
    """Parses, asks the use case, answers."""

    def __init__(
        self,
        directives: Directives,
        clock: Clock,
        identity: Identity,
        telemetry: Telemetry,
        limits: Limits,
    ) -> None:
        self.identity = identity
        self.telemetry = telemetry
        self._directives = directives
        self._clock = clock
        self._limits = limits

    @unary
    async def AddDirective(self, request: pb.AddDirectiveRequest, caller: Caller) -> pb.AddDirectiveResponse:
        """Record one."""
        directive = parsed(request.directive, caller, self._clock.now())
        subject = parse.subject(request.directive.subject, "directive.subject")
        self._limits.change(caller.agency, subject, self._clock.loop_time())
        made = await self._directives.add(caller, subject, directive, parse.actor(request.actor))
        counted, lacks = await self._directives.worth(directive)
        return pb.AddDirectiveResponse(
            directive_id=directive.id, receipt=wire.receipt(made.receipt), counts_under=counted, lacks=lacks
        )

    @unary
    async def WithdrawDirective(
        self, request: pb.WithdrawDirectiveRequest, caller: Caller
    ) -> pb.WithdrawDirectiveResponse:
        """Withdraw one by its id, or a subject's consents for a purpose."""
        if bool(request.directive_id) == request.HasField("subject"):
            raise InvalidRequest("directive_id", "give exactly one of directive_id and subject")
        actor = parse.actor(request.actor)
        if request.directive_id:
            directive_id = parse.identifier("directive_id", request.directive_id)
            withdrawn = await self._directives.withdraw_one(caller, directive_id, actor)
        else:
            subject = parse.subject(request.subject)
            self._limits.change(caller.agency, subject, self._clock.loop_time())
            withdrawn = await self._directives.withdraw_consents(caller, subject, request.purpose, actor)
        return pb.WithdrawDirectiveResponse(
            directive_ids=withdrawn.ids, receipt=wire.receipt(withdrawn.made.receipt)
        )

    @unary
    async def ListDirectives(
        self, request: pb.ListDirectivesRequest, caller: Caller
    ) -> pb.ListDirectivesResponse:
        """The caller's own agency's, about one subject."""
        subject = parse.subject(request.subject)
        actor, reason = parse.actor(request.actor), parse.reason(request.reason)
        own, made = await self._directives.of_own(caller, subject, actor, reason)
        return pb.ListDirectivesResponse(
            directives=[wire.directive(d, subject) for d in own], receipt=wire.receipt(made.receipt)
        )
