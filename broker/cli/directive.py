"""`broker directive`: what people have said about the use of what is held about them.

Owns the words of these commands. Refuses to print an identifier: who asked knows it, and others may look on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import evidence, inputs, output
from broker.cli.connection import Link
from broker.cli.directive_add import add
from broker.cli.directive_files import export, import_
from broker.cli.remote import remote

if TYPE_CHECKING:
    from broker.v1 import directive_pb2 as pb

app = typer.Typer(
    help=(
        "Directives: consents, refusals, objections, restrictions and opt-outs, as people have given them to "
        "an agency, and what shields somebody whoever asks. "
        "A partner system records them, so --as is needed: the agency of its certificate is the recorder.\n\n"
        + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)


app.command("add")(add)
app.command("import")(import_)
app.command("export")(export)


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
        subject=None if subject is None else inputs.wire_subject(inputs.subject_of(subject)),
        purpose=purpose,
    )
    reply = link.call(DirectiveServiceStub(link.channel).WithdrawDirective, request)
    withdrawn, noted = list(reply.directive_ids), evidence.noted(reply.receipt, link.endpoint.vkey)
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
    reason: inputs.Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: inputs.Words = "",
    as_json: inputs.AsJson = False,
) -> None:
    """List what your own agency has recorded about one subject and nobody has withdrawn since.

    The look is itself an entry in the log.
    """
    from broker.v1 import directive_pb2 as pb
    from broker.v1.directive_pb2_grpc import DirectiveServiceStub

    request = pb.ListDirectivesRequest(
        subject=inputs.wire_subject(inputs.subject_of(subject)),
        **inputs.looking(actor_id, role, reason, words),
    )
    reply = link.call(DirectiveServiceStub(link.channel).ListDirectives, request)
    noted = evidence.noted(reply.receipt, link.endpoint.vkey)
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
            **_spoken(each),
        }
        for each in reply.directives
    ]
    columns = ("id", "kind", "standing", "purposes", "record_types", "requesters", "providers", "said_at")
    none = (
        "nothing in force: your agency has recorded nothing about this subject, or it has been withdrawn since"
    )
    output.listed("directives", found, (*columns, "recorded_at", "valid_until"), as_json, none, noted)


_SPOKEN = ("speaker", "authority", "capacity", "assessor", "assessed_on", "assessed", "taken_by", "explained")


def _spoken(each: pb.Directive) -> dict[str, object]:
    """Who spoke and how it was taken."""
    return {
        **{name: getattr(each, name) or None for name in (*_SPOKEN, "company", "matter")},
        "reconsider_at": output.when(each, "reconsider_at"),
        "actors": list(each.actors),
    }
