"""What a submitted FileDescriptorSet may hold, judged before any of it is built.

Owns the limits on size and content of the files, and the private pool they are built in. Refuses what would
let a record carry something that no label describes (`Any`, `Struct`, maps, extensions, unknown options),
what would take another's name (reserved packages, another holder's), and anything but proto3, whose rules
for presence and enums are the only ones redaction knows.

A refusal is `InvalidRequest("descriptor_set", "<file, message or field>: <problem>")`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from broker.core.unknown import unknown_fields
from broker.errors import InvalidRequest
from broker.v1 import labels_pb2
from records.shared.v1 import fact_pb2, need_pb2, person_pb2, place_pb2, scene_pb2

MAX_BYTES = 256 * 1024
MAX_MESSAGES = 200
PACKAGE = re.compile(r"records\.([a-z][a-z0-9_]*)\.v[1-9][0-9]*")
_FILE = re.compile(r"[a-z][a-z0-9_]*\.proto")

DESCRIPTOR_FILE = "google/protobuf/descriptor.proto"
_SHARED = "records.shared."
# Files a set may bring that are ours. descriptor.proto may also be left out: it only declares options, ours
# is built in its place, and leaving it out keeps a digest the same across releases of protobuf.
_OURS: Mapping[str, bytes] = MappingProxyType(
    {
        DESCRIPTOR_FILE: descriptor_pb2.DESCRIPTOR.serialized_pb,
        **{
            ours.DESCRIPTOR.name: ours.DESCRIPTOR.serialized_pb
            for ours in (labels_pb2, fact_pb2, need_pb2, person_pb2, place_pb2, scene_pb2)
        },
    }
)
_LABELLED_NOWHERE = "what it holds has no labels, so no agreement could name it"
_NEVER = {
    "google.protobuf.Any": _LABELLED_NOWHERE,
    "google.protobuf.Struct": _LABELLED_NOWHERE,
    "google.protobuf.Value": _LABELLED_NOWHERE,
    "google.protobuf.ListValue": _LABELLED_NOWHERE,
}


def refuse(where: str, problem: str) -> InvalidRequest:
    """The error for a descriptor set, naming the file, message or field at fault."""
    return InvalidRequest("descriptor_set", f"{where}: {problem}")


def read_files(data: bytes) -> dict[str, FileDescriptorProto]:
    """Files by name of a serialised google.protobuf.FileDescriptorSet, every rule about their content held.

    Whose files they are is `check_origin`'s question. Raises InvalidRequest.
    """
    if len(data) > MAX_BYTES:
        raise refuse("set", f"{len(data)} bytes; at most {MAX_BYTES} are accepted")
    try:
        read = FileDescriptorSet.FromString(data)
    except DecodeError as error:
        raise refuse("set", "not a serialised google.protobuf.FileDescriptorSet") from error
    if not _is_text(read):
        raise refuse("set", "holds a name that is not UTF-8")
    if len(UnknownFieldSet(read)):
        # Another digest for the same content would be another version to nobody's use.
        raise refuse("set", "holds something else than files")
    files: dict[str, FileDescriptorProto] = {}
    for file in read.file:
        if file.name in files:
            raise refuse(file.name, "is in the set twice")
        files[file.name] = file
    # Fields first: the error for one of type Any should name it, not the google file it needs.
    for file in own_files(files):
        if PACKAGE.fullmatch(file.package):
            for name, message in messages(file):
                _check_message(name, message)
    for file in own_files(files):
        _check_file(file)
    _check_known_options(files)
    count = sum(1 for file in own_files(files) for _ in messages(file))
    if count > MAX_MESSAGES:
        raise refuse("set", f"{count} messages; at most {MAX_MESSAGES} are accepted")
    return files


def own_files(files: Mapping[str, FileDescriptorProto]) -> tuple[FileDescriptorProto, ...]:
    """The agency's own among them: all that are not named as one of ours."""
    return tuple(file for name, file in files.items() if name not in _OURS)


def check_origin(files: Mapping[str, FileDescriptorProto], holder: str) -> None:
    """At submission: every file is ours word for word, or in a package of `holder` ("fire").

    Not asked of a set that is approved already: ours may have grown since. Raises InvalidRequest.
    """
    for name, file in files.items():
        if name in _OURS:
            if _meaning(file) != _meaning(FileDescriptorProto.FromString(_OURS[name])):
                remedy = "leave it out" if name == DESCRIPTOR_FILE else "import it unchanged"
                raise refuse(name, f"differs from the broker's own; {remedy}")
        elif (package := PACKAGE.fullmatch(file.package)) is None or package[1] != holder:
            raise refuse(name, f"package {file.package!r} is not of holder {holder!r}")


