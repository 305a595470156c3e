"""Fields that a message carries and its type does not know, at any depth.

They are what a newer or different type left behind: nobody labelled them and no agreement names them, so
whoever finds some refuses the message. Only field numbers are reported, never contents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.unknown_fields import UnknownFieldSet

if TYPE_CHECKING:
    from google.protobuf.message import Message

REPORTED = 20
"""How many are named; a report travels in an error, and errors are short."""


def unknown_fields(message: Message) -> tuple[str, ...]:
    """Dotted names of the fields above and the unknown number, sorted: `allergies.items.99`. First 20."""
    found: set[str] = set()
    _collect(message, "", found)
    return tuple(sorted(found)[:REPORTED])


def _collect(message: Message, prefix: str, found: set[str]) -> None:
    unknown = UnknownFieldSet(message)
    found.update(f"{prefix}{unknown[at].field_number}" for at in range(len(unknown)))
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        name = f"({field.full_name})" if field.is_extension else field.name
        for item in value if field.is_repeated else (value,):
            _collect(item, f"{prefix}{name}.", found)
