"""The open streams of this worker, and whether whoever is at the other end may still speak.

Streams outlive suspensions, revoked keys and certificates. Each message is checked where it arrives; a stream
that is silent is checked here, whenever the directory has changed and once a second for what time alone ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from broker.errors import UnknownSystem
from broker.rpc.context import Context
from broker.rpc.identity import Identity

End = Callable[[UnknownSystem], None]


class Streams:
    """Who is connected. `end` of a stream is called once, with why, and must not block."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._open: dict[int, tuple[Context, End]] = {}

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def opened(self, context: Context, end: End) -> Iterator[None]:
        """Watch over a stream for as long as the block lasts."""
        self._open[id(end)] = (context, end)
        try:
            yield
        finally:
            self._open.pop(id(end), None)

    def review(self) -> None:
        """End every stream whose system may not speak now."""
        for key, (context, end) in list(self._open.items()):
            try:
                self._identity.of(context)
            except UnknownSystem as e:
                self._open.pop(key, None)
                end(e)
