"""Values with some of their fields exchanged, whichever way they are made; and who makes changes in tests."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import msgspec

from broker.v1 import exchange_pb2

Value = TypeVar("Value")
AT_THE_DESK = exchange_pb2.Actor(id="ops", role="operator")  # as operators' software names who makes a change


def replace(value: Value, /, **changes: Any) -> Value:
    """A copy of a dataclass or of a struct, with these fields."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **changes)
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]
