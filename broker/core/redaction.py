"""Releases what an agreement permits, by reading the record as a type that has no other fields.

A `Redactor` is compiled once for a record type and its permitted leaf paths. It derives, in a private pool, a
message type holding the permitted leaves and nothing else, one derived message for each place in the tree
(the same `Code` may be permitted here and withheld there). To redact is then to parse the record as that
type, discard what it does not know, drop what became empty and serialise: a withheld field has no place to
be kept in, at any depth, and neither has one added to the record type tomorrow. The original is never edited.

Why this way. Measured on a 2-core machine (Python 3.11, protobuf 7.36, a PatientSummary of 255 bytes with 9
list items, 15 of 48 leaves permitted, best of 5 runs of 5,000): this 11.5 us, copying permitted fields from
message to message 16.5 us, walking the wire bytes in Python 25 us. Neither of those fails safe: both must be
right about each field they pass, while here a field that is not permitted has nowhere to go. ClearField on
the original keeps unknown fields, so it leaks. A record of 1 MiB of empty list items, the worst of those
tried, takes 0.2 s.

What follows from it:
- The record is first parsed as its full type and serialised again, so that the last value of a oneof or of a
  repeated singular field is decided with all fields in view, not by which of them are permitted.
- Enums are open: a permitted enum's unknown number passes, being a value of a permitted field. Readers must
  not take it for a state they know (`facts` shows "unavailable").
- Emptied messages are dropped, list items included, so that a count of items is not released without any of
  their fields. Messages that were empty to begin with go too: the two must look the same.
- Unknown fields never survive. That a provider's answer has some is for the caller to refuse
  (`redact_known`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from msgspec import Struct

from broker.core.recordtype import RecordType

RULE = "agreement"
"""Why a leaf is withheld: no agreement in force names it. Constant, so that it says nothing of the record."""


class Withheld(NamedTuple):
    """A leaf that is not released, and the rule that keeps it back."""

    path: str
    rule: str


class Redacted(Struct, frozen=True):
    """`value` is the released record's bytes, empty where nothing permitted was there."""

    value: bytes
    withheld: tuple[Withheld, ...]


class _Below(NamedTuple):
    """A message field of the derived type: its name there, and what lies below."""

    name: str
    repeated: bool
    below: tuple[_Below, ...]


class Redactor:
    """Redaction of one record type to one set of permitted leaves. Immutable; share it freely.

    Raises InvalidRequest (`RecordType.check_paths`) for a path that is not a leaf, and for a value permitted
    without its state. `withheld` is every leaf not permitted, sorted: it depends on type and agreement only.
    """

    __slots__ = ("_plan", "_released", "record_type", "withheld")

    def __init__(self, record_type: RecordType, permitted: Collection[str]) -> None:
        kept = frozenset(permitted)
        record_type.check_paths(kept)
        self.record_type = record_type
        self.withheld = tuple(Withheld(leaf.path, RULE) for leaf in record_type.leaves if leaf.path not in kept)
        numbers = (leaf.numbers for leaf in record_type.leaves if leaf.path in kept)
        self._released = _derive(record_type.descriptor, numbers)
        self._plan = _plan(cast("Descriptor", self._released.DESCRIPTOR))

    def redact(self, value: bytes) -> Redacted:
        """A new record of the permitted leaves of `value`. Raises IntegrityError as `RecordType.read`."""
        return self._redacted(self.record_type.read(value).SerializeToString())

    def redact_known(self, value: bytes) -> Redacted | None:
        """The same; None for a record with a field, at any depth, that its type does not know."""
        record = self.record_type.read(value)
        whole = record.SerializeToString()
        record.DiscardUnknownFields()
        return self._redacted(whole) if record.ByteSize() == len(whole) else None

    def _redacted(self, whole: bytes) -> Redacted:
        released = self._released.FromString(whole)
        released.DiscardUnknownFields()
        _drop_empty(released, self._plan)
        return Redacted(released.SerializeToString(deterministic=True), self.withheld)


def _derive(message: Descriptor, leaves: Iterable[tuple[int, ...]]) -> type[Message]:
    """The message class that has these leaves, by number path, and no other field."""
    tree: dict[int, Any] = {}
    for numbers in leaves:
        node = tree
        for number in numbers:
            node = node.setdefault(number, {})
    file = FileDescriptorProto(name="released.proto", package="released", syntax="proto3")
    _derive_message(message, tree, file.message_type.add(name="M"), ".released.M")
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("released.M"))


def _derive_message(source: Descriptor, tree: dict[int, Any], derived: DescriptorProto, name: str) -> None:
    # Names here are by number: the wire has none, and these cannot clash with each other.
    oneofs: dict[str, int] = {}
    for number, below in sorted(tree.items()):
        original = source.fields_by_number[number]
        field = derived.field.add(name=f"f{number}", number=number)
        field.label = field.LABEL_REPEATED if original.is_repeated else field.LABEL_OPTIONAL
        if original.message_type is not None:
            field.type, field.type_name = field.TYPE_MESSAGE, f"{name}.M{number}"
            nested = derived.nested_type.add(name=f"M{number}")
            _derive_message(original.message_type, below, nested, f"{name}.M{number}")
        else:
            field.type = _wire_type(original)
        # An `optional` field stands in a oneof of its own (descriptor.proto), so this keeps both.
        oneof = original.containing_oneof
        if oneof is not None:
            if oneof.name not in oneofs:
                oneofs[oneof.name] = len(derived.oneof_decl)
                derived.oneof_decl.add(name=f"o{number}")
            field.oneof_index = oneofs[oneof.name]


def _wire_type(field: FieldDescriptor) -> FieldDescriptorProto.Type.ValueType:
    # An open enum is an int32 on the wire, unknown numbers included (encoding specification, "Enums").
    if field.enum_type is not None:
        return FieldDescriptorProto.TYPE_INT32
    return FieldDescriptorProto.Type.ValueType(field.type)


def _plan(message: Descriptor) -> tuple[_Below, ...]:
    return tuple(
        _Below(field.name, field.is_repeated, _plan(field.message_type))
        for field in message.fields
        if field.message_type is not None
    )


def _drop_empty(message: Message, plan: tuple[_Below, ...]) -> None:
    """Removes messages in which nothing is set, innermost first, so that one of empty ones goes too.

    Unknown fields are gone: what is written as no bytes has nothing set.
    """
    for name, repeated, below in plan:
        if not repeated:
            if message.HasField(name):
                child = getattr(message, name)
                if below:
                    _drop_empty(child, below)
                if not child.ByteSize():
                    message.ClearField(name)
            continue
        items = getattr(message, name)
        full = []
        for item in items:
            if below:
                _drop_empty(item, below)
            if item.ByteSize():
                full.append(item)
        if len(full) != len(items):
            del items[:]
            items.extend(full)
