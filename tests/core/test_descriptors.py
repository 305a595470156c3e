"""Descriptors that are refused at submission, each for its own reason and by name."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, struct_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.catalogue import standard_record_types
from broker.core.generated import as_generated
from broker.core.recordtype import RecordType
from broker.errors import InvalidRequest
from broker.v1 import labels_pb2
from records.shared.v1 import fact_pb2
from tests.core import protos
from tests.core.protos import (
    FULL_NAME,
    PACKAGE,
    changed,
    descriptor_set,
    field,
    message,
    refused,
    visit,
    visit_set,
)

PLAIN = visit_set(field("uprn", 1))
ROOT = Path(__file__).resolve().parents[2]


def renamed(package: str, name: str) -> bytes:
    """A good set whose file says it is of another package."""
    return descriptor_set(protos.file(visit(field("uprn", 1)), package=package, name=name))


def test_a_plain_type_is_accepted() -> None:
    """The set that the refusals here start from is itself good."""
    assert RecordType.submitted(PLAIN, FULL_NAME, "fire").holder == "fire"


@pytest.mark.parametrize(
    "package", ["google.protobuf", "grpc.health.v1", "broker.v1", "records.shared.v1", "records.fire", ""]
)
def test_a_reserved_package_is_refused(package: str) -> None:
    """No set defines a package that is not records.<holder>.v<N> of an agency kind."""
    name = f"{package.replace('.', '/')}/visit.proto"
    refused(renamed(package, name), f"{name}: package {package!r} is reserved")


def test_another_agency_kinds_package_is_refused() -> None:
    """A submitter speaking for police does not define what fire holds, nor slip a fire file into its set."""
    refused(PLAIN, "full_name: belongs to holder 'fire', not to 'police'", holder="police")
    other = protos.file(
        message("Note", field("words", 1)), package="records.police.v1", name="records/police/v1/note.proto"
    )
    data = descriptor_set(protos.file(visit(field("uprn", 1))), other)
    refused(data, "records/police/v1/note.proto: package 'records.police.v1' is not of holder 'fire'")


def test_a_name_outside_records_is_refused() -> None:
    """The record type's own name must be a top-level message of an agency kind's package."""
    for name in (
        "broker.v1.RecordTypeOptions",
        "records.shared.v1.Address",
        "records.fire.v1",
        "",
        "records.fire.v1.Visit.X",
    ):
        refused(PLAIN, "full_name: must be records.<holder>.v<N>.<Message>", full_name=name)


def test_a_message_that_is_not_in_the_set_is_refused() -> None:
    """A set without the message it was submitted for names nothing."""
    refused(PLAIN, "full_name: is not a message of the descriptor set", full_name=f"{PACKAGE}.Other")


def test_a_file_outside_its_packages_folder_is_refused() -> None:
    """A file's path follows its package, so it cannot take the place of one of ours or another's."""
    refused(renamed(PACKAGE, "records/police/v1/visit.proto"), "belongs in records/fire/v1/<name>.proto")


@pytest.mark.parametrize("module", [labels_pb2, fact_pb2, descriptor_pb2])
def test_our_own_files_must_come_unchanged(module: object) -> None:
    """A set that brings its own idea of a label, a state or an option is refused, naming the file."""
    ours = protos.ours(module)
    ours.message_type[0].field[0].name += "x"
    data = FileDescriptorSet(file=[ours, protos.file(visit(field("uprn", 1)))]).SerializeToString()
    refused(data, f"{ours.name}: differs from the broker's own")


def test_our_own_files_may_carry_comments_and_json_names() -> None:
    """What compilers add without changing any meaning is no difference."""
    read = FileDescriptorSet.FromString(PLAIN)
    read.file.insert(0, protos.ours(descriptor_pb2))
    for file in read.file:
        file.source_code_info.location.add(leading_comments="A comment.")
    read.file[2].message_type[0].field[0].json_name = "source"
    assert RecordType.submitted(read.SerializeToString(), FULL_NAME).leaves


def test_more_than_256_kib_is_refused() -> None:
    """A set is weighed before it is parsed."""
    read = FileDescriptorSet.FromString(PLAIN)
    read.file[-1].source_code_info.location.add(leading_comments="x" * 256 * 1024)
    refused(read.SerializeToString(), "at most 262144 are accepted")


def test_more_than_200_messages_are_refused() -> None:
    """200 messages are accepted and 201 are not, nested ones included."""
    nested = message("Outer", field("a", 1))
    nested.nested_type.extend(message(f"N{at}", field("a", 1)) for at in range(98))
    flat = [message(f"M{at}", field("a", 1)) for at in range(100)]
    assert RecordType.submitted(visit_set(field("uprn", 1), others=[nested, *flat]), FULL_NAME)
    data = visit_set(field("uprn", 1), others=[nested, *flat, message("More", field("a", 1))])
    refused(data, "set: 201 messages; at most 200")


@pytest.mark.parametrize(
    ("type_name", "module"),
    [("Any", any_pb2), ("Struct", struct_pb2), ("Value", struct_pb2), ("ListValue", struct_pb2)],
)
def test_types_that_hold_anything_are_refused(type_name: str, module: object) -> None:
    """Any, Struct, Value and ListValue carry fields without labels, and are refused at the field."""
    file = protos.file(visit(field("extra", 1, f".google.protobuf.{type_name}")))
    file.dependency.append(module.DESCRIPTOR.name)  # type: ignore[attr-defined]
    refused(
        descriptor_set(protos.ours(module), file),
        f"{FULL_NAME}.extra: google.protobuf.{type_name} may not be used: what it holds",
    )


def test_types_of_googles_are_refused_at_the_field() -> None:
    """A Timestamp's fields have no labels; the error says what to write instead."""
    file = protos.file(visit(field("seen_at", 1, ".google.protobuf.Timestamp")))
    file.dependency.append("google/protobuf/timestamp.proto")
    data = descriptor_set(protos.ours(timestamp_pb2), file)
    refused(data, f"{FULL_NAME}.seen_at: google.protobuf.Timestamp may not be used: its fields have no labels")


