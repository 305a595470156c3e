"""Every record type that is shipped, by the same rules: labels, states, redaction, rows, approval, its page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from adapters.sdk.soundness import faults
from broker.catalogue import Catalogue, standard_record_types
from broker.cli.agency import Kind
from broker.core.facts import Shown, rows
from broker.core.leaves import state_field
from broker.core.recordtype import JOINT, RecordType
from broker.core.redaction import RULE, Redactor
from broker.core.subject import SCHEMES
from broker.errors import InvalidRequest
from records.shared.v1 import fact_pb2

TYPES = {name: RecordType.submitted(data, name) for name, data in standard_record_types()}
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "record-types.md").read_text(encoding="utf-8")
LABELS = {
    "plain",
    "identifying",
    "contact",
    "special-category",
    "offence",
    "third-party",
    "location",
    "free-text",
    "safe-contact",
}


@pytest.fixture(params=sorted(TYPES))
def of(request: pytest.FixtureRequest) -> RecordType:
    """Each of them."""
    return TYPES[request.param]


def filled(message: Message, count: int = 2) -> Message:
    """The message with a value in every field, two items in every list."""
    state = state_field(message.DESCRIPTOR)
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            inside = getattr(message, field.name)
            for item in [inside.add() for _ in range(count)] if field.is_repeated else [inside]:
                filled(item, count)
        elif field.is_repeated:
            getattr(message, field.name).extend([_value(field)] * count)
        else:
            setattr(message, field.name, fact_pb2.FACT_STATE_VALUE if field == state else _value(field))
    return message


def _value(field: Any) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    return {
        field.CPPTYPE_STRING: f"the {field.name}",
        field.CPPTYPE_BOOL: True,
        field.CPPTYPE_DOUBLE: -3.1 if field.name == "longitude" else 54.5,
        field.CPPTYPE_UINT32: 7,
    }[field.cpp_type]


def with_states(of: RecordType, path: str) -> set[str]:
    """A leaf and the states that have to be permitted with it."""
    return {path, *of.leaf(path).states}


def test_every_leaf_says_what_it_gives_away(of: RecordType) -> None:
    """Each leaf has labels of the list, and plain stands alone."""
    for leaf in of.leaves:
        assert leaf.labels, leaf.path
        assert set(leaf.labels) <= LABELS, leaf.path
        assert leaf.labels == ("plain",) or "plain" not in leaf.labels, leaf.path


def test_facts_about_risk_have_a_state_and_a_time(of: RecordType) -> None:
    """Beside each state stands its time, and what has a provenance has a state."""
    paths = {leaf.path for leaf in of.leaves}
    for leaf in of.leaves:
        if leaf.is_state:
            assert leaf.path.removesuffix("state") + "as_at" in paths
        if ".provenance." in leaf.path:
            assert leaf.states, leaf.path


def test_free_text_can_be_told_from_codes(of: RecordType) -> None:
    """What is called words, notes, description, circumstances or history is labelled as free text."""
    typed = re.compile(r"(^|\.)(words|voice|notes|crew_notes|description|circumstances|history|directions)$")
    for leaf in of.leaves:
        if typed.search(leaf.path):
            assert "free-text" in leaf.labels, leaf.path


def test_one_permitted_leaf_is_all_that_leaves(of: RecordType) -> None:
    """For every leaf: permitted alone, it arrives with its states and nothing else does."""
    record = filled(of.message_class())
    whole = record.SerializeToString()
    for leaf in of.leaves:
        permitted = with_states(of, leaf.path)
        redacted = Redactor(of, permitted).redact(whole)
        assert set(_set(of.read(redacted.value), "")) == permitted
        assert {path for path, _ in redacted.withheld} == {one.path for one in of.leaves} - permitted
        assert {rule for _, rule in redacted.withheld} == {RULE}


def _set(message: Message, prefix: str) -> list[str]:
    """Paths of what is set in a message, items of lists without their index."""
    found = []
    for field, value in message.ListFields():
        path = f"{prefix}{field.name}"
        if field.message_type is None:
            found.append(path)
            continue
        for item in value if field.is_repeated else [value]:
            found += _set(item, f"{path}.")
    return found


def test_all_leaves_permitted_change_nothing(of: RecordType) -> None:
    """A record of which all may be released comes through whole, and has none that the type does not know."""
    record = filled(of.message_class())
    every = [leaf.path for leaf in of.leaves]
    redacted = Redactor(of, every).redact(record.SerializeToString())
    assert redacted.withheld == ()
    assert of.read(redacted.value) == record
    assert of.unknown_fields(record.SerializeToString()) == ()


def test_nothing_permitted_releases_nothing(of: RecordType) -> None:
    """A record of which nothing may be released is empty bytes, and withholds every leaf."""
    redacted = Redactor(of, ()).redact(filled(of.message_class()).SerializeToString())
    assert redacted.value == b""
    assert [path for path, _ in redacted.withheld] == [leaf.path for leaf in of.leaves]


def test_a_value_is_not_permitted_without_its_states(of: RecordType) -> None:
    """No leaf under a state can be named by an agreement without it."""
    for leaf in of.leaves:
        if leaf.states:
            with pytest.raises(InvalidRequest, match=r"needs .* beside it"):
                of.check_paths([leaf.path])


def test_a_full_record_may_leave_an_adapter(of: RecordType) -> None:
    """What the adapter's own check says of a record with everything in it: no fault."""
    every = [leaf.path for leaf in of.leaves]
    assert faults(filled(of.message_class()), of.full_name, every) == []


