"""`broker referral`: requests that a named human of the provider decides.

Owns the words of these commands. A decision is checked whole by the broker; here it is only put together, and
signed with the agency's own key, so that its adapter need not take the broker's word for it.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import evidence, inputs, output
from broker.cli.connection import Link
from broker.cli.remote import remote

if TYPE_CHECKING:
    from broker.v1 import adapter_pb2, exchange_pb2
    from broker.v1 import referral_pb2 as pb

app = typer.Typer(
    help=(
        "Referrals: requests that wait for a named human of the provider. A requester asks; only the "
        "provider's own system, named by --as, sees and decides. Every look is an entry in the log.\n\n"
        + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)
Named = Annotated[
    inputs.Assurance,
    typer.Option(help="How surely your system knows you; a decision needs personal-login or signed-token."),
]
Code = Annotated[str, typer.Option(metavar="CODE")]
_COLUMNS = (
    *("id", "status", "due_at", "overdue", "escalate_to", "requester", "record_type", "purpose", "agreement"),
    "opened_at",
)


class Told(StrEnum):
    """Whether the person was told."""

    told = "told"
    not_told = "not-told"
    to_be_told = "to-be-told"


def acting(actor_id: str, role: str, assurance: inputs.Assurance) -> exchange_pb2.Actor:
    """Who is at the keyboard, for the wire."""
    from broker.v1 import exchange_pb2

    level = exchange_pb2.Assurance.Value(f"ASSURANCE_{assurance.name.upper()}")
    return exchange_pb2.Actor(id=actor_id, role=role, assurance=level)


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
    reason: Annotated[str, typer.Option(help="Why a human should let it through, up to 500 characters.")],
    assurance: Annotated[
        inputs.Assurance, typer.Option(help="How sure this system is of who is at the keyboard.")
    ] = inputs.Assurance.asserted,
    reason_code: Annotated[str, typer.Option(metavar="CODE", help="A reason in a code.")] = "",
    incident: Annotated[str, typer.Option(metavar="AGENCY/DATE/NUMBER", help="The incident it is for.")] = "",
    request_id: Annotated[str, typer.Option(metavar="UUID", help="Your own id; a fresh one if none.")] = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Put a request before a named human of the provider: no agreement foresaw it, or it was refused.

    Nothing about the person is looked at. Once it is granted, `broker request` with the very same options, and
    `--retry-of` with the request id that is printed, gets the record.
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
        reason=Reason(reason_code, reason),
        override=None,
        incident=incident,
        place=None,
        traceparent="",
    )
    request.request_id = request_id or str(uuid.uuid4())
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
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    as_json: inputs.AsJson = False,
) -> None:
    """List what was referred to your agency: what is open first, and of that what is due first.

    What is overdue names whom to tell. Whom a request is about is shown by `show` alone.
    """
    from broker.v1 import exchange_pb2
    from broker.v1 import referral_pb2 as pb
    from broker.v1.referral_pb2_grpc import ReferralServiceStub

    request = pb.ListReferralsRequest(actor=exchange_pb2.Actor(id=actor_id, role=role))
    reply = link.call(ReferralServiceStub(link.channel).ListReferrals, request)
    evidence.noted(reply.receipt, link.endpoint.vkey)
    output.many([_described(r) for r in reply.referrals], _COLUMNS, as_json, "nothing waits for your agency")


@app.command()
@remote(None)
def show(
    link: Link,
    referral: Annotated[str, typer.Argument(metavar="REFERRAL_ID", help="As list prints it.")],
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    as_json: inputs.AsJson = False,
) -> None:
    """Show one referral whole: who asks what about whom, why, and what stood in its way."""
    found = _shown(link, referral, acting(actor_id, role, inputs.Assurance.asserted))
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


@app.command()
@remote(None)
def decide(
    link: Link,
    referral: Annotated[str, typer.Argument(metavar="REFERRAL_ID", help="As list prints it.")],
    granted: Annotated[bool, typer.Option("--grant/--refuse", help="Let it through, or not.")],
    reasoning: Annotated[str, typer.Option(help="Why, in words; erasable.")],
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    assurance: Named = inputs.Assurance.personal_login,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--field",
            metavar="PATH",
            help="A field that may be given; repeatable. By default all that the agreement names.",
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            parser=inputs.moment, metavar="TIME", help="It may be fetched until then, within 90 days."
        ),
    ] = None,
    sign_with: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Sign with the agency's key; an adapter whose own check is on answers only what is signed.",
        ),
    ] = None,
    person_refused: Annotated[bool, typer.Option(help="The person has refused or objected.")] = False,
    why_overridden: Annotated[str, typer.Option(help="Why that is set aside.")] = "",
    told: Annotated[Told | None, typer.Option(help="Whether the person was told.", show_default=False)] = None,
    basis: Code = "",
    regime: Code = "uk-gdpr",
    condition: Code = "",
    offence_condition: Code = "",
    provider_regime: Code = "",
    provider_basis: Code = "",
    provider_condition: Code = "",
    provider_offence_condition: Code = "",
    gateway: Code = "",
    confidentiality: Code = "",
    justification: Annotated[str, typer.Option(help="Caldicott justification, in words.")] = "",
    further_use_law: Code = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Grant or refuse it, as a named human of the provider. Refusing one that was granted takes it back.

    What no agreement foresaw needs the law it stands on: `--basis` and, as the fields want it, `--condition`,
    `--gateway`, `--confidentiality` and so on, with `--provider-...` where your own side stands on another. The
    codes are those of agreements; what the law does not bear is refused here with what would mend it.
    """
    from broker.v1 import referral_pb2 as pb
    from broker.v1.referral_pb2_grpc import ReferralServiceStub

    actor = acting(actor_id, role, assurance)
    request = pb.DecideReferralRequest(
        referral_id=referral,
        granted=granted,
        reasoning=reasoning,
        actor=actor,
        until=inputs.stamp(until.replace(microsecond=0) if until else None),
        person_refused=person_refused,
        why_overridden=why_overridden,
        told=told.value if told else "",
    )
    if granted:
        found = _shown(link, referral, actor)
        request.permitted_paths.extend(fields or found.permitted_paths)
        if basis:
            requester = pb.Stand(
                regime=regime, basis=basis, condition=condition, offence_condition=offence_condition
            )
            provider = pb.Stand(
                regime=provider_regime or regime,
                basis=provider_basis or basis,
                condition=provider_condition or condition,
                offence_condition=provider_offence_condition or offence_condition,
            )
            law = pb.OneOff(
                requester=requester,
                provider=provider,
                gateway=gateway,
                confidentiality=confidentiality,
                justification=justification,
                further_use_law=further_use_law,
            )
            request.one_off.CopyFrom(law)
        if sign_with is not None:
            request.signed.CopyFrom(_signed(found, request, sign_with))
    reply = link.call(ReferralServiceStub(link.channel).DecideReferral, request)
    done = {"referral": referral, "decided": "granted" if granted else "refused"}
    if granted:
        done["until"] = output.when(request, "until") or ""
        done["signed_with"] = request.signed.key_id
    output.one({**done, **evidence.noted(reply.receipt, link.endpoint.vkey)}, as_json)


