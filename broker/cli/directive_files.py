"""`broker directive import` and `export`: directives as files of other standards.

Owns reading and writing the files. Records nothing of what it is given until all of it is understood, unless
told to; and writes identifiers to no terminal that was not asked for them.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.directive_add import record
from broker.cli.remote import remote
from broker.errors import BrokerError, InvalidRequest, SetupError

if TYPE_CHECKING:
    from broker.consent.reading import Understood
    from broker.core.directory import Agency

_MAX_FILE = 1 << 20


class Format(StrEnum):
    """What an export is written as."""

    fhir = "fhir"
    iso27560 = "iso27560"


@remote(None)
def import_(
    link: Link,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="FHIR R4 JSON: a Consent, or a Bundle of them.")
    ],
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    check: Annotated[
        bool, typer.Option("--check", help="Say what would be recorded, and record nothing.")
    ] = False,
    policies: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="URI",
            help=(
                "A Consent.policy that your agency has read, and that adds nothing to what its Consents say; "
                "repeat for more. A Consent that names any other is refused."
            ),
        ),
    ] = None,
    partly: Annotated[
        bool, typer.Option("--partly", help="Record what is understood although something else is not.")
    ] = False,
    as_json: inputs.AsJson = False,
) -> None:
    """Record the FHIR R4 Consents of files as directives of your agency.

    Each Consent must be understood as a whole: what cannot be expressed is refused by its element, and then
    nothing is recorded at all (--partly records the rest). An import adds and never lifts: a refusal that was
    recorded before still stands. docs/directives.md has the mapping.
    """
    from broker.rpc import wire

    understood, refused = _understood(link, files, frozenset(policies or ()))
    for problem in refused:
        sys.stderr.write(f"error: {output.clean(problem)}\n")
    rows: list[dict[str, object]] = []
    try:
        if not refused or partly or check:
            for place, said, named in understood:
                rows.append(_row(place, said, named))
                if not check:
                    message = wire.unrecorded(said.directive, said.subject)
                    rows[-1] |= record(link, message, actor_id, role)
    finally:  # what is recorded is recorded, whatever became of the next
        done = [row for row in rows if check or "directive" in row]
        none = "nothing was recorded" if refused else "there is no Consent in it"
        columns = ("file", "kind", "standing", "purposes", "requesters", "providers", "valid_until")
        output.listed("recorded", done, columns if check else ("directive", *columns), as_json, none)
    if refused:
        raise InvalidRequest("file", f"{len(refused)} not understood, named above; record those by hand")


@remote(None)
def export(
    link: Link,
    subject: inputs.Subject,
    reason: inputs.Reason,
    actor_id: inputs.ActorId,
    role: inputs.ActorRole,
    to: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where it goes, readable by you alone; - for standard output.",
        ),
    ],
    form: Annotated[
        Format,
        typer.Option("--format", help="A Bundle of FHIR R4 Consents; or consent records of ISO/IEC TS 27560."),
    ] = Format.fhir,
) -> None:
    """Write what your own agency has recorded about one subject, and nobody has withdrawn, as a file.

    It names the subject. As iso27560, consents and refusals of sharing only, in JSON-LD: nothing else is a
    consent record. The look is itself an entry in the log.
    """
    from broker.consent import iso27560, writing
    from broker.consent.agencies import Agencies
    from broker.law import load

    directory, now = _directory(link), datetime.now(UTC)
    said = _recorded(link, subject, inputs.looking(actor_id, role, reason))
    if form is Format.fhir:
        made = writing.bundle(said, Agencies(directory), load(), now)
    else:
        made = iso27560.document(said, {a.id: a for a in directory}, load(), now)
        if left := sum(not iso27560.is_record(each.directive) for each in said):
            sys.stderr.write(f"warning: {left} left out: what is no consent has no consent record\n")
    text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
    if str(to) == "-":
        output.raw(text.encode())
    else:
        from broker.pki.files import write_new

        write_new(to, text.encode(), 0o600)
        output.say(f"{len(said)} directives read; written to {to}")


def _understood(
    link: Link, files: list[Path], policies: frozenset[str]
) -> tuple[list[tuple[str, Understood, tuple[str, ...]]], list[str]]:
    """What the files hold and under which policies, and what is wrong with the rest, each with its place."""
    from broker.consent.agencies import Agencies
    from broker.consent.bundles import consents
    from broker.consent.element import Element
    from broker.consent.reading import Here, read
    from broker.consent.reading import policies as policies_of
    from broker.law import load

    own = _own_agency(link)
    here = Here(own, Agencies(_directory(link)), load(), datetime.now(UTC), policies)
    found: list[tuple[str, Understood, tuple[str, ...]]] = []
    refused: list[str] = []
    for file in files:
        place = str(file)
        try:
            for inner, resource in consents(inputs.read_bounded(file, _MAX_FILE, "consents")):
                place = f"{file} {inner}".rstrip()
                try:
                    said = read(resource, here)
                    named = policies_of(Element("Consent", resource), policies)
                    found += [(place, _acceptable(own, each, here.now), named) for each in said]
                except InvalidRequest as error:
                    refused.append(f"{place}: {error}")
        except (InvalidRequest, SetupError) as error:
            refused.append(f"{file}: {error}")
    return found, refused


def _acceptable(own: str, said: Understood, now: datetime) -> Understood:
    """As the broker will look at it. Refused where another agency keeps it: none writes in another's name."""
    from broker.core.model import Caller, Function
    from broker.rpc import wire
    from broker.rpc.parse_directive import directive

    if said.directive.recorder != own:
        raise InvalidRequest(
            "Consent.organization[0]", f"is {said.directive.recorder}, whose it is to import; you are {own}"
        )
    directive(wire.unrecorded(said.directive, said.subject), Caller(own, "", Function.PARTNER, ""), now)
    return said


