"""`broker directive`: what people have said about the use of what is held about them.

Owns the words of these commands. Refuses to print an identifier: who asked knows it, and others may look on.
"""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import evidence, inputs, output
from broker.cli.connection import Link
from broker.cli.remote import remote

if TYPE_CHECKING:
    from broker.core.subject import SubjectRef
    from broker.v1 import exchange_pb2

app = typer.Typer(
    help=(
        "Directives: consent, refusal, objection and restriction, as people have given them to an agency. "
        "A partner system records them, so --as is needed: the agency of its certificate is the recorder.\n\n"
        + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)


class Kind(StrEnum):
    """What somebody said."""

    consent = "consent"
    refusal = "refusal"
    objection = "objection"
    restriction = "restriction"


class Standing(StrEnum):
    """In what standing they spoke."""

    myself = "self"
    gillick_child = "gillick-child"
    parental_responsibility = "parental-responsibility"
    attorney = "attorney"
    deputy = "deputy"


class Manner(StrEnum):
    """How they said it."""

    verbal = "verbal"
    written = "written"


Names = list[str] | None
_COUNTS_NOWHERE = (
    "no agreement in force requires this consent and names your agency as a recorder; it is kept, and changes "
    "nothing. `broker agreement show ID` shows whose record of a consent counts"
)


@app.command()
@remote(None)
def add(
    link: Link,
    kind: Annotated[Kind, typer.Argument(help="What was said.")],
    subject: inputs.Subject,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    purposes: Annotated[
        Names, typer.Option("--purpose", metavar="CODE", help="For this purpose; repeatable; all if none.")
    ] = None,
    record_types: Annotated[
        Names, typer.Option("--record-type", metavar="NAME", help="About these records; all if none.")
    ] = None,
    requesters: Annotated[
        Names, typer.Option("--requester", metavar="AGENCY", help="When this agency asks; any if none.")
    ] = None,
    providers: Annotated[
        Names, typer.Option("--provider", metavar="AGENCY", help="What this agency holds; any if none.")
    ] = None,
    standing: Annotated[Standing, typer.Option(help="Who spoke.")] = Standing.myself,
    manner: Annotated[Manner, typer.Option(help="How it was said.")] = Manner.verbal,
    said_at: Annotated[
        datetime | None,
        typer.Option("--said-at", parser=inputs.moment, metavar="TIME", help="When; by default now."),
    ] = None,
    valid_until: inputs.Until = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Record what somebody said. It counts for every decision from its entry in the log on.

    Any party may record a refusal or an objection. A consent counts only where an agreement requires one and
    names its recorder: which do is printed, and a warning where none does. The id that is printed is what
    `broker directive withdraw` takes.
    """
    from broker.v1 import directive_pb2 as pb
    from broker.v1 import exchange_pb2
    from broker.v1.directive_pb2_grpc import DirectiveServiceStub

    request = pb.AddDirectiveRequest(
        directive=pb.Directive(
            kind=kind.value,
            subject=_wire(inputs.subject_of(subject)),
            purposes=purposes or (),
            record_types=record_types or (),
            requesters=requesters or (),
            providers=providers or (),
            standing=standing.value,
            manner=manner.value,
            said_at=inputs.stamp(said_at),
            valid_until=inputs.stamp(valid_until),
        ),
        actor=exchange_pb2.Actor(id=actor_id, role=role),
    )
    reply = link.call(DirectiveServiceStub(link.channel).AddDirective, request)
    made = {"directive": reply.directive_id, **_noted(link, reply.receipt)}
    if kind is Kind.consent:
        made["counts_under"] = list(reply.counts_under)
        if not reply.counts_under:
            sys.stderr.write(f"warning: {_COUNTS_NOWHERE}\n")
    output.one(made, as_json)


@app.command()
@remote(None)
def withdraw(
    link: Link,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    directive: Annotated[
        str | None,
        typer.Argument(metavar="DIRECTIVE_ID", help="As add and list print it.", show_default=False),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(
            metavar="SCHEME:VALUE",
            help="Instead: withdraw every consent about this subject; `-` reads it from standard input.",
        ),
    ] = None,
    purpose: Annotated[
        str, typer.Option(metavar="CODE", help="With --subject: only consents for this purpose.")
    ] = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Withdraw what was said: one directive by its id, or all consents about a subject.

    Where there is no such consent, that is said, and is no failure. A consent may be withdrawn through any
    party; anything else is lifted only by the agency that recorded it.
    """
    from broker.v1 import directive_pb2 as pb
    from broker.v1 import exchange_pb2
    from broker.v1.directive_pb2_grpc import DirectiveServiceStub

    if (directive is None) == (subject is None) or (purpose and subject is None):
        raise typer.BadParameter("give either DIRECTIVE_ID, or --subject SCHEME:VALUE (and --purpose CODE)")
    request = pb.WithdrawDirectiveRequest(
        directive_id=directive or "",
        actor=exchange_pb2.Actor(id=actor_id, role=role),
        subject=None if subject is None else _wire(inputs.subject_of(subject)),
        purpose=purpose,
    )
    reply = link.call(DirectiveServiceStub(link.channel).WithdrawDirective, request)
    withdrawn, noted = list(reply.directive_ids), _noted(link, reply.receipt)
    if not withdrawn and not as_json:
        scope = f" for {purpose}" if purpose else ""
        # What others had recorded is withdrawn too, and not ours to be told of.
        output.say(f"your agency had recorded no consent about this subject{scope} that was in force")
        output.say("any that another agency had recorded is withdrawn now")
    output.one({"withdrawn": withdrawn, **noted}, as_json)


@app.command("list")
@remote(None)
def list_(
    link: Link,
    subject: inputs.Subject,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    as_json: inputs.AsJson = False,
) -> None:
    """List what your own agency has recorded about one subject and nobody has withdrawn since.

    The look is itself an entry in the log.
    """
    from broker.v1 import directive_pb2 as pb
    from broker.v1 import exchange_pb2
    from broker.v1.directive_pb2_grpc import DirectiveServiceStub

    request = pb.ListDirectivesRequest(
        subject=_wire(inputs.subject_of(subject)), actor=exchange_pb2.Actor(id=actor_id, role=role)
    )
    reply = link.call(DirectiveServiceStub(link.channel).ListDirectives, request)
    _noted(link, reply.receipt)
    found = [
        {
            "id": each.id,
            "kind": each.kind,
            "purposes": list(each.purposes),
            "record_types": list(each.record_types),
            "requesters": list(each.requesters),
            "providers": list(each.providers),
            "recorder": each.recorder,
            "standing": each.standing,
            "manner": each.manner,
            "said_at": output.when(each, "said_at"),
            "recorded_at": output.when(each, "recorded_at"),
            "valid_until": output.when(each, "valid_until"),
        }
        for each in reply.directives
    ]
    columns = ("id", "kind", "purposes", "record_types", "requesters", "providers", "said_at", "recorded_at")
    none = (
        "nothing in force: your agency has recorded nothing about this subject, or it has been withdrawn since"
    )
    output.many(found, (*columns, "valid_until"), as_json, none)


def _wire(subject: SubjectRef) -> exchange_pb2.SubjectRef:
    from broker.v1 import exchange_pb2

    return exchange_pb2.SubjectRef(scheme=subject.scheme, value=subject.value)


def _noted(link: Link, message: exchange_pb2.Receipt) -> dict[str, object]:
    """The entry of a change: its receipt is verified where the log's keys are at hand."""
    receipt = evidence.read(message)
    vkey = link.endpoint.vkey
    verified = vkey.exists()
    if verified:
        evidence.verify(receipt, vkey)
    return {"entry": evidence.entry_id(receipt), "index": receipt.index, "verified": verified}
