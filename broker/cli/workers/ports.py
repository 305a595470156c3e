"""The ports that several workers share: chosen and kept before any of them starts.

A bound socket that does not listen takes no connection, but keeps the port ours between one worker's end and
the next one's start. Refuses a port on which somebody listens already: two deployments of one user would
otherwise be dealt each other's connections.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from broker.errors import SetupError


@contextmanager
def reserved(host: str, port: int, setting: str) -> Iterator[int]:
    """Keep `port` of `host` (0: a free one) for the block; the real one. Raises SetupError naming `setting`."""
    bare = host.strip("[]")
    try:
        family, _, _, _, address = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)[0]
        if port:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                # Not held up by connections that have just ended; refused where anybody listens.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        kept = socket.socket(family, socket.SOCK_STREAM)
        # Both: a connection that has just ended would hold up the one without the other.
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(address)
    except OSError as e:
        raise SetupError(
            f"port {port} on {host} cannot be had ({e.strerror}); choose another with {setting} (0: any)"
        ) from e
    with kept:
        yield kept.getsockname()[1]
