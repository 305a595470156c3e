"""How a released record is shown: one row for each field, and never "none" for what was not said to be none.

For clients, the command line and the console. protobuf cannot tell an absent list from an empty one, so a
row's word comes from the fact state beside it, and only FACT_STATE_NONE_RECORDED, with nothing that denies
it, makes "none recorded". An absent state, one from a newer version, or one that was withheld makes no claim.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import StrEnum
from typing import NamedTuple, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from broker.core.leaves import state_field
from records.shared.v1 import fact_pb2


class Shown(StrEnum):
    """What a row says when it shows no value."""

    NONE_RECORDED = "none recorded"
    UNAVAILABLE = "unavailable"
    WITHHELD = "withheld"
    NOT_STATED = "not stated"
    CONTRADICTORY = "contradictory"
    """The source said that nothing is recorded, and sent something."""


class Row(NamedTuple):
    """`path` is dotted proto names, list items numbered from 0 (`allergies.items[0].criticality`).

    `value` is text: the value itself where `shown` is None, otherwise `shown`'s words.
    """

    path: str
    value: str
    shown: Shown | None


_BESIDE = frozenset({"as_at", "provenance"})
"""Fields that say when and by whom somebody looked; they stand beside "none recorded" and do not deny it."""

_SHOWN: dict[int, Shown] = {
    fact_pb2.FACT_STATE_UNSPECIFIED: Shown.NOT_STATED,
    fact_pb2.FACT_STATE_VALUE: Shown.NOT_STATED,
    fact_pb2.FACT_STATE_NONE_RECORDED: Shown.NONE_RECORDED,
    fact_pb2.FACT_STATE_UNAVAILABLE: Shown.UNAVAILABLE,
    fact_pb2.FACT_STATE_WITHHELD: Shown.WITHHELD,
}


def rows(record: Message, withheld: Collection[str]) -> tuple[Row, ...]:
    """A row for every field of the record in the type's order, whether or not it is there.

    `withheld` holds the disclosure's withheld paths; such a field shows "withheld" whatever the record holds.
    """
    descriptor = cast("Descriptor", record.DESCRIPTOR)
    return tuple(_rows(record, descriptor, "", "", frozenset(withheld), Shown.NOT_STATED))


def _rows(
    record: Message | None,
    message: Descriptor,
    path: str,
    shown_as: str,
    withheld: frozenset[str],
    absent: Shown,
) -> Iterator[Row]:
    """Rows below one message; `record` is None where the message is not there, `absent` what that means."""
    state = state_field(message)
    if state is not None:
        absent = _state(record, state, f"{path}{state.name}" in withheld, absent)
    for field in message.fields:
        here, label = f"{path}{field.name}", f"{shown_as}{field.name}"
        if field.message_type is not None:
            for at, item in _items(record, field):
                yield from _rows(item, field.message_type, f"{here}.", f"{label}{at}.", withheld, absent)
        elif here in withheld:
            yield _word(label, Shown.WITHHELD)
        elif field == state:
            yield _state_row(record, field, label, absent)
        else:
            yield _value_row(record, field, label, absent)


def _items(record: Message | None, field: FieldDescriptor) -> list[tuple[str, Message | None]]:
    if record is None:
        return [("", None)]
    if field.is_repeated:
        return [(f"[{at}]", item) for at, item in enumerate(getattr(record, field.name))] or [("", None)]
    return [("", getattr(record, field.name) if record.HasField(field.name) else None)]


def _state(record: Message | None, state: FieldDescriptor, withheld: bool, above: Shown) -> Shown:
    """What the absence of a fact means under this state; `above` where its whole message is not there."""
    if withheld:
        return Shown.WITHHELD
    if record is None:
        return above
    number = getattr(record, state.name)
    # A number this version does not know is some newer reason for there being nothing to read.
    shown = _SHOWN.get(number, Shown.UNAVAILABLE)
    if shown is Shown.NONE_RECORDED:
        facts = (field for field, _ in record.ListFields() if field != state and field.name not in _BESIDE)
        if any(True for _ in facts):
            return Shown.CONTRADICTORY
    return shown


def _state_row(record: Message | None, field: FieldDescriptor, label: str, absent: Shown) -> Row:
    if record is not None and getattr(record, field.name) == fact_pb2.FACT_STATE_VALUE:
        return Row(label, "value", None)
    return _word(label, absent)


def _value_row(record: Message | None, field: FieldDescriptor, label: str, absent: Shown) -> Row:
    if record is None or not _present(record, field):
        return _word(label, absent)
    value = getattr(record, field.name)
    if field.is_repeated:
        return Row(label, ", ".join(_text(item, field) for item in value), None)
    return Row(label, _text(value, field), None)


def _present(record: Message, field: FieldDescriptor) -> bool:
    # Without presence, false and 0 look like nothing said; claiming either would be claiming a fact.
    if field.has_presence:
        return bool(record.HasField(field.name))
    return bool(getattr(record, field.name))


def _text(value: object, field: FieldDescriptor) -> str:
    if field.enum_type is not None and isinstance(value, int):
        known = field.enum_type.values_by_number.get(value)
        return f"{field.enum_type.name} {value}" if known is None else _plain(known.name, field.enum_type.name)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.hex() if isinstance(value, bytes) else str(value)


def _plain(value: str, enum: str) -> str:
    """`OXYGEN_KIND_LIQUID` of `OxygenKind` as people read it: `liquid`."""
    prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in enum).lstrip("_") + "_"
    return value.removeprefix(prefix).lower().replace("_", " ")


def _word(label: str, shown: Shown) -> Row:
    return Row(label, shown.value, shown)