def _signed(found: pb.Referral, request: pb.DecideReferralRequest, key: Path) -> adapter_pb2.Grant:
    """The agency's own word for exactly this, made here: the broker has no part in what it says."""
    from broker.core.granting import sign_grant, statement
    from broker.core.model import Caller, Function
    from broker.core.oneoff import one_off_id
    from broker.pki.signing import read_signing_key
    from broker.rpc import parse, wire
    from broker.rpc.referral import one_off

    until = parse.when("until", request, "until")
    if until is None:
        raise typer.BadParameter("a grant needs --until TIME")
    asked = parse.request(found.request, Caller(found.requester, "-", Function.PARTNER, ""))
    law = one_off(request.one_off) if request.HasField("one_off") else None
    said = statement(
        asked,
        found.id,
        f"{one_off_id(found.id)}/1" if law else found.agreement,
        tuple(sorted(set(request.permitted_paths))),
        until,
        law,
    )
    return wire.grant(sign_grant(said, read_signing_key(key)))


def _shown(link: Link, referral: str, actor: exchange_pb2.Actor) -> pb.Referral:
    from broker.v1 import referral_pb2 as pb
    from broker.v1.referral_pb2_grpc import ReferralServiceStub

    request = pb.ShowReferralRequest(referral_id=referral, actor=actor)
    reply = link.call(ReferralServiceStub(link.channel).ShowReferral, request)
    evidence.noted(reply.receipt, link.endpoint.vkey)
    return reply.referral


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
    }