def _own_agency(link: Link) -> str:
    from broker.pki.files import read_certificates
    from broker.pki.identity import spiffe_id_of

    try:
        return str(spiffe_id_of(read_certificates(link.endpoint.files.cert)[0]).agency)
    except BrokerError as error:
        raise SetupError(f"{link.endpoint.files.cert} names no agency's system: {error}") from error


def _directory(link: Link) -> list[Agency]:
    from broker.core.directory import Agency
    from broker.v1 import directory_pb2 as pb
    from broker.v1.directory_pb2_grpc import DirectoryServiceStub

    reply = link.call(DirectoryServiceStub(link.channel).ListAgencies, pb.ListAgenciesRequest())
    return [
        Agency(
            each.id,
            each.name,
            each.kind,
            each.jurisdiction,
            each.valid_from.ToDatetime(UTC),
            code=each.code,
            contact=each.contact,
        )
        for each in reply.agencies
    ]


def _recorded(link: Link, subject: str, looking: dict[str, Any]) -> list[Understood]:
    from broker.cli import evidence
    from broker.consent.reading import Understood
    from broker.rpc.parse_directive import recorded
    from broker.v1 import directive_pb2 as pb
    from broker.v1.directive_pb2_grpc import DirectiveServiceStub

    about = inputs.subject_of(subject)
    request = pb.ListDirectivesRequest(subject=inputs.wire_subject(about), **looking)
    reply = link.call(DirectiveServiceStub(link.channel).ListDirectives, request)
    evidence.noted(reply.receipt, link.endpoint.vkey)
    return [Understood(about, recorded(each)) for each in reply.directives]


def _row(place: str, said: Understood, named: tuple[str, ...]) -> dict[str, Any]:
    """What is about to be recorded, without whom it is about."""
    directive = said.directive
    return {
        "file": place,
        "kind": directive.kind,
        "standing": directive.standing,
        "matter": directive.matter,
        "purposes": sorted(directive.purposes),
        "record_types": sorted(directive.record_types),
        "requesters": sorted(directive.requesters),
        "providers": sorted(directive.providers),
        "said_at": directive.said_at.isoformat(),
        "valid_until": directive.valid_until.isoformat() if directive.valid_until else None,
        "policies": [*named],
    }
