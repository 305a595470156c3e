"""`broker audit incident`: that an incident has another agency's number too.

Owns the command's words.
"""

from __future__ import annotations

from typing import Annotated

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import remote


@remote(None)
def incident(
    link: Link,
    number: Annotated[
        str, typer.Argument(metavar="NUMBER", help="Your agency's number of it: agency/date/number.")
    ],
    also: Annotated[str, typer.Option("--also", metavar="NUMBER", help="Another agency's number of it.")],
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    not_the_same: Annotated[
        bool, typer.Option("--not-the-same", help="Your agency said so, and it is not so.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="CODE", help="How it is known.")] = "",
    words: inputs.Words = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Say that your incident has another agency's number too: a search for one of them finds both.

    It is an entry of the log, and widens what is found; nothing is decided by it. The entry says whose word it
    was, and a search every number that it looked for.
    """
    from broker.v1 import audit_pb2 as pb
    from broker.v1 import exchange_pb2
    from broker.v1.audit_pb2_grpc import AuditServiceStub

    request = pb.AliasIncidentRequest(
        incident=number,
        also=also,
        not_the_same=not_the_same,
        actor=exchange_pb2.Actor(id=actor_id, role=role),
        reason=exchange_pb2.ReasonCode(code=reason, words=words),
    )
    reply = link.call(AuditServiceStub(link.channel).AliasIncident, request)
    output.one({"incident": number, "also": also, "same": not not_the_same, "entry": reply.event_id}, as_json)
