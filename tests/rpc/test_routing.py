"""RoutingService and StandingService on the wire, and requests that need them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status

from broker.core.directory import Agency
from broker.core.model import Function
from broker.v1 import adapter_pb2, exchange_pb2, routing_pb2, standing_pb2
from broker.v1.routing_pb2_grpc import RoutingServiceStub
from broker.v1.standing_pb2_grpc import StandingServiceStub
from tests.rpc.conftest import SOON, Edge, eventually
from tests.rpc.test_adapter import attach, ended, found, hello, read
from tests.support.cumbria import CARLISLE, EDEN, fire_routes
from tests.support.values import AT_THE_DESK
from tests.support.world import RISK

Wanted = Callable[..., exchange_pb2.RecordRequest]
PLACE = exchange_pb2.Place(district=CARLISLE)
ROUTES = fire_routes()


def routing(edge: Edge, name: str = "operator-cli") -> Any:
    """The service as one system sees it."""
    return RoutingServiceStub(edge.channel(name))


def standing(edge: Edge, name: str = "operator-cli") -> Any:
    """The service as one system sees it."""
    return StandingServiceStub(edge.channel(name))


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    """Status and text of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), str(caught.value.details())


async def test_routes_are_applied_listed_and_asked(edge: Edge) -> None:
    """Operators apply, everybody reads; a dry run changes nothing."""
    dry = await routing(edge).ApplyRoutes(
        routing_pb2.ApplyRoutesRequest(actor=AT_THE_DESK, file=ROUTES, dry_run=True)
    )
    assert (list(dry.added), dry.event_id) == (["premises"], "")
    partner = routing(edge, "nwas-cad")
    assert not (await partner.ListRoutes(routing_pb2.ListRoutesRequest())).files
    done = await routing(edge).ApplyRoutes(routing_pb2.ApplyRoutesRequest(actor=AT_THE_DESK, file=ROUTES))
    assert done.event_id
    (file,) = (await partner.ListRoutes(routing_pb2.ListRoutesRequest())).files
    assert (file.id, file.version, file.file) == ("fire", 1, b"")
    (route,) = file.routes
    assert (route.record_type, route.kind, route.hours, route.holder) == (RISK, "", "always", "cfrs")
    (whole,) = (await partner.ListRoutes(routing_pb2.ListRoutesRequest(id="fire"))).files
    assert whole.file == ROUTES
    told = await partner.AskRoute(routing_pb2.AskRouteRequest(record_type=RISK, place=PLACE))
    assert (told.provider, told.phone, told.HasField("until")) == ("cfrs", "01228 000000", False)
    nobody = exchange_pb2.Place(district="E08000003")
    assert not (await partner.AskRoute(routing_pb2.AskRouteRequest(record_type=RISK, place=nobody))).provider


@pytest.mark.parametrize(
    ("name", "request_", "code", "says"),
    [
        (
            "nwas-cad",
            routing_pb2.ApplyRoutesRequest(actor=AT_THE_DESK, file=ROUTES),
            "PERMISSION_DENIED",
            "enrolled as operator",
        ),
        (
            "operator-cli",
            routing_pb2.ApplyRoutesRequest(actor=AT_THE_DESK),
            "INVALID_ARGUMENT",
            "file: is required",
        ),
        (
            "operator-cli",
            routing_pb2.ApplyRoutesRequest(actor=AT_THE_DESK, file=b"x"),
            "INVALID_ARGUMENT",
            "file: not TOML",
        ),
        ("operator-cli", routing_pb2.ListRoutesRequest(id="none"), "INVALID_ARGUMENT", "id: is no file"),
        ("operator-cli", routing_pb2.AskRouteRequest(record_type="x"), "INVALID_ARGUMENT", "record_type"),
        ("operator-cli", routing_pb2.AskRouteRequest(record_type=RISK), "INVALID_ARGUMENT", "place.district"),
    ],
)
async def test_what_is_wrong_is_refused(edge: Edge, name: str, request_: Any, code: str, says: str) -> None:
    """With the field and what to do."""
    method = type(request_).__name__.removesuffix("Request")
    status, text = await refused(getattr(routing(edge, name), method)(request_))
    assert (status.name, says in text) == (code, True), text


