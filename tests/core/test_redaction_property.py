"""Redaction against an independent reader of the wire format, over generated types and records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from broker.core.recordtype import RecordType
from broker.core.redaction import Redactor
from tests.core import protos, wire
from tests.core.wire import Field, Spec

SCALARS = sorted(set(wire.WIRE) - {"message"})
LABELS = ("PLAIN", "IDENTIFYING", "CONTACT", "SPECIAL_CATEGORY", "LOCATION", "FREE_TEXT")
NUMBERS = st.one_of(st.integers(1, 40), st.integers(20_000, 2**29 - 1))


@dataclass(frozen=True)
class Case:
    """A type, one record of it as bytes, what is permitted, and whether unknown fields are in it."""

    spec: Spec
    record_type: RecordType
    record: bytes
    permitted: frozenset[str]
    foreign: bool


@st.composite
def specs(draw: st.DrawFn, depth: int = 3) -> Spec:
    """A message of one to five fields of any kind, messages in messages down to `depth`."""
    fields = {}
    for number in draw(st.lists(NUMBERS, min_size=1, max_size=5, unique=True)):
        inside = draw(specs(depth - 1)) if depth > 1 and draw(st.booleans()) else None
        shape = draw(st.sampled_from(["plain", "repeated", "optional", "oneof"]))
        fields[number] = Field(
            number,
            "message" if inside is not None else draw(st.sampled_from(SCALARS)),
            repeated=shape == "repeated",
            optional=shape == "optional" and inside is None,
            oneof=draw(st.integers(0, 1)) if shape == "oneof" else None,
            inside=inside,
        )
    return Spec(fields)


def build(spec: Spec, labels: list[str]) -> RecordType:
    """The record type that has this shape, through the same door as a submitted one."""
    messages: list[DescriptorProto] = []

    def add(one: Spec, name: str) -> str:
        made = DescriptorProto(name=name)
        messages.append(made)
        oneofs = sorted({field.oneof for field in one.fields.values() if field.oneof is not None})
        for group in oneofs:
            made.oneof_decl.add(name=f"g{group}")
        for at, field in enumerate(one.fields.values()):
            kind = field.kind
            if field.inside is not None:
                kind = add(field.inside, f"{name}X{at}")
            proto = protos.field(
                f"n{field.number}",
                field.number,
                f".{protos.PACKAGE}.Kind" if kind == "enum" else kind,
                () if field.inside is not None else (labels[field.number % len(labels)],),
                repeated=field.repeated,
                enum=kind == "enum",
            )
            if field.oneof is not None:
                proto.oneof_index = oneofs.index(field.oneof)
            elif field.optional:
                proto.proto3_optional = True
                proto.oneof_index = len(made.oneof_decl)
                made.oneof_decl.add(name=f"_n{field.number}")
            made.field.append(proto)
        return f".{protos.PACKAGE}.{name}"

    add(spec, "Visit")
    messages[0].options.CopyFrom(protos.visit().options)
    kind = EnumDescriptorProto(name="Kind")
    kind.value.add(name="KIND_UNSPECIFIED", number=0)
    kind.value.add(name="KIND_ONE", number=1)
    data = protos.descriptor_set(protos.file(*messages, enums=[kind]))
    return RecordType.submitted(data, protos.FULL_NAME)


def scalar(draw: st.DrawFn, kind: str) -> Any:
    """A raw value of a kind as it stands on the wire, defaults included."""
    if kind == "bool":
        return draw(st.integers(0, 1))
    if kind in ("uint32", "sint32"):
        return draw(st.one_of(st.just(0), st.integers(0, 2**32 - 1)))
    if kind in ("int32", "enum"):
        return draw(st.integers(-(2**31), 2**31 - 1) | st.sampled_from([0, 1, 7])) % 2**64
    if wire.WIRE[kind] == wire.VARINT:
        return draw(st.one_of(st.just(0), st.integers(0, 2**64 - 1)))
    if kind == "string":
        return draw(st.text(max_size=6)).encode("utf-8")
    if kind == "bytes":
        return draw(st.binary(max_size=6))
    width = 8 if wire.WIRE[kind] == wire.FIXED64 else 4
    # The sign bit alone is -0.0 of a double or float, which is not the default.
    return draw(
        st.sampled_from([bytes(width), bytes(width - 1) + b"\x80"]) | st.binary(min_size=width, max_size=width)
    )


def encode(kind: str, value: Any) -> bytes:
    """A raw value without its tag."""
    if wire.WIRE[kind] == wire.VARINT:
        return wire.varint(value)
    return wire.varint(len(value)) + value if wire.WIRE[kind] == wire.LENGTH else value


def foreign_field(draw: st.DrawFn, spec: Spec) -> bytes:
    """A record that no reader of this type knows: another number, or a known one as another wire type."""
    number = draw(NUMBERS)
    kinds = [wire.VARINT, wire.FIXED64, wire.LENGTH, wire.START, wire.FIXED32]
    known = spec.fields.get(number)
    if known is not None:
        kinds.remove(wire.WIRE[known.kind])
        if known.repeated and wire.LENGTH in kinds:
            kinds.remove(wire.LENGTH)
    kind = draw(st.sampled_from(kinds))
    body = {
        wire.VARINT: b"\x2a",
        wire.FIXED64: b"SECRET64",
        wire.LENGTH: b"\x06SECRET",
        wire.START: b"\x0a\x06SECRET" + wire.tag(number, wire.END),
        wire.FIXED32: b"SE32",
    }[kind]
    return wire.tag(number, kind) + body


def record_bytes(draw: st.DrawFn, spec: Spec, foreign: bool) -> bytes:
    """A message in any order, with repeated singular fields, split packed runs and unknown fields."""
    out = bytearray()
    fields = list(spec.fields.values())
    for field in draw(st.lists(st.sampled_from(fields), min_size=draw(st.integers(0, 5)), max_size=8)):
        if field.inside is not None:
            inner = record_bytes(draw, field.inside, foreign)
            out += wire.tag(field.number, wire.LENGTH) + wire.varint(len(inner)) + inner
        elif field.repeated and field.kind in wire.PACKABLE and draw(st.booleans()):
            run = b"".join(encode(field.kind, scalar(draw, field.kind)) for _ in range(draw(st.integers(0, 3))))
            out += wire.tag(field.number, wire.LENGTH) + wire.varint(len(run)) + run
        else:
            out += wire.tag(field.number, wire.WIRE[field.kind]) + encode(field.kind, scalar(draw, field.kind))
        if foreign and draw(st.booleans()):
            out += foreign_field(draw, spec)
    return bytes(out)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A generated type with a record of it and a set of permitted leaves."""
    spec = draw(specs())
    record_type = build(spec, draw(st.permutations(LABELS)))
    foreign = draw(st.booleans())
    record = record_bytes(draw, spec, foreign) + (foreign_field(draw, spec) if foreign else b"")
    paths = draw(st.permutations([leaf.path for leaf in record_type.leaves]))
    return Case(spec, record_type, record, frozenset(paths[: draw(st.integers(0, len(paths)))]), foreign)


