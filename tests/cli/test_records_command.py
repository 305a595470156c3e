"""`broker records` against a real broker, with descriptors as an attacker would send them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

from broker.catalogue import standard_record_types
from tests.cli.conftest import Parties, Run

SUMMARY = "records.nhs.v1.PatientSummary"
Change = Callable[[FileDescriptorSet], None]


def own_file(descriptors: FileDescriptorSet) -> FileDescriptorProto:
    """The file with the record type itself: the last, after its imports."""
    return descriptors.file[-1]


def message(descriptors: FileDescriptorSet, name: str) -> DescriptorProto:
    """One of its messages."""
    return next(each for each in own_file(descriptors).message_type if each.name == name)


def written(folder: Path, change: Change) -> Path:
    """The shipped patient summary's descriptor set after `change`, as a file."""
    descriptors = FileDescriptorSet.FromString(dict(standard_record_types())[SUMMARY])
    change(descriptors)
    path = folder / "set.binpb"
    path.write_bytes(descriptors.SerializeToString())
    return path


def same(_: FileDescriptorSet) -> None:
    """No change."""


def swap_names(descriptors: FileDescriptorSet) -> None:
    """Wire-compatible, and it would release the code under the name's permission."""
    name, code = message(descriptors, "Practice").field
    name.name, code.name = code.name, name.name


def reserve(descriptors: FileDescriptorSet) -> None:
    """Claims a name of protobuf's own."""
    own_file(descriptors).package = "google.protobuf"


def impersonate(descriptors: FileDescriptorSet) -> None:
    """Claims the place of one of protobuf's own files."""
    own_file(descriptors).name = "google/protobuf/any.proto"


def grow(descriptors: FileDescriptorSet) -> None:
    """More than 256 KiB."""
    own_file(descriptors).options.java_package = "x" * (300 * 1024)


def unlabel(descriptors: FileDescriptorSet) -> None:
    """A field that does not say what it gives away."""
    message(descriptors, "PatientSummary").field.add(
        name="shoe_size", json_name="shoeSize", number=99, type=5, label=1
    )


def test_the_shipped_types_are_listed_and_shown(broker: Run, parties: Parties) -> None:
    """Approved once, approving again changes nothing; list and show give digests, leaves and labels."""
    again = broker("records", "approve", "--shipped", "--json").rows
    assert {each["full_name"] for each in again} == {name for name, _ in standard_record_types()}
    assert {each["entry"] for each in again} == {None}
    assert "approved already" in broker("records", "approve", "--shipped").out

    listed = {each["full_name"]: each for each in broker("records", "list", "--json").rows}
    shown = broker("records", "show", SUMMARY, "--json", "--as", parties.requester).json
    fields = {each["path"]: each for each in shown.pop("fields")}
    assert listed[SUMMARY] == shown
    assert shown["holder"] == "nhs"
    assert fields["nhs_number"]["labels"] == ["identifying"]
    assert "special-category" in fields["allergies.items.substance.display"]["labels"]
    for_people = broker("records", "show", SUMMARY).out
    assert shown["digest"] in for_people
    assert "allergies.items.substance.display" in for_people
    assert f"{shown['digest'][:16]}..." in broker("records", "list").out


def test_show_of_what_is_not_approved(broker: Run, parties: Parties) -> None:
    """An unknown name or digest is exit 1 and says where to look."""
    for arguments in (("records.nhs.v1.Nothing",), (SUMMARY, "--digest", "0" * 64)):
        result = broker("records", "show", *arguments)
        assert (result.code, result.out) == (1, "")
        assert "broker records list" in result.err


def test_approving_a_file_finds_its_type(broker: Run, parties: Parties, tmp_path: Path) -> None:
    """The one record type of a file needs no naming, and the same bytes are known already."""
    found = broker("records", "approve", written(tmp_path, same), "--json").rows
    assert [(each["full_name"], each["entry"]) for each in found] == [(SUMMARY, None)]


@pytest.mark.parametrize(
    ("change", "name", "says"),
    [
        (swap_names, SUMMARY, "agreements would release another by its name"),
        (reserve, "google.protobuf.PatientSummary", "must be records.<holder>"),
        (impersonate, SUMMARY, "google/protobuf/any.proto"),
        (grow, SUMMARY, "bytes; at most 262144 are accepted"),
        (unlabel, SUMMARY, "shoe_size"),
    ],
)
def test_what_must_not_be_approved_is_refused(
    broker: Run, parties: Parties, tmp_path: Path, change: Change, name: str, says: str
) -> None:
    """Swapped names, a reserved package, too much, a field without labels: refused, and nothing is approved."""
    before = broker("records", "list", "--json").rows
    result = broker("records", "approve", written(tmp_path, change), "--type", name)
    assert (result.code, result.out) == (1, "")
    assert says in result.err
    assert broker("records", "list", "--json").rows == before


def test_what_is_no_descriptor_set(broker: Run, parties: Parties, tmp_path: Path) -> None:
    """Noise, a set without record types and a huge file are exit 1; a missing file and no file exit 2."""
    noise, empty, huge = (tmp_path / name for name in ("noise", "empty", "huge"))
    noise.write_bytes(b"\xff\xfe not protobuf")
    empty.write_bytes(b"")
    huge.write_bytes(bytes(2 << 20))
    for file, says in (
        (noise, "is not a FileDescriptorSet"),
        (empty, "holds 0 record types: name the one to approve with --type"),
        (huge, "too large to be a descriptor set"),
    ):
        result = broker("records", "approve", file)
        assert (result.code, result.out) == (1, "")
        assert says in result.err
    assert broker("records", "approve", tmp_path / "none").code == 2
    assert broker("records", "approve").code == 2
    assert broker("records", "approve", empty, "--shipped").code == 2
    assert broker("records", "approve", "--shipped", "--type", SUMMARY).code == 2