async def test_a_request_without_a_provider_is_routed(edge: Edge, wanted: Wanted) -> None:
    """By its place; without a district it is bad input that says what to give."""
    await routing(edge).ApplyRoutes(routing_pb2.ApplyRoutesRequest(actor=AT_THE_DESK, file=ROUTES))
    told = await edge.exchange().Request(wanted(provider="", place=PLACE), timeout=SOON)
    assert told.decision.controller == "cfrs"
    code, text = await refused(edge.exchange().Request(wanted(provider=""), timeout=SOON))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith("place.district: is needed where no provider is named")
    elsewhere = wanted(provider="", place=exchange_pb2.Place(district="E08000003"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await edge.exchange().Request(elsewhere, timeout=SOON)
    status = rpc_status.from_call(caught.value)
    refusal = exchange_pb2.Refusal()
    assert any(detail.Unpack(refusal) for detail in status.details)
    assert (refusal.code, bool(refusal.receipt.entry)) == ("party", True)


async def control(edge: Edge, **scope: Any) -> standing_pb2.Acting:
    """Fire control, enrolled, which acts for the fire service."""
    edge.world.put_agency(Agency("nwfc", "Fire control", "other", "england", edge.world.since))
    if not (edge.certs.path / "nwfc-cad").exists():
        edge.certs.issue_client("nwfc", "cad", datetime.now(UTC))
    await edge.enrol("nwfc-cad", Function.PARTNER)
    wish = {"processor": "nwfc", "controller": "cfrs", "contract": "C-1", **scope}
    made = await standing(edge).Act(
        standing_pb2.ActRequest(actor=AT_THE_DESK, acting=standing_pb2.Acting(**wish))
    )
    assert made.event_id
    return made.acting  # type: ignore[no-any-return]


async def test_who_acts_for_whom_is_entered_listed_and_ended(edge: Edge) -> None:
    """An agency sees its own relations."""
    acting = await control(edge, purposes=["emergency-response"])
    assert acting.status == "in force"
    for name, sees in (("cfrs-cad", 1), ("nwas-cad", 0), ("operator-cli", 1)):
        listed = await standing(edge, name).ListActing(standing_pb2.ListActingRequest())
        assert len(listed.acting) == sees
    code, _ = await refused(
        standing(edge, "cfrs-cad").Act(standing_pb2.ActRequest(actor=AT_THE_DESK, acting=acting))
    )
    assert code is grpc.StatusCode.PERMISSION_DENIED
    await standing(edge).EndActing(
        standing_pb2.EndActingRequest(actor=AT_THE_DESK, id=acting.id, reason="over")
    )
    assert not (await standing(edge).ListActing(standing_pb2.ListActingRequest())).acting
    (ended_,) = (await standing(edge).ListActing(standing_pb2.ListActingRequest(all=True))).acting
    assert ended_.status == "ended"
    code, text = await refused(
        standing(edge).Act(standing_pb2.ActRequest(actor=AT_THE_DESK, acting={"processor": "nwfc"}))
    )
    assert text.startswith("acting.contract: is required"), text


async def test_a_processors_adapter_attaches_and_answers(attached: Edge, wanted: Wanted) -> None:
    """Only while it acts for somebody who holds such records; the ask says whose record it is."""
    acting = await control(attached)
    call = attach(attached, "nwfc-cad")
    await call.write(adapter_pb2.AttachRequest(hello=hello(attached)))
    assert (await read(call)).HasField("welcome")
    await eventually(lambda: attached.links.of("nwfc"))
    asking = attached.exchange().Request(wanted(), timeout=SOON)
    (ask,) = (await read(call)).asks
    assert (ask.provider, ask.requester, ask.processor) == ("cfrs", "nwas", "")
    await call.write(adapter_pb2.AttachRequest(answers=[found(attached, ask)]))
    assert (await asking).record.value
    full = attached.world.store.entries[-1].draft.full
    assert (full["provider"], full["answered_by"]) == ("cfrs", "nwfc")
    await standing(attached).EndActing(standing_pb2.EndActingRequest(actor=AT_THE_DESK, id=acting.id))
    code, _ = await refused(attached.exchange().Request(wanted(), timeout=SOON))
    assert code is grpc.StatusCode.UNAVAILABLE
    call.cancel()


async def test_an_adapter_of_who_acts_for_nobody_may_not_attach(attached: Edge) -> None:
    """Another kind of agency holds no such records; an attached crew's agency answers for nobody."""
    await control(attached, crews=["K30P1"])
    call = attach(attached, "nwfc-cad")
    await call.write(adapter_pb2.AttachRequest(hello=hello(attached)))
    assert await ended(call) is grpc.StatusCode.PERMISSION_DENIED


async def test_a_succession_is_planned_then_carried_out(edge: Edge) -> None:
    """The plan says what comes of it; the system that ended speaks no more, on open channels too."""
    for name in ("west-fire", "east-fire"):
        edge.world.put_agency(Agency(name, name, "fire", "england", edge.world.since))
    await routing(edge).ApplyRoutes(routing_pb2.ApplyRoutesRequest(actor=AT_THE_DESK, file=ROUTES))
    on = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    request = standing_pb2.SucceedRequest(
        actor=AT_THE_DESK,
        agency="cfrs",
        into=[
            standing_pb2.Successor(agency="west-fire", districts=[CARLISLE]),
            standing_pb2.Successor(agency="east-fire", districts=[EDEN]),
        ],
        on=on,
        dry_run=True,
    )
    dry = await standing(edge).Succeed(request)
    assert (dry.event_id, list(dry.plan.systems)) == ("", ["cfrs/cad"])
    assert await routing(edge, "cfrs-cad").ListRoutes(routing_pb2.ListRoutesRequest())
    request.dry_run = False
    assert (await standing(edge).Succeed(request)).event_id
    code, text = await refused(routing(edge, "cfrs-cad").ListRoutes(routing_pb2.ListRoutesRequest()))
    assert (code, "out of its dates" in text) == (grpc.StatusCode.UNAUTHENTICATED, True)
    told = await routing(edge).AskRoute(routing_pb2.AskRouteRequest(record_type=RISK, place=PLACE))
    assert told.provider == "west-fire"
    (file,) = (await routing(edge).ListRoutes(routing_pb2.ListRoutesRequest())).files
    assert len(file.routes[0].lineage) == 2
    code, text = await refused(standing(edge).Succeed(request))
    assert text.startswith("agency: was replaced by west-fire, east-fire already")
    request.on = "soon"
    code, text = await refused(standing(edge).Succeed(request))
    assert text.startswith("on: a day")


async def test_leaving_is_planned_then_carried_out(edge: Edge) -> None:
    """With what is to be done about its entries."""
    on = datetime.now(UTC).date().isoformat()
    dry = await standing(edge).Leave(
        standing_pb2.LeaveRequest(actor=AT_THE_DESK, agency="ncic", on=on, dry_run=True)
    )
    assert any("audit export" in line for line in dry.plan.to_do)
    done = await standing(edge).Leave(
        standing_pb2.LeaveRequest(actor=AT_THE_DESK, agency="ncic", on=on, reason="gone")
    )
    assert done.event_id
