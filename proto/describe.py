"""Writes docs/record-types.md: `python proto/describe.py IMAGE` prints it.

IMAGE is a FileDescriptorSet of proto/ with comments (`proto/image FILE --source-info`). Owns the page's words;
what a field gives away and which state governs it is read by the code that approves record types, so the page
cannot say other than the broker does. A field of which neither it nor its type says what it means is refused:
exit 1, and its name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from broker.catalogue import standard_record_types
from broker.core.leaves import Leaf
from broker.core.recordtype import RecordType

# Said once here, of fields that mean the same in every group.
_EVERYWHERE = {
    "state": "Whether the facts of this group are there.",
    "as_at": "RFC 3339 time for which the state is true.",
}
_INTRODUCTION = """\
# Record types

What agencies may agree to exchange. `proto/describe.py` makes this page from `proto/records`; `make generate`
writes it. `broker records list` shows which of them a broker has approved, and `broker records show NAME` their
digests.

An agreement names **paths**; a path that no agreement in force names is withheld. **Labels** say what releasing
a field gives away ([the list](../proto/broker/v1/labels.proto)). **State** is the path of the field that says
what it means when the value is absent: a value can be permitted only together with it. Every record type
refuses fields it does not have, so what the description calls "no field here" cannot travel.

Names of a kind of agency (`records.fire`) are held by agencies of that kind. `records.incident` and
`records.marac` are joint work: any agency that an agreement names may hold them. A type that is described as
pushed is made to be sent by the agency that holds it, unasked.
"""


def main(image: Path) -> int:
    """Print the page. 1 where a field has no meaning."""
    meanings = dict(_comments(FileDescriptorSet.FromString(image.read_bytes())))
    types = [RecordType.stored(data, full_name) for full_name, data in standard_record_types()]
    silent = sorted({name for each in types for name in _silent(each, meanings)})
    if silent:
        sys.stderr.writelines(f"{name}: has no comment that says what it means\n" for name in silent)
        return 1
    index = "\n".join(f"- [{one.full_name}](#{_anchor(one.full_name)})" for one in types)
    sections = "\n".join(_section(each, meanings) for each in types)
    sys.stdout.write(f"{_INTRODUCTION}\n{index}\n\n{sections}")
    return 0


def _section(of: RecordType, meanings: Mapping[str, str]) -> str:
    named = ", ".join(f"`{scheme}`" for scheme in of.subject_schemes)
    effects = " **Viewing it has effects**, so an intent is recorded first." if of.viewing_has_effects else ""
    rows = "\n".join(_row(leaf, of, meanings) for leaf in sorted(of.leaves, key=lambda leaf: leaf.numbers))
    return (
        f"## {of.full_name}\n\n{meanings[of.full_name]}\n\nSubject: {named}.{effects}\n\n"
        f"| Path | Meaning | Labels | State |\n|---|---|---|---|\n{rows}\n"
    )


def _row(leaf: Leaf, of: RecordType, meanings: Mapping[str, str]) -> str:
    field = _field(of.descriptor, leaf.numbers)
    state = "itself" if leaf.is_state else ", ".join(f"`{path}`" for path in leaf.states)
    return f"| `{leaf.path}` | {_meaning(field, meanings)} | {', '.join(leaf.labels)} | {state} |"


def _meaning(field: FieldDescriptor, meanings: Mapping[str, str]) -> str:
    enum = field.enum_type
    said = meanings.get(field.full_name) or _EVERYWHERE.get(field.name, "")
    if field.name == "state":
        group = field.containing_type
        about = meanings.get(group.full_name, "") if group is not None else ""
        said = f"{said} {about}".strip()
    elif enum is not None:
        said = said or meanings.get(enum.full_name, "")
        if not said:
            return ""
        prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
        values = ", ".join(value.name.removeprefix(prefix) for value in enum.values if value.number)
        said = f"{said} {values}."
    return said.replace("|", "\\|")


def _silent(of: RecordType, meanings: Mapping[str, str]) -> Iterator[str]:
    if of.full_name not in meanings:
        yield of.full_name
    for leaf in of.leaves:
        field = _field(of.descriptor, leaf.numbers)
        if not _meaning(field, meanings):
            yield field.full_name


def _field(message: Descriptor, numbers: tuple[int, ...]) -> FieldDescriptor:
    field = message.fields_by_number[numbers[0]]
    return field if field.message_type is None else _field(field.message_type, numbers[1:])


def _anchor(full_name: str) -> str:
    return re.sub(r"[^\w-]", "", full_name.lower())


def _comments(image: FileDescriptorSet) -> Iterator[tuple[str, str]]:
    """Full name and comment of every message, field and enum of our record types."""
    for file in image.file:
        if not file.package.startswith("records."):
            continue
        said = {
            tuple(one.path): " ".join(one.leading_comments.split()) for one in file.source_code_info.location
        }
        names: dict[tuple[int, ...], str] = {
            (4, at): message.name for at, message in enumerate(file.message_type)
        }
        names |= {(5, at): enum.name for at, enum in enumerate(file.enum_type)}
        for at, message in enumerate(file.message_type):
            names |= dict(_fields(at, message))
        for path, name in names.items():
            if said.get(path):
                yield f"{file.package}.{name}", said[path]


def _fields(at: int, message: DescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    # Paths into a FileDescriptorProto: 4 is message_type, 2 within it field (descriptor.proto).
    for place, field in enumerate(message.field):
        yield (4, at, 2, place), f"{message.name}.{field.name}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