def test_a_submitted_file_of_googles_is_refused() -> None:
    """A set that brings a google file which no field uses is refused too; it would enter the pool."""
    refused(
        descriptor_set(protos.ours(any_pb2), protos.file(visit(field("uprn", 1)))),
        "package 'google.protobuf' is reserved",
    )


def declare_extension(file: FileDescriptorProto) -> None:
    """Adds an option of its own."""
    extension = field("mine", 50999, labels=())
    extension.ClearField("options")
    extension.extendee = ".google.protobuf.FieldOptions"
    file.dependency.append("google/protobuf/descriptor.proto")
    file.extension.append(extension)


def open_range(file: FileDescriptorProto) -> None:
    """Opens the record type for extension."""
    file.message_type[0].extension_range.add(start=100, end=200)


def nest_extension(file: FileDescriptorProto) -> None:
    """Adds an option inside the message."""
    declare_extension(file)
    file.message_type[0].extension.append(file.extension.pop())


def proto2(file: FileDescriptorProto) -> None:
    """Says nothing of syntax, which means proto2."""
    file.ClearField("syntax")


def editions(file: FileDescriptorProto) -> None:
    """Uses an edition, whose features change what presence means."""
    file.syntax, file.edition = "editions", descriptor_pb2.EDITION_2023


def group(file: FileDescriptorProto) -> None:
    """Uses proto2's groups."""
    file.message_type[0].field[0].type = FieldDescriptorProto.TYPE_GROUP


def service(file: FileDescriptorProto) -> None:
    """Declares a service."""
    file.service.add(name="Visits")


def public_import(file: FileDescriptorProto) -> None:
    """Passes an import on."""
    file.public_dependency.append(0)


def json_name(file: FileDescriptorProto) -> None:
    """Shows a field under another's name in JSON."""
    file.message_type[0].field[0].json_name = "postcode"


def no_option(file: FileDescriptorProto) -> None:
    """Is a message like any other."""
    file.message_type[0].ClearField("options")


def no_scheme(file: FileDescriptorProto) -> None:
    """Does not say by what its subject is named."""
    file.message_type[0].options.Extensions[labels_pb2.record_type].ClearField("subject_schemes")


def odd_scheme(file: FileDescriptorProto) -> None:
    """Names its subject by something that is no code."""
    file.message_type[0].options.Extensions[labels_pb2.record_type].subject_schemes[:] = ["UPRN number"]


def unknown_option(file: FileDescriptorProto) -> None:
    """Sets an option that nobody here has heard of."""
    file.message_type[0].field[0].options.MergeFromString(b"\xba\xf1\x18\x01x")


def missing_import(file: FileDescriptorProto) -> None:
    """Imports a file that is not there."""
    file.dependency.append("records/fire/v1/other.proto")


