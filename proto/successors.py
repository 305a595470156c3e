"""Whether today's record types can stand where the baseline's did: `python proto/successors.py IMAGE`.

IMAGE is the last release's (`proto/baseline.binpb`). buf sees fields and numbers but not our labels, so a label
made weaker passes it; this applies the rule that an approval applies (`broker.core.compatibility`), before
anybody submits the type. Exit 0 when all can; 1 with a line for each that cannot; 2 for an image that holds no
record type, which would make this check pass whatever happened.
"""

from __future__ import annotations

import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from broker.catalogue import standard_record_types
from broker.core.compatibility import check_successor
from broker.core.descriptors import DESCRIPTOR_FILE
from broker.core.recordtype import RecordType
from broker.errors import InvalidRequest
from broker.v1 import labels_pb2


def main(image: Path) -> int:
    """Compare, print what is wrong, and return the exit code."""
    before = released(FileDescriptorSet.FromString(image.read_bytes()))
    if not before:
        sys.stderr.write(f"{image} holds no record type\n")
        return 2
    wrong = problems(before, dict(standard_record_types()))
    sys.stderr.writelines(f"{line}\n" for line in wrong)
    return 1 if wrong else 0


def problems(before: dict[str, bytes], now: dict[str, bytes]) -> list[str]:
    """What stands in the way, one sentence each. Both map full names to descriptor sets."""
    found = []
    for full_name, old in sorted(before.items()):
        if full_name not in now:
            found.append(f"{full_name}: was released and is gone")
            continue
        try:
            check_successor(RecordType.stored(old, full_name), RecordType.stored(now[full_name], full_name))
        except InvalidRequest as error:
            found.append(f"{full_name}: {error}")
    return found


def released(image: FileDescriptorSet) -> dict[str, bytes]:
    """Each record type of an image, with the set of just the files that it needs."""
    files = {file.name: file for file in image.file}
    return {
        f"{file.package}.{message.name}": _with_imports(file, files).SerializeToString()
        for file in image.file
        for message in file.message_type
        if message.options.HasExtension(labels_pb2.record_type)
    }


def _with_imports(file: FileDescriptorProto, files: dict[str, FileDescriptorProto]) -> FileDescriptorSet:
    needed: dict[str, FileDescriptorProto] = {}

    def visit(one: FileDescriptorProto) -> None:
        for name in one.dependency:
            if name != DESCRIPTOR_FILE:
                visit(files[name])
        needed.setdefault(one.name, one)

    visit(file)
    return FileDescriptorSet(file=needed.values())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
