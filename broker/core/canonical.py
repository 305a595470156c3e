"""Owns the one byte form of evidence: RFC 8785 (JSON Canonicalization Scheme), limited.

Allowed are null, booleans, integers with |n| < 2^53, strings, lists, and objects whose keys are ASCII.
Refused are floats, larger integers, lone surrogates, keys outside ASCII, subclasses of the plain types,
nesting past `MAX_DEPTH`, and, when reading, repeated keys, too many bytes, and any byte string that is not
exactly what `encode` would write. Within these limits an entry can be checked in any language without a
schema, and sorting by code point is sorting by UTF-16 unit (RFC 8785 section 3.2.3).
"""

from __future__ import annotations

import json
from typing import TypeAlias

from broker.errors import IntegrityError

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
_MAX_INTEGER = (1 << 53) - 1  # RFC 8785 section 3.2.2.3: what an IEEE 754 double holds exactly

_write = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def encode(value: object) -> bytes:
    """Return the canonical bytes of `value`.

    Raises:
        IntegrityError: `value` holds something outside the limited form.
    """
    check(value)
    try:
        return _write(value).encode("utf-8")
    except UnicodeEncodeError as error:
        raise IntegrityError("canonical JSON: a string holds a lone surrogate") from error


def decode(data: bytes, *, limit: int = MAX_BYTES) -> Json:
    """Return the value whose canonical bytes are `data`, which may be at most `limit` bytes.

    Raises:
        IntegrityError: `data` is too long, not JSON of the limited form, or not its canonical bytes.
    """
    if len(data) > limit:
        raise IntegrityError(f"canonical JSON: {len(data)} bytes, more than the {limit} allowed")
    try:
        # Whatever else JSON allows (repeated keys, long numbers, white space) would not be written back equal.
        value: Json = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise IntegrityError("canonical JSON: not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise IntegrityError("canonical JSON: not JSON") from error
    if encode(value) != data:
        raise IntegrityError("canonical JSON: not in canonical form (RFC 8785)")
    return value


def decode_object(data: bytes, *, limit: int = MAX_BYTES) -> dict[str, Json]:
    """Return the object whose canonical bytes are `data`; as `decode`, and refuses other values."""
    value = decode(data, limit=limit)
    if not isinstance(value, dict):
        raise IntegrityError("canonical JSON: not an object")
    return value


def check(value: object, depth: int = 0) -> None:
    """Raise IntegrityError where `value` holds something outside the limited form."""
    # Exact types: json would write an int subclass or a tuple, and such bytes would not come back equal.
    if value is None or type(value) is str or type(value) is bool:
        return
    if type(value) is int:
        if not -_MAX_INTEGER <= value <= _MAX_INTEGER:
            raise IntegrityError("canonical JSON: an integer of 2^53 or more")
        return
    if depth >= MAX_DEPTH:
        raise IntegrityError(f"canonical JSON: nested deeper than {MAX_DEPTH}")
    if type(value) is dict:
        for key, item in value.items():
            if type(key) is not str or not key.isascii():
                raise IntegrityError("canonical JSON: a key that is not an ASCII string")
            if type(item) is not str and item is not None:  # most are: spare them the call
                check(item, depth + 1)
    elif type(value) is list:
        for item in value:
            if type(item) is not str:
                check(item, depth + 1)
    else:
        raise IntegrityError(f"canonical JSON: {type(value).__name__} has no canonical form here")
