"""Where a published log is read from: a folder, or an address. What is read is bounded and believed nowhere.

Refuses answers that are longer than what they were asked for may be, and waits no longer than it is told to.
"""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Protocol

from broker.core.bundles import Bundle
from broker.core.merkle import HASH_BYTES
from broker.core.note import MAX_NOTE_BYTES
from broker.core.tiles import TILE_WIDTH, Tile
from broker.errors import BrokerError

_MAX_DROPPED = 1 << 20
_MAX_BUNDLE = TILE_WIDTH * (2 + 0xFFFF)


class Unreadable(BrokerError):  # noqa: N818
    """The log could not be read: nothing is said of whether it is good. `path` is what was asked for."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path


class Missing(Unreadable):
    """The log answers, and does not have it."""


class Source(Protocol):
    """A published log. Each raises Unreadable; `Missing` where it is not there."""

    name: str

    def checkpoint(self) -> bytes:
        """The newest checkpoint note."""

    def tile(self, tile: Tile) -> bytes:
        """A tile's bytes; a partial one may be cut from a full one."""

    def bundle(self, bundle: Bundle) -> bytes:
        """An entry bundle's bytes; perhaps of a wider one, which the reader cuts."""

    def dropped(self) -> bytes:
        """A line for each partition that lies in an export alone: first entry, first after it, digest."""

    def below(self, name: str) -> Source:
        """The log at this name beneath: where a current log stands, its predecessors have their half-years."""


class _Files(ABC):
    """What both have in common: the names of things, and wider ones instead of narrower."""

    name: str

    @abstractmethod
    def _get(self, path: str, most: int) -> bytes:
        """A file of at most so many bytes. Raises as `Source`."""

    def checkpoint(self) -> bytes:
        """As `Source`."""
        return self._get("checkpoint", MAX_NOTE_BYTES)

    def dropped(self) -> bytes:
        """As `Source`; nothing where there is no such file."""
        try:
            return self._get("dropped", _MAX_DROPPED)
        except Missing:
            return b""

    def tile(self, tile: Tile) -> bytes:
        """As `Source`. A log may drop partial tiles once the full one is there (C2SP tlog-tiles)."""
        most = TILE_WIDTH * HASH_BYTES
        try:
            return self._get(tile.path, most)
        except Missing:
            if tile.width == TILE_WIDTH:
                raise
            return self._get(Tile(tile.level, tile.index).path, most)[: tile.width * HASH_BYTES]

    def bundle(self, bundle: Bundle) -> bytes:
        """As `Source`."""
        try:
            return self._get(bundle.path, _MAX_BUNDLE)
        except Missing:
            if bundle.width == TILE_WIDTH:
                raise
            return self._get(Bundle(bundle.index).path, _MAX_BUNDLE)


class Folder(_Files):
    """A log as files: a mirror, or an exported partition."""

    def __init__(self, root: Path) -> None:
        self.name = str(root)
        self._root = root

    def below(self, name: str) -> Folder:
        """As `Source`."""
        return Folder(self._root / name)

    def _get(self, path: str, most: int) -> bytes:
        file = self._root / path
        try:
            with file.open("rb") as opened:
                data = opened.read(most + 1)
        except FileNotFoundError as e:
            raise Missing(str(file), "is not there") from e
        except OSError as e:
            raise Unreadable(str(file), e.strerror or str(e)) from e
        if len(data) > most:
            raise Unreadable(str(file), f"is longer than {most} bytes")
        return data


class Address(_Files):
    """A log over HTTPS, at the prefix under which `checkpoint` stands."""

    def __init__(self, url: str, context: ssl.SSLContext | None, timeout: float = 10.0) -> None:
        self.name = url.rstrip("/")
        self._timeout = timeout
        handlers = [urllib.request.HTTPSHandler(context=context)] if context else []
        # No redirects, no proxies from the environment: what was named is what is read.
        self._opener = urllib.request.build_opener(_NoRedirect(), urllib.request.ProxyHandler({}), *handlers)

    def below(self, name: str) -> Address:
        """As `Source`."""
        other = Address(f"{self.name}/{name}", None, self._timeout)
        other._opener = self._opener
        return other

    def _get(self, path: str, most: int) -> bytes:
        url = f"{self.name}/{path}"
        try:
            with self._opener.open(url, timeout=self._timeout) as answer:
                data: bytes = answer.read(most + 1)
        except urllib.error.HTTPError as e:
            e.close()
            if e.code in (404, 410):
                raise Missing(url, f"is not there ({e.code})") from e
            raise Unreadable(url, f"answered {e.code}") from e
        except (OSError, ValueError) as e:
            reason = getattr(e, "reason", e)
            raise Unreadable(url, str(reason) or type(e).__name__) from e
        if len(data) > most:
            raise Unreadable(url, f"is longer than {most} bytes")
        return data


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        """None: a redirect is an error of the log."""
