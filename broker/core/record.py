"""Owns the digest of a released record, and the strict reading of a serialised `google.protobuf.Any`.

An Any on the wire is field 1, the type URL, then field 2, the value, left out when empty. Any other bytes
that a protobuf reader would take for the same message (another order, repeats, unknown fields, long varints)
are refused, so that a record file has one spelling. No protobuf library is needed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from broker.errors import IntegrityError

MAX_RECORD_BYTES = 1 << 20
_MAX_TYPE_URL_BYTES = 1024
_MAX_ANY_BYTES = MAX_RECORD_BYTES + _MAX_TYPE_URL_BYTES + 16  # two tags and two lengths
_TYPE_URL_TAG = 0x0A  # field 1, length-delimited
_VALUE_TAG = 0x12  # field 2, length-delimited


@dataclass(frozen=True, slots=True)
class Record:
    """A record as released: the two fields of its Any."""

    type_url: str
    value: bytes

    def __post_init__(self) -> None:
        if not self.type_url or "\0" in self.type_url:
            raise IntegrityError("record: the type URL is empty or holds a NUL")
        if len(self.type_url) > _MAX_TYPE_URL_BYTES or len(self.value) > MAX_RECORD_BYTES:
            raise IntegrityError("record: larger than a record may be")

    def digest(self) -> str:
        """Return hex SHA-256(type_url || 0x00 || value); a type URL holds no NUL, so it has one reading."""
        return hashlib.sha256(self.type_url.encode() + b"\x00" + self.value).hexdigest()

    def to_any(self) -> bytes:
        """Return the serialised Any."""
        url = self.type_url.encode()
        parts = [bytes((_TYPE_URL_TAG,)), _varint(len(url)), url]
        if self.value:
            parts += [bytes((_VALUE_TAG,)), _varint(len(self.value)), self.value]
        return b"".join(parts)

    @classmethod
    def from_any(cls, data: bytes) -> Record:
        """Return the record of a serialised Any.

        Raises:
            IntegrityError: anything but the bytes that `to_any` gives.
        """
        if len(data) > _MAX_ANY_BYTES:
            raise IntegrityError("record: larger than a record may be")
        url, at = _field(data, 0, _TYPE_URL_TAG)
        value, at = _field(data, at, _VALUE_TAG) if at < len(data) else (b"", at)
        try:
            record = cls(url.decode("utf-8"), value)
        except UnicodeDecodeError as error:
            raise IntegrityError("record: the type URL is not UTF-8") from error
        if record.to_any() != data:
            raise IntegrityError("record: an Any that is not written the one way")
        return record


def _field(data: bytes, at: int, tag: int) -> tuple[bytes, int]:
    """The bytes of the length-delimited field at `at`, and where it ends."""
    if data[at : at + 1] != bytes((tag,)):
        raise IntegrityError("record: not a serialised Any")
    length, start = _read_varint(data, at + 1)
    end = start + length
    if end > len(data):
        raise IntegrityError("record: ends inside a field")
    return data[start:end], end


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in (0, 7, 14, 21):  # a length below 2^28 is enough for any record
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise IntegrityError("record: a length that no record has")
