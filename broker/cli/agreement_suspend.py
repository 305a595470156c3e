"""`broker agreement suspend`: stop an agreement at once, or let one's own stop end."""

from __future__ import annotations

from typing import Annotated

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote


@remote(OPERATOR)
def suspend(
    link: Link,
    agreement: Annotated[
        str, typer.Argument(metavar="ID", help="Its id, as `broker agreement list` shows it.")
    ],
    reason: Annotated[
        str,
        typer.Option(
            metavar="WORDS", help="Why, for every party to read: up to 500 characters, nothing about a person."
        ),
    ],
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    lift: Annotated[
        bool, typer.Option("--lift", help="Lift the suspension of your agency; an operator lifts every one.")
    ] = False,
    as_json: inputs.AsJson = False,
) -> None:
    """Stop an agreement: nothing more is released under it, what is under way included.

    Any party may, with a system of its own (--as), for its own agreements; an operator may for all. It stands
    until the agency that suspended it lifts it, or an operator does, whatever version is applied meanwhile.
    Where several parties suspend it, each lifts its own.
    """
    from broker.v1 import agreement_pb2 as pb
    from broker.v1.agreement_pb2_grpc import AgreementServiceStub
    from broker.v1.exchange_pb2 import Actor

    actor = Actor(id=actor_id, role=role)
    request = pb.SuspendAgreementRequest(id=agreement, reason=reason, lift=lift, actor=actor)
    reply = link.call(AgreementServiceStub(link.channel).SuspendAgreement, request)
    output.one(
        {
            "id": reply.agreement.id,
            "version": reply.agreement.version,
            "status": reply.agreement.status,
            "suspended_by": [each.agency for each in reply.agreement.suspensions],
            "entry": reply.event_id,
        },
        as_json,
    )
