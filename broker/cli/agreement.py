"""`broker agreement`: put signed data-sharing agreements in force, and see which are.

Owns the words of these commands. The broker checks a file whole against its directory and record types;
nothing is judged here, so that no two judgements can differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote
from broker.errors import InvalidRequest

if TYPE_CHECKING:
    from broker.v1 import agreement_pb2 as pb

app = typer.Typer(
    help=(
        "Agreements: which fields may flow between whom, for what, under which law. What no agreement in force "
        "names is withheld.\n\nExit codes: 0 done; 1 refused or failed, with what to do; 2 a wrong option or a "
        "file that is not there."
    ),
    no_args_is_help=True,
)
_COLUMNS = ("id", "version", "status", "title", "purpose", "parties", "in_force_from", "in_force_until")


@app.command()
@remote(OPERATOR)
def apply(
    link: Link,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="TOML files.", exists=True, dir_okay=False, readable=True),
    ],
    as_json: inputs.AsJson = False,
) -> None:
    """Put versions of agreements in force, file by file; needs an operator.

    Each file is checked whole (agencies, record types, field paths, overlaps with other agreements) and
    nothing of it is stored unless all of it holds. What is stored is its exact bytes. The first file that does
    not hold stops the command; those before it stay applied and are printed.
    """
    applied: list[dict[str, object]] = []
    try:
        for file in files:
            applied.append(_apply(link, file))
    finally:
        columns = ("file", "id", "version", "status", "digest", "entry")
        if applied or as_json:
            output.many(applied, columns, as_json, "")


@app.command("list")
@remote(OPERATOR)
def list_(
    link: Link,
    all_versions: Annotated[bool, typer.Option("--all-versions", help="Superseded versions too.")] = False,
    as_json: inputs.AsJson = False,
) -> None:
    """List agreements. A partner sees those its agency is party to, operators and auditors see all."""
    from broker.v1 import agreement_pb2 as pb
    from broker.v1.agreement_pb2_grpc import AgreementServiceStub

    request = pb.ListAgreementsRequest(all_versions=all_versions)
    reply = link.call(AgreementServiceStub(link.channel).ListAgreements, request)
    found = [_described(each) for each in reply.agreements]
    output.many(found, _COLUMNS, as_json, "no agreements: put one in force with `broker agreement apply`")


def _apply(link: Link, file: Path) -> dict[str, object]:
    from broker.core.agreement import MAX_FILE
    from broker.v1 import agreement_pb2 as pb
    from broker.v1.agreement_pb2_grpc import AgreementServiceStub

    request = pb.ApplyAgreementRequest(file=inputs.read_bounded(file, MAX_FILE, "an agreement"))
    try:
        reply = link.call(AgreementServiceStub(link.channel).ApplyAgreement, request)
    except InvalidRequest as error:
        raise InvalidRequest(f"{file}: {error.field}", error.problem) from None
    return {"file": str(file), **_described(reply.agreement), "entry": reply.event_id}


def _described(agreement: pb.Agreement) -> dict[str, object]:
    return {
        "id": agreement.id,
        "version": agreement.version,
        "status": agreement.status,
        "title": agreement.title,
        "purpose": agreement.purpose,
        "parties": list(agreement.parties),
        "in_force_from": output.when(agreement, "valid_from"),
        "in_force_until": output.when(agreement, "valid_until"),
        "digest": agreement.digest,
        "flows": [
            {
                "provider": flow.provider,
                "requester": flow.requester,
                "record_type": flow.record_type,
                "permitted_paths": list(flow.permitted_paths),
                "roles": list(flow.roles),
            }
            for flow in agreement.flows
        ],
    }
