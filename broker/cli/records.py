"""`broker records`: the record types that agencies may agree to exchange, with their labels and digests.

Owns the words of these commands. Whether a descriptor may be approved is the broker's to judge.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli import inputs, output
from broker.cli.connection import Link
from broker.cli.remote import OPERATOR, remote
from broker.errors import InvalidRequest, SetupError

if TYPE_CHECKING:
    from broker.v1 import directory_pb2 as pb
    from broker.v1 import exchange_pb2

app = typer.Typer(
    help=(
        "Record types: protobuf messages that agencies have agreed on. Each is approved once and kept by "
        "digest; agreements name its fields, and a field no agreement names is withheld.\n\n"
        + inputs.EXIT_CODES
    ),
    no_args_is_help=True,
)
# More than the broker takes, so that it is the broker that says what is too much.
_LARGEST = 1 << 20


@app.command("list")
@remote(OPERATOR)
def list_(link: Link, as_json: inputs.AsJson = False) -> None:
    """List the approved record types, every version; any enrolled system may."""
    found = [_described(each) for each in _types(link, "")]
    columns = ("full_name", "holder", "subject_schemes", "viewing_has_effects", "approved_at", "digest")
    output.listed(
        "record_types",
        found,
        columns,
        as_json,
        "no record types: `broker records approve --shipped` approves ours",
    )


@app.command()
@remote(OPERATOR)
def show(
    link: Link,
    full_name: Annotated[
        str, typer.Argument(metavar="NAME", help="Protobuf full name, such as records.nhs.v1.PatientSummary.")
    ],
    digest: Annotated[
        str | None, typer.Option(metavar="HEX", help="This version, instead of the one approved last.")
    ] = None,
    as_json: inputs.AsJson = False,
) -> None:
    """Show a record type: its digest, which adapters declare, and its leaves with what each gives away."""
    versions = [each for each in _types(link, full_name) if digest in (None, each.digest)]
    if not versions:
        raise SetupError(
            f"{output.clean(full_name)} is not an approved record type"
            + (" with that digest" if digest else "")
            + ": `broker records list` shows what is"
        )
    newest = versions[-1]
    facts = _described(newest)
    leaves = [{"path": leaf.path, "type": leaf.type, "labels": list(leaf.labels)} for leaf in newest.fields]
    if as_json:
        output.emit_json({**facts, "fields": leaves})
        return
    output.one(facts, False)
    output.say("")
    output.many(leaves, ("path", "type", "labels"), "it has no leaves")


@app.command()
@remote(OPERATOR)
def approve(
    link: Link,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="Serialised google.protobuf.FileDescriptorSet, as `protoc --include_imports "
            "--descriptor_set_out=FILE` writes it; docs/record-types.md says how.",
            exists=True,
            dir_okay=False,
            readable=True,
            show_default=False,
        ),
    ] = None,
    full_name: Annotated[
        str | None,
        typer.Option("--type", metavar="NAME", help="Which record type of FILE, where it holds several."),
    ] = None,
    shipped: Annotated[
        bool, typer.Option("--shipped", help="Instead: all record types that come with this software.")
    ] = False,
    actor_id: inputs.OperatorId = "",
    role: inputs.ActorRole = "operator",
    as_json: inputs.AsJson = False,
) -> None:
    """Approve a record type, or a compatible new version of one; needs an operator.

    Refused are types whose fields carry no labels, reserved packages, another agency's package, recursion and
    open-ended fields, and a version that would change what agreements on the last one mean. Approving again
    what is approved changes nothing.
    """
    if (file is None) != shipped:
        raise typer.BadParameter("give either FILE or --shipped")
    if full_name is not None and file is None:
        raise typer.BadParameter("--type goes with FILE")
    approved, actor = [], inputs.operating(actor_id, role)
    try:
        for name, descriptor_set in _submitted(file, full_name):
            approved.append(_approve(link, name, descriptor_set, actor))
    finally:
        for each in approved if not as_json else ():
            each["entry"] = each["entry"] or "approved already"
        if approved or as_json:
            output.listed("approved", approved, ("full_name", "holder", "digest", "entry"), as_json, "")


def _types(link: Link, full_name: str) -> list[pb.RecordType]:
    from broker.v1 import directory_pb2 as pb
    from broker.v1.directory_pb2_grpc import DirectoryServiceStub

    request = pb.ListRecordTypesRequest(full_name=full_name)
    return list(link.call(DirectoryServiceStub(link.channel).ListRecordTypes, request).record_types)


def _approve(link: Link, full_name: str, descriptor_set: bytes, actor: exchange_pb2.Actor) -> dict[str, object]:
    from broker.v1 import directory_pb2 as pb
    from broker.v1.directory_pb2_grpc import DirectoryServiceStub

    request = pb.ApproveRecordTypeRequest(full_name=full_name, descriptor_set=descriptor_set, actor=actor)
    reply = link.call(DirectoryServiceStub(link.channel).ApproveRecordType, request)
    described = _described(reply.record_type)
    del described["approved_at"]  # the broker says it of what it lists
    return {**described, "entry": reply.event_id or None}


def _submitted(file: Path | None, full_name: str | None) -> tuple[tuple[str, bytes], ...]:
    if file is None:
        from broker.catalogue import standard_record_types

        return standard_record_types()
    from broker.core.generated import as_generated

    data = as_generated(inputs.read_bounded(file, _LARGEST, "a descriptor set"))
    return ((full_name or _only_type(file, data), data),)


def _only_type(file: Path, data: bytes) -> str:
    """The name of the one record type in a descriptor set; only to spare typing, the broker judges."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.message import DecodeError

    from broker.v1 import labels_pb2

    try:
        files = FileDescriptorSet.FromString(data).file
    except DecodeError as error:
        raise InvalidRequest("descriptor_set", f"{file} is not a FileDescriptorSet") from error
    found = [
        f"{each.package}.{message.name}"
        for each in files
        for message in each.message_type
        if message.options.HasExtension(labels_pb2.record_type)
    ]
    if len(found) != 1:
        raise SetupError(f"{file} holds {len(found)} record types: name the one to approve with --type NAME")
    return found[0]


def _described(record_type: pb.RecordType) -> dict[str, object]:
    return {
        "full_name": record_type.full_name,
        "holder": record_type.holder,
        "digest": record_type.digest,
        "subject_schemes": list(record_type.subject_schemes),
        "viewing_has_effects": record_type.viewing_has_effects,
        "approved_at": output.when(record_type, "approved_at"),
    }
