"""What a record type tells about its fields, and what agreements may say about them."""

from __future__ import annotations

import hashlib

import pytest

from broker.catalogue import standard_record_types
from broker.core.leaves import Leaf
from broker.core.recordtype import Pin, RecordType
from broker.errors import IntegrityError, InvalidRequest
from records.nhs.v1.patient_summary_pb2 import PatientSummary
from tests.core import protos
from tests.core.protos import FULL_NAME, PACKAGE, field, message, visit_set

SUMMARY = dict(standard_record_types())["records.nhs.v1.PatientSummary"]


@pytest.fixture(scope="module")
def summary() -> RecordType:
    """The patient summary as shipped."""
    return RecordType.submitted(SUMMARY, "records.nhs.v1.PatientSummary", "nhs")


def test_a_type_is_known_by_its_bytes(summary: RecordType) -> None:
    """The digest is SHA-256 over the stored bytes, and the same bytes make an equal type."""
    assert summary.digest == hashlib.sha256(SUMMARY).hexdigest()
    assert summary.descriptor_set == SUMMARY
    assert summary == RecordType.stored(SUMMARY, summary.full_name)


def test_what_a_type_says_of_itself(summary: RecordType) -> None:
    """Holder, subject schemes and effects come from package and option."""
    assert (summary.full_name, summary.holder) == ("records.nhs.v1.PatientSummary", "nhs")
    assert (summary.subject_schemes, summary.viewing_has_effects) == (("nhs-number",), False)


def test_leaves_carry_path_numbers_labels_and_state(summary: RecordType) -> None:
    """A leaf deep in a stateful message names the state that governs it."""
    assert summary.leaf("allergies.items.substance.code") == Leaf(
        path="allergies.items.substance.code",
        numbers=(7, 3, 1, 2),
        labels=("special-category",),
        type="string",
        repeated=False,
        is_state=False,
        states=("allergies.state",),
    )
    state = summary.leaf("allergies.state")
    assert (state.is_state, state.stateful, state.states) == (True, True, ())
    assert state.type == "records.shared.v1.FactState"
    assert summary.leaf("name.given").repeated
    assert not summary.leaf("name.given").stateful


def test_leaves_are_sorted_and_are_every_field_with_a_value(summary: RecordType) -> None:
    """Leaves are in the order of their paths, and messages are none of them."""
    paths = [leaf.path for leaf in summary.leaves]
    assert paths == sorted(set(paths))
    assert len(paths) == 48
    assert "allergies" not in paths
    assert "allergies.items" not in paths


def test_a_leaf_has_the_labels_of_the_fields_above_it() -> None:
    """A label on a message field holds for all inside, and takes the place of plain."""
    where = field("refuge", 1, f".{PACKAGE}.Where", ["SAFE_CONTACT"])
    inside = message("Where", field("town", 1, labels=["LOCATION"]), field("noted_on", 2))
    leaves = RecordType.submitted(visit_set(where, others=[inside]), FULL_NAME).leaves
    assert {leaf.path: leaf.labels for leaf in leaves} == {
        "refuge.town": ("location", "safe-contact"),
        "refuge.noted_on": ("safe-contact",),
    }


def test_two_digests_of_one_name_live_side_by_side(summary: RecordType) -> None:
    """Each digest has its own pool, so one version's messages are not another's."""
    first = RecordType.submitted(visit_set(field("uprn", 1)), FULL_NAME)
    second = RecordType.submitted(visit_set(field("uprn", 1), field("notes", 2)), FULL_NAME)
    assert first.digest != second.digest
    assert [len(one.descriptor.fields) for one in (first, second)] == [1, 2]
    assert summary.message_class is not PatientSummary


def test_permitted_leaves_are_accepted(summary: RecordType) -> None:
    """Leaves with the states that govern them pass, and so does permitting nothing."""
    summary.check_paths(["name.family", "allergies.state", "allergies.items.criticality"])
    summary.check_paths([])


def test_a_permitted_parent_is_an_error_that_lists_its_leaves(summary: RecordType) -> None:
    """A message cannot be permitted; the error lists what it would have covered."""
    with pytest.raises(
        InvalidRequest, match=r"permitted_paths: 'name' is not a leaf .*: name\.family, name\.given$"
    ):
        summary.check_paths(["name"])
    inside = message("Rooms", *(field(f"room_{at:02}", at) for at in range(1, 15)))
    record_type = RecordType.submitted(
        visit_set(field("rooms", 1, f".{PACKAGE}.Rooms"), others=[inside]), FULL_NAME
    )
    with pytest.raises(InvalidRequest, match=r"rooms\.room_01, .*, rooms\.room_12 and 2 more$"):
        record_type.check_paths(["rooms"])


