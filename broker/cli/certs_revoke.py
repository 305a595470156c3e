"""`broker certs revoke`: from now on a key opens nothing.

Owns the words of this command. The directory is changed, not a certificate: which keys are enrolled is asked
for every message, so there is no revocation list to be fetched or to be late.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote


@remote(OPERATOR)
def revoke(
    link: Link,
    agency: Annotated[str, typer.Argument(metavar="AGENCY", help="Agency id, such as cfrs.")],
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="System id, such as mdt.")],
    reason: Annotated[str, typer.Option(help="Why, in up to 500 characters; auditors can read it.")],
    key_digest: Annotated[
        str | None,
        typer.Option(
            "--key-digest", metavar="HEX", help="The key's digest, as `broker system list --json` prints it."
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option(
            "--certificate",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Take the digest from this certificate instead.",
        ),
    ] = None,
    actor_id: inputs.OperatorId = "",
    role: inputs.ActorRole = "operator",
    as_json: inputs.AsJson = False,
) -> None:
    """Take a key from a system at once; needs an operator.

    Streams that speak with the key end within a second or two, at every worker. The system's other keys stay
    good: enrol the new key first (`broker system enrol`), and nothing is interrupted. To stop a system with all
    its keys, `broker system suspend`.
    """
    from broker.pki.files import read_certificates
    from broker.pki.identity import key_digest as digest_of
    from broker.v1 import directory_pb2 as pb
    from broker.v1.directory_pb2_grpc import DirectoryServiceStub

    if (key_digest is None) == (certificate is None):
        raise typer.BadParameter("give exactly one of --key-digest HEX and --certificate FILE")
    if certificate is not None:
        key_digest = digest_of(read_certificates(certificate)[0])
    request = pb.RevokeKeyRequest(
        agency=agency,
        system=system,
        key_digest=key_digest or "",
        reason=reason,
        actor=inputs.operating(actor_id, role),
    )
    made = link.call(DirectoryServiceStub(link.channel).RevokeKey, request)
    output.one({"system": f"{agency}/{system}", "revoked": key_digest, "entry": made.event_id}, as_json)
