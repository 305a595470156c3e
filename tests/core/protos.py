"""Makes descriptors for tests, good ones and bad ones, field by field."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from broker.core.recordtype import RecordType
from broker.errors import InvalidRequest
from broker.v1 import labels_pb2
from records.shared.v1 import fact_pb2

PACKAGE = "records.fire.v1"
FULL_NAME = f"{PACKAGE}.Visit"
STATE = ".records.shared.v1.FactState"


def field(
    name: str,
    number: int,
    kind: str = "string",
    labels: Iterable[str] = ("PLAIN",),
    *,
    repeated: bool = False,
    state: bool = False,
    enum: bool = False,
) -> FieldDescriptorProto:
    """A field; `kind` is a scalar's name or a message's (with `enum`, an enum's) full name after a dot."""
    made = FieldDescriptorProto(name=name, number=number)
    made.label = made.LABEL_REPEATED if repeated else made.LABEL_OPTIONAL
    if kind.startswith("."):
        made.type_name = kind
        made.type = made.TYPE_ENUM if enum or kind == STATE else made.TYPE_MESSAGE
        labels = () if labels == ("PLAIN",) and made.type == made.TYPE_MESSAGE else labels
    else:
        made.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    made.options.Extensions[labels_pb2.labels].extend(labels_pb2.Label.Value(f"LABEL_{one}") for one in labels)
    if state:
        made.options.Extensions[labels_pb2.fact_state] = True
    return made


def message(name: str, *fields: FieldDescriptorProto, schemes: Iterable[str] | None = None) -> DescriptorProto:
    """A message; with `schemes` it is marked as a record type."""
    made = DescriptorProto(name=name, field=fields)
    if schemes is not None:
        made.options.Extensions[labels_pb2.record_type].subject_schemes.extend(schemes)
    return made


def visit(*fields: FieldDescriptorProto) -> DescriptorProto:
    """The record type that tests are about."""
    return message("Visit", *fields, schemes=["uprn"])


def file(
    *messages: DescriptorProto,
    name: str = "records/fire/v1/visit.proto",
    package: str = PACKAGE,
    enums: Iterable[EnumDescriptorProto] = (),
) -> FileDescriptorProto:
    """A proto3 file that imports what a record type may."""
    return FileDescriptorProto(
        name=name,
        package=package,
        syntax="proto3",
        dependency=[labels_pb2.DESCRIPTOR.name, fact_pb2.DESCRIPTOR.name],
        message_type=messages,
        enum_type=enums,
    )


def ours(module: object) -> FileDescriptorProto:
    """The descriptor of a generated module of ours, to be changed."""
    return FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)  # type: ignore[attr-defined]


def descriptor_set(*files: FileDescriptorProto) -> bytes:
    """A set of these files after ours."""
    return FileDescriptorSet(file=[ours(labels_pb2), ours(fact_pb2), *files]).SerializeToString()


def visit_set(*fields: FieldDescriptorProto, others: Iterable[DescriptorProto] = ()) -> bytes:
    """A set whose record type has these fields."""
    return descriptor_set(file(visit(*fields), *others))


def changed(data: bytes, change: Callable[[FileDescriptorProto], None]) -> bytes:
    """The same set with its last file changed."""
    read = FileDescriptorSet.FromString(data)
    change(read.file[-1])
    return read.SerializeToString()


def refused(data: bytes, text: str, full_name: str = FULL_NAME, holder: str | None = None) -> None:
    """The set is refused with exactly this text in the error."""
    with pytest.raises(InvalidRequest, match=re.escape(text)):
        RecordType.submitted(data, full_name, holder)
