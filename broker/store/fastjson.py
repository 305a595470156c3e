"""The canonical bytes of views, written in C: those of `core.canonical.encode`, sooner.

Refuses what that one refuses. Reading and verifying need the standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from broker.core.canonical import check
from broker.errors import IntegrityError

_SURROGATE = "canonical JSON: a string holds a lone surrogate"
_encoder = msgspec.json.Encoder(order="deterministic")


def encode(value: object) -> bytes:
    """RFC 8785 bytes of a view. Raises IntegrityError for what has no canonical form."""
    check(value)
    return write(value)


def write_each(values: Iterable[object]) -> list[bytes]:
    """`write` of many."""
    try:
        return [*map(_encoder.encode, values)]
    except UnicodeEncodeError as e:
        raise IntegrityError(_SURROGATE) from e


def write(value: object) -> bytes:
    """The same of a value that has been checked, or is made of texts alone. Raises IntegrityError."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError as e:
        raise IntegrityError(_SURROGATE) from e
