"""Owns entry bundles (C2SP tlog-tiles, "Log entries"): up to 256 entries, each behind its uint16 length.

Refuses entries of more than 65,535 bytes, bundles of none or more than 256 entries, a count other than the
bundle's width, and bytes left over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from broker.core.merkle import MAX_SIZE
from broker.core.tiles import TILE_WIDTH, format_number, parse_number, partial_suffix
from broker.errors import IntegrityError

MAX_ENTRY_BYTES = 0xFFFF
_PREFIX = 2
_NAME = re.compile(r"tile/entries/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The name of a bundle: `width` entries of the log, from number 256 * `index`."""

    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not 0 <= self.index <= MAX_SIZE or not 1 <= self.width <= TILE_WIDTH:
            raise IntegrityError(f"no such entry bundle: index {self.index}, width {self.width}")

    @property
    def path(self) -> str:
        """`tile/entries/<N>[.p/<W>]`, relative to the log's prefix."""
        return f"tile/entries/{format_number(self.index)}{partial_suffix(self.width)}"

    @classmethod
    def parse(cls, path: str) -> Bundle:
        """Return the bundle named by `path`; refuses any spelling but that of `path`."""
        match = _NAME.fullmatch(path)
        if match is None:
            raise IntegrityError("not the path of an entry bundle")
        bundle = cls(parse_number(match[1]), int(match[2] or TILE_WIDTH))
        if bundle.path != path:
            raise IntegrityError("not the one spelling of an entry bundle's path")
        return bundle


def bundle_in(index: int, size: int) -> Bundle:
    """Return bundle number `index` as wide as a log of `size` entries has it."""
    width = min(TILE_WIDTH, size - TILE_WIDTH * index)
    if width < 1:
        raise IntegrityError(f"a log of {size} entries has no bundle {index}")
    return Bundle(index, width)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return the bytes of a bundle of these entries, in order."""
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise IntegrityError(f"a bundle holds 1 to {TILE_WIDTH} entries, not {len(entries)}")
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise IntegrityError(f"an entry of {len(entry)} bytes, more than {MAX_ENTRY_BYTES}")
        parts += (len(entry).to_bytes(_PREFIX, "big"), entry)
    return b"".join(parts)


def decode_bundle(data: bytes, width: int) -> tuple[bytes, ...]:
    """Return the `width` entries of a bundle.

    Raises:
        IntegrityError: the bytes end inside an entry, or hold more or fewer entries.
    """
    if not 1 <= width <= TILE_WIDTH:
        raise IntegrityError(f"a bundle holds 1 to {TILE_WIDTH} entries, not {width}")
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _PREFIX
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data) or start > len(data):
            raise IntegrityError("entry bundle: ends inside an entry")
        if len(entries) == width:
            raise IntegrityError(f"entry bundle: more than {width} entries")
        entries.append(data[start:at])
    if len(entries) != width:
        raise IntegrityError(f"entry bundle: {len(entries)} entries, not {width}")
    return tuple(entries)
