"""Owns the entry: the bytes of one leaf of the log, and the openings of its three commitments.

An entry says only when, which id, and three salted commitments, always all three, so that the log reveals
volume and timing and nothing else. A rotation entry is in clear and links the logs of two half-years.
Refused: other keys, versions, times that are not whole UTC seconds, ids that are not random UUIDs in lower
case, commitments that are not hex, and more than 65,535 bytes.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from broker.core import canonical
from broker.core.canonical import Json
from broker.core.views import VERSION, ProviderView, RequesterView, check_full_view
from broker.errors import IntegrityError

__all__ = [
    "MAX_ENTRY_BYTES",
    "SALT_BYTES",
    "Entry",
    "Opening",
    "ProviderView",
    "RequesterView",
    "Rotation",
    "SealedEntry",
    "commit",
    "format_time",
    "parse_entry",
    "seal_entry",
    "seal_views",
]

MAX_ENTRY_BYTES = 0xFFFF  # C2SP tlog-tiles: an entry's length is a uint16
SALT_BYTES = 32

_KEYS = {"at", "full", "id", "provider", "requester", "v"}
_ROTATION_KEYS = {"at", "id", "log", "v"}
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)
_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)
_COMMITMENT = re.compile(r"[0-9a-f]{64}", re.ASCII)

# An entry's canonical bytes, whole: nothing in them can be spelt in another way.
_ENTRY = re.compile(
    rb'\{"at":"([0-9TZ:-]{20})","full":"([0-9a-f]{64})","id":"([0-9a-f-]{36})","provider":"([0-9a-f]{64})",'
    rb'"requester":"([0-9a-f]{64})","v":1\}'
)

# The same and a random UUID: with a time that there is, all that an entry has to be.
_WHOLE = re.compile(
    rb'\{"at":"([0-9TZ:-]{20})","full":"[0-9a-f]{64}",'
    rb'"id":"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",'
    rb'"provider":"[0-9a-f]{64}","requester":"([0-9a-f]{64})","v":1\}'
)


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens a commitment: its 32-byte salt and the view's bytes."""

    salt: bytes
    view: bytes

    def __post_init__(self) -> None:
        if len(self.salt) != SALT_BYTES:
            raise IntegrityError(f"opening: a salt of {len(self.salt)} bytes, not {SALT_BYTES}")

    def commitment(self) -> str:
        """Return the commitment that this opens."""
        return commit(self.salt, self.view)

    def opens(self, commitment: str) -> bool:
        """Whether this opens `commitment`, in a time that does not depend on where they differ."""
        return hmac.compare_digest(self.commitment().encode(), commitment.encode())

    def to_bytes(self) -> bytes:
        """Return the salt followed by the view."""
        return self.salt + self.view

    @classmethod
    def from_bytes(cls, data: bytes) -> Opening:
        """Return the opening written as `data`: exactly 32 bytes of salt, then the view.

        Raises:
            IntegrityError: no room for a salt and a view, or a view past the bound.
        """
        if not SALT_BYTES < len(data) <= SALT_BYTES + canonical.MAX_BYTES:
            raise IntegrityError(f"opening: {len(data)} bytes are not a salt and a view")
        return cls(data[:SALT_BYTES], data[SALT_BYTES:])


def commit(salt: bytes, view: bytes) -> str:
    """Return hex HMAC-SHA256 of the view's bytes under the salt (RFC 2104)."""
    return hmac.digest(salt, view, "sha256").hex()


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of the log: `at` is UTC in whole seconds, `id` a random UUID, the rest commitments in hex."""

    at: datetime
    id: str
    requester: str
    provider: str
    full: str

    def __post_init__(self) -> None:
        _check_head(self.at, self.id)
        for commitment in (self.requester, self.provider, self.full):
            if _COMMITMENT.fullmatch(commitment) is None:
                raise IntegrityError("entry: a commitment is not 64 lower-case hex digits")

    def to_bytes(self) -> bytes:
        """Return the leaf's bytes: exactly these are hashed, kept and served."""
        return _leaf(self.at, self.id, self.full, self.provider, self.requester)


@dataclass(frozen=True, slots=True)
class Rotation:
    """A link between two logs, in clear: `log` is the next one's key or the last one's checkpoint."""

    at: datetime
    id: str
    log: str

    def __post_init__(self) -> None:
        _check_head(self.at, self.id)
        if not self.log:
            raise IntegrityError("entry: a rotation that names no log")

    def to_bytes(self) -> bytes:
        """Return the leaf's bytes."""
        data = canonical.encode(
            {"at": format_time(self.at), "id": self.id, "log": self.log, "v": VERSION},
        )
        if len(data) > MAX_ENTRY_BYTES:
            raise IntegrityError(f"entry: {len(data)} bytes, more than {MAX_ENTRY_BYTES}")
        return data


