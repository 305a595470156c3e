"""A record type: one labelled protobuf message, by the digest of the descriptor it was approved with.

Owns building it from stored bytes, in a private descriptor pool per digest, and what an agreement may say
about its fields. Refuses descriptors that `descriptors` and `leaves` refuse, permitted paths that are not
leaves, and a value permitted without the state that says what its absence means.

A record (the bytes of one instance) that cannot be read as its type, or is larger than 1 MiB, is an
`IntegrityError`: asking again will not mend it, and nothing is released.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from broker.core.descriptors import PACKAGE, build_pool, check_origin, own_files, read_files, refuse
from broker.core.leaves import Leaf, check_message, check_recursion, leaves_of
from broker.core.unknown import unknown_fields
from broker.errors import IntegrityError, InvalidRequest
from broker.v1 import labels_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool

MAX_RECORD = 1024 * 1024
JOINT = frozenset({"incident", "marac"})
"""Holders that are joint work and no kind of agency: whichever agency speaks holds such a record."""
_SCHEME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_FULL_NAME = re.compile(PACKAGE.pattern + r"\.[A-Za-z][A-Za-z0-9_]*")
_LISTED = 12


@dataclass(frozen=True, slots=True)
class Pin:
    """A leaf as an agreement binds it: by names and numbers, since either alone can come to mean another."""

    path: str
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RecordType:
    """One approved version of a record type. `digest` is hex SHA-256 over `descriptor_set` as stored."""

    full_name: str
    holder: str
    digest: str
    subject_schemes: tuple[str, ...]
    viewing_has_effects: bool
    leaves: tuple[Leaf, ...]
    # What releasing each leaf gives away, by path.
    labels: Mapping[str, frozenset[str]] = field(repr=False, compare=False)
    descriptor_set: bytes = field(repr=False)
    message_class: type[Message] = field(repr=False, compare=False)
    # The leaves of each group, by its path: `oxygen` of `oxygen.litres`.
    groups: Mapping[str, frozenset[str]] = field(repr=False, compare=False)
    _by_path: Mapping[str, Leaf] = field(repr=False, compare=False)

    @classmethod
    def submitted(cls, descriptor_set: bytes, full_name: str, holder: str | None = None) -> RecordType:
        """A type somebody asks to have approved, every rule applied.

        `holder` is the agency kind the submitter speaks for ("fire"); None where an operator submits, who may
        for any. Raises InvalidRequest naming `full_name` or, in `descriptor_set`, the message or field.
        """
        named = _holder(full_name)
        if holder is not None and named != holder:
            raise InvalidRequest("full_name", f"belongs to holder {named!r}, not to {holder!r}")
        files = read_files(descriptor_set)
        check_origin(files, named)
        return cls._build(descriptor_set, full_name, files)

    @classmethod
    def stored(cls, descriptor_set: bytes, full_name: str) -> RecordType:
        """A type that is approved already. Raises InvalidRequest as `submitted`.

        It may import an older state of our own files than today's: its digest, not ours, says what they mean.
        """
        return cls._build(descriptor_set, full_name, read_files(descriptor_set))

    @classmethod
    def _build(cls, data: bytes, full_name: str, files: Mapping[str, FileDescriptorProto]) -> RecordType:
        pool = build_pool(files)
        descriptor = _find(pool, full_name)
        own = [pool.FindFileByName(file.name) for file in own_files(files)]
        messages = [message for file in own for message in _messages(file)]
        check_recursion(messages)
        for message in messages:
            check_message(message)
        schemes, effects = _options(descriptor)
        for message in messages:
            if message.full_name != full_name and message.GetOptions().HasExtension(labels_pb2.record_type):
                raise refuse(
                    message.full_name, "is a second record type; each is approved with a set of its own"
                )
        leaves = leaves_of(descriptor)
        return cls(
            full_name=full_name,
            holder=_holder(full_name),
            digest=hashlib.sha256(data).hexdigest(),
            subject_schemes=schemes,
            viewing_has_effects=effects,
            leaves=leaves,
            labels=MappingProxyType({leaf.path: frozenset(leaf.labels) for leaf in leaves}),
            descriptor_set=data,
            message_class=GetMessageClass(descriptor),
            groups=MappingProxyType(_groups(leaves)),
            _by_path=MappingProxyType({leaf.path: leaf for leaf in leaves}),
        )

    @property
    def descriptor(self) -> Descriptor:
        """The message's descriptor, in this digest's own pool."""
        return cast("Descriptor", self.message_class.DESCRIPTOR)

    def held_by(self, kind: str) -> bool:
        """Whether an agency of this kind may hold and provide records of this type."""
        return self.holder == kind or self.holder in JOINT

    def leaf(self, path: str) -> Leaf:
        """The leaf of that path. Raises InvalidRequest as `check_paths`."""
        self.check_paths([path], states=False)
        return self._by_path[path]

    def check_paths(
        self, paths: Collection[str], field: str = "permitted_paths", *, states: bool = True
    ) -> None:
        """Every path is a leaf, and no value is permitted without the states that say what its absence means.

        Raises InvalidRequest for `field`, naming the path: for a parent the leaves it would have covered, for
        an unknown one the nearest there is. An empty collection permits nothing and is fine.
        """
        for path in paths:
            if path not in self._by_path:
                raise InvalidRequest(field, self._why_not(path))
        if not states:
            return
        for path in paths:
            for state in self._by_path[path].states:
                if state not in paths:
                    problem = f"{path!r} needs {state!r} beside it: without, an absent value would read as none"
                    raise InvalidRequest(field, problem)

    def _why_not(self, path: str) -> str:
        covered = [leaf.path for leaf in self.leaves if leaf.path.startswith(f"{path}.")]
        if covered:
            more = f" and {len(covered) - _LISTED} more" if len(covered) > _LISTED else ""
            listed = ", ".join(covered[:_LISTED]) + more
            return f"{path!r} is not a leaf of {self.full_name}; name those meant of: {listed}"
        near = difflib.get_close_matches(path[:200], self._by_path, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{path[:200]!r} is not a field of {self.full_name}{hint}"

    def pin(self, paths: Collection[str], field: str = "permitted_paths") -> tuple[Pin, ...]:
        """What an agreement made today stores about its permitted paths, sorted. Raises as `check_paths`."""
        self.check_paths(paths, field)
        return tuple(Pin(path, self._by_path[path].numbers) for path in sorted(set(paths)))

    def check_pins(self, pins: Iterable[Pin], field: str = "permitted_paths") -> None:
        """Pins made against another digest mean the same here. Raises InvalidRequest naming the path."""
        for pin in pins:
            self.check_paths([pin.path], field, states=False)
            numbers = self._by_path[pin.path].numbers
            if numbers != pin.numbers:
                was, now = _dotted(pin.numbers), _dotted(numbers)
                raise InvalidRequest(
                    field, f"{pin.path!r} was field {was} when agreed and is {now} in {self.digest}"
                )

    def read(self, value: bytes) -> Message:
        """A record parsed as this type. Raises IntegrityError when too large or not readable as it."""
        if len(value) > MAX_RECORD:
            raise IntegrityError(
                f"{self.full_name}: record of {len(value)} bytes; at most {MAX_RECORD} are accepted"
            )
        try:
            return self.message_class.FromString(value)
        except DecodeError as error:
            raise IntegrityError(f"{self.full_name}: record cannot be read as its type") from error

    def unknown_fields(self, value: bytes) -> tuple[str, ...]:
        """Fields at any depth that this type does not know, as `allergies.items.99`; empty for a good record.

        A provider whose answer has some made it with another type: the caller refuses it. Raises as `read`.
        """
        record = self.read(value)
        whole = len(record.SerializeToString())
        record.DiscardUnknownFields()
        if len(record.SerializeToString()) == whole:
            return ()
        return unknown_fields(self.read(value))


def _groups(leaves: Iterable[Leaf]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for leaf in leaves:
        for n, char in enumerate(leaf.path):
            if char == ".":
                found.setdefault(leaf.path[:n], set()).add(leaf.path)
    return {group: frozenset(paths) for group, paths in found.items()}


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def _holder(full_name: str) -> str:
    named = _FULL_NAME.fullmatch(full_name)
    if named is None or named[1] == "shared":
        raise InvalidRequest("full_name", "must be records.<holder>.v<N>.<Message> of an agency kind")
    return named[1]


def _find(pool: DescriptorPool, full_name: str) -> Descriptor:
    try:
        return pool.FindMessageTypeByName(full_name)
    except KeyError as error:
        raise InvalidRequest("full_name", "is not a message of the descriptor set") from error


def _messages(file: FileDescriptor) -> Iterator[Descriptor]:
    waiting = list(file.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        yield message
        waiting.extend(message.nested_types)


def _options(message: Descriptor) -> tuple[tuple[str, ...], bool]:
    if not message.GetOptions().HasExtension(labels_pb2.record_type):
        raise refuse(message.full_name, "has no (broker.v1.record_type) option, so it is not a record type")
    options = message.GetOptions().Extensions[labels_pb2.record_type]
    schemes = tuple(options.subject_schemes)
    if not schemes or len(set(schemes)) != len(schemes) or not all(map(_SCHEME.fullmatch, schemes)):
        raise refuse(message.full_name, "record_type needs subject_schemes, each once, such as 'nhs-number'")
    return schemes, options.viewing_has_effects
