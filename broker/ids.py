"""Ids, salts and nonces that nobody can guess.

Drawn from the operating system many at a time: asking it costs more than what is drawn. Each block is given out
once, to one caller, and none to a process that was forked.
"""

from __future__ import annotations

import os
import time

BLOCK = 32  # bytes at most
_BLOCKS = 256
_drawn: list[bytes] = []
os.register_at_fork(after_in_child=_drawn.clear)


def random_bytes(count: int) -> bytes:
    """`count` unpredictable bytes, at most `BLOCK`."""
    if count > BLOCK:
        return os.urandom(count)
    while True:
        try:
            return _drawn.pop()[:count]  # one thread gets it
        except IndexError:
            fresh = os.urandom(BLOCK * _BLOCKS)
            _drawn.extend(fresh[at : at + BLOCK] for at in range(0, len(fresh), BLOCK))


def entry_id() -> str:
    """A random UUID in lower case (RFC 9562 section 5.4), at a third of what the standard library takes."""
    return _uuid("4", random_bytes(16).hex())


def request_id() -> str:
    """A UUID in lower case that begins with the time in milliseconds (RFC 9562 section 5.7).

    Of what a requester makes up: claims of such ids stand beside those that were made just before, so that
    the store need not touch, and write ahead, a page of its whole index for each.
    """
    return _uuid("7", f"{time.time_ns() // 1_000_000:012x}{random_bytes(10).hex()}")


def _uuid(version: str, digits: str) -> str:
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
