"""Redaction by example; `test_redaction_property.py` has the general statement."""

from __future__ import annotations

import timeit
from time import thread_time

import pytest

from broker.catalogue import standard_record_types
from broker.core.recordtype import MAX_RECORD, RecordType
from broker.core.redaction import RULE, Redactor
from broker.errors import IntegrityError, InvalidRequest
from records.nhs.v1.patient_summary_pb2 import Allergies, Allergy, Code, Name, PatientSummary
from records.shared.v1 import fact_pb2
from tests.core import protos

TYPICAL = (
    "nhs_number",
    "name.family",
    "name.given",
    "birth_date",
    "contact.state",
    "contact.phone",
    "allergies.state",
    "allergies.as_at",
    "allergies.items.substance.display",
    "allergies.items.reaction.display",
    "allergies.items.criticality",
    "medications.state",
    "medications.items.medicine.display",
    "conditions.state",
    "conditions.items.condition.display",
)


@pytest.fixture(scope="module")
def summary() -> RecordType:
    """The patient summary as shipped."""
    return RecordType.submitted(
        dict(standard_record_types())["records.nhs.v1.PatientSummary"], PatientSummary.DESCRIPTOR.full_name
    )


def patient() -> PatientSummary:
    """A record with three of everything listed."""
    record = PatientSummary(
        nhs_number="9990000000", birth_date="1950-02-03", name=Name(family="Moss", given=["Ann"])
    )
    record.contact.state = fact_pb2.FACT_STATE_VALUE
    record.contact.phone = "01229 000000"
    for facts in (record.allergies, record.medications, record.conditions):
        facts.state = fact_pb2.FACT_STATE_VALUE
    for number in range(3):
        code = Code(system="http://snomed.info/sct", code=f"90000{number}", display=f"thing {number}")
        record.allergies.items.add(substance=code, reaction=code, criticality="high", recorded_on="2020-01-01")
        record.medications.items.add(medicine=code, dosage="one a day")
        record.conditions.items.add(condition=code, onset_on="2020-01-01")
    return record


def test_only_permitted_leaves_are_released(summary: RecordType) -> None:
    """Permitted leaves arrive with their values at every depth, and nothing else does."""
    redactor = Redactor(summary, {"name.family", "allergies.state", "allergies.items.substance.display"})
    released = PatientSummary.FromString(redactor.redact(patient().SerializeToString()).value)
    assert released == PatientSummary(
        name=Name(family="Moss"),
        allergies=Allergies(
            state=fact_pb2.FACT_STATE_VALUE,
            items=[Allergy(substance=Code(display=f"thing {number}")) for number in range(3)],
        ),
    )


def test_the_same_message_is_redacted_by_its_place(summary: RecordType) -> None:
    """A Code permitted under one field stays withheld under another."""
    redactor = Redactor(
        summary, {"allergies.state", "allergies.items.substance.code", "allergies.items.reaction.display"}
    )
    item = PatientSummary.FromString(redactor.redact(patient().SerializeToString()).value).allergies.items[0]
    assert item == Allergy(substance=Code(code="900000"), reaction=Code(display="thing 0"))


def test_the_number_of_items_is_not_released_without_their_fields(summary: RecordType) -> None:
    """Items of which nothing permitted is there vanish, so two patients with other counts look the same."""
    redactor = Redactor(summary, {"allergies.state", "allergies.items.verification"})
    one, many = patient(), patient()
    del one.allergies.items[1:]
    assert redactor.redact(one.SerializeToString()) == redactor.redact(many.SerializeToString())
    many.allergies.items[1].verification = "confirmed"
    kept = PatientSummary.FromString(redactor.redact(many.SerializeToString()).value).allergies.items
    assert [item.verification for item in kept] == ["confirmed"]


def test_withheld_names_every_leaf_not_permitted_and_one_rule(summary: RecordType) -> None:
    """The withheld list is sorted, complete and the same for an empty record."""
    redacted = Redactor(summary, TYPICAL).redact(b"")
    assert redacted.value == b""
    assert [path for path, _ in redacted.withheld] == sorted(
        leaf.path for leaf in summary.leaves if leaf.path not in TYPICAL
    )
    assert {rule for _, rule in redacted.withheld} == {RULE}


def test_permitting_nothing_releases_nothing(summary: RecordType) -> None:
    """An empty permitted set gives an empty record and withholds every leaf."""
    redacted = Redactor(summary, ()).redact(patient().SerializeToString())
    assert redacted.value == b""
    assert len(redacted.withheld) == len(summary.leaves)


