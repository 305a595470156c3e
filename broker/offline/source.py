"""Where a published log is read from: a folder, or an address. What is read is bounded and believed nowhere.

Refuses answers that are longer than what they were asked for may be, waits no longer than it is told to, and
follows neither links nor redirects.
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from broker.core.bundles import Bundle, decode_bundle
from broker.core.merkle import HASH_BYTES
from broker.core.note import MAX_NOTE_BYTES
from broker.core.tiles import TILE_WIDTH, Tile, hashes_of
from broker.errors import IntegrityError
from broker.offline import files
from broker.offline.https import ANSWER, SILENCE, Missing, Site, Unreadable

__all__ = ["Address", "Folder", "Missing", "Source", "Unreadable", "entries_in"]

_MAX_DROPPED = 1 << 20
_MAX_ENTRY = 2 + 0xFFFF


class Source(Protocol):
    """A published log. Each raises Unreadable, `Missing` where it is not there, and IntegrityError where what
    is there can be none: it is longer than anything of its name."""

    name: str

    def checkpoint(self) -> bytes:
        """The newest checkpoint note."""

    def tile(self, tile: Tile) -> bytes:
        """A tile's bytes; a partial one may be cut from a full one."""

    def bundle(self, bundle: Bundle) -> tuple[Bundle, bytes]:
        """An entry bundle's bytes, and which it is: perhaps the full one, which the reader cuts."""

    def dropped(self) -> bytes:
        """A line for each partition that lies in an export alone: first entry, first after it, digest."""

    def paths(self) -> Iterator[tuple[str, str]] | None:
        """Everything that lies there, and why it is not to be read, or nothing; None where that cannot be
        told."""

    def file(self, path: str, most: int) -> bytes:
        """One of `paths`."""

    def below(self, name: str) -> Source:
        """The log at this name beneath: where a current log stands, its predecessors have their half-years."""


def entries_in(source: Source, bundle: Bundle) -> tuple[bytes, ...]:
    """The entries of a bundle, every byte of what was served accounted for.

    Raises IntegrityError, Unreadable.
    """
    served, data = source.bundle(bundle)
    return decode_bundle(data, served.width)[: bundle.width]


class _Files(ABC):
    """What both have in common: the names of things, and wider ones instead of narrower."""

    name: str

    @abstractmethod
    def file(self, path: str, most: int) -> bytes:
        """A file of at most so many bytes. Raises as `Source`."""

    def checkpoint(self) -> bytes:
        """As `Source`."""
        return self.file("checkpoint", MAX_NOTE_BYTES)

    def dropped(self) -> bytes:
        """As `Source`; nothing where there is no such file."""
        try:
            return self.file("dropped", _MAX_DROPPED)
        except Missing:
            return b""

    def tile(self, tile: Tile) -> bytes:
        """As `Source`. A log may drop partial tiles once the full one is there (C2SP tlog-tiles)."""
        try:
            return self.file(tile.path, tile.width * HASH_BYTES)
        except Missing:
            if tile.width == TILE_WIDTH:
                raise
            full = Tile(tile.level, tile.index)
            return b"".join(hashes_of(full, self.file(full.path, TILE_WIDTH * HASH_BYTES))[: tile.width])

    def bundle(self, bundle: Bundle) -> tuple[Bundle, bytes]:
        """As `Source`."""
        try:
            return bundle, self.file(bundle.path, bundle.width * _MAX_ENTRY)
        except Missing:
            if bundle.width == TILE_WIDTH:
                raise
            full = Bundle(bundle.index)
            return full, self.file(full.path, TILE_WIDTH * _MAX_ENTRY)


class Folder(_Files):
    """A log as files: a mirror, or an exported partition. Nothing is read by way of a link below `root`."""

    def __init__(self, root: Path, within: str = "") -> None:
        self.name = str(root / within)
        self._root = root
        self._within = within

    def below(self, name: str) -> Folder:
        """As `Source`."""
        return Folder(self._root, f"{self._within}{name}/")

    def paths(self) -> Iterator[tuple[str, str]]:
        """As `Source`."""
        try:
            yield from files.below(self._root / self._within)
        except OSError as e:
            raise Unreadable(self.name, e.strerror or str(e)) from e

    def file(self, path: str, most: int) -> bytes:
        """As `Source`."""
        named = f"{self._within}{path}"
        try:
            return files.read_below(self._root, named, most)
        except FileNotFoundError as e:
            raise Missing(str(self._root / named), "is not there") from e
        except OSError as e:
            raise Unreadable(str(self._root / named), e.strerror or str(e)) from e


class Address(_Files):
    """A log over HTTPS, at the prefix under which `checkpoint` stands. Raises ValueError for no address."""

    def __init__(
        self,
        url: str,
        context: ssl.SSLContext | None,
        timeout: float = SILENCE,
        *,
        answer: float = ANSWER,
        until: float = float("inf"),
    ) -> None:
        self._site = Site(url, context, silence=timeout, answer=answer, until=until)
        self._made = (context, timeout, answer, until)
        self.name = self._site.url

    def below(self, name: str) -> Address:
        """As `Source`."""
        context, timeout, answer, until = self._made
        return Address(f"{self.name}/{name}", context, timeout, answer=answer, until=until)

    def paths(self) -> None:
        """As `Source`: an address lists nothing."""
        return

    def file(self, path: str, most: int) -> bytes:
        """As `Source`."""
        data = self._site.get(path, most)
        if data is None:
            raise IntegrityError(f"{path}: longer than {most} bytes, and nothing of that name may be")
        return data
