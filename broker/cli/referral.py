"""`broker referral`: requests that a named human of the provider decides.

Owns the words of these commands. What a human decides is put together in `referral_decide`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import evidence, inputs, output
from broker.cli.connection import Link
from broker.cli.referral_decide import decide, shown
from broker.cli.remote import remote
from broker.ids import request_id as make_id

if TYPE_CHECKING:
    from broker.v1 import exchange_pb2
    from broker.v1 import referral_pb2 as pb

app = typer.Typer(
    help=(
        "Referrals: requests that wait for a named human of the provider. A requester asks; only the "
        "provider's own system, named by --as, sees and decides. Every look is an entry in the log.\n\n"
        + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)
_COLUMNS = (
    *("id", "status", "due_at", "overdue", "escalate_to", "requester", "record_type", "purpose", "agreement"),
    *("opened_at", "in_place_of"),
)
app.command()(decide)


@app.command()
@remote(None)
def ask(
    link: Link,
    provider: Annotated[str, typer.Option(metavar="AGENCY", help="The agency that holds the record.")],
    record_type: Annotated[str, typer.Option(metavar="NAME", help="As `broker records list` shows it.")],
    subject: inputs.Subject,
    purpose: Annotated[str, typer.Option(metavar="CODE", help="Why (broker agreement purposes).")],
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: Annotated[
        str,
        typer.Option(
            "--words",
            parser=inputs.words,
            metavar="TEXT",
            help="Why a human should let it through, up to 500 characters. `-`: from standard input.",
        ),
    ],
    assurance: Annotated[
        inputs.Assurance, typer.Option(help="How sure this system is of who is at the keyboard.")
    ] = inputs.Assurance.asserted,
    reason: Annotated[str, typer.Option("--reason", metavar="CODE", help="The reason as a code.")] = "",
    incident: Annotated[str, typer.Option(metavar="AGENCY/DATE/NUMBER", help="The incident it is for.")] = "",
    request_id: Annotated[str, typer.Option(metavar="UUID", help="Your own id; a fresh one if none.")] = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Put a request before a named human of the provider: no agreement foresaw it, or it was refused.

    Nothing about the person is looked at. Once it is granted, `broker request` with the very same options,
    --words among them, and `--retry-of` with the request id that is printed, gets the record.
    """
    from broker.client.asking import write_request
    from broker.core.model import Actor, Assurance, Reason
    from broker.v1 import referral_pb2 as pb
    from broker.v1.referral_pb2_grpc import ReferralServiceStub

    request = write_request(
        record_type=record_type,
        provider=provider,
        subject=inputs.subject_of(subject),
        query=None,
        purpose=purpose,
        actor=Actor(actor_id, role, assurance=Assurance[assurance.name.upper()]),
        reason=Reason(reason, words),
        override=None,
        incident=incident,
        place=None,
        traceparent="",
    )
    request.request_id = request_id or make_id()
    reply = link.call(ReferralServiceStub(link.channel).AskReferral, pb.AskReferralRequest(request=request))
    asked = {
        "referral": reply.referral_id,
        "request_id": request.request_id,
        "due_at": output.when(reply, "due_at"),
        "message": reply.message,
        "remedy": reply.remedy,
    }
    output.one({**asked, **evidence.noted(reply.receipt, link.endpoint.vkey)}, as_json)


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
    """List what was referred to your agency: what is open first, and of that what is due first.

    What is overdue names whom to tell. Whom a request is about is shown by `show` alone.
    """
    from broker.v1 import referral_pb2 as pb
    from broker.v1.referral_pb2_grpc import ReferralServiceStub

    request = pb.ListReferralsRequest(**inputs.looking(actor_id, role, reason, words))
    reply = link.call(ReferralServiceStub(link.channel).ListReferrals, request)
    noted = evidence.noted(reply.receipt, link.endpoint.vkey)
    found = [_described(each) for each in reply.referrals]
    output.listed("referrals", found, _COLUMNS, as_json, "nothing waits for your agency", noted)


@app.command()
@remote(None)
def show(
    link: Link,
    referral: Annotated[str, typer.Argument(metavar="REFERRAL_ID", help="As list prints it.")],
    reason: inputs.Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    words: inputs.Words = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Show one referral whole: who asks what about whom, why, and what stood in its way."""
    found = shown(link, referral, **inputs.looking(actor_id, role, reason, words))
    asked = found.request
    person = f"{asked.subject.scheme}:{asked.subject.value}" if asked.HasField("subject") else "by traits"
    output.one(
        {
            **_described(found),
            "subject": person,
            "traits": _traits(asked),
            "actor": asked.actor.id,
            "actor_name": asked.actor.name or None,
            "actor_role": asked.actor.role,
            "reason": asked.reason.words or asked.reason.code or None,
            "incident": asked.incident or None,
            "stood_in_the_way": list(found.why),
            "may_be_given": list(found.permitted_paths),
        },
        as_json,
    )


def _traits(asked: exchange_pb2.RecordRequest) -> list[str]:
    return [f"{field.name}: {value}" for field, value in asked.query.ListFields()]


def _described(referral: pb.Referral) -> dict[str, object]:
    return {
        "id": referral.id,
        "status": referral.status,
        "opened_at": output.when(referral, "opened_at"),
        "due_at": output.when(referral, "due_at"),
        "overdue": referral.overdue,
        "escalate_to": referral.escalate_to if referral.overdue else None,
        "requester": referral.requester,
        "request_id": referral.request_id,
        "record_type": referral.record_type,
        "purpose": referral.purpose,
        "agreement": referral.agreement or None,
        "until": output.when(referral, "until"),
        "neither_confirm_nor_deny": referral.neither_confirm_nor_deny,
        "in_place_of": referral.in_place_of or None,
    }