def test_every_field_has_a_row_with_its_value(of: RecordType) -> None:
    """A full record shows a value in each row, and a row for each leaf."""
    shown = rows(filled(of.message_class(), count=1), ())
    assert {re.sub(r"\[\d+\]", "", row.path) for row in shown} == {leaf.path for leaf in of.leaves}
    assert [row for row in shown if row.shown is not None or not row.value] == []


def test_what_is_absent_or_withheld_never_reads_as_none(of: RecordType) -> None:
    """An empty record claims nothing; with all withheld, each row says so, whatever the record holds."""
    assert {row.shown for row in rows(of.message_class(), ())} == {Shown.NOT_STATED}
    every = [leaf.path for leaf in of.leaves]
    for record in (of.message_class(), filled(of.message_class())):
        assert {row.shown for row in rows(record, every)} == {Shown.WITHHELD}


def test_each_is_approved_for_its_holder_and_no_other(of: RecordType) -> None:
    """The catalogue takes it from its holder, and refuses it from another kind of agency."""
    data = dict(standard_record_types())[of.full_name]
    assert Catalogue.load([]).examine(data, of.full_name, of.holder).digest == of.digest
    with pytest.raises(InvalidRequest, match="belongs to holder"):
        Catalogue.load([]).examine(data, of.full_name, "another")


def test_its_subjects_can_be_named(of: RecordType) -> None:
    """Each scheme is one that a request may use."""
    assert set(of.subject_schemes) <= SCHEMES.keys()


def test_its_page_describes_every_leaf(of: RecordType) -> None:
    """docs/record-types.md has a section for it, with a row for each leaf: a meaning, and the very labels."""
    section = PAGE.split(f"\n## {of.full_name}\n")[1].split("\n## ")[0]
    described = {row[0]: row for row in re.findall(r"^\| `([\w.]+)` \| (.+?) \| ([a-z, -]+) \|", section, re.M)}
    assert described.keys() == {leaf.path for leaf in of.leaves}
    for leaf in of.leaves:
        assert described[leaf.path][2] == ", ".join(leaf.labels)
    assert ("**Viewing it has effects**" in section) == of.viewing_has_effects


def test_its_holder_is_a_kind_of_agency_or_joint_work(of: RecordType) -> None:
    """An operator can enter an agency that may hold it."""
    assert of.holder in JOINT or of.holder in {kind.value for kind in Kind}


def test_joint_work_is_held_by_any_agency_and_the_rest_by_one_kind(of: RecordType) -> None:
    """An incident's record may come from whichever agency speaks; a fire record from fire services only."""
    assert of.held_by(of.holder)
    assert of.held_by("ambulance") == (of.holder in JOINT or of.holder == "ambulance")
    assert of.held_by("another") == (of.holder in JOINT)
