"""`broker agreement sign`, offline: a party signs an agreement, or attests that people signed it on paper.

Owns the words of the command, and that nobody signs what no broker would apply: of the file's own rules and of
the record types of this release. What needs the directory is the broker's to check.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import agency_key, inputs, output
from broker.errors import InvalidRequest, SetupError

if TYPE_CHECKING:
    from broker.core.agreement import Agreement
    from broker.core.signature import Paper

_PDF = b"%PDF-"
_LARGEST = 64 * 1024 * 1024
_PANEL = "Signed on paper"


AgreementFile = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="The agreement's TOML file.", exists=True, dir_okay=False),
]
Signing = Annotated[str, typer.Option(metavar="AGENCY", help="Which party signs, such as cfrs.")]
SigningKey = Annotated[
    Path,
    typer.Option(
        metavar="SIGNING-KEY",
        exists=True,
        dir_okay=False,
        help="Its private signing key, from `broker agency key new`.",
    ),
]
Signatory = Annotated[str, typer.Option(metavar="NAME", help="Who signs, or signed on paper, for it.")]
Post = Annotated[str, typer.Option(metavar="POST", help="Their post, such as Caldicott Guardian.")]
On = Annotated[
    date | None,
    typer.Option("--date", parser=agency_key.day, metavar="DAY", help="Day (UTC); by default today."),
]
Scan = Annotated[
    Path | None,
    typer.Option(
        metavar="SCAN.pdf",
        exists=True,
        dir_okay=False,
        rich_help_panel=_PANEL,
        help="The scan of what was signed by hand; it stays with you, only its SHA-256 is kept.",
    ),
]
SignedOn = Annotated[
    date | None,
    typer.Option(
        parser=agency_key.day,
        metavar="DAY",
        rich_help_panel=_PANEL,
        help="Needed with --paper: the day on the paper.",
    ),
]
Delegation = Annotated[
    str,
    typer.Option(
        metavar="WORDS", rich_help_panel=_PANEL, help="Under which authority they signed, if not their own."
    ),
]
GatewayReference = Annotated[
    str,
    typer.Option(
        metavar="REF", rich_help_panel=_PANEL, help="Where it is filed, such as in a sharing gateway."
    ),
]


def sign(
    file: AgreementFile,
    agency: Signing,
    key: SigningKey,
    signatory: Signatory,
    role: Post,
    on: On = None,
    paper: Scan = None,
    signed_on: SignedOn = None,
    delegation: Delegation = "",
    gateway_reference: GatewayReference = "",
    as_json: inputs.AsJson = False,
) -> None:
    """Sign an agreement for one party; writes FILE.AGENCY.sig beside it. Offline: no broker is asked.

    The signature is over the file's exact bytes: change one, and every party signs again. An older signature
    is never replaced; remove it first. What no broker would apply is not signed.

    Where people sign on paper, print the file with its SHA-256 on it, have it signed, scan it, and give the
    scan with --paper and --signed-on: the agency's key then attests the scan's SHA-256, who signed, in which
    post, on which day and under which authority. It counts as the party's signature.
    """
    from broker import law
    from broker.core import agreement as agreements
    from broker.core import signature as signatures
    from broker.pki.files import write_new
    from broker.pki.signing import read_signing_key

    today = datetime.now(UTC).date()
    on_paper = _paper(paper, signed_on, delegation, gateway_reference, on or today)
    data = inputs.read_bounded(file, agreements.MAX_FILE, "an agreement")
    agreement = agreements.parse(data, law.load())
    parties = [party.agency for party in agreement.parties]
    if agency not in parties:
        raise SetupError(f"{agency} is no party of {agreement.label}; its parties are {', '.join(parties)}")
    _refuse_wrong(agreement, today)
    day = signed_on if on_paper and signed_on else on or today
    made = signatures.sign(data, agency, read_signing_key(key), day, signatory, role, on_paper)
    target = file.with_name(signatures.file_name(file.name, agency))
    write_new(target, made.to_bytes(), 0o644)
    output.one(
        {
            "agreement": agreement.label,
            "agency": agency,
            "key_id": made.key_id,
            "digest": made.digest,
            "signed_at": day.isoformat(),
            "paper": on_paper.sha256 if on_paper else None,
            "signature": str(target),
        },
        as_json,
    )


def _paper(
    scan: Path | None, signed_on: date | None, delegation: str, gateway_reference: str, today: date
) -> Paper | None:
    """What is attested of a paper; None where the key itself signs."""
    from broker.core.signature import Paper

    if scan is None:
        if signed_on is not None or delegation or gateway_reference:
            raise typer.BadParameter("--signed-on, --delegation and --gateway-reference go with --paper")
        return None
    if signed_on is None:
        raise typer.BadParameter("--paper needs --signed-on, the day on the paper")
    if signed_on > today:
        raise SetupError(f"--signed-on {signed_on}: nothing is attested that is signed after {today}")
    data = inputs.read_bounded(scan, _LARGEST, "a scan")
    if not data.startswith(_PDF):
        raise SetupError(f"{scan} is no PDF; give the scan of the signed pages as one")
    return Paper(hashlib.sha256(data).hexdigest(), today, delegation, gateway_reference)


def _refuse_wrong(agreement: Agreement, today: date) -> None:
    """Raises InvalidRequest for the first thing that no broker would apply, whatever its directory says."""
    from broker import law
    from broker.cli.surroundings import shipped
    from broker.core import checks

    setting = checks.Setting(agreement, law.load(), {}, shipped(), today)
    for finding in checks.errors(setting):
        # A type that this release does not ship may be approved where it is to be applied.
        if finding.rule != "type.known":
            raise InvalidRequest(finding.key, finding.text)
