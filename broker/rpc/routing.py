"""RoutingService: files of routes, and who would be asked."""

from __future__ import annotations

from broker.core.hours import WEEKDAYS, Timetable
from broker.core.model import Caller
from broker.core.reference import Reference
from broker.core.routing import MAX_FILE, Route, Routing
from broker.errors import InvalidRequest
from broker.ports import Clock, ReferenceSource
from broker.routes import RouteBook, RoutePlan
from broker.rpc import parse, parse_agency, wire
from broker.rpc.identity import Identity
from broker.rpc.unary import heavy, unary
from broker.telemetry import Telemetry
from broker.v1 import routing_pb2 as pb
from broker.v1 import routing_pb2_grpc


class RoutingServicer(routing_pb2_grpc.RoutingServiceServicer):
    """Parses, asks the book of routes, answers."""

    def __init__(
        self,
        book: RouteBook,
        reference: ReferenceSource,
        clock: Clock,
        identity: Identity,
        telemetry: Telemetry,
    ) -> None:
        self.identity = identity
        self.telemetry = telemetry
        self._book = book
        self._reference = reference
        self._clock = clock

    @unary
    async def ApplyRoutes(self, request: pb.ApplyRoutesRequest, caller: Caller) -> pb.ApplyRoutesResponse:
        """Operators only."""
        if not request.file:
            raise InvalidRequest("file", "is required")
        if len(request.file) > MAX_FILE:
            raise InvalidRequest("file", f"over {MAX_FILE // 1024} KiB")
        if request.dry_run:
            return self._planned(await self._book.plan(caller, request.file), "")
        plan, made = await self._book.apply(caller, request.file, parse_agency.somebody(request))
        return self._planned(plan, made.event_id)

    @heavy
    async def ListRoutes(self, request: pb.ListRoutesRequest, caller: Caller) -> pb.ListRoutesResponse:
        """Open to every enrolled system."""
        found = await self._book.listed()
        if request.id:
            found = [each for each in found if each.file.id == request.id]
            if not found:
                raise InvalidRequest("id", "is no file of routes; `broker route list` shows those there are")
        return pb.ListRoutesResponse(files=[self._file(each, whole=bool(request.id)) for each in found])

    @unary
    async def AskRoute(self, request: pb.AskRouteRequest, caller: Caller) -> pb.AskRouteResponse:
        """Open to every enrolled system."""
        told = await self._book.ask(
            parse.full_name("record_type", request.record_type),
            parse.place(request.place),
            request.purpose,
            parse.when("at", request, "at"),
        )
        found = told.provider
        return pb.AskRouteResponse(
            provider=found.id if found else "",
            why=told.why,
            until=wire.timestamp(told.until),
            answered_by=told.answered_by,
            name=found.name if found else "",
            contact=found.contact if found else "",
            phone=found.phone if found else "",
        )

    def _planned(self, plan: RoutePlan, event_id: str) -> pb.ApplyRoutesResponse:
        return pb.ApplyRoutesResponse(
            routes=self._file(plan.routing, whole=False),
            added=plan.added,
            removed=plan.removed,
            changed=plan.changed,
            warnings=plan.warnings,
            event_id=event_id,
        )

    def _file(self, routing: Routing, *, whole: bool) -> pb.RouteFile:
        file, reference = routing.file, self._reference.current
        return pb.RouteFile(
            id=file.id,
            version=file.version,
            title=file.title,
            digest=routing.digest,
            routes=[_route(each, reference) for each in routing.routes],
            file=routing.data if whole else b"",
        )


def _route(route: Route, reference: Reference) -> pb.Route:
    typed = "." in route.wanted
    return pb.Route(
        id=route.name,
        record_type=route.wanted if typed else "",
        kind="" if typed else route.wanted,
        districts=sorted(route.districts),
        hours=route.hours.when.value,
        timetable=_words(route.hours.timetable),
        holder=route.holder,
        lineage=[str(heir) for heir in reference.heirs.get(route.holder, ())],
        valid_from=wire.timestamp(route.begins),
        valid_until=wire.timestamp(route.ends),
    )


def _words(table: Timetable | None) -> str:
    if table is None:
        return ""
    days = ", ".join(WEEKDAYS[day].capitalize()[:3] for day in sorted(table.days))
    but = f", but not bank holidays of {table.nation}" if table.nation else ""
    return f"{days} {table.opens:%H:%M}-{table.closes:%H:%M}{but}"
