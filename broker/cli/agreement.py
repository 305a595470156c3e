"""`broker agreement`: put data-sharing agreements in force, and see which are.

Owns the words of these commands. The broker checks a file whole against its directory and record types;
nothing is judged here, so that no two judgements can differ. The other verbs are in files of their own.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import inputs, output
from broker.cli.agreement_check import check
from broker.cli.agreement_diff import diff
from broker.cli.agreement_plan import plan
from broker.cli.agreement_show import purposes, show, signature_facts
from broker.cli.agreement_sign import sign
from broker.cli.agreement_suspend import suspend
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote
from broker.errors import IntegrityError, InvalidRequest

if TYPE_CHECKING:
    from broker.core.signature import Signature
    from broker.v1 import agreement_pb2 as pb
    from broker.v1 import exchange_pb2

app = typer.Typer(
    help=(
        "Agreements: which fields may flow between whom, for what, under which law. What no agreement in force "
        "names is withheld.\n\n" + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)
# A row for each flow: what most want to know is who may ask whom, for what.
_COLUMNS = (
    "id",
    "version",
    "status",
    "title",
    "purpose",
    "requester",
    "provider",
    "record_type",
    "roles",
    "in_force_from",
    "in_force_until",
)
app.command("check")(check)
app.command("diff")(diff)
app.command("sign")(sign)
app.command("show")(show)
app.command("suspend")(suspend)
app.command("purposes")(purposes)
app.command("plan")(plan)


@app.command()
@remote(OPERATOR)
def apply(
    link: Link,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="TOML files.", exists=True, dir_okay=False, readable=True),
    ],
    signatures: Annotated[
        list[Path] | None,
        typer.Option(
            "--signature",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A party's signature; repeatable, for one FILE. By default those beside it, FILE.AGENCY.sig.",
        ),
    ] = None,
    actor_id: inputs.OperatorId = "",
    role: inputs.ActorRole = "operator",
    as_json: inputs.AsJson = False,
) -> None:
    """Put versions of agreements in force, file by file; needs an operator.

    Every party must have signed the file (`broker agreement sign`), with a key that is enrolled for it.

    Each file is checked whole (`broker agreement check` tells all that is wrong beforehand) and nothing of it
    is stored unless all of it holds. One that `supersedes` another ends it on its own first day. What is stored
    is its exact bytes. The first file that does not hold stops the command; those before it stay applied and
    are printed.
    """
    if signatures and len(files) > 1:
        raise typer.BadParameter("--signature goes with one FILE")
    applied, actor = list[dict[str, object]](), inputs.operating(actor_id, role)
    try:
        for file in files:
            applied.append(_apply(link, file, signatures or _beside(file), actor))
    finally:
        columns = ("file", "id", "version", "status", "digest", "entry")
        if applied or as_json:
            output.listed("applied", applied, columns, as_json, "")


@app.command("list")
@remote(OPERATOR)
def list_(
    link: Link,
    all_versions: Annotated[bool, typer.Option("--all-versions", help="Superseded versions too.")] = False,
    as_json: inputs.AsJson = False,
) -> None:
    """List agreements, a row for each flow; `show` has the rest of one. The last day is included.

    A partner sees those its agency is party to, operators and auditors see all.
    """
    from broker.v1 import agreement_pb2 as pb
    from broker.v1.agreement_pb2_grpc import AgreementServiceStub

    request = pb.ListAgreementsRequest(all_versions=all_versions)
    reply = link.call(AgreementServiceStub(link.channel).ListAgreements, request)
    found = [described(each) for each in reply.agreements]
    if found and not as_json:
        rows = [
            {**each, **_described_flow(flow)}
            for each, a in zip(found, reply.agreements, strict=True)
            for flow in a.flows
        ]
        output.many(rows, _COLUMNS, "")
        return
    output.listed(
        "agreements", found, _COLUMNS, as_json, "no agreements: put one in force with `broker agreement apply`"
    )


def _beside(file: Path) -> list[Path]:
    """The signature files that lie beside an agreement."""
    from broker.core.signature import SUFFIX

    return sorted(p for p in file.parent.iterdir() if p.name.startswith(f"{file.name}.") and p.suffix == SUFFIX)


def _signature(path: Path) -> Signature:
    from broker.core.signature import Signature
    from broker.core.statement import MAX_STATEMENT

    try:
        return Signature.from_bytes(inputs.read_bounded(path, MAX_STATEMENT, "a signature"))
    except IntegrityError as error:
        raise IntegrityError(f"{path}: {error}") from None


def _blamed(file: Path, signatures: list[Path], field: str) -> str:
    """Where the broker's `field` stands in our files."""
    first, _, rest = field.partition(".")
    number, _, part = rest.partition(".")
    if first == "signatures" and number.isdecimal() and int(number) < len(signatures):
        return f"{signatures[int(number)]}: {part or 'signature'}"
    return f"{file}: {field}"


def _apply(link: Link, file: Path, signatures: list[Path], actor: exchange_pb2.Actor) -> dict[str, object]:
    from broker.core.agreement import MAX_FILE
    from broker.rpc.signed import signature_message
    from broker.v1 import agreement_pb2 as pb
    from broker.v1.agreement_pb2_grpc import AgreementServiceStub

    request = pb.ApplyAgreementRequest(
        file=inputs.read_bounded(file, MAX_FILE, "an agreement"),
        signatures=[signature_message(_signature(path)) for path in signatures],
        actor=actor,
    )
    try:
        reply = link.call(AgreementServiceStub(link.channel).ApplyAgreement, request)
    except InvalidRequest as error:
        raise InvalidRequest(_blamed(file, signatures, error.field), error.problem) from None
    return {"file": str(file), **described(reply.agreement), "entry": reply.event_id}


def described(agreement: pb.Agreement) -> dict[str, object]:
    """An agreement as it is listed."""
    return {
        "id": agreement.id,
        "version": agreement.version,
        "status": agreement.status,
        "title": agreement.title,
        "purpose": agreement.purpose,
        "parties": list(agreement.parties),
        "in_force_from": output.day(agreement, "valid_from"),
        # The wire has the first moment no longer in force; people count the last day.
        "in_force_until": output.day(agreement, "valid_until", timedelta(microseconds=1)),
        "review_on": agreement.review_on,
        "supersedes": agreement.supersedes,
        "superseded_by": agreement.superseded_by,
        "suspended_by": [stop.agency for stop in agreement.suspensions],
        "suspensions": [
            {
                "agency": stop.agency,
                "system": stop.system,
                "reason": stop.reason,
                "suspended_at": output.when(stop, "suspended_at"),
                "operator": stop.operator,
            }
            for stop in agreement.suspensions
        ],
        "digest": agreement.digest,
        "signed_by": [signed.agency for signed in agreement.signatures],
        "signatures": [signature_facts(signed) for signed in agreement.signatures],
        "flows": [_described_flow(flow) for flow in agreement.flows],
    }


def _described_flow(flow: pb.Flow) -> dict[str, object]:
    return {
        "provider": flow.provider,
        "requester": flow.requester,
        "record_type": flow.record_type,
        "permitted_paths": list(flow.permitted_paths),
        "roles": list(flow.roles),
    }
