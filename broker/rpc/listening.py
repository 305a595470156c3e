"""A port that this process listens on, closed while its connections live on.

gRPC closes both at once only. Owns finding the listening sockets of a port among our own (Linux: `/proc`);
elsewhere nothing is found, and the port closes with its connections.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_OURS = Path("/proc/self/fd")


def stop_listening(port: int) -> bool:
    """Take no more connections on a TCP port; whether anything listened.

    The kernel deals new ones out to whoever else listens on it.
    """
    stopped = False
    for each in _listening(port):
        with each:
            each.shutdown(socket.SHUT_RDWR)
            stopped = True
    return stopped


def _listening(port: int) -> Iterator[socket.socket]:
    """Our listening sockets of this port, each under a number of its own."""
    with suppress(FileNotFoundError):
        for entry in list(_OURS.iterdir()):
            with suppress(OSError):
                if entry.readlink().name.startswith("socket:") and (one := _socket(int(entry.name))):
                    if _listens(one, port):
                        yield one
                    else:
                        one.close()


def _socket(number: int) -> socket.socket | None:
    copy = os.dup(number)
    try:
        return socket.socket(fileno=copy)
    except OSError:  # of no kind that has addresses
        os.close(copy)
        return None


def _listens(one: socket.socket, port: int) -> bool:
    if one.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    accepts: int = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    bound: int = one.getsockname()[1]
    return bool(accepts) and bound == port
