"""`broker agency`: who takes part. Owns the words of these commands; the broker keeps the directory."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import agency_key, agency_standing, inputs, output
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote
from broker.errors import SetupError

if TYPE_CHECKING:
    from broker.v1 import directory_pb2 as pb

app = typer.Typer(
    help=("Agencies: the organisations that take part, each a data controller.\n\n" + inputs.EXIT_CODES),
    no_args_is_help=True,
)
app.add_typer(agency_key.app, name="key")
app.command("act")(agency_standing.act)
app.command("act-list")(agency_standing.act_list)
app.command("act-end")(agency_standing.act_end)
app.command("succeed")(agency_standing.succeed)
app.command("leave")(agency_standing.leave)


_SAID = ("name", "kind", "jurisdiction", "code", "contact", "phone")


class Kind(StrEnum):
    """What an agency is. A record type is held by one kind, or is joint work."""

    fire = "fire"
    ambulance = "ambulance"
    police = "police"
    nhs = "nhs"
    council = "council"
    utility = "utility"
    operator = "operator"
    auditor = "auditor"
    other = "other"


class Jurisdiction(StrEnum):
    """Whose law an agency is under."""

    england = "england"
    wales = "wales"
    scotland = "scotland"
    northern_ireland = "northern-ireland"


@app.command()
@remote(OPERATOR)
def add(
    link: Link,
    agency: Annotated[str, typer.Argument(metavar="ID", help="Its id in lower case, such as cfrs.")],
    name: Annotated[str, typer.Option(help="Its full name.")],
    kind: Annotated[Kind, typer.Option(help="Which records it may hold follows from this.")],
    jurisdiction: Annotated[Jurisdiction, typer.Option(help="Whose law it is under.")] = Jurisdiction.england,
    code: Annotated[str, typer.Option(help="Its published code: ODS for the NHS, ONS for councils.")] = "",
    contact: Annotated[str, typer.Option(help="Whom to ask about data sharing.")] = "",
    phone: Annotated[str, typer.Option(help="Their telephone number, for when systems are down.")] = "",
    valid_from: inputs.From = None,
    valid_until: inputs.Until = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Change what the directory says of an agency that it has.")
    ] = False,
    actor_id: inputs.OperatorId = "",
    role: inputs.ActorRole = "operator",
    as_json: inputs.AsJson = False,
) -> None:
    """Enter an agency in the directory; needs an operator.

    For an id that the directory has, with --replace alone: everything it says is then as given here from now
    on, also what is not given. What was decided before still names what was true then. Enrol an agency's
    systems next with `broker system enrol`.
    """
    from broker.v1 import directory_pb2 as pb
    from broker.v1.directory_pb2_grpc import DirectoryServiceStub

    wanted = pb.Agency(
        id=agency,
        name=name,
        kind=kind.value,
        jurisdiction=jurisdiction.value,
        code=code,
        valid_from=inputs.stamp(valid_from),
        valid_until=inputs.stamp(valid_until),
        contact=contact,
        phone=phone,
    )
    request = pb.AddAgencyRequest(agency=wanted, actor=inputs.operating(actor_id, role))
    directory = DirectoryServiceStub(link.channel)
    known = link.call(directory.ListAgencies, pb.ListAgenciesRequest()).agencies
    changed = _changed(next((each for each in known if each.id == agency), None), wanted)
    if changed and not replace:
        raise SetupError(
            f"{agency} is in the directory already; with --replace this changes of it: {'; '.join(changed)}"
        )
    made = link.call(directory.AddAgency, request)
    facts = {"agency": agency, "entry": made.event_id, "changed": changed}
    output.one(facts if as_json or changed else {**facts, "changed": None}, as_json)


def _changed(known: pb.Agency | None, wanted: pb.Agency) -> list[str]:
    """What the directory would say otherwise than now, in words."""
    if known is None:
        return []
    pairs: list[tuple[str, object, object]] = [
        *((name, getattr(known, name), getattr(wanted, name)) for name in _SAID),
        ("valid from", output.when(known, "valid_from"), output.when(wanted, "valid_from") or "now"),
        ("valid until", output.when(known, "valid_until"), output.when(wanted, "valid_until")),
    ]
    return [
        f"{name}: {old or 'none'} -> {new or 'none'}" for name, old, new in pairs if (old or "") != (new or "")
    ]


@app.command("list")
@remote(OPERATOR)
def list_(link: Link, as_json: inputs.AsJson = False) -> None:
    """List the agencies; any enrolled system may."""
    from broker.v1 import directory_pb2 as pb
    from broker.v1.directory_pb2_grpc import DirectoryServiceStub

    reply = link.call(DirectoryServiceStub(link.channel).ListAgencies, pb.ListAgenciesRequest())
    found = [
        {
            "id": each.id,
            "name": each.name,
            "kind": each.kind,
            "jurisdiction": each.jurisdiction,
            "code": each.code,
            "valid_from": output.when(each, "valid_from"),
            "valid_until": output.when(each, "valid_until"),
            "contact": each.contact,
            "phone": each.phone,
            "successors": list(each.successors),
            "succession_proposed_by": each.succession_proposed_by or None,
            "succeeded_by": [{"agency": s.agency, "districts": list(s.districts)} for s in each.succeeded_by],
        }
        for each in reply.agencies
    ]
    if not as_json:
        for row, each in zip(found, reply.agencies, strict=True):
            row["successors"] = [
                f"{s.agency} in {', '.join(s.districts)}" if s.districts else s.agency
                for s in each.succeeded_by
            ]
    columns = ("id", "name", "kind", "code", "valid_from", "valid_until", "successors", "contact", "phone")
    output.listed("agencies", found, columns, as_json, "no agencies yet: enter one with `broker agency add`")