def dotted_name(file: FileDescriptorProto) -> None:
    """Has a field whose name reads as a path."""
    file.message_type[0].field[0].name = "a.b"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (declare_extension, "declares extensions"),
        (open_range, f"{FULL_NAME}: declares extensions"),
        (nest_extension, f"{FULL_NAME}: declares extensions"),
        (proto2, "only proto3 is accepted"),
        (editions, "only proto3 is accepted"),
        (group, f"{FULL_NAME}.uprn: is a group"),
        (service, "declares services"),
        (public_import, "declares public imports"),
        (json_name, f"{FULL_NAME}.uprn: JSON name 'postcode'"),
        (no_option, f"{FULL_NAME}: has no (broker.v1.record_type) option"),
        (no_scheme, f"{FULL_NAME}: record_type needs subject_schemes"),
        (odd_scheme, f"{FULL_NAME}: record_type needs subject_schemes"),
        (unknown_option, "holds options or fields unknown to the broker: message_type.field.options.50967"),
        (missing_import, "imports records/fire/v1/other.proto, not in the set"),
        (dotted_name, "records/fire/v1/visit.proto: Couldn't build"),
    ],
)
def test_what_only_looks_like_a_record_type_is_refused(
    change: Callable[[FileDescriptorProto], None], text: str
) -> None:
    """One change to a good set, one refusal that names it."""
    refused(changed(PLAIN, change), text)


def test_maps_are_refused() -> None:
    """A map's keys are data that no path can name; the field that uses it is named."""
    made = visit(field("notes", 1, f".{FULL_NAME}.NotesEntry", repeated=True))
    entry = made.nested_type.add(name="NotesEntry")
    entry.options.map_entry = True
    entry.field.extend([field("key", 1), field("value", 2)])
    refused(descriptor_set(protos.file(made)), f"{FULL_NAME}.notes: is a map")
    del made.field[:]
    refused(descriptor_set(protos.file(made)), f"{FULL_NAME}.NotesEntry: is a map entry")


def test_files_twice_or_in_a_circle_are_refused() -> None:
    """A set holds each file once, and no file imports itself."""
    file = protos.file(visit(field("uprn", 1)))
    refused(descriptor_set(file, file), "records/fire/v1/visit.proto: is in the set twice")
    file.dependency.append(file.name)
    refused(descriptor_set(file), "records/fire/v1/visit.proto: imports itself")


def test_names_that_are_not_text_are_refused() -> None:
    """Bytes that are not UTF-8 in a file's, package's or field's name are refused at once."""
    for name in (b"records/fire/v1/visit.proto", b"records.fire.v1", b"uprn"):
        refused(PLAIN.replace(name, b"\xff" + name[1:], 1), "set: holds a name that is not UTF-8")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_sets_are_refused_by_name(data: st.DataObject) -> None:
    """Whatever bytes change in a good set, it is still a record type or the error is InvalidRequest."""
    damaged = bytearray(PLAIN)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(PLAIN) - 1))] = data.draw(st.integers(0, 255))
    for make in (RecordType.submitted, RecordType.stored):
        with contextlib.suppress(InvalidRequest):
            assert make(bytes(damaged), FULL_NAME).leaves


@pytest.mark.parametrize("comments", [(), ("--include_source_info",)])
def test_what_protoc_writes_is_what_the_generated_code_says(comments: tuple[str, ...], tmp_path: Path) -> None:
    """Descriptor.proto, JSON names, comments and order taken away: else a type would have two digests."""
    site, out = sysconfig.get_path("purelib"), tmp_path / "set"
    line = ["-I", "proto", "-I", site, "--include_imports", *comments, f"--descriptor_set_out={out}"]
    for name, shipped in standard_record_types()[::5]:
        file = descriptor_pool.Default().FindMessageTypeByName(name).file.name
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *line, file], check=True, cwd=ROOT)
        written = out.read_bytes()
        assert written != shipped
        assert as_generated(written) == shipped
        assert as_generated(shipped) == shipped


def test_what_is_no_sound_set_is_left_for_the_broker_to_refuse() -> None:
    """Not a set, a file twice, files in a circle: nothing is made of them, and nothing raised."""
    twice = PLAIN + PLAIN
    for damaged in (b"\xff\xff", twice):
        assert as_generated(damaged) == damaged
    read = FileDescriptorSet.FromString(PLAIN)
    read.file[0].dependency.append(read.file[0].name)
    assert (
        FileDescriptorSet.FromString(as_generated(read.SerializeToString())).file[0].name == read.file[0].name
    )


def test_bytes_that_are_no_descriptor_set_are_refused() -> None:
    """Anything else than a FileDescriptorSet is refused by that name."""
    refused(b"\xff\xff", "not a serialised google.protobuf.FileDescriptorSet")
