"""`broker override`: overrides of what your agency holds, their reviews, and who may use no more of them.

Owns the words of these commands.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import evidence, inputs, output
from broker.cli.connection import Link
from broker.cli.remote import remote

if TYPE_CHECKING:
    from broker.v1 import override_pb2 as pb

app = typer.Typer(
    help=(
        "Overrides: emergencies in which somebody went past a refusal. Only the owner's own system, named by "
        "--as, sees and reviews them. Every look is an entry in the log.\n\n" + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)
OverrideId = Annotated[str, typer.Argument(metavar="OVERRIDE_ID", help="As list prints it.")]
Reasoning = Annotated[
    str,
    typer.Option(
        "--words",
        "--reasoning",
        parser=inputs.words,
        metavar="TEXT",
        help="Why, in words; erasable. `-`: from standard input.",
    ),
]
_COLUMNS = (
    *("id", "status", "due_at", "overdue", "escalate_to", "requester", "actor", "code", "words", "record_type"),
    *("given", "used_at", "in_place_of"),
)
_STANDING = ("id", "requester", "what", "who", "until", "made_at", "override", "made_by")


class Verdict(StrEnum):
    """What a review comes to."""

    justified = "justified"
    not_justified = "not-justified"
    wrong_person = "wrong-person"


class What(StrEnum):
    """By what further overrides are restricted."""

    actor = "actor"
    role = "role"
    system = "system"


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
    """List overrides of what your agency holds, those to be reviewed first, and the restrictions in force.

    An overdue review names whom to tell.
    """
    from broker.v1 import override_pb2 as pb
    from broker.v1.override_pb2_grpc import OverrideServiceStub

    request = pb.ListOverridesRequest(**inputs.looking(actor_id, role, reason, words))
    reply = link.call(OverrideServiceStub(link.channel).ListOverrides, request)
    noted = evidence.noted(reply.receipt, link.endpoint.vkey)
    used = [_described(each) for each in reply.overrides]
    standing = [
        {
            "id": each.id,
            "override": each.override_id,
            "requester": each.requester,
            "what": each.what,
            "who": each.who,
            "made_at": output.when(each, "made_at"),
            "until": output.when(each, "until"),
            "made_by": each.made_by,
        }
        for each in reply.restrictions
    ]
    if as_json:
        output.emit_json({"overrides": used, "restrictions": standing, **noted})
        return
    output.many(used, _COLUMNS, "nobody has overridden a refusal of what your agency holds")
    if standing:
        output.say("")
        output.say("Restricted from further overrides:")
        output.many(standing, _STANDING, "")


@app.command()
@remote(None)
def review(
    link: Link,
    override: OverrideId,
    verdict: Annotated[Verdict, typer.Option(help="What the review comes to.")],
    reasoning: Reasoning,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    assurance: inputs.Named = inputs.Assurance.asserted,
    as_json: inputs.AsJson = False,
) -> None:
    """Review an override, once, as a named human of the owner. Both agencies read what it came to."""
    from broker.v1 import override_pb2 as pb
    from broker.v1.override_pb2_grpc import OverrideServiceStub

    request = pb.ReviewOverrideRequest(
        override_id=override,
        verdict=verdict.value,
        reasoning=reasoning,
        actor=inputs.acting(actor_id, role, assurance),
    )
    reply = link.call(OverrideServiceStub(link.channel).ReviewOverride, request)
    output.one(
        {"override": override, "verdict": verdict.value, **evidence.noted(reply.receipt, link.endpoint.vkey)},
        as_json,
    )


@app.command()
@remote(None)
def restrict(
    link: Link,
    override: OverrideId,
    what: Annotated[
        What, typer.Option(help="Restrict the actor who used it, their role, or their system (a site's own).")
    ],
    reasoning: Reasoning,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    until: Annotated[
        datetime | None,
        typer.Option(parser=inputs.moment, metavar="TIME", help="Until then; without it until it is lifted."),
    ] = None,
    assurance: inputs.Named = inputs.Assurance.asserted,
    as_json: inputs.AsJson = False,
) -> None:
    """Let whoever used it use no further override of what your agency holds.

    Only after one that was found not justified, or whose review is overdue. Requests for a purpose on which a
    life may depend are never restricted.
    """
    from broker.v1 import override_pb2 as pb
    from broker.v1.override_pb2_grpc import OverrideServiceStub

    request = pb.RestrictOverridesRequest(
        override_id=override,
        what=what.value,
        until=inputs.stamp(until),
        reasoning=reasoning,
        actor=inputs.acting(actor_id, role, assurance),
    )
    reply = link.call(OverrideServiceStub(link.channel).RestrictOverrides, request)
    done = {"restriction": reply.restriction_id, "what": what.value}
    output.one({**done, **evidence.noted(reply.receipt, link.endpoint.vkey)}, as_json)


@app.command()
@remote(None)
def lift(
    link: Link,
    restriction: Annotated[str, typer.Argument(metavar="RESTRICTION_ID", help="As list prints it.")],
    reasoning: Reasoning,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    assurance: inputs.Named = inputs.Assurance.asserted,
    as_json: inputs.AsJson = False,
) -> None:
    """End a restriction at once."""
    from broker.v1 import override_pb2 as pb
    from broker.v1.override_pb2_grpc import OverrideServiceStub

    request = pb.LiftRestrictionRequest(
        restriction_id=restriction, reasoning=reasoning, actor=inputs.acting(actor_id, role, assurance)
    )
    reply = link.call(OverrideServiceStub(link.channel).LiftRestriction, request)
    output.one({"lifted": restriction, **evidence.noted(reply.receipt, link.endpoint.vkey)}, as_json)


def _described(used: pb.Override) -> dict[str, object]:
    return {
        "id": used.id,
        "status": used.status,
        "used_at": output.when(used, "used_at"),
        "due_at": output.when(used, "due_at"),
        "overdue": used.overdue,
        "escalate_to": used.escalate_to if used.overdue else None,
        "requester": used.requester,
        "system": used.system,
        "request_id": used.request_id,
        "actor": used.actor.id,
        "actor_name": used.actor.name or None,
        "actor_role": used.actor.role,
        "code": used.code,
        "words": used.words or None,
        "record_type": used.record_type,
        "purpose": used.purpose,
        "incident": used.incident or None,
        "agreement": used.agreement,
        "waived": list(used.waived),
        "given": list(used.given),
        "reviewed_at": output.when(used, "reviewed_at"),
        "in_place_of": used.in_place_of or None,
    }