def test_a_field_added_tomorrow_is_withheld(summary: RecordType) -> None:
    """Unknown fields do not survive, at the top or inside a permitted message."""
    record = patient().SerializeToString() + b"\xfa\x01\x06SECRET"
    inner = b"\x0a\x04Moss" + b"\x9a\x06\x06SECRET"
    record += b"\x12" + bytes([len(inner)]) + inner
    redacted = Redactor(summary, {"name.family"}).redact(record)
    assert redacted.value == PatientSummary(name=Name(family="Moss")).SerializeToString()


def test_an_unknown_enum_number_passes_where_its_field_is_permitted(summary: RecordType) -> None:
    """Enums are open: a gender of a newer version is released as that number, and only where permitted."""
    record = b"\x20\x63"
    assert Redactor(summary, {"gender"}).redact(record).value == record
    assert Redactor(summary, {"nhs_number"}).redact(record).value == b""


def test_a_permitted_oneof_member_that_was_overridden_stays_overridden() -> None:
    """Where a withheld member of a oneof came last, the permitted one that it replaced is not released."""
    left, right = protos.field("phone", 1), protos.field("address", 2)
    left.oneof_index = right.oneof_index = 0
    visit = protos.visit(left, right)
    visit.oneof_decl.add(name="reach")
    record_type = RecordType.submitted(protos.descriptor_set(protos.file(visit)), protos.FULL_NAME)
    assert Redactor(record_type, {"phone"}).redact(b"\x0a\x01p\x12\x01a").value == b""
    assert Redactor(record_type, {"phone"}).redact(b"\x12\x01a\x0a\x01p").value == b"\x0a\x01p"


def test_an_optional_field_set_to_nothing_is_still_set() -> None:
    """Explicit presence survives: an optional 0 is released as a 0, a plain 0 is not there."""
    optional = protos.field("people", 1, "uint32")
    optional.proto3_optional, optional.oneof_index = True, 0
    visit = protos.visit(optional, protos.field("rooms", 2, "uint32"))
    visit.oneof_decl.add(name="_people")
    record_type = RecordType.submitted(protos.descriptor_set(protos.file(visit)), protos.FULL_NAME)
    assert Redactor(record_type, {"people", "rooms"}).redact(b"\x08\x00\x10\x00").value == b"\x08\x00"


def test_a_value_without_its_state_is_refused(summary: RecordType) -> None:
    """A redactor that would let an absent allergy read as none cannot be made."""
    with pytest.raises(InvalidRequest, match=r"allergies\.items\.criticality.*needs 'allergies\.state'"):
        Redactor(summary, {"allergies.items.criticality"})


def test_bytes_that_are_no_record_are_refused(summary: RecordType) -> None:
    """A record cut short, or with text that is not UTF-8 in a withheld field, is refused by name."""
    redactor = Redactor(summary, {"nhs_number"})
    for bad in (patient().SerializeToString()[:-1], b"\x1a\x01\xff"):
        with pytest.raises(IntegrityError, match=r"records\.nhs\.v1\.PatientSummary"):
            redactor.redact(bad)


def test_a_record_over_the_limit_is_refused(summary: RecordType) -> None:
    """One byte more than 1 MiB is refused before it is parsed; exactly 1 MiB is redacted."""
    fits = b"\x0a" + _length(MAX_RECORD - 4) + b"9" * (MAX_RECORD - 4)
    redactor = Redactor(summary, {"nhs_number"})
    assert len(fits) == MAX_RECORD
    assert redactor.redact(fits).value == fits
    with pytest.raises(IntegrityError, match="at most 1048576"):
        redactor.redact(fits + b"\x00")


def test_redaction_is_fast_enough_for_the_path_of_every_request(summary: RecordType) -> None:
    """A typical summary takes about 12 us; five times that, on a machine busy with tests, is a fault."""
    redactor, record = Redactor(summary, TYPICAL), patient().SerializeToString()
    best = min(timeit.repeat(lambda: redactor.redact(record), timer=thread_time, number=200, repeat=50)) / 200
    assert best < 60e-6


def test_the_worst_record_is_bounded(summary: RecordType) -> None:
    """1 MiB of empty list items is dropped in time that grows with its size, not its square."""
    redactor = Redactor(summary, {"allergies.state", "allergies.items.criticality"})
    body = b"\x1a\x00" * 500_000 + b"\x1a\x03\x1a\x01x"
    record = b"\x3a" + _length(len(body)) + body
    assert timeit.timeit(lambda: redactor.redact(record), number=1) < 5
    assert redactor.redact(record).value == b"\x3a\x05\x1a\x03\x1a\x01x"


def _length(size: int) -> bytes:
    return bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
