"""The files of a record type as the generated code has them: the one form in which a type has its digest."""

from __future__ import annotations

from typing import cast

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from broker.core.descriptors import DESCRIPTOR_FILE, MAX_MESSAGES, json_name, messages

_SET = "google.protobuf.FileDescriptorSet"


def descriptor_set(file: FileDescriptor) -> bytes:
    """The FileDescriptorSet of a built file and what it imports: the bytes each was built from, imports first.

    descriptor.proto is left out, so the bytes change only when the .proto files do.
    """
    ordered: dict[str, FileDescriptor] = {}

    def visit(one: FileDescriptor) -> None:
        for needed in sorted(one.dependencies, key=lambda needed: needed.name):
            visit(needed)
        if one.name != DESCRIPTOR_FILE:
            ordered.setdefault(one.name, one)

    visit(file)
    return b"".join(map(_member, ordered.values()))


def as_generated(data: bytes) -> bytes:
    """A set as `descriptor_set` makes it of the generated code, from the bytes that protoc wrote.

    protoc adds descriptor.proto where it is told to include imports, JSON names and, if asked, comments; with
    any of them the same type would have another digest than the one that adapters make of their code. What is
    no sound FileDescriptorSet comes back as it is: `read_files` says what is wrong with it.
    """
    # To a class that knows no labels they are bytes, which come back in the order in which protoc wrote them.
    pool = DescriptorPool()
    pool.AddSerializedFile(descriptor_pb2.DESCRIPTOR.serialized_pb)
    plain = cast(type[FileDescriptorSet], GetMessageClass(pool.FindMessageTypeByName(_SET)))
    try:
        read = plain.FromString(data)
    except DecodeError:
        return data
    files = {file.name: file for file in read.file}
    if len(files) < len(read.file) or len(files) > MAX_MESSAGES:
        return data
    files.pop(DESCRIPTOR_FILE, None)
    ordered: dict[str, FileDescriptorProto] = {}
    begun = set[str]()

    def visit(name: str) -> None:
        if name in files and name not in begun:
            begun.add(name)
            for needed in sorted(files[name].dependency):
                visit(needed)
            ordered[name] = files[name]

    for name in sorted(files):
        visit(name)
    for file in ordered.values():
        _strip(file)
    return plain(file=ordered.values()).SerializeToString(deterministic=True)


def _strip(file: FileDescriptorProto) -> None:
    """Without comments, and without JSON names that say what every reader makes of the name by itself."""
    file.ClearField("source_code_info")
    for _, message in messages(file):
        for field in (*message.field, *message.extension):
            if field.json_name == json_name(field.name):
                field.ClearField("json_name")
    for extension in file.extension:
        if extension.json_name == json_name(extension.name):
            extension.ClearField("json_name")


def _member(file: FileDescriptor) -> bytes:
    """Field 1, `file`, of a FileDescriptorSet: tag, length, the bytes as they are."""
    length, size = bytearray(), len(file.serialized_pb)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return b"\x0a" + bytes(length) + bytes([size]) + file.serialized_pb
