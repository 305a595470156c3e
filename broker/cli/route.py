"""`broker route`: which agency is asked where a request names none. Owns the words of these commands."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote

if TYPE_CHECKING:
    from broker.v1 import exchange_pb2
    from broker.v1 import routing_pb2 as pb

app = typer.Typer(
    help=(
        "Routes: who holds a record for a place at a time, for requests that name no provider. "
        "docs/routing.md has the file key by key.\n\n" + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)
File = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="The TOML file of routes.")
]
_COLUMNS = ("route", "for", "districts", "hours", "holder", "lineage", "valid_from", "valid_until")


@app.command()
@remote(OPERATOR)
def check(link: Link, file: File, as_json: inputs.AsJson = False) -> None:
    """Say what a file would change, checked against what is applied. Needs an operator, changes nothing."""
    _tell(_send(link, file, dry_run=True), as_json)


@app.command()
@remote(OPERATOR)
def apply(
    link: Link,
    file: File,
    actor_id: inputs.OperatorId = "",
    role: inputs.ActorRole = "operator",
    as_json: inputs.AsJson = False,
) -> None:
    """Apply a file: it takes the place of the one with its id, whole. Needs an operator, a higher version."""
    _tell(_send(link, file, dry_run=False, actor=inputs.operating(actor_id, role)), as_json)


@app.command("list")
@remote(OPERATOR)
def list_(link: Link, as_json: inputs.AsJson = False) -> None:
    """List the routes of every file that is applied; any enrolled system may."""
    from broker.v1 import routing_pb2 as pb
    from broker.v1.routing_pb2_grpc import RoutingServiceStub

    reply = link.call(RoutingServiceStub(link.channel).ListRoutes, pb.ListRoutesRequest())
    found = [
        {"file": f"{file.id}/{file.version}", **_route(each)} for file in reply.files for each in file.routes
    ]
    none = "no routes: every request must name its provider; `broker route apply` brings some"
    output.listed("routes", found, ("file", *_COLUMNS), as_json, none)


@app.command()
@remote(OPERATOR)
def show(
    link: Link,
    name: Annotated[str, typer.Argument(metavar="ID", help="The file's id, as `broker route list` shows it.")],
    as_file: Annotated[bool, typer.Option("--file", help="Print the TOML file instead.")] = False,
    as_json: inputs.AsJson = False,
) -> None:
    """Show one file of routes; with --file its exact bytes, to begin a next version with."""
    from broker.v1 import routing_pb2 as pb
    from broker.v1.routing_pb2_grpc import RoutingServiceStub

    if as_file and as_json:
        raise typer.BadParameter("give either --file or --json")
    (told,) = link.call(RoutingServiceStub(link.channel).ListRoutes, pb.ListRoutesRequest(id=name)).files
    if as_file:
        output.raw(told.file)
        return
    routes = [_route(each) for each in told.routes]
    facts = {"file": told.id, "version": told.version, "title": told.title, "digest": told.digest}
    if as_json:
        output.emit_json({**facts, "routes": routes})
        return
    output.one(facts, False)
    output.say("")
    output.many(routes, _COLUMNS, "")


@app.command()
@remote(OPERATOR)
def ask(
    link: Link,
    record_type: Annotated[str, typer.Option("--type", metavar="NAME", help="The record type's full name.")],
    district: inputs.District = "",
    authority: inputs.Authority = "",
    purpose: Annotated[
        str, typer.Option(metavar="CODE", help="Where life may depend on it, the place decides.")
    ] = "",
    at: Annotated[
        datetime | None,
        typer.Option("--at", parser=inputs.moment, metavar="TIME", help="Then; by default now."),
    ] = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Say who would be asked for such a record there, and until when that holds. Nobody is asked.

    Exit codes: 0 one agency is known; 1 none is, or more than one, and why.
    """
    from broker.v1 import exchange_pb2, routing_pb2
    from broker.v1.routing_pb2_grpc import RoutingServiceStub

    request = routing_pb2.AskRouteRequest(
        record_type=record_type,
        place=exchange_pb2.Place(district=district, responsible_authority=authority),
        purpose=purpose,
        at=inputs.stamp(at),
    )
    told = link.call(RoutingServiceStub(link.channel).AskRoute, request)
    output.one(
        {
            "provider": told.provider,
            "name": told.name,
            "why": told.why,
            "until": output.when(told, "until"),
            "answered_by": list(told.answered_by),
            "contact": told.contact,
            "phone": told.phone,
        },
        as_json,
    )
    if not told.provider:
        raise typer.Exit(1)


def _send(
    link: Link, file: Path, *, dry_run: bool, actor: exchange_pb2.Actor | None = None
) -> pb.ApplyRoutesResponse:
    from broker.core.routing import MAX_FILE
    from broker.v1 import routing_pb2
    from broker.v1.routing_pb2_grpc import RoutingServiceStub

    data = inputs.read_bounded(file, MAX_FILE, "a file of routes")
    request = routing_pb2.ApplyRoutesRequest(file=data, dry_run=dry_run, actor=actor)
    reply: pb.ApplyRoutesResponse = link.call(RoutingServiceStub(link.channel).ApplyRoutes, request)
    return reply


def _tell(told: pb.ApplyRoutesResponse, as_json: bool) -> None:
    output.one(
        {
            "file": f"{told.routes.id} version {told.routes.version}",
            "applied": bool(told.event_id),
            "added": list(told.added),
            "changed": list(told.changed),
            "removed": list(told.removed),
            "warnings": list(told.warnings),
            "digest": told.routes.digest,
            "entry": told.event_id,
        },
        as_json,
    )


def _route(route: pb.Route) -> dict[str, Any]:
    return {
        "route": route.id,
        "for": route.record_type or f"all {route.kind} records",
        "districts": list(route.districts),
        "hours": f"{route.hours} ({route.timetable})" if route.timetable else route.hours,
        "holder": route.holder,
        "lineage": list(route.lineage),
        "valid_from": output.when(route, "valid_from"),
        "valid_until": output.when(route, "valid_until"),
    }
