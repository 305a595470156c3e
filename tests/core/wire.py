"""An independent reader of protobuf's wire format, for checking redaction without the protobuf library.

Written from the encoding specification (protobuf.dev, "Encoding"): records of tag, wire type, payload. It
knows a message only as numbers and kinds, and applies proto3's rules: last value, merging, oneof, presence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

VARINT, FIXED64, LENGTH, START, END, FIXED32 = range(6)
WIRE = {
    **dict.fromkeys(("int32", "int64", "uint32", "uint64", "sint32", "sint64", "bool", "enum"), VARINT),
    **dict.fromkeys(("double", "fixed64", "sfixed64"), FIXED64),
    **dict.fromkeys(("float", "fixed32", "sfixed32"), FIXED32),
    **dict.fromkeys(("string", "bytes", "message"), LENGTH),
}
PACKABLE = frozenset(kind for kind, wire in WIRE.items() if wire != LENGTH)


@dataclass(frozen=True)
class Field:
    """A field by number: its kind, how often it may occur and, for a message, what is inside."""

    number: int
    kind: str
    repeated: bool = False
    optional: bool = False
    oneof: int | None = None
    inside: Spec | None = None


@dataclass(frozen=True)
class Spec:
    """A message as its fields by number."""

    fields: dict[int, Field] = field(default_factory=dict)


def varint(number: int) -> bytes:
    """A base-128 varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def tag(number: int, wire: int) -> bytes:
    """What stands before a payload."""
    return varint(number << 3 | wire)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
        shift += 7


def records(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, payload) of each record: an int for VARINT, bytes for the rest."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, wire = key >> 3, key & 7
        payload, at = _payload(data, at, number, wire)
        yield number, wire, payload


def _payload(data: bytes, at: int, number: int, wire: int) -> tuple[Any, int]:
    if wire == VARINT:
        return _read_varint(data, at)
    if wire == START:
        start = at
        while True:
            before = at
            key, at = _read_varint(data, at)
            if key & 7 == END:
                assert key >> 3 == number
                return data[start:before], at
            _, at = _payload(data, at, key >> 3, key & 7)
    length = {FIXED64: 8, FIXED32: 4}.get(wire)
    if length is None:
        assert wire == LENGTH
        length, at = _read_varint(data, at)
    assert at + length <= len(data)
    return data[at : at + length], at + length


def read(spec: Spec, data: bytes, into: dict[int, Any] | None = None) -> dict[int, Any]:
    """What a proto3 reader sees: number -> raw value, list of them, dict for a message. No unknown ones."""
    seen: dict[int, Any] = {} if into is None else into
    for number, wire, payload in records(data):
        known = spec.fields.get(number)
        if known is None:
            continue
        if known.repeated and known.kind in PACKABLE and wire == LENGTH:
            seen.setdefault(number, []).extend(_unpack(known.kind, payload))
        elif wire == WIRE[known.kind]:
            _set(spec, known, payload, seen)
    return seen


def _set(spec: Spec, known: Field, payload: Any, seen: dict[int, Any]) -> None:
    if known.oneof is not None:
        for other in spec.fields.values():
            if other.oneof == known.oneof and other.number != known.number:
                seen.pop(other.number, None)
    if known.inside is not None:
        if known.repeated:
            seen.setdefault(known.number, []).append(read(known.inside, payload))
        else:
            seen[known.number] = read(known.inside, payload, seen.get(known.number, {}))
    elif known.repeated:
        seen.setdefault(known.number, []).append(payload)
    else:
        seen[known.number] = payload


def _unpack(kind: str, payload: bytes) -> Iterator[Any]:
    width = {FIXED64: 8, FIXED32: 4}.get(WIRE[kind])
    at = 0
    while at < len(payload):
        if width is None:
            value, at = _read_varint(payload, at)
            yield value
        else:
            yield payload[at : at + width]
            at += width


def keep(
    spec: Spec, seen: dict[int, Any], permitted: set[tuple[int, ...]], at: tuple[int, ...] = ()
) -> dict[int, Any]:
    """What of it may be released: permitted leaves that say something, and no message without any."""
    kept: dict[int, Any] = {}
    for number, value in seen.items():
        known, here = spec.fields[number], (*at, number)
        if known.inside is not None:
            items = [
                keep(known.inside, item, permitted, here) for item in (value if known.repeated else [value])
            ]
            full = [item for item in items if item]
            if full:
                kept[number] = full if known.repeated else full[0]
        elif here in permitted and (known.optional or known.oneof is not None or not _is_default(known, value)):
            kept[number] = value
    return kept


def _is_default(known: Field, value: Any) -> bool:
    if not known.repeated and WIRE[known.kind] in (FIXED64, FIXED32):
        return not value.strip(b"\0")
    return not value


def _fits(known: Field, wire: int) -> bool:
    return wire == WIRE[known.kind] or (known.repeated and known.kind in PACKABLE and wire == LENGTH)


def stray(
    spec: Spec, data: bytes, permitted: set[tuple[int, ...]], at: tuple[int, ...] = ()
) -> list[tuple[int, ...]]:
    """Number paths of every record in the bytes that is neither a permitted leaf nor above one."""
    found = []
    for number, wire, payload in records(data):
        known, here = spec.fields.get(number), (*at, number)
        if known is not None and known.inside is not None and wire == LENGTH:
            found += stray(known.inside, payload, permitted, here) if payload else [here]
        elif known is None or here not in permitted or not _fits(known, wire):
            found.append(here)
    return found
