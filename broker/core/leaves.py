"""What the fields of a record type say about themselves: labels, states, and the leaves agreements name.

Reads `broker.v1.labels` and `broker.v1.fact_state` from built descriptors. Those options are readable only
where their own module has been imported, and are silently empty otherwise; this module imports it, and a
field that shows no label is refused, so the silence cannot pass for "nothing sensitive".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from broker.core.descriptors import refuse
from broker.v1 import labels_pb2

MAX_DEPTH = 16
"""Messages inside messages. protobuf's own DiscardUnknownFields stops looking at 64 (measured, 7.36)."""
MAX_LEAVES = 2048
"""A few small messages that each use the next one several times unfold into millions of leaves."""

_STATES = ("UNSPECIFIED", "VALUE", "NONE_RECORDED", "UNAVAILABLE", "WITHHELD")
_PLAIN = "plain"
_SCALARS = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_") and isinstance(value, int)
}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A field that holds a value, which is what an agreement permits and redaction keeps.

    `path` is dotted proto names and `numbers` the field numbers along it. `labels` are the enum's names in
    lower case with hyphens (`special-category`), sorted, those of the fields above included. `type` is a
    scalar's name or an enum's full name. `states` are the paths of the state leaves that say whether this one
    is there, outermost first; a state leaf has only those of the messages around its own.
    """

    path: str
    numbers: tuple[int, ...]
    labels: tuple[str, ...]
    type: str
    repeated: bool
    is_state: bool
    states: tuple[str, ...]

    @property
    def stateful(self) -> bool:
        """Whether a state says what its absence means."""
        return self.is_state or bool(self.states)


def labels_of(field: FieldDescriptor) -> frozenset[str]:
    """Labels of one field; empty where it has none. Raises InvalidRequest for one that says nothing."""
    labels = set()
    for number in field.GetOptions().Extensions[labels_pb2.labels]:
        if number == labels_pb2.LABEL_UNSPECIFIED or number not in labels_pb2.Label.values():
            raise refuse(field.full_name, f"label {number} is not one of broker.v1.Label")
        labels.add(labels_pb2.Label.Name(number).removeprefix("LABEL_").lower().replace("_", "-"))
    if _PLAIN in labels and len(labels) > 1:
        raise refuse(field.full_name, "LABEL_PLAIN means that none of the others applies")
    return frozenset(labels)


def state_field(message: Descriptor) -> FieldDescriptor | None:
    """The field that says whether the facts of this message are there, if it has one."""
    for field in message.fields:
        if field.GetOptions().Extensions[labels_pb2.fact_state]:
            return field
    return None


def check_message(message: Descriptor) -> None:
    """Labels on every value, at most one state and that of the right shape. Raises InvalidRequest."""
    if not message.fields:
        raise refuse(message.full_name, "has no fields, so nothing of it could be permitted")
    marked = []
    for field in message.fields:
        declared = field.message_type if field.message_type is not None else field.enum_type
        if declared is not None and not declared.full_name.startswith("records."):
            raise refuse(field.full_name, f"{declared.full_name} is not a type that records may be made of")
        if not labels_of(field) and field.message_type is None:
            raise refuse(field.full_name, "has no label; (broker.v1.labels) says what releasing it gives away")
        if field.GetOptions().Extensions[labels_pb2.fact_state]:
            marked.append(field)
            if field.is_repeated or field.has_presence or not _is_fact_state(field.enum_type):
                raise refuse(
                    field.full_name, "fact_state belongs on a plain field of records.shared.v1.FactState"
                )
        elif _is_fact_state(field.enum_type):
            raise refuse(field.full_name, "is a fact state without (broker.v1.fact_state)")
    if len(marked) > 1:
        raise refuse(marked[1].full_name, "is a second fact state; a message has one")


def check_recursion(messages: Iterable[Descriptor]) -> None:
    """No message holds itself, directly or through others. Raises InvalidRequest naming the field."""
    done: set[str] = set()
    for message in messages:
        _visit(message, [], done)


def _visit(message: Descriptor, above: list[str], done: set[str]) -> None:
    if message.full_name in done:
        return
    above.append(message.full_name)
    for field in message.fields:
        below = field.message_type
        if below is None:
            continue
        if below.full_name in above:
            raise refuse(field.full_name, f"recursion: holds {below.full_name}, which holds it")
        _visit(below, above, done)
    above.pop()
    done.add(message.full_name)


def leaves_of(message: Descriptor) -> tuple[Leaf, ...]:
    """All leaves sorted by path. Raises InvalidRequest past `MAX_LEAVES` or `MAX_DEPTH`.

    The message must have passed `check_recursion`.
    """
    found: list[Leaf] = []
    for leaf in _walk(message, (), (), frozenset(), ()):
        if len(found) == MAX_LEAVES:
            raise refuse(message.full_name, f"unfolds into more than {MAX_LEAVES} leaves")
        found.append(leaf)
    return tuple(sorted(found, key=lambda leaf: leaf.path))


def _walk(
    message: Descriptor,
    names: tuple[str, ...],
    numbers: tuple[int, ...],
    labels: frozenset[str],
    states: tuple[str, ...],
) -> Iterator[Leaf]:
    if len(names) >= MAX_DEPTH:
        raise refuse(".".join(names), f"lies deeper than {MAX_DEPTH} messages")
    state = state_field(message)
    inner = states if state is None else (*states, ".".join((*names, state.name)))
    for field in message.fields:
        here, at = (*names, field.name), (*numbers, field.number)
        given = labels | labels_of(field)
        if field.message_type is not None:
            yield from _walk(field.message_type, here, at, given, inner)
            continue
        if not given:
            raise refuse(field.full_name, "has no label")
        is_state = field == state
        yield Leaf(
            path=".".join(here),
            numbers=at,
            labels=tuple(sorted(given - {_PLAIN} or given)),
            type=type_name(field),
            repeated=field.is_repeated,
            is_state=is_state,
            states=states if is_state else inner,
        )


def type_name(field: FieldDescriptor) -> str:
    """A scalar's name ("uint32"), or the full name of a message or enum."""
    declared = field.message_type if field.message_type is not None else field.enum_type
    return declared.full_name if declared is not None else _SCALARS[field.type]


def _is_fact_state(enum: EnumDescriptor | None) -> bool:
    """Whether an enum is records.shared.v1.FactState or one of exactly its shape, whatever its prefix."""
    if enum is None or [value.number for value in enum.values] != list(range(len(_STATES))):
        return False
    return all(value.name.endswith(state) for value, state in zip(enum.values, _STATES, strict=True))
