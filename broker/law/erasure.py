"""Why something is erased, and why erasure is refused: codes with their source and date.

Beside `Law`, since no decision on a request for a record reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from broker.law import Row, read, text


class Ground(Row, frozen=True, kw_only=True):
    """A reason for an erasure, or `against` one, and the regime of processing to which it belongs."""

    regime: str
    against: bool = False


@cache
def load() -> Mapping[str, Ground]:
    """Those of this release."""
    return read("erasure", text("erasure"), Ground)


def codes(*, against: bool) -> tuple[str, ...]:
    """The codes for an erasure, or those against one, in their order."""
    return tuple(code for code, each in load().items() if each.against is against)
