"""`broker referral decide`: what a named human of the provider decides on one referral.

Owns the words of this command. A decision is checked whole by the broker; here it is only put together, and
signed with the agency's own key, so that its adapter need not take the broker's word for it.
"""

from __future__ import annotations

import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import evidence, inputs, output
from broker.cli.connection import Link
from broker.cli.remote import remote
from broker.errors import InvalidRequest

if TYPE_CHECKING:
    from broker.v1 import adapter_pb2, exchange_pb2
    from broker.v1 import referral_pb2 as pb

Code = Annotated[str, typer.Option(metavar="CODE", help="As in an agreement.")]
_OF_EACH_SIDE = ("regime", "basis", "condition", "offence_condition")
_UNSIGNED = (
    "without --sign-with an adapter whose own check is on will not answer; a grant is not signed afterwards: "
    "--refuse it, and have it asked anew"
)


class Told(StrEnum):
    """Whether the person was told."""

    told = "told"
    not_told = "not-told"
    to_be_told = "to-be-told"


Reasoning = Annotated[
    str,
    typer.Option(
        parser=inputs.words, metavar="TEXT", help="Why, in words; erasable. `-`: from standard input."
    ),
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="PATH",
        help="A field that may be given; repeatable. By default all that the agreement names.",
    ),
]
FetchUntil = Annotated[
    datetime | None,
    typer.Option(parser=inputs.moment, metavar="TIME", help="It may be fetched until then, within 90 days."),
]
SignWith = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Sign with the agency's key; an adapter whose own check is on answers only what is signed.",
    ),
]
WhyOverridden = Annotated[
    str,
    typer.Option(parser=inputs.words, metavar="TEXT", help="Why that is set aside. `-`: from standard input."),
]
WhetherTold = Annotated[Told | None, typer.Option(help="Whether the person was told.", show_default=False)]
Justification = Annotated[
    str,
    typer.Option(
        parser=inputs.words,
        metavar="TEXT",
        help="Caldicott justification, in words. `-`: from standard input.",
    ),
]


@remote(None)
def decide(
    link: Link,
    referral: Annotated[str, typer.Argument(metavar="REFERRAL_ID", help="As list prints it.")],
    granted: Annotated[bool, typer.Option("--grant/--refuse", help="Let it through, or not.")],
    reasoning: Reasoning,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    assurance: inputs.Named = inputs.Assurance.asserted,
    fields: Fields = None,
    until: FetchUntil = None,
    sign_with: SignWith = None,
    person_refused: Annotated[bool, typer.Option(help="The person has refused or objected.")] = False,
    why_overridden: WhyOverridden = "",
    told: WhetherTold = None,
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
    justification: Justification = "",
    further_use_law: Code = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Grant or refuse it, as a named human of the provider. Refusing one that was granted takes it back.

    What no agreement foresaw needs the law it stands on: `--basis` and, as the fields want it, `--condition`,
    `--gateway`, `--confidentiality` and so on, with `--provider-...` where your own side stands on another. The
    codes are those of agreements; what the law does not bear is refused here with what would mend it.
    """
    from broker.v1 import referral_pb2 as pb

    request = pb.DecideReferralRequest(
        referral_id=referral,
        granted=granted,
        reasoning=reasoning,
        actor=inputs.acting(actor_id, role, assurance),
        until=inputs.stamp(until.replace(microsecond=0) if until else None),
        person_refused=person_refused,
        why_overridden=why_overridden,
        told=told.value if told else "",
    )
    own = pb.Stand(regime=regime, basis=basis, condition=condition, offence_condition=offence_condition)
    theirs = pb.Stand(
        regime=provider_regime,
        basis=provider_basis,
        condition=provider_condition,
        offence_condition=provider_offence_condition,
    )
    law = _law(own, theirs)
    law.gateway, law.confidentiality = gateway, confidentiality
    law.justification, law.further_use_law = justification, further_use_law
    if granted:
        _grant(link, request, fields, law if basis else None, sign_with)
    _send(link, request, as_json)


def _grant(
    link: Link,
    request: pb.DecideReferralRequest,
    fields: list[str] | None,
    law: pb.OneOff | None,
    sign_with: Path | None,
) -> None:
    """Add what is let through: by default the fields of the referral, which is looked at for it."""
    from broker.v1 import exchange_pb2

    found = shown(link, request.referral_id, request.actor, exchange_pb2.ReasonCode(code="to-decide"))
    request.permitted_paths.extend(fields or found.permitted_paths)
    if law is not None:
        request.one_off.CopyFrom(law)
    if sign_with is not None:
        request.signed.CopyFrom(_signed(found, request, sign_with))


def _law(own: pb.Stand, theirs: pb.Stand) -> pb.OneOff:
    """Where each side stands: the provider as the requester, but for what is said of it."""
    from broker.v1 import referral_pb2 as pb

    provider = pb.Stand()
    provider.CopyFrom(own)
    provider.MergeFrom(theirs)  # what is empty in a message leaves what is there
    return pb.OneOff(requester=own, provider=provider)


def _send(link: Link, request: pb.DecideReferralRequest, as_json: bool) -> None:
    from broker.v1.referral_pb2_grpc import ReferralServiceStub

    try:
        reply = link.call(ReferralServiceStub(link.channel).DecideReferral, request)
    except InvalidRequest as error:
        raise _in_options(error) from None
    done = {"referral": request.referral_id, "decided": "granted" if request.granted else "refused"}
    if request.granted:
        done["until"] = output.when(request, "until") or ""
        done["signed_with"] = request.signed.key_id
    output.one({**done, **evidence.noted(reply.receipt, link.endpoint.vkey)}, as_json)
    if request.granted and not request.HasField("signed"):
        sys.stderr.write(f"note: {_UNSIGNED}\n")


def _in_options(error: InvalidRequest) -> InvalidRequest:
    """The same, by the option that mends it rather than by its field."""
    *_, part, name = ("", *error.field.split("."))
    if not error.field.startswith("one_off."):
        return error
    option = name.replace("_", "-")
    own = f"--provider-{option}" if part == "provider" else f"--{option}"
    if part == "one_off" and name in _OF_EACH_SIDE:
        own = f"{own} (and --provider-{option} where your own side stands on another)"
    return InvalidRequest(own, error.problem)


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


def shown(link: Link, referral: str, actor: exchange_pb2.Actor, reason: exchange_pb2.ReasonCode) -> pb.Referral:
    """One referral whole; the look is an entry."""
    from broker.v1 import referral_pb2 as pb
    from broker.v1.referral_pb2_grpc import ReferralServiceStub

    request = pb.ShowReferralRequest(referral_id=referral, actor=actor, reason=reason)
    reply = link.call(ReferralServiceStub(link.channel).ShowReferral, request)
    evidence.noted(reply.receipt, link.endpoint.vkey)
    return reply.referral
