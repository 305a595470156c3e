"""Which changes a newer version of a record type may make."""

from __future__ import annotations

import re

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto

from broker.core.compatibility import check_successor
from broker.core.recordtype import RecordType
from broker.errors import InvalidRequest
from broker.v1 import labels_pb2
from tests.core import protos
from tests.core.protos import FULL_NAME, PACKAGE, STATE, descriptor_set, field, message, visit

NAME = field("name", 1, labels=["IDENTIFYING"])
PHONE = field("phone", 2, labels=["CONTACT"])


def made(
    *fields: FieldDescriptorProto, others: tuple[DescriptorProto, ...] = (), kinds: tuple[str, ...] = ()
) -> RecordType:
    """A record type of these fields, with an enum `Kind` where its values are named."""
    return approved(visit(*fields), *others, kinds=kinds)


def approved(record: DescriptorProto, *others: DescriptorProto, kinds: tuple[str, ...] = ()) -> RecordType:
    """A record type of this message."""
    enums = [EnumDescriptorProto(name="Kind")] if kinds else []
    for number, name in enumerate(kinds):
        if name == "-":
            enums[0].reserved_range.add(start=number, end=number)
            enums[0].reserved_name.append("KIND_OIL")
        else:
            enums[0].value.add(name=name, number=number)
    return RecordType.submitted(descriptor_set(protos.file(record, *others, enums=enums)), FULL_NAME)


def refused(old: RecordType, new: RecordType, text: str) -> None:
    """The successor is refused with this text."""
    with pytest.raises(InvalidRequest, match=re.escape(text)):
        check_successor(old, new)


def reserving(record: DescriptorProto, number: int, *names: str) -> DescriptorProto:
    """The message with a number and names given up."""
    record.reserved_range.add(start=number, end=number + 1)
    record.reserved_name.extend(names)
    return record


def test_adding_fields_and_strengthening_labels_is_compatible() -> None:
    """New fields, new schemes and more labels are what versions are for."""
    stronger = field("phone", 2, labels=["CONTACT", "SAFE_CONTACT"])
    new = visit(NAME, stronger, field("notes", 3))
    new.options.Extensions[labels_pb2.record_type].subject_schemes.append("nhs-number")
    check_successor(made(NAME, PHONE), approved(new))
    check_successor(made(field("a", 1)), made(field("a", 1, labels=["LOCATION"])))


def test_swapped_field_names_are_refused() -> None:
    """The same bytes under each other's names would release the wrong field."""
    new = made(field("phone", 1, labels=["CONTACT"]), field("name", 2, labels=["IDENTIFYING"]))
    refused(made(NAME, PHONE), new, "name: was field 1 and is 2")


def test_swapped_names_inside_a_message_are_refused_by_path() -> None:
    """A swap is found at any depth, with the labels moved along or not."""
    outer = field("occupier", 1, f".{PACKAGE}.Occupier")
    swapped = message(
        "Occupier", field("phone", 1, labels=["IDENTIFYING"]), field("name", 2, labels=["CONTACT"])
    )
    old, new = made(outer, others=(message("Occupier", NAME, PHONE),)), made(outer, others=(swapped,))
    refused(old, new, "occupier.name: was field 1 and is 2")


def test_a_number_used_again_under_another_name_is_refused() -> None:
    """An old record would show under the new name."""
    refused(
        made(NAME, PHONE),
        made(NAME, field("email", 2, labels=["CONTACT"])),
        "phone: number 2 is used again, for 'email'",
    )


def test_a_number_used_again_with_another_type_is_refused() -> None:
    """The path would hold something else."""
    refused(
        made(NAME, PHONE),
        made(NAME, field("phone", 2, "bytes", ["CONTACT"])),
        "phone: was string and is bytes",
    )
    address = ".records.shared.v1.Address"
    refused(
        made(NAME, PHONE),
        made(NAME, field("phone", 2, address)),
        "phone: was string and is records.shared.v1.Address",
    )


def test_a_field_moved_to_another_number_is_refused() -> None:
    """Agreements bind the number too."""
    refused(made(NAME, PHONE), made(NAME, field("phone", 3, labels=["CONTACT"])), "phone: was field 2 and is 3")


def test_a_field_removed_without_reserving_it_is_refused() -> None:
    """Number and name must both be given up for good."""
    old = made(NAME, PHONE)
    refused(old, made(NAME), "phone: removed without reserving number 2 and name 'phone'")
    refused(old, approved(reserving(visit(NAME), 2)), "phone: removed without reserving")
    refused(old, approved(reserving(visit(NAME), 3, "phone")), "phone: removed without reserving")
    check_successor(old, approved(reserving(visit(NAME), 2, "phone")))


