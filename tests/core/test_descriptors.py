"""Descriptors that are refused at submission, each for its own reason and by name."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from google.protobuf import any_pb2, descriptor_pb2, struct_pb2
from google.protobuf.descriptor_pb2 import (
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from broker.core.leaves import MAX_DEPTH
from broker.core.recordtype import RecordType
from broker.errors import InvalidRequest
from broker.v1 import labels_pb2
from records.shared.v1 import fact_pb2
from tests.core import protos
from tests.core.protos import (
    FULL_NAME,
    PACKAGE,
    STATE,
    changed,
    descriptor_set,
    field,
    message,
    visit,
    visit_set,
)

PLAIN = visit_set(field("uprn", 1))


def refused(data: bytes, text: str, full_name: str = FULL_NAME, holder: str | None = None) -> None:
    """The set is refused with exactly this text in the error."""
    with pytest.raises(InvalidRequest, match=re.escape(text)):
        RecordType.submitted(data, full_name, holder)


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


def test_direct_recursion_is_refused() -> None:
    """A message that holds itself is refused, naming the field."""
    refused(visit_set(field("uprn", 1), field("again", 2, f".{FULL_NAME}")), f"{FULL_NAME}.again: recursion")


def test_mutual_recursion_is_refused() -> None:
    """So are two that hold each other, at the field that closes the circle."""
    other = message("Other", field("back", 1, f".{FULL_NAME}"))
    refused(visit_set(field("other", 1, f".{PACKAGE}.Other"), others=[other]), "recursion: holds ")


def test_nesting_deeper_than_redaction_can_see_is_refused() -> None:
    """As many messages inside each other as the limit are accepted and one more is not."""

    def chain(depth: int) -> bytes:
        others = [message(f"M{at}", field("next", 1, f".{PACKAGE}.M{at + 1}")) for at in range(1, depth - 1)]
        last = message(f"M{depth - 1}", field("end", 1))
        return visit_set(field("next", 1, f".{PACKAGE}.M1"), others=[*others, last])

    assert len(RecordType.submitted(chain(MAX_DEPTH), FULL_NAME).leaves[0].numbers) == MAX_DEPTH
    refused(chain(MAX_DEPTH + 1), f"lies deeper than {MAX_DEPTH} messages")


def test_a_type_that_unfolds_without_end_is_refused() -> None:
    """A dozen messages that each use the next eight times are refused at once, not after 8^12 leaves."""
    others = [
        message(f"M{at}", *(field(f"f{n}", n, f".{PACKAGE}.M{at + 1}") for n in range(1, 9)))
        for at in range(1, 12)
    ]
    data = visit_set(field("next", 1, f".{PACKAGE}.M1"), others=[*others, message("M12", field("end", 1))])
    refused(data, f"{FULL_NAME}: unfolds into more than 2048 leaves")


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
        f"{FULL_NAME}.extra: google.protobuf.{type_name} may not be used",
    )


def test_a_submitted_file_of_googles_is_refused() -> None:
    """A set that brings a google file which no field uses is refused too; it would enter the pool."""
    refused(
        descriptor_set(protos.ours(any_pb2), protos.file(visit(field("uprn", 1)))),
        "package 'google.protobuf' is reserved",
    )


def test_a_type_of_the_brokers_is_refused() -> None:
    """A field may not hold a message of the broker's own package, whose fields have no labels."""
    refused(
        visit_set(field("options", 1, ".broker.v1.RecordTypeOptions")),
        "broker.v1.RecordTypeOptions is not a type that records",
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


def test_a_field_without_a_label_is_refused() -> None:
    """Every value says what releasing it gives away, in messages that the record type does not use too."""
    refused(visit_set(field("uprn", 1, labels=())), f"{FULL_NAME}.uprn: has no label")
    unused = message("Unused", field("words", 1, labels=()))
    refused(visit_set(field("uprn", 1), others=[unused]), f"{PACKAGE}.Unused.words: has no label")


def test_an_unspecified_or_unknown_label_is_refused() -> None:
    """Zero and a number that this version does not know are no labels."""
    refused(visit_set(field("uprn", 1, labels=("UNSPECIFIED",))), f"{FULL_NAME}.uprn: label 0")
    odd = field("uprn", 1)
    odd.options.MergeFromString(b"\xe8\xc7\x18\x63")
    refused(visit_set(odd), f"{FULL_NAME}.uprn: label 99")


def test_plain_beside_another_label_is_refused() -> None:
    """LABEL_PLAIN says that no other applies."""
    refused(visit_set(field("uprn", 1, labels=("PLAIN", "LOCATION"))), f"{FULL_NAME}.uprn: LABEL_PLAIN means")


def test_a_message_without_fields_is_refused() -> None:
    """Nothing of it could be permitted, and redaction would always drop it."""
    refused(
        visit_set(field("empty", 1, f".{PACKAGE}.Empty"), others=[message("Empty")]),
        f"{PACKAGE}.Empty: has no fields",
    )


def test_a_second_record_type_in_the_set_is_refused() -> None:
    """One digest means one record type."""
    other = message("Other", field("uprn", 1), schemes=["uprn"])
    refused(visit_set(field("uprn", 1), others=[other]), f"{PACKAGE}.Other: is a second record type")


@pytest.mark.parametrize(
    "state",
    [
        field("state", 1, "string", state=True),
        field("state", 1, f".{PACKAGE}.Kind", ["PLAIN"], enum=True, state=True),
        field("state", 1, STATE, ["PLAIN"], repeated=True, state=True),
    ],
    ids=["text", "another enum", "a list"],
)
def test_a_fact_state_of_another_shape_is_refused(state: FieldDescriptorProto) -> None:
    """fact_state belongs on one FactState: readers know what its numbers mean."""
    kind = EnumDescriptorProto(name="Kind")
    for number, name in enumerate(("KIND_UNSPECIFIED", "KIND_VALUE", "KIND_WITHHELD")):
        kind.value.add(name=name, number=number)
    data = descriptor_set(protos.file(visit(state), enums=[kind]))
    refused(data, f"{FULL_NAME}.state: fact_state belongs on")


def test_a_fact_state_that_is_not_marked_is_refused() -> None:
    """A FactState without the option would not be asked for beside its values."""
    refused(visit_set(field("state", 1, STATE)), f"{FULL_NAME}.state: is a fact state without")


def test_two_fact_states_in_a_message_are_refused() -> None:
    """Which of them says whether the facts are there would be a guess."""
    data = visit_set(field("state", 1, STATE, state=True), field("again", 2, STATE, state=True))
    refused(data, f"{FULL_NAME}.again: is a second fact state")


def test_files_twice_or_in_a_circle_are_refused() -> None:
    """A set holds each file once, and no file imports itself."""
    file = protos.file(visit(field("uprn", 1)))
    refused(descriptor_set(file, file), "records/fire/v1/visit.proto: is in the set twice")
    file.dependency.append(file.name)
    refused(descriptor_set(file), "records/fire/v1/visit.proto: imports itself")


def test_bytes_that_are_no_descriptor_set_are_refused() -> None:
    """Anything else than a FileDescriptorSet is refused by that name."""
    refused(b"\xff\xff", "not a serialised google.protobuf.FileDescriptorSet")


def test_labels_are_read_in_a_process_that_imports_nothing_else() -> None:
    """Custom options are empty unless their module is imported; ours sees to that, whoever uses it first."""
    program = (
        "import sys; from broker.core.recordtype import RecordType\n"
        f"t = RecordType.submitted(sys.stdin.buffer.read(), {FULL_NAME!r})\n"
        "print(t.leaves[0].labels, t.subject_schemes)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=PLAIN, capture_output=True, check=True, timeout=30
    )
    assert done.stdout.decode().strip() == "('plain',) ('uprn',)"
