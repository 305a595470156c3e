"""`broker audit complaint`: complaints to your agency, with their clock (DPA 2018 s.164A).

Owns the words of these commands. The complaint itself lies with the agency; here stand its number, what was
done and when.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from broker.cli import evidence, inputs, output
from broker.cli.connection import Link
from broker.cli.remote import remote

app = typer.Typer(
    help=(
        "Complaints to your agency: to be acknowledged within 30 days. Each step is an entry in the log.\n\n"
        + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)
ComplaintId = Annotated[str, typer.Argument(metavar="ID", help="As add and list print it.")]
_COLUMNS = ("complaint", "reference", "received_at", "due_at", "acknowledged_at", "closed_at", "outcome")


class Outcome(StrEnum):
    """What came of a complaint."""

    upheld = "upheld"
    partly_upheld = "partly-upheld"
    not_upheld = "not-upheld"
    withdrawn = "withdrawn"


@app.command()
@remote(None)
def add(
    link: Link,
    reference: Annotated[
        str, typer.Option("--reference", help="Its number at your agency; nothing about a person.")
    ],
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    received: Annotated[
        datetime | None,
        typer.Option("--received", parser=inputs.moment, metavar="TIME", help="By default now."),
    ] = None,
    words: Annotated[
        str,
        typer.Option(
            "--words",
            parser=inputs.words,
            metavar="TEXT",
            help="What it is about; kept apart, and erasable. `-`: from standard input.",
        ),
    ] = "",
    person: Annotated[
        str,
        typer.Option(
            "--person",
            metavar="SCHEME:VALUE",
            help="Whom it is about; - reads it from standard input, where no one else sees it.",
        ),
    ] = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Record a complaint. It says by when it is to be acknowledged.

    While it is open your agency erases nothing about that person; where nobody is named, about nobody.
    """
    from broker.v1 import exchange_pb2
    from broker.v1 import report_pb2 as pb
    from broker.v1.report_pb2_grpc import ReportServiceStub

    request = pb.AddComplaintRequest(
        reference=reference,
        received_at=inputs.stamp(received),
        words=words,
        actor=exchange_pb2.Actor(id=actor_id, role=role),
    )
    if person:
        request.person.CopyFrom(inputs.wire_subject(inputs.person_of(person)))
    reply = link.call(ReportServiceStub(link.channel).AddComplaint, request)
    made = {"complaint": reply.complaint_id, "due_at": output.when(reply, "due_at")}
    output.one({**made, **evidence.noted(reply.receipt, link.endpoint.vkey)}, as_json)


@app.command()
@remote(None)
def acknowledge(
    link: Link,
    complaint: ComplaintId,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    as_json: inputs.AsJson = False,
) -> None:
    """Say that it has been acknowledged to the person."""
    from broker.v1 import exchange_pb2
    from broker.v1 import report_pb2 as pb
    from broker.v1.report_pb2_grpc import ReportServiceStub

    request = pb.AcknowledgeComplaintRequest(
        complaint_id=complaint, actor=exchange_pb2.Actor(id=actor_id, role=role)
    )
    reply = link.call(ReportServiceStub(link.channel).AcknowledgeComplaint, request)
    output.one({"acknowledged": complaint, **evidence.noted(reply.receipt, link.endpoint.vkey)}, as_json)


@app.command()
@remote(None)
def close(
    link: Link,
    complaint: ComplaintId,
    outcome: Annotated[Outcome, typer.Option("--outcome", help="What came of it.")],
    words: Annotated[
        str,
        typer.Option(
            "--words",
            parser=inputs.words,
            metavar="TEXT",
            help="What was done and told; erasable. `-`: from standard input.",
        ),
    ],
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    as_json: inputs.AsJson = False,
) -> None:
    """Say what came of it, after it was acknowledged."""
    from broker.v1 import exchange_pb2
    from broker.v1 import report_pb2 as pb
    from broker.v1.report_pb2_grpc import ReportServiceStub

    request = pb.CloseComplaintRequest(
        complaint_id=complaint,
        outcome=outcome.value,
        words=words,
        actor=exchange_pb2.Actor(id=actor_id, role=role),
    )
    reply = link.call(ReportServiceStub(link.channel).CloseComplaint, request)
    done = {"closed": complaint, "outcome": outcome.value}
    output.one({**done, **evidence.noted(reply.receipt, link.endpoint.vkey)}, as_json)


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
    """List your agency's complaints, newest first."""
    from broker.v1 import report_pb2 as pb
    from broker.v1.report_pb2_grpc import ReportServiceStub

    request = pb.ListComplaintsRequest(**inputs.looking(actor_id, role, reason, words))
    reply = link.call(ReportServiceStub(link.channel).ListComplaints, request)
    noted = evidence.noted(reply.receipt, link.endpoint.vkey)
    times = ("received_at", "due_at", "acknowledged_at", "closed_at")
    found: list[dict[str, object]] = [
        {
            "complaint": each.id,
            "reference": each.reference,
            **{name: output.when(each, name) for name in times},
            "outcome": each.outcome or "open",
        }
        for each in reply.complaints
    ]
    if as_json:
        output.emit_json({"complaints": found, **noted})
        return
    output.many(found, _COLUMNS, "no complaint has been recorded")
