"""Whether a record may leave the adapter: right type, nothing unknown, facts that say their state,
places that are in the country.

Owns the rules that hold for every record type, read from the type's own options. Refuses records; never
repairs them. Faults name field paths, never values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from broker.core import point
from broker.v1 import labels_pb2
from records.shared.v1 import fact_pb2

RECORD_LIMIT = 1 << 20

_PROVENANCE = fact_pb2.Provenance.DESCRIPTOR.full_name
_EMPTY_STATES = {
    fact_pb2.FACT_STATE_NONE_RECORDED,
    fact_pb2.FACT_STATE_UNAVAILABLE,
    fact_pb2.FACT_STATE_WITHHELD,
}


def faults(record: Message, record_type: str, permitted: Collection[str]) -> list[str]:
    """Everything that forbids sending `record` as a `record_type`; empty when it may go.

    `permitted` are the leaf paths that were asked for: a fact with one of them under it must be there, since
    its absence would leave open whether there is none.
    """
    if record.DESCRIPTOR.full_name != record_type:
        return [f"record: is a {record.DESCRIPTOR.full_name}, not a {record_type}"]
    size = record.ByteSize()
    if size > RECORD_LIMIT:
        return [f"record: {size} bytes are over the limit of {RECORD_LIMIT}"]
    node = _node(record.DESCRIPTOR, tuple(permitted))
    if node is not None and _sound(record, node) and not _holds_unknown(record):
        return []
    # Seldom: to say which.
    return [*_message_faults(record, ""), *_silences(record, "", _parts(tuple(permitted)))]


class _Node(NamedTuple):
    """What is looked at of a message: its state, what may stand beside an empty one, whether it holds a point
    of the map, and what lies below."""

    state: str
    point: bool
    beside: frozenset[str]
    below: tuple[_Below, ...]


class _Below(NamedTuple):
    """A message field in which there are facts or places; `needed` where it must be there."""

    name: str
    repeated: bool
    needed: bool
    node: _Node


@lru_cache(maxsize=256)
def _node(descriptor: Descriptor, permitted: tuple[str, ...]) -> _Node | None:
    """What is looked at of a record of this type; None where that has no end."""
    try:
        return _looked_at(descriptor, "", _parts(permitted))
    except RecursionError:
        return None


def _looked_at(descriptor: Descriptor, path: str, asked: frozenset[str]) -> _Node:
    own = _state_field(descriptor)
    below = []
    for field in descriptor.fields:
        if field.message_type is None:
            continue
        inner = f"{path}.{field.name}" if path else field.name
        fact = _state_field(field.message_type) is not None
        node = _looked_at(field.message_type, inner, frozenset() if fact else asked)
        if node.state or node.point or node.below:
            needed = inner in asked and not field.is_repeated
            below.append(_Below(field.name, field.is_repeated, needed, node))
    beside = {f.name for f in descriptor.fields if f.message_type and f.message_type.full_name == _PROVENANCE}
    state = own.name if own else ""
    return _Node(state, _is_point(descriptor), frozenset(beside | {state, "as_at"}), tuple(below))


def _sound(message: Message, node: _Node) -> bool:
    """Whether nothing can be wrong with it but unknown fields. False where it has to be looked at closely."""
    if node.state:
        state = getattr(message, node.state)
        if state == fact_pb2.FACT_STATE_UNSPECIFIED:
            return False
        if state in _EMPTY_STATES and any(f.name not in node.beside for f, _ in message.ListFields()):
            return False
    if node.point and _point_problem(message):
        return False
    for name, repeated, needed, below in node.below:
        if repeated:
            if not all(_sound(item, below) for item in getattr(message, name)):
                return False
        elif message.HasField(name):
            if not _sound(getattr(message, name), below):
                return False
        elif needed:
            return False
    return True


def _holds_unknown(record: Message) -> bool:
    """Whether a field at any depth is one that the type does not have."""
    whole = record.SerializeToString()
    known = type(record).FromString(whole)
    known.DiscardUnknownFields()
    return known.ByteSize() != len(whole)


@lru_cache(maxsize=256)
def _parts(permitted: tuple[str, ...]) -> frozenset[str]:
    """Every path of a message that has a permitted leaf under it: of "a.b.c", "a" and "a.b"."""
    found = set()
    for path in permitted:
        while path := path.rpartition(".")[0]:
            found.add(path)
    return frozenset(found)


def _silences(message: Message, path: str, asked: frozenset[str]) -> Iterator[str]:
    """Facts asked for that are not there at all. What lies inside a fact its own state speaks for."""
    for field in message.DESCRIPTOR.fields:
        inner = f"{path}.{field.name}" if path else field.name
        if field.message_type is None or inner not in asked:
            continue
        if field.is_repeated:
            if _state_field(field.message_type) is None:
                for item in getattr(message, field.name):
                    yield from _silences(item, inner, asked)
        elif _state_field(field.message_type) is None:
            yield from _silences(getattr(message, field.name), inner, asked)
        elif not message.HasField(field.name):
            yield f"{inner}: was asked for and is not there; a fact must say its state"


def _message_faults(message: Message, path: str) -> list[str]:
    # An unknown field would be a value that no label describes.
    found = [f"{path or 'record'}: holds an unknown field"] if len(UnknownFieldSet(message)) else []
    found += _state_faults(message, path)
    if _is_point(message.DESCRIPTOR) and (wrong := _point_problem(message)):
        found.append(f"{path}.{wrong[0]}: {wrong[1]}" if path else f"{wrong[0]}: {wrong[1]}")
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
def _is_point(descriptor: Descriptor) -> bool:
    return all(
        (field := descriptor.fields_by_name.get(name)) is not None and field.has_presence
        for name in ("latitude", "longitude")
    )


def _point_problem(message: Message) -> tuple[str, str] | None:
    given = (getattr(message, n) if message.HasField(n) else None for n in ("latitude", "longitude"))
    return point.problem(*given)


@lru_cache(maxsize=1024)
def _state_field(descriptor: Descriptor) -> FieldDescriptor | None:
    for field in descriptor.fields:
        if field.GetOptions().Extensions[labels_pb2.fact_state]:
            return field
    return None
