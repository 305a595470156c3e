"""Whether a newer version of a record type still means what the older one meant.

Refuses more than the wire format does: two fields that swap names are the same bytes, and every agreement
that names one would release the other; a label made weaker would release what an agreement's checks kept.
A field that goes must leave its number and its name reserved, so that neither comes back as another.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto

from broker.core.descriptors import refuse
from broker.core.leaves import type_name
from broker.core.recordtype import RecordType
from broker.errors import InvalidRequest

_PLAIN = "plain"


def check_successor(old: RecordType, new: RecordType) -> None:
    """`new` can stand where `old` did. Raises InvalidRequest naming the path that cannot."""
    if new.full_name != old.full_name:
        raise InvalidRequest("full_name", f"{new.full_name} cannot succeed {old.full_name}")
    gone = sorted(set(old.subject_schemes) - set(new.subject_schemes))
    if gone:
        raise refuse(
            new.full_name, f"no longer takes subjects by {', '.join(gone)}; directives are held under it"
        )
    if old.viewing_has_effects and not new.viewing_has_effects:
        raise refuse(new.full_name, "viewing_has_effects was set and is not")
    _check_message(old.descriptor, new.descriptor, "")
    kept = {leaf.path: leaf for leaf in new.leaves}
    for before in old.leaves:
        after = kept.get(before.path)
        if after is None:
            continue  # reserved, or _check_message had refused it
        lost = sorted(set(before.labels) - set(after.labels) - {_PLAIN})
        if lost:
            raise refuse(before.path, f"label made weaker: no longer {', '.join(lost)}")
        if before.is_state != after.is_state or not set(before.states) <= set(after.states):
            raise refuse(before.path, "the fact state that governed it was removed")


def _check_message(old: Descriptor, new: Descriptor, prefix: str) -> None:
    # Bounded: both types passed the limits on depth and leaves, and messages without fields are refused.
    before, after = _Reserved.of_message(old), _Reserved.of_message(new)
    for field in old.fields:
        path = f"{prefix}{field.name}"
        now = new.fields_by_number.get(field.number)
        moved = new.fields_by_name.get(field.name)
        if moved is not None and moved.number != field.number:
            change = f"was field {field.number} and is {moved.number}"
            raise refuse(path, f"{change}; agreements would release another by its name")
        if now is None:
            if not after.holds(field.number, field.name):
                raise refuse(path, f"removed without reserving number {field.number} and name {field.name!r}")
        elif now.name != field.name:
            raise refuse(path, f"number {field.number} is used again, for {now.name!r}")
        else:
            _check_field(field, now, path)
    before.check_kept(after, prefix.rstrip(".") or new.full_name)


def _check_field(old: FieldDescriptor, new: FieldDescriptor, path: str) -> None:
    if type_name(old) != type_name(new):
        raise refuse(path, f"was {type_name(old)} and is {type_name(new)}")
    if _presence(old) != _presence(new):
        raise refuse(path, "changed between plain, optional, repeated and oneof")
    if old.message_type is not None and new.message_type is not None:
        _check_message(old.message_type, new.message_type, f"{path}.")
    elif old.enum_type is not None and new.enum_type is not None:
        _check_enum(old.enum_type, new.enum_type, path)


def _check_enum(old: EnumDescriptor, new: EnumDescriptor, path: str) -> None:
    before, after = _Reserved.of_enum(old), _Reserved.of_enum(new)
    for value in old.values:
        now = new.values_by_name.get(value.name)
        if now is not None and now.number != value.number:
            raise refuse(path, f"{value.name} was {value.number} and is {now.number}")
        if now is None and not after.holds(value.number, value.name):
            raise refuse(path, f"{value.name} removed without reserving number {value.number} and the name")
    before.check_kept(after, path)


@dataclass(frozen=True, slots=True)
class _Reserved:
    """Names and number ranges given up, ends included; a range may cover half a thousand million numbers."""

    names: frozenset[str]
    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def of_message(cls, message: Descriptor) -> _Reserved:
        proto = DescriptorProto()
        message.CopyToProto(proto)
        # A message's reserved ranges exclude their end; an enum's include it (descriptor.proto).
        ranges = tuple((span.start, span.end - 1) for span in proto.reserved_range)
        return cls(frozenset(proto.reserved_name), ranges)

    @classmethod
    def of_enum(cls, enum: EnumDescriptor) -> _Reserved:
        proto = EnumDescriptorProto()
        enum.CopyToProto(proto)
        ranges = tuple((span.start, span.end) for span in proto.reserved_range)
        return cls(frozenset(proto.reserved_name), ranges)

    def holds(self, number: int, name: str) -> bool:
        return name in self.names and any(first <= number <= last for first, last in self.ranges)

    def check_kept(self, later: _Reserved, where: str) -> None:
        """What an earlier version gave up stays given up: protobuf then refuses a field that takes it."""
        dropped = sorted(self.names - later.names)
        if dropped:
            raise refuse(where, f"no longer reserves {dropped[0]!r}")
        for first, last in self.ranges:
            free = first
            for start, end in sorted(later.ranges):
                if start <= free <= end:
                    free = end + 1
            if free <= last:
                raise refuse(where, f"no longer reserves number {free}")


def _presence(field: FieldDescriptor) -> tuple[bool, bool, str | None]:
    oneof = field.containing_oneof
    return field.is_repeated, field.has_presence, oneof.name if oneof is not None else None
