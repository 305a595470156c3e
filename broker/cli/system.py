"""`broker system`: which software speaks for an agency, and with which keys.

Owns the words of these commands. Refuses to take a key from a certificate that names another system.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from broker.cli import inputs, output
from broker.cli.certs import Function
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote
from broker.errors import SetupError

app = typer.Typer(
    help=(
        "Systems: software of an agency with its own certificate. A certificate alone opens nothing; its key "
        "must be enrolled here.\n\n" + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)
Agency = Annotated[str, typer.Argument(metavar="AGENCY", help="Agency id, such as cfrs.")]
System = Annotated[str, typer.Argument(metavar="SYSTEM", help="System id, such as mdt.")]


KeyDigest = Annotated[
    str | None,
    typer.Option(
        "--key-digest",
        metavar="HEX",
        help="SHA-256 of its public key (DER SubjectPublicKeyInfo), as `broker certs show` prints it.",
    ),
]
Certificate = Annotated[
    Path | None,
    typer.Option(
        "--certificate",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Take the digest from this certificate, which must name AGENCY and SYSTEM.",
    ),
]
MayActAs = Annotated[
    list[str] | None,
    typer.Option(
        "--may-act-as",
        metavar="ROLE",
        show_default=False,
        help="Of an auditor's: a role in which it may look; repeat. By default auditor, "
        "data-protection-officer and information-governance-lead; of one that is enrolled, as before.",
    ),
]
Whose = Annotated[
    str,
    typer.Option(
        "--whose",
        metavar="SYSTEM",
        show_default=False,
        help="Of an operator's: another operator system of the same person's, such as operator/cli, or "
        "another-person. Needed of a new one where two people operate the broker; a further key is of whom the "
        "others are.",
    ),
]


@app.command()
@remote(OPERATOR)
def enrol(
    link: Link,
    agency: Agency,
    system: System,
    function: Annotated[Function, typer.Option(help="What it may do here.")],
    key_digest: KeyDigest = None,
    certificate: Certificate = None,
    valid_from: inputs.From = None,
    valid_until: inputs.Until = None,
    roles: MayActAs = None,
    whose: Whose = "",
    actor_id: inputs.OperatorId = "",
    role: inputs.ActorRole = "operator",
    as_json: inputs.AsJson = False,
) -> None:
    """Enrol a system with a key, or add a key to one that is enrolled; needs an operator.

    Read the digest out over the telephone, or see it on paper: who answers for the agency should confirm it.
    While a new key takes over from an old one, both are good. Where two people operate the broker it takes
    both: the first proposes it, and the second, on an operator system of their own, gives the same command
    within seven days. Of a new operator system both then say whose it is (--whose): a second machine makes
    nobody a second person.
    """
    from broker.v1 import directory_pb2 as pb
    from broker.v1.directory_pb2_grpc import DirectoryServiceStub

    if (key_digest is None) == (certificate is None):
        raise typer.BadParameter("give exactly one of --key-digest HEX and --certificate FILE")
    if certificate is not None:
        key_digest = _digest(certificate, agency, system)
    request = pb.EnrolSystemRequest(
        agency=agency,
        system=system,
        function=pb.SystemFunction.Value(f"SYSTEM_FUNCTION_{function.value.upper()}"),
        key_digest=key_digest or "",
        valid_from=inputs.stamp(valid_from),
        valid_until=inputs.stamp(valid_until),
        roles=roles or [],
        whose=whose,
        actor=inputs.operating(actor_id, role),
    )
    made = link.call(DirectoryServiceStub(link.channel).EnrolSystem, request)
    output.one(
        {
            "system": f"{agency}/{system}",
            "function": function.value,
            "key_digest": key_digest,
            "proposed": made.proposed,
            "entry": made.event_id,
        },
        as_json,
    )
    if made.proposed:
        inputs.note_proposed()


@app.command()
@remote(OPERATOR)
def suspend(
    link: Link,
    agency: Agency,
    system: System,
    reason: Annotated[str, typer.Option(help="Why, in up to 500 characters; auditors can read it.")],
    lift: Annotated[bool, typer.Option("--lift", help="Lift the suspension instead.")] = False,
    actor_id: inputs.OperatorId = "",
    role: inputs.ActorRole = "operator",
    as_json: inputs.AsJson = False,
) -> None:
    """Suspend a system at once; needs an operator. Its open streams end within a second or two."""
    from broker.v1 import directory_pb2 as pb
    from broker.v1.directory_pb2_grpc import DirectoryServiceStub

    request = pb.SuspendSystemRequest(
        agency=agency, system=system, reason=reason, lift=lift, actor=inputs.operating(actor_id, role)
    )
    made = link.call(DirectoryServiceStub(link.channel).SuspendSystem, request)
    output.one({"system": f"{agency}/{system}", "suspended": not lift, "entry": made.event_id}, as_json)


@app.command("list")
@remote(OPERATOR)
def list_(
    link: Link,
    agency: Annotated[str, typer.Option(help="Only this agency's.", metavar="AGENCY")] = "",
    as_json: inputs.AsJson = False,
) -> None:
    """List systems and their keys. A partner sees its own agency's, operators and auditors see all."""
    from broker.v1 import directory_pb2 as pb
    from broker.v1.directory_pb2_grpc import DirectoryServiceStub

    reply = link.call(DirectoryServiceStub(link.channel).ListSystems, pb.ListSystemsRequest(agency=agency))
    found = [
        {
            "agency": each.agency,
            "system": each.system,
            "function": pb.SystemFunction.Name(each.function).removeprefix("SYSTEM_FUNCTION_").lower(),
            "roles": list(each.roles),
            "people": list(each.people),
            "suspended": each.suspended,
            "valid_from": output.when(each, "valid_from"),
            "valid_until": output.when(each, "valid_until"),
            "key_digests": list(each.key_digests),
            "revoked_key_digests": list(each.revoked_key_digests),
            "proposed_key_digest": each.proposed_key_digest or None,
            "proposed_by": each.proposed_by or None,
        }
        for each in reply.systems
    ]
    columns = ("agency", "system", "function", "roles", "suspended", "valid_from", "valid_until", "key_digests")
    more = [name for name in ("people", "proposed_by") if any(each[name] for each in found)]
    output.listed(
        "systems", found, (*columns, *more), as_json, "no systems: enrol one with `broker system enrol`"
    )


def _digest(certificate: Path, agency: str, system: str) -> str:
    from broker.pki.files import read_certificates
    from broker.pki.identity import key_digest, spiffe_id_of

    leaf = read_certificates(certificate)[0]
    named = spiffe_id_of(leaf)
    if (named.agency, named.system) != (agency, system):
        raise SetupError(f"{certificate} is of {named.agency}/{named.system}, not of this system")
    return key_digest(leaf)