@pytest.mark.parametrize("most", [120, pytest.param(1200, marks=pytest.mark.long)])
def test_exactly_the_permitted_fields_are_released(most: int) -> None:
    """No byte of a field that is not permitted leaves, and every permitted value that says something does."""

    @settings(
        max_examples=most,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(cases())
    def holds(case: Case) -> None:
        permitted = {leaf.numbers for leaf in case.record_type.leaves if leaf.path in case.permitted}
        redacted = Redactor(case.record_type, case.permitted).redact(case.record)
        assert wire.stray(case.spec, redacted.value, permitted) == []
        original = wire.read(case.spec, case.record)
        expected = wire.keep(case.spec, original, permitted)
        released = wire.read(case.spec, redacted.value)
        assert released == expected
        # Nothing in the bytes beyond what that reader saw: no empty messages, no second values.
        assert wire.keep(case.spec, released, permitted) == released
        event("something released" if expected else "nothing released")
        all_ = wire.keep(case.spec, original, set(_all(case)))
        event("something withheld" if expected != all_ else "all released")

    holds()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(cases())
def test_unknown_fields_are_detected_when_and_only_when_there_are_some(case: Case) -> None:
    """A record with unknown fields is told from one without, whatever else it holds."""
    assert bool(case.record_type.unknown_fields(case.record)) == case.foreign
    redactor = Redactor(case.record_type, ())
    assert redactor.redact_known(case.record) == (None if case.foreign else redactor.redact(case.record))


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(cases())
def test_what_is_withheld_does_not_depend_on_the_record(case: Case) -> None:
    """The withheld list is every leaf not permitted, sorted, for a full record and for an empty one."""
    redactor = Redactor(case.record_type, case.permitted)
    expected = sorted({leaf.path for leaf in case.record_type.leaves} - case.permitted)
    for record in (case.record, b""):
        assert [entry.path for entry in redactor.redact(record).withheld] == expected


def _all(case: Case) -> list[tuple[int, ...]]:
    return [leaf.numbers for leaf in case.record_type.leaves]


def test_the_reader_finds_what_a_leaking_redaction_leaves() -> None:
    """The independent reader is able to fail: it names fields left in an unredacted record."""
    inside = Spec({1: Field(1, "string"), 2: Field(2, "int32")})
    spec = Spec({1: Field(1, "message", repeated=True, inside=inside)})
    item = b"\x0a\x01a\x10\x05\x1a\x06SECRET"
    record = b"\x0a" + bytes([len(item)]) + item + b"\x0a\x00"
    assert wire.stray(spec, record, {(1, 1)}) == [(1, 2), (1, 3), (1,)]
    assert wire.read(spec, record) == {1: [{1: b"a", 2: 5}, {}]}
    with pytest.raises(AssertionError):
        list(wire.records(b"\x0a\x7fx"))