def test_an_unknown_path_is_an_error_that_names_the_nearest(summary: RecordType) -> None:
    """A misspelt path is answered with the one that was probably meant."""
    with pytest.raises(
        InvalidRequest, match=r"'name\.familly' is not a field .*; did you mean 'name\.family'\?"
    ):
        summary.check_paths(["name.familly"])
    with pytest.raises(InvalidRequest, match=r"is not a field of records\.nhs\.v1\.PatientSummary$"):
        summary.check_paths(["zzzzzz"])


def test_a_value_needs_its_state_permitted(summary: RecordType) -> None:
    """A list permitted without its state is an error: withheld and none recorded would look alike."""
    with pytest.raises(
        InvalidRequest, match=r"'allergies\.items\.substance\.code' needs 'allergies\.state'.*read as none"
    ):
        summary.check_paths(["allergies.items.substance.code"])


def test_every_state_around_a_value_is_needed() -> None:
    """With a state in a message that has one itself, both must be permitted."""
    inner = message("Inner", field("state", 1, protos.STATE, state=True), field("value", 2))
    outer = [field("state", 1, protos.STATE, state=True), field("inner", 2, f".{PACKAGE}.Inner")]
    record_type = RecordType.submitted(visit_set(*outer, others=[inner]), FULL_NAME)
    assert record_type.leaf("inner.value").states == ("state", "inner.state")
    record_type.check_paths(["state", "inner.state", "inner.value"])
    for missing in ("state", "inner.state"):
        with pytest.raises(InvalidRequest, match=f"needs '{missing}'"):
            record_type.check_paths({"state", "inner.state", "inner.value"} - {missing})


def test_pins_bind_names_and_numbers(summary: RecordType) -> None:
    """A pin holds both, sorted, and is refused where the path is no leaf."""
    assert summary.pin(["name.given", "name.family"]) == (
        Pin("name.family", (2, 1)),
        Pin("name.given", (2, 2)),
    )
    with pytest.raises(InvalidRequest, match="'name' is not a leaf"):
        summary.pin(["name"])


def test_a_pin_means_the_same_in_another_digest_or_is_refused() -> None:
    """Fields added do not disturb a pin; swapped names and a field that is gone do."""
    before = RecordType.submitted(visit_set(field("phone", 1), field("notes", 2)), FULL_NAME)
    pins = before.pin(["phone"])
    RecordType.submitted(
        visit_set(field("phone", 1), field("notes", 2), field("more", 3)), FULL_NAME
    ).check_pins(pins)
    swapped = RecordType.submitted(visit_set(field("notes", 1), field("phone", 2)), FULL_NAME)
    with pytest.raises(InvalidRequest, match="'phone' was field 1 when agreed and is 2"):
        swapped.check_pins(pins)
    gone = RecordType.submitted(visit_set(field("notes", 2)), FULL_NAME)
    with pytest.raises(InvalidRequest, match="'phone' is not a field"):
        gone.check_pins(pins)


def test_unknown_fields_are_named_at_any_depth(summary: RecordType) -> None:
    """A record made with another type is found out, by field number and never by contents."""
    assert summary.unknown_fields(PatientSummary(nhs_number="9990000000").SerializeToString()) == ()
    item = b"\x9a\x06\x06SECRET"
    allergies = b"\x1a" + bytes([len(item)]) + item
    record = b"\x3a" + bytes([len(allergies)]) + allergies + b"\xf8\x3f\x01" + b"\x08\x01"
    assert summary.unknown_fields(record) == ("1", "1023", "allergies.items.99")


def test_a_report_of_unknown_fields_is_short(summary: RecordType) -> None:
    """Twenty names are enough for a report that travels in an error."""
    record = b"".join(bytes([0x80 | number << 3 & 0x7F, number >> 4, 1]) for number in range(16, 80))
    assert len(summary.unknown_fields(record)) == 20


def test_a_record_that_cannot_be_read_is_an_integrity_error(summary: RecordType) -> None:
    """Bytes cut short are refused by the type's name."""
    with pytest.raises(IntegrityError, match=r"PatientSummary: record cannot be read"):
        summary.unknown_fields(b"\x0a\x05abc")


def test_groups_are_the_parents_of_leaves(summary: RecordType) -> None:
    """Every part of a path that ends before a point, with the leaves under it and no others."""
    assert not summary.groups.keys() & summary.labels.keys()
    for group, paths in summary.groups.items():
        assert paths == {leaf.path for leaf in summary.leaves if leaf.path.startswith(f"{group}.")}
    parents = {path.rpartition(".")[0] for path in (*summary.labels, *summary.groups)}
    assert parents - {""} == set(summary.groups)
