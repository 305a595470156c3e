"""`broker certs`: make a certificate authority, issue from it, look at certificates.

Owns the words of these commands. Refuses to overwrite, to print a private key, and to say what a certificate
is entitled to: that is the directory's.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli import output
from broker.cli.certs_revoke import revoke
from broker.errors import InvalidRequest, SetupError

if TYPE_CHECKING:
    from cryptography import x509

app = typer.Typer(
    help="Certificates: an authority, one certificate per system, one per server.", no_args_is_help=True
)


class Function(StrEnum):
    """What a system is enrolled as."""

    partner = "partner"
    auditor = "auditor"
    operator = "operator"


Folder = Annotated[
    Path | None,
    typer.Option(
        "--dir",
        metavar="DIR",
        show_default=False,
        help="The certificates folder (certs/README.md); by default that of BROKER_STATE, or of .broker.",
    ),
]
Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--host", help="DNS name or IP address beyond localhost and 127.0.0.1. Repeatable.", metavar="NAME"
    ),
]
Days = Annotated[
    int | None, typer.Option(min=1, max=825, help="Days of validity; the profile's 90 by default.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON for scripts.")]


def _certs() -> Path:
    """The folder of the deployment that commands speak to where they are not told another."""
    return Path(os.environ.get("BROKER_STATE") or ".broker") / "certs"


@app.command()
def init(
    folder: Folder = None,
    trust_domain: Annotated[
        str, typer.Option(help="The trust domain that all SPIFFE ids are in.", metavar="DOMAIN")
    ] = "blue-light.test",
    hosts: Hosts = None,
    root_key: Annotated[
        Path | None,
        typer.Option(
            help="Write the root's private key to this new file instead: removable media, kept offline.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Make a root, an issuing authority below it, and the broker's server certificate.

    The issuing authority can sign only SPIFFE ids of the trust domain and DNS names that are localhost, at
    or under the trust domain, or at or under a --host given here. Day-to-day work needs the issuing key
    alone: put the root's key elsewhere with --root-key for anything but development.
    """
    from broker.pki.folder import SERVER, CertificateFolder

    folder = folder or _certs()
    certificates = CertificateFolder(folder)
    certificates.init(trust_domain, datetime.now(UTC), tuple(hosts or ()), root_key)
    output.fields(
        [
            ("Trust domain", trust_domain),
            ("Give to every party", certificates.ca),
            ("Broker's certificate", folder / SERVER / "cert.pem"),
            ("Root key", root_key or folder / "authority" / "root-key.pem"),
        ]
    )


@app.command()
def issue(
    agency: Annotated[str | None, typer.Argument(help="Agency id, such as cfrs.", show_default=False)] = None,
    system: Annotated[str | None, typer.Argument(help="System id, such as mdt.", show_default=False)] = None,
    server: Annotated[
        str | None, typer.Option(help="Certify a server of this name instead of a system.", metavar="NAME")
    ] = None,
    hosts: Hosts = None,
    function: Annotated[
        Function,
        typer.Option(help="For the enrolment command that is printed, not for the certificate."),
    ] = Function.partner,
    csr: Annotated[
        Path | None,
        typer.Option(
            help="PEM certificate signing request: certify its key, which then never leaves the agency.",
            metavar="FILE",
        ),
    ] = None,
    days: Days = None,
    folder: Folder = None,
) -> None:
    """Issue a certificate to AGENCY's SYSTEM, or to a server.

    Writes DIR/AGENCY-SYSTEM/cert.pem (with the issuing certificate) and key.pem, or DIR/NAME/ likewise;
    an existing folder is never overwritten. A certificate alone opens nothing: enrol its key digest next.
    """
    from broker.pki.folder import CertificateFolder

    now, certificates = datetime.now(UTC), CertificateFolder(folder or _certs())
    if server is not None:
        if agency or system or csr:
            raise typer.BadParameter("give either AGENCY and SYSTEM, or --server NAME (which takes no --csr)")
        _tell(certificates.issue_server(server, now, tuple(hosts or ()), days), None)
        return
    if agency is None or system is None:
        raise typer.BadParameter("AGENCY and SYSTEM are needed, or --server NAME")
    if hosts:
        raise typer.BadParameter("a system is a client and has no --host: use --server NAME")
    target = certificates.issue_client(agency, system, now, days, csr)
    _tell(target, f"broker system enrol {agency} {system} --function {function.value}")


@app.command()
def renew(
    name: Annotated[str, typer.Argument(help="Its folder: AGENCY-SYSTEM, or a server's NAME.")],
    days: Days = None,
    folder: Folder = None,
) -> None:
    """Issue again under the same key and names: only cert.pem changes, and the enrolment stands.

    Running servers take it up at their next handshake. For a new key, move the folder away and issue afresh.
    """
    from broker.pki.folder import CertificateFolder

    _tell(CertificateFolder(folder or _certs()).renew(name, datetime.now(UTC), days), None)


app.command()(revoke)


@app.command()
def show(
    path: Annotated[
        Path | None,
        typer.Argument(
            show_default=False,
            help="A PEM file, or a folder to search for them. By default certs in BROKER_STATE, or in .broker.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what certificates say: of a file all of them, of a folder the first in each file."""
    path = path or _certs()
    from broker.pki.files import read_certificates

    if path.is_dir():
        files = [file for file in sorted(path.rglob("*.pem")) if file.stem.split("-")[-1] != "key"]
        found = [_describe(file, read_certificates(file)[0]) for file in files]
    else:
        found = [_describe(path, certificate) for certificate in read_certificates(path)]
    if not found:
        raise SetupError(f"{path} holds no certificates: make some with `broker certs init`")
    if as_json:
        output.emit_json({"certificates": found})
        return
    for number, facts in enumerate(found):
        if number:
            output.say("")
        output.fields((name.replace("_", " "), _plain(value)) for name, value in facts.items())


def _tell(target: Path, enrol: str | None) -> None:
    from broker.pki.files import read_certificates

    facts = _describe(target / "cert.pem", read_certificates(target / "cert.pem")[0])
    key = target / "key.pem"
    output.fields(
        [
            ("Certificate", facts["file"]),
            ("Key", key if key.exists() else None),
            ("SPIFFE id", facts["spiffe_id"]),
            ("Valid until", facts["not_after"]),
            ("Enrol with", f"{enrol} --key-digest {facts['key_digest']}" if enrol else None),
        ]
    )


def _describe(file: Path, certificate: x509.Certificate) -> dict[str, Any]:
    """The facts about one certificate, in the order they are shown; times are RFC 3339 UTC."""
    from broker.pki import profile
    from broker.pki.hosts import hosts_of
    from broker.pki.identity import key_digest, uri_of

    try:
        uri: str | None = uri_of(certificate)
    except InvalidRequest:
        uri = None
    return {
        "file": str(file),
        "subject": certificate.subject.rfc4514_string(),
        "spiffe_id": uri,
        "hosts": hosts_of(certificate),
        "profile": profile.recognise(certificate),
        "key_digest": key_digest(certificate),
        "not_before": f"{certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "not_after": f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
        "valid_now": certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc,
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
    }


def _plain(value: object) -> object:
    if isinstance(value, list):
        return ", ".join(value) or None
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
