"""How many fields a message has, counted on its bytes: before it is read, since reading is what costs.

A megabyte of empty elements becomes a hundred of objects, and each of them keeps everything else waiting. Owns
the bound on that for a message as a whole; what each of its lists may hold is `bounds`', once it is read. Looks
at large messages alone, and into those parts alone that have lists: all others are no larger than their bytes.

Encoding: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from broker.errors import InvalidRequest

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

LARGE = 64 * 1024  # bytes; in so many there is no element too many
# More than any request has within the bounds of its lists and its bytes.
MOST = 32_768

_VARINT, _FIXED64, _LENGTH, _START, _END, _FIXED32 = range(6)
_LONGEST = 10  # bytes of a varint
# Parts of a message that have lists somewhere, by their tags.
_Level = dict[int, "_Level"]


def check(data: bytes, kind: Descriptor) -> None:
    """Not too many fields in it. Raises InvalidRequest.

    DecodeError where its bytes do not add up: it would be read as far as they do.
    """
    if len(data) > LARGE:
        try:
            _count(data, _level(kind))
        except IndexError:
            raise DecodeError("cut off") from None


def _count(data: bytes, level: _Level) -> None:
    left, parts = MOST, [(0, len(data), level)]
    while parts:
        at, end, level = parts.pop()
        while at < end:
            left -= 1
            if left < 0:
                raise InvalidRequest("request", f"over {MOST} fields in it")
            tag, at = _varint(data, at)
            wire = tag & 7
            if wire == _LENGTH:
                size, at = _varint(data, at)
                if size and tag in level:
                    parts.append((at, min(at + size, end), level[tag]))
                at += size
            elif wire == _VARINT:
                _, at = _varint(data, at)
            elif wire in (_FIXED64, _FIXED32):
                at += 8 if wire == _FIXED64 else 4
            elif wire not in (_START, _END):
                raise DecodeError(f"wire type {wire}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, and the place after it. Raises IndexError where it does not end."""
    value = data[at]
    if value < 0x80:
        return value, at + 1
    value &= 0x7F
    for n in range(1, _LONGEST):
        byte = data[at + n]
        value |= (byte & 0x7F) << 7 * n
        if byte < 0x80:
            return value, at + n + 1
    raise IndexError(at)


@lru_cache(maxsize=512)  # as many as there are kinds of message
def _level(kind: Descriptor) -> _Level:
    return {
        field.number << 3 | _LENGTH: _level(field.message_type) for field in kind.fields if _has_lists(field)
    }


def _has_lists(field: FieldDescriptor) -> bool:
    inner = field.message_type
    return inner is not None and any(each.is_repeated or _has_lists(each) for each in inner.fields)
