"""The openings of an entry's three views as one run of bytes, to be sealed once.

Owns its layout. A view whose every value stands in the full view too is written as its salt alone, and made
again from the full view by its keys; one that differs, as under neither confirm nor deny, is written whole. All
of it is deflated with words that every view has, and filled up to a multiple of 32 bytes, so that its length
says little of what is in it (docs/decisions/0020).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from broker.core.canonical import MAX_BYTES, Json, decode_object
from broker.core.entry import SALT_BYTES, Opening, SealedEntry
from broker.core.views import ProviderView, RequesterView
from broker.errors import IntegrityError
from broker.store.fastjson import encode, write
from broker.store.words import WORDS

# Keys and words as of layout 2: a view that gains a key needs another, or old ones would be made with it.
_LAYOUT = b"\x02"
_GRAIN = 32
_WINDOW = -13  # raw, 8 KiB: the words and a view
_MEMORY = 8
# Three views at most, each no larger than canonical JSON may be.
_LARGEST = 4 * MAX_BYTES
# Told the words once: a copy of it is had for less than a new one.
_DEFLATE = zlib.compressobj(2, zlib.DEFLATED, _WINDOW, _MEMORY, zlib.Z_DEFAULT_STRATEGY, WORDS)
_REQUESTER = (
    *("v", "event", "request_id", "outcome", "code", "record_type", "provider", "agreement", "response"),
    *("regime", "controller", "trace"),
)
_PROVIDER = (*_REQUESTER, "actor", "identifiers", "override", "requester", "purpose")
_NONE, _SHARED, _OWN = range(3)


@dataclass(frozen=True, slots=True)
class Openings:
    """What was sealed, opened: None where there is no such party."""

    requester: Opening | None
    provider: Opening | None
    full: Opening
    view: dict[str, Json]

    def of(self, audience: str) -> Opening | None:
        """The opening of one audience's view."""
        found: Opening | None = getattr(self, audience)
        return found


def pack(
    sealed: SealedEntry,
    requester: RequesterView | None,
    provider: ProviderView | None,
    full: Mapping[str, Json],
) -> bytes:
    """The openings of `sealed`, which was made of these views."""
    asked = _part(sealed.requester, requester.as_json() if requester else {}, _REQUESTER, full)
    held = _part(sealed.provider, provider.as_json() if provider else {}, _PROVIDER, full)
    deflate = _DEFLATE.copy()
    packed = b"".join((_LAYOUT, deflate.compress(b"".join((asked, held, sealed.full.salt, sealed.full.view)))))
    packed += deflate.flush()
    return packed + bytes(-len(packed) % _GRAIN)


def unpack(data: bytes, *, committed: bool = False) -> Openings:
    """What `pack` wrote. Raises IntegrityError for anything else.

    `committed` says that the caller will hold every view's bytes against the entry's commitment: then their
    form is not looked at, which takes most of the time.
    """
    data = _inflated(data)
    asked, at = _read(data, 0)
    held, at = _read(data, at)
    full = Opening.from_bytes(data[at:])
    if not committed:
        view = decode_object(full.view)
        return Openings(_made(asked, view, _REQUESTER), _made(held, view, _PROVIDER), full, view)
    view = _read_json(full.view)
    requester, provider = _made(asked, view, _REQUESTER, write), _made(held, view, _PROVIDER, write)
    return Openings(requester, provider, full, view)


def full_view(data: bytes) -> dict[str, Json]:
    """The full view alone, of what has just been unsealed: nobody but `pack` can have written that. Raises as
    `unpack`, but for a view in other than canonical bytes."""
    data = _inflated(data)
    _, at = _read(data, 0)
    _, at = _read(data, at)
    return _read_json(data[at + SALT_BYTES :])


def _read_json(view: bytes) -> dict[str, Json]:
    try:
        return msgspec.json.decode(view, type=dict)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise IntegrityError("sealed views: the full view is not JSON") from e


def _inflated(data: bytes) -> bytes:
    """The parts one after the other. Raises IntegrityError."""
    if data[:1] != _LAYOUT:
        raise IntegrityError("sealed views: of a layout that this release does not know")
    inflate = zlib.decompressobj(_WINDOW, WORDS)
    try:
        found = inflate.decompress(data[1:], _LARGEST)
    except zlib.error as e:
        raise IntegrityError("sealed views: not what was packed") from e
    if not inflate.eof or any(inflate.unused_data):
        raise IntegrityError("sealed views: not what was packed")
    return found


def _part(
    opening: Opening | None, view: Mapping[str, Json], keys: tuple[str, ...], full: Mapping[str, Json]
) -> bytes:
    if opening is None:
        return bytes((_NONE,))
    if tuple(view) == keys and view.items() <= full.items():
        return bytes((_SHARED,)) + opening.salt
    return bytes((_OWN,)) + opening.salt + len(opening.view).to_bytes(4, "big") + opening.view


def _read(data: bytes, at: int) -> tuple[tuple[bytes, bytes | None] | None, int]:
    """One part's salt, and its view where it was written whole; and where the next begins."""
    if at >= len(data):
        raise IntegrityError("sealed views: not what was packed")
    kind, at = data[at], at + 1
    if kind == _NONE:
        return None, at
    salt, at = data[at : at + SALT_BYTES], at + SALT_BYTES
    if kind == _SHARED:
        return (salt, None), at
    size, at = int.from_bytes(data[at : at + 4], "big"), at + 4
    return (salt, data[at : at + size]), at + size


def _made(
    part: tuple[bytes, bytes | None] | None,
    full: Mapping[str, Json],
    keys: tuple[str, ...],
    spelt: Callable[[object], bytes] = encode,
) -> Opening | None:
    if part is None:
        return None
    salt, view = part
    return Opening(salt, spelt({key: full[key] for key in keys}) if view is None else view)
