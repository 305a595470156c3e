"""OverrideService: overrides after the fact."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from broker.core.model import Caller
from broker.desk import in_place_of
from broker.errors import InvalidRequest
from broker.handed import request_from
from broker.overrides import Overrides, Used
from broker.queues import StoredRestriction
from broker.rpc import parse, wire
from broker.rpc.identity import Identity
from broker.rpc.unary import heavy, unary
from broker.telemetry import Telemetry
from broker.v1 import override_pb2 as pb
from broker.v1 import override_pb2_grpc

MAX_WORDS = 2000
MAX_LIST = 1024 * 1024  # bytes; a message has room for twice as much


class OverrideServicer(override_pb2_grpc.OverrideServiceServicer):
    """Parses, asks the use case, answers."""

    def __init__(self, overrides: Overrides, identity: Identity, telemetry: Telemetry) -> None:
        self.identity = identity
        self.telemetry = telemetry
        self._overrides = overrides

    @heavy
    async def ListOverrides(self, request: pb.ListOverridesRequest, caller: Caller) -> pb.ListOverridesResponse:
        """Of what the caller's own agency holds."""
        used, standing, made = await self._overrides.listed(
            caller, parse.actor(request.actor), parse.reason(request.reason)
        )
        return pb.ListOverridesResponse(
            overrides=_within(map(_used, used), MAX_LIST),
            restrictions=[_restriction(each) for each in standing],
            receipt=wire.receipt(made.receipt),
        )

    @unary
    async def ReviewOverride(
        self, request: pb.ReviewOverrideRequest, caller: Caller
    ) -> pb.ReviewOverrideResponse:
        """Once, by a named human."""
        override = parse.identifier("override_id", request.override_id)
        made = await self._overrides.review(
            caller, override, request.verdict, _reasoning(request.reasoning), parse.actor(request.actor)
        )
        return pb.ReviewOverrideResponse(receipt=wire.receipt(made.receipt))

    @unary
    async def RestrictOverrides(
        self, request: pb.RestrictOverridesRequest, caller: Caller
    ) -> pb.RestrictOverridesResponse:
        """Whoever used one uses no more."""
        override = parse.identifier("override_id", request.override_id)
        if request.what not in ("actor", "role", "system"):
            raise InvalidRequest("what", "one of actor, role, system")
        restriction, made = await self._overrides.restrict(
            caller,
            override,
            request.what,
            parse.when("until", request, "until"),
            _reasoning(request.reasoning),
            parse.actor(request.actor),
        )
        return pb.RestrictOverridesResponse(restriction_id=restriction, receipt=wire.receipt(made.receipt))

    @unary
    async def LiftRestriction(
        self, request: pb.LiftRestrictionRequest, caller: Caller
    ) -> pb.LiftRestrictionResponse:
        """At once."""
        restriction = parse.identifier("restriction_id", request.restriction_id)
        made = await self._overrides.lift(
            caller, restriction, _reasoning(request.reasoning), parse.actor(request.actor)
        )
        return pb.LiftRestrictionResponse(receipt=wire.receipt(made.receipt))


def _within(overrides: Iterable[pb.Override], most: int) -> list[pb.Override]:
    """The first so many bytes: long words of whoever used them must not keep the owner from the list."""
    found: list[pb.Override] = []
    for each in overrides:
        most -= each.ByteSize()
        if most < 0:
            break
        found.append(each)
    return found


def _reasoning(value: str) -> str:
    return parse.text("reasoning", value, MAX_WORDS, lines=True).strip()


def _used(used: Used) -> pb.Override:
    row = used.row
    message = pb.Override(
        id=row.id,
        requester=row.requester,
        system=row.system,
        request_id=row.request,
        code=row.code,
        words=row.words,
        used_at=wire.timestamp(row.used_at),
        due_at=wire.timestamp(row.due_at),
        status=row.status,
        overdue=used.overdue,
        escalate_to=used.escalate_to,
        reviewed_at=wire.timestamp(row.reviewed_at),
        in_place_of=in_place_of(row, used.agency),
    )
    if row.used:
        detail: Any = row.used
        asked = request_from(detail["request"])
        message.actor.CopyFrom(wire.actor(asked.actor))
        message.record_type, message.purpose = asked.record_type, asked.purpose
        message.incident, message.agreement = asked.incident, detail["agreement"]
        if asked.subject is not None:
            message.subject.CopyFrom(wire.subject(asked.subject))
        message.waived.extend(detail["waived"])
        message.given.extend(detail["given"])
    return message


def _restriction(row: StoredRestriction) -> pb.OverrideRestriction:
    return pb.OverrideRestriction(
        id=row.id,
        override_id=row.override,
        requester=row.requester,
        what=row.what,
        who=str(row.detail.get("who", "")),
        made_at=wire.timestamp(row.made_at),
        until=wire.timestamp(row.until),
        made_by=row.provider,
    )
