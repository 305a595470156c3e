"""`broker agreement`: sign data-sharing agreements, put them in force, and see which are.

Owns the words of these commands. The broker checks a file whole against its directory and record types;
nothing is judged here, so that no two judgements can differ. Signing is offline.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import agency_key, inputs, output
from broker.cli.agreement_plan import plan
from broker.cli.agreement_show import purposes, show
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote
from broker.errors import IntegrityError, InvalidRequest, SetupError

if TYPE_CHECKING:
    from broker.core.signature import Signature
    from broker.v1 import agreement_pb2 as pb

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
app.command("show")(show)
app.command("purposes")(purposes)
app.command("plan")(plan)


@app.command()
def sign(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="The agreement's TOML file.", exists=True, dir_okay=False),
    ],
    agency: Annotated[str, typer.Option(metavar="AGENCY", help="Which party signs, such as cfrs.")],
    key: Annotated[
        Path,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="Its private key, from `broker agency key new`."
        ),
    ],
    signatory: Annotated[str, typer.Option(metavar="NAME", help="Who signs for it.")],
    role: Annotated[str, typer.Option(metavar="POST", help="Their post, such as Caldicott Guardian.")],
    on: Annotated[
        date | None,
        typer.Option("--date", parser=agency_key.day, metavar="DAY", help="Day (UTC); by default today."),
    ] = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Sign an agreement for one party; writes FILE.AGENCY.sig beside it. Offline: no broker is asked.

    The signature is over the file's exact bytes: change one, and every party signs again. An older signature
    is never replaced; remove it first.
    """
    from broker import law
    from broker.core import agreement as agreements
    from broker.core import signature as signatures
    from broker.pki.files import write_new
    from broker.pki.signing import read_signing_key

    data = inputs.read_bounded(file, agreements.MAX_FILE, "an agreement")
    agreement = agreements.parse(data, law.load())
    parties = [party.agency for party in agreement.parties]
    if agency not in parties:
        raise SetupError(f"{agency} is no party of {agreement.label}; its parties are {', '.join(parties)}")
    day = on or datetime.now(UTC).date()
    made = signatures.sign(data, agency, read_signing_key(key), day, signatory, role)
    target = file.with_name(signatures.file_name(file.name, agency))
    write_new(target, made.to_bytes(), 0o644)
    output.one(
        {
            "agreement": agreement.label,
            "agency": agency,
            "key_id": made.key_id,
            "digest": made.digest,
            "signed_at": day.isoformat(),
            "signature": str(target),
        },
        as_json,
    )


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
    as_json: inputs.AsJson = False,
) -> None:
    """Put versions of agreements in force, file by file; needs an operator.

    Every party must have signed the file (`broker agreement sign`), with a key that is enrolled for it.

    Each file is checked whole (agencies, record types, field paths, overlaps with other agreements) and
    nothing of it is stored unless all of it holds. What is stored is its exact bytes. The first file that does
    not hold stops the command; those before it stay applied and are printed.
    """
    if signatures and len(files) > 1:
        raise typer.BadParameter("--signature goes with one FILE")
    applied: list[dict[str, object]] = []
    try:
        for file in files:
            applied.append(_apply(link, file, signatures or _beside(file)))
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
    """List agreements, a row for each flow; `show` has the rest of one.

    A partner sees those its agency is party to, operators and auditors see all.
    """
    from broker.v1 import agreement_pb2 as pb
    from broker.v1.agreement_pb2_grpc import AgreementServiceStub

    request = pb.ListAgreementsRequest(all_versions=all_versions)
    reply = link.call(AgreementServiceStub(link.channel).ListAgreements, request)
    found = [_described(each) for each in reply.agreements]
    if found and not as_json:
        rows = [
            {**each, **_described_flow(flow)}
            for each, a in zip(found, reply.agreements, strict=True)
            for flow in a.flows
        ]
        output.many(rows, _COLUMNS, False, "")
        return
    output.many(found, _COLUMNS, as_json, "no agreements: put one in force with `broker agreement apply`")


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


def _apply(link: Link, file: Path, signatures: list[Path]) -> dict[str, object]:
    from broker.core.agreement import MAX_FILE
    from broker.rpc.signed import signature_message
    from broker.v1 import agreement_pb2 as pb
    from broker.v1.agreement_pb2_grpc import AgreementServiceStub

    request = pb.ApplyAgreementRequest(
        file=inputs.read_bounded(file, MAX_FILE, "an agreement"),
        signatures=[signature_message(_signature(path)) for path in signatures],
    )
    try:
        reply = link.call(AgreementServiceStub(link.channel).ApplyAgreement, request)
    except InvalidRequest as error:
        raise InvalidRequest(_blamed(file, signatures, error.field), error.problem) from None
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
        "signed_by": [signed.agency for signed in agreement.signatures],
        "signatures": [
            {
                "agency": signed.agency,
                "key_id": signed.key_id,
                "signed_at": signed.signed_at,
                "signatory": signed.signatory,
                "role": signed.role,
            }
            for signed in agreement.signatures
        ],
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
