"""The openings of an entry's three views as one run of bytes, to be sealed once.

Owns its layout. A view whose every value stands in the full view too is written as its salt alone, and made
again from the full view by its keys; one that differs, as under neither confirm nor deny, is written whole. All
of it is compressed with words that every view has (RFC 8878), and filled up to a multiple of 32 bytes, so that
its length says little of what is in it (docs/decisions/0020).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
from backports import zstd

from broker.core.canonical import MAX_BYTES, Json, decode_object
from broker.core.entry import SALT_BYTES, Opening, SealedEntry
from broker.core.views import ProviderView, RequesterView
from broker.errors import IntegrityError
from broker.store.fastjson import encode, write
from broker.store.words import TABLES, WORDS

# Keys and words as of layout 3: a view that gains a key needs another, or old ones would be made with it.
_LAYOUT = b"\x03"
_GRAIN = 32
# Three views at most, each no larger than canonical JSON may be.
_LARGEST = 4 * MAX_BYTES
_WORDS = zstd.ZstdDict(TABLES + WORDS)
# What a frame could say of itself is known, or is looked at by the seal.
_FRAME: dict[int, int] = {
    zstd.CompressionParameter.compression_level: 3,
    zstd.CompressionParameter.content_size_flag: 0,
    zstd.CompressionParameter.checksum_flag: 0,
    zstd.CompressionParameter.dict_id_flag: 0,
}
_compressor = zstd.ZstdCompressor(options=_FRAME, zstd_dict=_WORDS.as_digested_dict)
REQUESTER = (
    *("v", "event", "request_id", "outcome", "code", "record_type", "provider", "agreement", "response"),
    *("regime", "controller", "trace"),
)
PROVIDER = (*REQUESTER, "actor", "identifiers", "override", "requester", "purpose")
_NONE, _SHARED, _OWN = range(3)
_ABSENT, _ALIKE = bytes((_NONE,)), bytes((_SHARED,))


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
    asked = _part(sealed.requester, requester.as_json() if requester else {}, REQUESTER, full)
    held = _part(sealed.provider, provider.as_json() if provider else {}, PROVIDER, full)
    return joined(asked, held, sealed.full)


def joined(asked: bytes, held: bytes, full: Opening) -> bytes:
    """The openings of an entry, of which two are written already."""
    packed = _compressor.compress(b"".join((asked, held, full.salt, full.view)), _compressor.FLUSH_FRAME)
    return b"".join((_LAYOUT, packed, bytes(-(1 + len(packed)) % _GRAIN)))


def shared(opening: Opening | None) -> bytes:
    """A view that says what the full one says, under the keys of its kind."""
    return _ABSENT if opening is None else _ALIKE + opening.salt


def unpack(data: bytes, *, committed: bool = False) -> Openings:
    """What `pack` wrote. Raises IntegrityError for anything else.

    `committed` says that the caller will hold every view's bytes against the entry's commitment: then their
    form is not looked at, which takes most of the time.
    """
    data = _opened(data)
    asked, at = _read(data, 0)
    held, at = _read(data, at)
    full = Opening.from_bytes(data[at:])
    if not committed:
        view = decode_object(full.view)
        return Openings(_made(asked, view, REQUESTER), _made(held, view, PROVIDER), full, view)
    view = _read_json(full.view)
    requester, provider = _made(asked, view, REQUESTER, write), _made(held, view, PROVIDER, write)
    return Openings(requester, provider, full, view)


def views_of(data: bytes) -> tuple[dict[str, Json], dict[str, Json] | None, dict[str, Json] | None]:
    """The full view, the requester's and the provider's, of what has just been unsealed: nobody but `pack` can
    have written that. The full one stands for a party's that says the same. Raises as `unpack`, but for views
    in other than canonical bytes."""
    data = _opened(data)
    asked, at = _read(data, 0)
    held, at = _read(data, at)
    full = _read_json(data[at + SALT_BYTES :])
    return full, _said(asked, full), _said(held, full)


def _said(part: tuple[bytes, bytes | None] | None, full: dict[str, Json]) -> dict[str, Json] | None:
    if part is None:
        return None
    return full if part[1] is None else _read_json(part[1])


def _read_json(view: bytes) -> dict[str, Json]:
    try:
        return msgspec.json.decode(view, type=dict)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise IntegrityError("sealed views: a view is not JSON") from e


def _opened(data: bytes) -> bytes:
    """The parts one after the other. Raises IntegrityError."""
    if data[:1] != _LAYOUT:
        raise IntegrityError("sealed views: of a layout that this release does not know")
    frame = zstd.ZstdDecompressor(zstd_dict=_WORDS)
    try:
        found = frame.decompress(data[1:], _LARGEST)
    except zstd.ZstdError as e:
        raise IntegrityError("sealed views: not what was packed") from e
    if not frame.eof or any(frame.unused_data):
        raise IntegrityError("sealed views: not what was packed")
    return found


def _part(
    opening: Opening | None, view: Mapping[str, Json], keys: tuple[str, ...], full: Mapping[str, Json]
) -> bytes:
    if opening is None or (tuple(view) == keys and view.items() <= full.items()):
        return shared(opening)
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
