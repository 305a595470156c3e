"""`broker agency key`: the keys by which agencies sign agreements.

Owns the words of these commands. `new`, `show` and `endorse` work offline, at the agency: no private key ever
goes to the operator.
"""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from broker.v1 import directory_pb2 as pb

app = typer.Typer(
    help=(
        "Signing keys of agencies. An agency makes its key (`new`), keeps it, and gives the operator the .pub "
        "file; the operator enrols it. Agreements are signed with `broker agreement sign`.\n\n"
        + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)


def day(text: str | date) -> date:
    """A day from `2026-11-21`."""
    if isinstance(text, date):
        return text
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("a day is written 2026-11-21") from error


_PROPOSED = (
    "not in force yet: enrol it with --endorsement (`broker agency key endorse`), or have a second operator "
    "enrol the same within seven days"
)
Agency = Annotated[str, typer.Argument(metavar="AGENCY", help="Agency id, such as cfrs.")]
PublicFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="The (new) key's .pub file.", exists=True, dir_okay=False)
]
From = Annotated[
    date | None,
    typer.Option("--from", parser=day, metavar="DAY", help="First day (UTC) it counts; by default today."),
]
Until = Annotated[
    date | None,
    typer.Option("--until", parser=day, metavar="DAY", help="Last day (UTC) it counts; by default no end."),
]


@app.command()
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to put the private key; never replaced.")],
    as_json: inputs.AsJson = False,
) -> None:
    """Make a signing key: FILE (mode 0600), and FILE.pub for the operator and for your adapters."""
    from broker.pki.signing import make_signing_key, public_path

    key = make_signing_key(file)
    output.one({"key": str(file), "public": str(public_path(file)), **_named(key.public_key())}, as_json)


@app.command()
def show(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A private or public key.", exists=True, dir_okay=False)
    ],
    as_json: inputs.AsJson = False,
) -> None:
    """Show the id of a key: read it out over the telephone when it is enrolled."""
    from broker.pki.signing import read_public_key

    output.one({"key": str(file), **_named(read_public_key(file))}, as_json)


@app.command()
def endorse(
    agency: Agency,
    new_key: PublicFile,
    key: Annotated[
        Path,
        typer.Option(
            metavar="SIGNING-KEY", exists=True, dir_okay=False, help="The private signing key now in force."
        ),
    ],
    valid_from: From = None,
    valid_until: Until = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Vouch for the next key with the one in force; writes NEW.endorsement for the operator. Offline."""
    from broker.core.signingkey import Endorsement
    from broker.pki.files import write_new
    from broker.pki.signing import read_public_key, read_signing_key

    public = read_public_key(new_key).public_bytes_raw()
    since = valid_from or datetime.now(UTC).date()
    made = Endorsement.make(agency, read_signing_key(key), public, since, valid_until)
    target = new_key.with_name(f"{new_key.name}.endorsement")
    write_new(target, made.to_bytes(), 0o644)
    output.one({"endorsement": str(target), "by": made.key_id}, as_json)


@app.command()
@remote(OPERATOR)
def enrol(
    link: Link,
    agency: Agency,
    file: PublicFile,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole = "operator",
    valid_from: From = None,
    valid_until: Until = None,
    endorsement: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False, help="What `endorse` made; it says the days too."
        ),
    ] = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Enrol a signing key; needs an operator.

    An agency's first key is enrolled at once. A further one needs an endorsement by a key in force; or two
    people: enrolled without one it is a proposal, and a second operator, on an operator system of their own,
    enrols the same within seven days. Compare its id with the agency over the telephone.
    """
    from broker.pki.signing import read_public_key
    from broker.v1 import directory_pb2 as pb
    from broker.v1.directory_pb2_grpc import DirectoryServiceStub
    from broker.v1.exchange_pb2 import Actor

    request = pb.EnrolAgencyKeyRequest(
        agency=agency,
        public_key=read_public_key(file).public_bytes_raw(),
        valid_from=valid_from.isoformat() if valid_from else "",
        valid_until=valid_until.isoformat() if valid_until else "",
        actor=Actor(id=actor_id, role=role),
    )
    if endorsement is not None:
        _endorse(request, endorsement)
    made = link.call(DirectoryServiceStub(link.channel).EnrolAgencyKey, request)
    output.one({**_described(made.key), "entry": made.event_id}, as_json)
    if made.key.status == "proposed":
        sys.stderr.write(f"note: {_PROPOSED}\n")


@app.command("list")
@remote(OPERATOR)
def list_(
    link: Link,
    agency: Annotated[str, typer.Option(help="Only this agency's.", metavar="AGENCY")] = "",
    as_json: inputs.AsJson = False,
) -> None:
    """List signing keys, ended ones too; any enrolled system may."""
    from broker.v1 import directory_pb2 as pb
    from broker.v1.directory_pb2_grpc import DirectoryServiceStub

    reply = link.call(
        DirectoryServiceStub(link.channel).ListAgencyKeys, pb.ListAgencyKeysRequest(agency=agency)
    )
    columns = ("agency", "status", "valid_from", "valid_until", "key_id")
    none = "no signing keys: enrol one with `broker agency key enrol`"
    output.listed("keys", [_described(each) for each in reply.keys], columns, as_json, none)


@app.command()
@remote(OPERATOR)
def end(
    link: Link,
    agency: Agency,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As `list` shows it.")],
    reason: Annotated[str, typer.Option(help="Why, in up to 500 characters; auditors can read it.")],
    actor_id: inputs.ActorId,
    role: inputs.ActorRole = "operator",
    as_json: inputs.AsJson = False,
) -> None:
    """End a key at once, or drop a proposal; needs an operator.

    No agreement is applied on its signatures from then on, whatever day they name. Agreements applied before
    stay in force. The same key can never be enrolled again.
    """
    from broker.v1 import directory_pb2 as pb
    from broker.v1.directory_pb2_grpc import DirectoryServiceStub
    from broker.v1.exchange_pb2 import Actor

    actor = Actor(id=actor_id, role=role)
    request = pb.EndAgencyKeyRequest(agency=agency, key_id=key_id, reason=reason, actor=actor)
    made = link.call(DirectoryServiceStub(link.channel).EndAgencyKey, request)
    output.one({"agency": agency, "key_id": key_id, "status": "ended", "entry": made.event_id}, as_json)


def _endorse(request: pb.EnrolAgencyKeyRequest, file: Path) -> None:
    """Put the endorsement, and the days it is for, into the request."""
    from broker.core.signingkey import Endorsement
    from broker.core.statement import MAX_STATEMENT
    from broker.errors import SetupError

    given = Endorsement.from_bytes(inputs.read_bounded(file, MAX_STATEMENT, "an endorsement"))
    if given.agency != request.agency or given.public != request.public_key:
        raise SetupError(f"{file} is for another key, or another agency's: {given.agency}")
    if request.valid_from or request.valid_until:
        raise typer.BadParameter("an endorsement says the days: leave --from and --until out")
    request.valid_from = given.valid_from.isoformat()
    request.valid_until = given.valid_until.isoformat() if given.valid_until else ""
    request.endorsement.key_id = given.key_id
    request.endorsement.signature = given.signature


def _named(key: Ed25519PublicKey) -> dict[str, object]:
    from broker.core.signingkey import key_id

    return {"key_id": key_id(key.public_bytes_raw())}


def _described(key: pb.AgencyKey) -> dict[str, object]:
    return {
        "agency": key.agency,
        "key_id": key.key_id,
        "status": key.status,
        "valid_from": key.valid_from,
        "valid_until": key.valid_until or None,
    }
