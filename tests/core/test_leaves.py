"""Types whose fields do not say enough about themselves, or unfold too far: refused, each by name."""

from __future__ import annotations

import subprocess
import sys

import pytest
from google.protobuf.descriptor_pb2 import EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet

from broker.core.leaves import MAX_DEPTH
from broker.core.recordtype import RecordType
from broker.errors import InvalidRequest
from tests.core import protos
from tests.core.protos import (
    FULL_NAME,
    PACKAGE,
    STATE,
    descriptor_set,
    field,
    message,
    refused,
    visit,
    visit_set,
)

PLAIN = visit_set(field("uprn", 1))


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


def test_a_type_of_the_brokers_is_refused() -> None:
    """A field may not hold a message of the broker's own package, whose fields have no labels."""
    refused(
        visit_set(field("options", 1, ".broker.v1.RecordTypeOptions")),
        "broker.v1.RecordTypeOptions is not a type that records",
    )


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


def test_a_stored_type_is_not_read_without_labels() -> None:
    """What was approved with an older state of our shared messages still has a label on every leaf."""
    read = FileDescriptorSet.FromString(visit_set(field("address", 1, ".records.shared.v1.Address")))
    [address] = [one for one in read.file[1].message_type if one.name == "Address"]
    address.field[1].ClearField("options")
    with pytest.raises(InvalidRequest, match=r"records\.shared\.v1\.Address\.postcode: has no label"):
        RecordType.stored(read.SerializeToString(), FULL_NAME)
