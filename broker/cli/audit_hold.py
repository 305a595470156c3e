"""`broker audit hold`: what must not be lost, until the controller that said so says otherwise.

Owns the words of these commands. Whom a hold is about can be read from standard input.
"""

from __future__ import annotations

from typing import Annotated

import typer

from broker.cli import evidence, inputs, output
from broker.cli.connection import Link
from broker.cli.remote import remote

app = typer.Typer(
    help=(
        "Legal holds: what is about a person, an incident or an agreement is taken by no erasure, retention or "
        "deletion. A partner's hold covers the entries that its agency is party to, an auditor's all; only the "
        "agency that placed one sees and releases it.\n\n" + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)
Reason = Annotated[str, typer.Option("--reason", metavar="CODE", help="Why.")]
_COLUMNS = ("id", "what", "agreement", "reference", "placed_at", "agency", "everything")


@app.command()
@remote(None)
def add(
    link: Link,
    reference: Annotated[
        str, typer.Option(metavar="TEXT", help="Your own reference of the case; it must name nobody.")
    ],
    reason: Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    person: Annotated[
        str,
        typer.Option(
            "--person",
            metavar="SCHEME:VALUE",
            help="About one person or premises; - reads it from standard input, where no one else sees it.",
        ),
    ] = "",
    incident: Annotated[str, typer.Option(metavar="AGENCY/DATE/NUMBER", help="About an incident.")] = "",
    agreement: Annotated[str, typer.Option(metavar="ID", help="Under an agreement, or ID/VERSION.")] = "",
    words: inputs.Words = "",
    assurance: inputs.Named = inputs.Assurance.asserted,
    as_json: inputs.AsJson = False,
) -> None:
    """Place a hold, as a named human of the controller. It counts at once, for what comes later too.

    A person is held by the identifier that is given: place another hold for each other one.
    """
    from broker.v1 import exchange_pb2
    from broker.v1 import keeping_pb2 as pb
    from broker.v1.keeping_pb2_grpc import KeepingServiceStub

    if sum(map(bool, (person, incident, agreement))) != 1:
        raise typer.BadParameter("give exactly one of --person, --incident and --agreement")
    request = pb.PlaceHoldRequest(
        incident=incident,
        agreement=agreement,
        reference=reference,
        actor=inputs.acting(actor_id, role, assurance),
        reason=exchange_pb2.ReasonCode(code=reason, words=words),
    )
    if person:
        request.person.CopyFrom(inputs.wire_subject(inputs.person_of(person)))
    reply = link.call(KeepingServiceStub(link.channel).PlaceHold, request)
    covers = reply.covers if reply.HasField("covers") else None
    if covers == 0:
        typer.echo(
            "A search of yours finds nothing by this yet: see that it is written as it was asked. What you may "
            "not find so, and what comes, is held all the same.",
            err=True,
        )
    told = {"hold": reply.hold_id, "covers": covers}
    output.one({**told, **evidence.noted(reply.receipt, link.endpoint.vkey)}, as_json)


@app.command()
@remote(None)
def release(
    link: Link,
    hold: Annotated[str, typer.Argument(metavar="HOLD_ID", help="As list prints it.")],
    reason: Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: inputs.Words = "",
    assurance: inputs.Named = inputs.Assurance.asserted,
    as_json: inputs.AsJson = False,
) -> None:
    """Release a hold of your own agency. What it alone kept may be destroyed from now on."""
    from broker.v1 import exchange_pb2
    from broker.v1 import keeping_pb2 as pb
    from broker.v1.keeping_pb2_grpc import KeepingServiceStub

    request = pb.ReleaseHoldRequest(
        hold_id=hold,
        actor=inputs.acting(actor_id, role, assurance),
        reason=exchange_pb2.ReasonCode(code=reason, words=words),
    )
    reply = link.call(KeepingServiceStub(link.channel).ReleaseHold, request)
    output.one({"released": hold, **evidence.noted(reply.receipt, link.endpoint.vkey)}, as_json)


@app.command("list")
@remote(None)
def list_(
    link: Link,
    reason: inputs.Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: inputs.Words = "",
    as_json: inputs.AsJson = False,
) -> None:
    """List the holds of your own agency that stand. Whom one is about is in the entry that placed it."""
    from broker.v1 import keeping_pb2 as pb
    from broker.v1.keeping_pb2_grpc import KeepingServiceStub

    request = pb.ListHoldsRequest(**inputs.looking(actor_id, role, reason, words))
    reply = link.call(KeepingServiceStub(link.channel).ListHolds, request)
    found = [
        {
            "id": each.id,
            "agency": each.agency,
            "everything": each.everything,
            "what": each.what,
            "agreement": each.agreement or None,
            "reference": each.reference,
            "placed_at": output.when(each, "placed_at"),
        }
        for each in reply.holds
    ]
    output.listed(
        "holds",
        found,
        _COLUMNS,
        as_json,
        "no legal hold of your agency stands",
        evidence.noted(reply.receipt, link.endpoint.vkey),
    )