def test_what_was_reserved_stays_reserved() -> None:
    """A name or number given up once cannot come back by being dropped from the reservations."""
    old = approved(reserving(visit(NAME), 2, "phone"))
    refused(old, approved(reserving(visit(NAME), 2)), f"{FULL_NAME}: no longer reserves 'phone'")
    refused(old, approved(reserving(visit(NAME), 3, "phone")), f"{FULL_NAME}: no longer reserves number 2")
    wider = visit(NAME)
    wider.reserved_range.add(start=2, end=536870912)
    wider.reserved_name.append("phone")
    check_successor(old, approved(wider))


def test_changing_how_often_or_whether_a_field_occurs_is_refused() -> None:
    """Plain, optional, repeated and oneof read absence differently."""
    optional = visit(NAME, field("phone", 2, labels=["CONTACT"]))
    optional.field[1].proto3_optional, optional.field[1].oneof_index = True, 0
    optional.oneof_decl.add(name="_phone")
    refused(made(NAME, PHONE), approved(optional), "phone: changed between")
    refused(
        made(NAME, PHONE),
        made(NAME, field("phone", 2, labels=["CONTACT"], repeated=True)),
        "phone: changed between",
    )


def test_a_changed_label_is_refused() -> None:
    """A label replaced by another or by plain is weaker in what it kept."""
    for labels in (["LOCATION"], ["PLAIN"]):
        refused(
            made(NAME, PHONE),
            made(NAME, field("phone", 2, labels=labels)),
            "phone: label made weaker: no longer contact",
        )


def test_fewer_labels_are_refused() -> None:
    """Dropping one of two labels is weaker."""
    old = made(NAME, field("notes", 2, labels=["FREE_TEXT", "THIRD_PARTY"]))
    refused(
        old,
        made(NAME, field("notes", 2, labels=["FREE_TEXT"])),
        "notes: label made weaker: no longer third-party",
    )


def test_a_label_dropped_from_the_field_above_is_refused() -> None:
    """A leaf loses what the message field around it said, and is named."""
    inner = message("Where", field("town", 1, labels=["LOCATION"]))
    old = made(field("refuge", 1, f".{PACKAGE}.Where", ["SAFE_CONTACT"]), others=(inner,))
    new = made(field("refuge", 1, f".{PACKAGE}.Where"), others=(inner,))
    refused(old, new, "refuge.town: label made weaker: no longer safe-contact")


def test_a_fact_state_that_is_gone_is_refused() -> None:
    """Without its state, an absent value would begin to read as none."""
    old = made(field("state", 1, STATE, state=True), field("kind", 2))
    record = reserving(visit(field("kind", 2)), 1, "state")
    refused(old, approved(record), "kind: the fact state that governed it was removed")


def test_a_renumbered_or_renamed_enum_value_is_refused() -> None:
    """A value's number and name mean the same in every version; one that goes is reserved."""
    kind = field("kind", 1, f".{PACKAGE}.Kind", ["PLAIN"], enum=True)
    old = made(kind, kinds=("KIND_UNSPECIFIED", "KIND_GAS", "KIND_OIL"))
    check_successor(old, made(kind, kinds=("KIND_UNSPECIFIED", "KIND_GAS", "KIND_OIL", "KIND_COAL")))
    check_successor(old, made(kind, kinds=("KIND_UNSPECIFIED", "KIND_GAS", "-")))
    swapped = made(kind, kinds=("KIND_UNSPECIFIED", "KIND_OIL", "KIND_GAS"))
    refused(old, swapped, "kind: KIND_GAS was 1 and is 2")
    refused(
        old, made(kind, kinds=("KIND_UNSPECIFIED", "KIND_GAS", "KIND_COAL")), "kind: KIND_OIL removed without"
    )


def test_a_subject_scheme_that_is_gone_is_refused() -> None:
    """Directives recorded under it would no longer be found."""
    new = visit(NAME)
    new.options.Extensions[labels_pb2.record_type].subject_schemes[:] = ["nhs-number"]
    refused(made(NAME), approved(new), f"{FULL_NAME}: no longer takes subjects by uprn")


def test_effects_of_viewing_that_are_gone_are_refused() -> None:
    """A view that tells somebody does not silently stop recording its intent."""
    old = visit(NAME)
    old.options.Extensions[labels_pb2.record_type].viewing_has_effects = True
    refused(approved(old), made(NAME), "viewing_has_effects was set and is not")
    check_successor(made(NAME), approved(old))


def test_another_name_is_no_successor() -> None:
    """A type of another name is a type of its own."""
    data = descriptor_set(protos.file(message("Other", NAME, schemes=["uprn"])))
    other = RecordType.submitted(data, f"{PACKAGE}.Other")
    refused(made(NAME), other, f"full_name: {PACKAGE}.Other cannot succeed {FULL_NAME}")