def parse_entry(data: bytes) -> Entry | Rotation:
    """Return the entry written as `data`.

    Raises:
        IntegrityError: not the canonical bytes of an entry of version 1.
    """
    if (written := _ENTRY.fullmatch(data)) is not None:
        at, full, entry_id, provider, requester = (part.decode("ascii") for part in written.groups())
        return Entry(_parse_time(at), entry_id, requester, provider, full)
    fields = canonical.decode_object(data, limit=MAX_ENTRY_BYTES)
    if fields.keys() not in (_KEYS, _ROTATION_KEYS):
        raise IntegrityError("entry: not exactly the keys of an entry")
    if type(fields["v"]) is not int or fields["v"] != VERSION:
        raise IntegrityError(f"entry: not of version {VERSION}")
    at = _parse_time(_string(fields, "at"))
    if "log" in fields:
        return Rotation(at, _string(fields, "id"), _string(fields, "log"))
    requester, provider, full = (_string(fields, key) for key in ("requester", "provider", "full"))
    return Entry(at, _string(fields, "id"), requester, provider, full)


def requester_commitment(data: bytes) -> str | None:
    """The requester's commitment in an entry's bytes, for who wants no more of it; None where it is no entry in
    the usual bytes, and `parse_entry` has to say what it is."""
    written = _WHOLE.fullmatch(data)
    if written is None:
        return None
    _parse_time(written[1].decode("ascii"))
    return written[2].decode("ascii")


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """An entry's bytes and the openings of its commitments; None where there is no such party."""

    entry: bytes
    requester: Opening | None
    provider: Opening | None
    full: Opening


def seal_entry(
    at: datetime,
    id: str,
    requester: RequesterView | None,
    provider: ProviderView | None,
    full: Mapping[str, Json],
    random: Callable[[int], bytes],
    encode: Callable[[object], bytes] = canonical.encode,
) -> SealedEntry:
    """Commit to the three views of an event, each under a fresh salt.

    `random(n)` returns n unpredictable bytes. Without a requester or provider the commitment is of random
    bytes, so that nobody can tell. `full` must have `policy`, `now` and every key of the other views.
    `encode` gives the bytes that `canonical.encode` would, perhaps sooner.

    Raises:
        IntegrityError: a view has no canonical form or lacks a key, or `at` or `id` cannot stand in an entry.
    """
    views = [None if view is None else view.as_json() for view in (requester, provider)]
    check_full_view(full, *(view for view in views if view is not None))
    asked, held = (None if view is None else encode(view) for view in views)
    return seal_views(at, id, asked, held, encode(full), random)


def seal_views(
    at: datetime,
    id: str,
    requester: bytes | None,
    provider: bytes | None,
    full: bytes,
    random: Callable[[int], bytes],
) -> SealedEntry:
    """As `seal_entry`, of views that are written: canonical bytes with all their keys.

    Raises:
        IntegrityError: `at` or `id` cannot stand in an entry.
    """
    asked, held = (
        None if view is None else Opening(random(SALT_BYTES), view) for view in (requester, provider)
    )
    whole = Opening(random(SALT_BYTES), full)
    _check_head(at, id)
    leaf = _leaf(at, id, whole.commitment(), _commitment(held, random), _commitment(asked, random))
    return SealedEntry(leaf, asked, held, whole)


def _leaf(at: datetime, id: str, full: str, provider: str, requester: str) -> bytes:
    """An entry's canonical bytes, written out: each value has one spelling that needs no escape."""
    return (
        f'{{"at":"{format_time(at)}","full":"{full}","id":"{id}",'
        f'"provider":"{provider}","requester":"{requester}","v":{VERSION}}}'
    ).encode("ascii")


def _commitment(opening: Opening | None, random: Callable[[int], bytes]) -> str:
    if opening is None:
        return commit(random(SALT_BYTES), random(SALT_BYTES))
    return opening.commitment()


def _string(fields: Mapping[str, Json], key: str) -> str:
    value = fields[key]
    if not isinstance(value, str):
        raise IntegrityError(f"entry: {key} is not a string")
    return value


def _check_head(at: datetime, entry_id: str) -> None:
    if at.tzinfo is not UTC or at.microsecond:
        raise IntegrityError("entry: the time is not UTC in whole seconds")
    if _UUID4.fullmatch(entry_id) is None:
        raise IntegrityError("entry: the id is not a random UUID in lower case (RFC 9562 version 4)")


@lru_cache(maxsize=256)  # many happen in one second
def format_time(at: datetime) -> str:
    """Return a UTC time in whole seconds as RFC 3339 with Z, the only spelling an entry has."""
    return f"{at.replace(tzinfo=None).isoformat()}Z"


@lru_cache(maxsize=256)  # many happen in one second
def _parse_time(text: str) -> datetime:
    if _TIME.fullmatch(text) is None:
        raise IntegrityError("entry: the time is not RFC 3339 in whole seconds with Z")
    try:
        at = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError as error:
        raise IntegrityError("entry: no such time") from error
    if format_time(at) != text:
        raise IntegrityError("entry: a time that is not written the one way")
    return at