def build_pool(files: Mapping[str, FileDescriptorProto]) -> DescriptorPool:
    """A pool holding these files and nothing else of ours but descriptor.proto. Raises InvalidRequest."""
    pool = DescriptorPool()
    pool.AddSerializedFile(_OURS[DESCRIPTOR_FILE])
    added = {DESCRIPTOR_FILE}
    waiting = {name: file for name, file in files.items() if name != DESCRIPTOR_FILE}
    while waiting:
        ready = [name for name, file in waiting.items() if added.issuperset(file.dependency)]
        if not ready:
            missing = {needed for file in waiting.values() for needed in file.dependency} - added - set(waiting)
            problem = f"imports {', '.join(sorted(missing))}, not in the set" if missing else "imports itself"
            raise refuse(next(iter(waiting)), problem)
        for name in ready:
            try:
                pool.AddSerializedFile(waiting.pop(name).SerializeToString())
            except TypeError as error:
                raise refuse(name, str(error)) from error
            added.add(name)
    return pool


def _is_text(message: Message) -> bool:
    """Whether all strings are text; descriptor.proto is proto2, so its parser lets other bytes through."""
    for field, value in message.ListFields():
        items = value if field.is_repeated else (value,)
        if field.message_type is not None:
            if not all(map(_is_text, items)):
                return False
        elif field.type == field.TYPE_STRING and any(isinstance(item, bytes) for item in items):
            return False
    return True


def _meaning(file: FileDescriptorProto) -> bytes:
    """The file without comments and without JSON names, which some compilers fill in."""
    bare = FileDescriptorProto()
    bare.CopyFrom(file)
    bare.ClearField("source_code_info")
    # An options message that says nothing is the same as none.
    if not bare.options.ListFields():
        bare.ClearField("options")
    for _, message in messages(bare):
        for field in (*message.field, *message.extension):
            field.ClearField("json_name")
    for extension in bare.extension:
        extension.ClearField("json_name")
    return bare.SerializeToString(deterministic=True)


def messages(file: FileDescriptorProto) -> Iterator[tuple[str, DescriptorProto]]:
    """Every message of a file with its full name, nested ones after the one around them."""
    waiting = [(f"{file.package}.{message.name}", message) for message in file.message_type]
    while waiting:
        name, message = waiting.pop()
        yield name, message
        waiting.extend((f"{name}.{nested.name}", nested) for nested in message.nested_type)


def _check_file(file: FileDescriptorProto) -> None:
    package = PACKAGE.fullmatch(file.package)
    if package is None or file.package.startswith(_SHARED):
        raise refuse(
            file.name, f"package {file.package!r} is reserved; a record type's is records.<holder>.v<N>"
        )
    folder, _, leaf = file.name.rpartition("/")
    if folder != file.package.replace(".", "/") or not _FILE.fullmatch(leaf):
        raise refuse(
            file.name, f"package {file.package} belongs in {file.package.replace('.', '/')}/<name>.proto"
        )
    if file.syntax != "proto3":
        raise refuse(file.name, f"syntax is {file.syntax or 'proto2'!r}; only proto3 is accepted")
    for declared, what in (
        (file.extension, "extensions"),
        (file.service, "services"),
        (file.public_dependency, "public imports"),
        (file.weak_dependency, "weak imports"),
    ):
        if declared:
            raise refuse(file.name, f"declares {what}; only messages and enums are accepted")


def _check_message(name: str, message: DescriptorProto) -> None:
    if message.extension or message.extension_range:
        raise refuse(name, "declares extensions; every field must stand in the type that labels it")
    maps = {nested.name for nested in message.nested_type if nested.options.map_entry}
    for field in message.field:
        where = f"{name}.{field.name}"
        type_name = field.type_name.lstrip(".")
        if type_name in _NEVER:
            raise refuse(where, f"{type_name} may not be used: {_NEVER[type_name]}")
        if type_name.startswith("google."):
            raise refuse(
                where, f"{type_name} may not be used: its fields have no labels; write times as RFC 3339 text"
            )
        if type_name.rpartition(".")[2] in maps:
            raise refuse(
                where, "is a map: its keys are data, and no path can name them; repeat a message instead"
            )
        if field.type == field.TYPE_GROUP:
            raise refuse(where, "is a group; only proto3 is accepted")
        if field.json_name and field.json_name != json_name(field.name):
            raise refuse(where, f"JSON name {field.json_name!r} is another field's name for some reader")
    if message.options.map_entry:
        raise refuse(name, "is a map entry; maps are not accepted")


def json_name(name: str) -> str:
    """The name protoc gives: lowerCamelCase (protobuf language guide, JSON mapping)."""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def _check_known_options(files: Mapping[str, FileDescriptorProto]) -> None:
    """Nothing in the set is unreadable here: an option nobody knows could change what a field means."""
    for file in own_files(files):
        unknown = unknown_fields(file)
        if unknown:
            raise refuse(file.name, f"holds options or fields unknown to the broker: {', '.join(unknown)}")
