"""Whether a record may leave the adapter: right type, nothing unknown, facts that say their state.

Owns the rules that hold for every record type, read from the type's own options. Refuses records; never
repairs them. Faults name field paths, never values.
"""

from __future__ import annotations

from functools import lru_cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from broker.v1 import labels_pb2
from records.shared.v1 import fact_pb2

RECORD_LIMIT = 1 << 20

_PROVENANCE = fact_pb2.Provenance.DESCRIPTOR.full_name
_EMPTY_STATES = {
    fact_pb2.FACT_STATE_NONE_RECORDED,
    fact_pb2.FACT_STATE_UNAVAILABLE,
    fact_pb2.FACT_STATE_WITHHELD,
}


def faults(record: Message, record_type: str) -> list[str]:
    """Everything that forbids sending `record` as a `record_type`; empty when it may go."""
    if record.DESCRIPTOR.full_name != record_type:
        return [f"record: is a {record.DESCRIPTOR.full_name}, not a {record_type}"]
    size = record.ByteSize()
    if size > RECORD_LIMIT:
        return [f"record: {size} bytes are over the limit of {RECORD_LIMIT}"]
    return list(_message_faults(record, ""))


def missing_parts(record: Message) -> list[str]:
    """Top-level parts that carry a fact state and are not there at all."""
    return [
        field.name
        for field in record.DESCRIPTOR.fields
        if field.message_type is not None
        and _state_field(field.message_type) is not None
        and not record.HasField(field.name)
    ]


def _message_faults(message: Message, path: str) -> list[str]:
    # An unknown field would be a value that no label describes.
    found = [f"{path or 'record'}: holds an unknown field"] if len(UnknownFieldSet(message)) else []
    found += _state_faults(message, path)
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        inner = f"{path}.{field.name}" if path else field.name
        for item in value if field.is_repeated else [value]:
            found += _message_faults(item, inner)
    return found


def _state_faults(message: Message, path: str) -> list[str]:
    state_field = _state_field(message.DESCRIPTOR)
    if state_field is None:
        return []
    state = getattr(message, state_field.name)
    where = f"{path}.{state_field.name}" if path else state_field.name
    if state == fact_pb2.FACT_STATE_UNSPECIFIED:
        return [f"{where}: a fact must say its state"]
    if state not in _EMPTY_STATES:
        return []
    # "None" beside a value, or a value beside "withheld", would mislead or leak.
    name = fact_pb2.FactState.Name(state)
    return [
        f"{path}.{field.name}: must be empty beside {name}"
        for field, _ in message.ListFields()
        if field.name not in (state_field.name, "as_at")
        and (field.message_type is None or field.message_type.full_name != _PROVENANCE)
    ]


@lru_cache(maxsize=1024)
def _state_field(descriptor: Descriptor) -> FieldDescriptor | None:
    for field in descriptor.fields:
        if field.GetOptions().Extensions[labels_pb2.fact_state]:
            return field
    return None
