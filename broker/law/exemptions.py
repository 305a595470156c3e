"""Why something may be left out of an answer to a request for access: codes with their source and date.

Beside `Law`, since no decision on a request for a record reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from broker.law import Row, read, text


class Exemption(Row, frozen=True, kw_only=True):
    """A reason to leave something out, and the regime of processing to which it belongs."""

    regime: str
    # Only with the opinion of the appropriate health professional, given within six months.
    opinion: bool = False


@cache
def load() -> Mapping[str, Exemption]:
    """Those of this release."""
    return read("exemptions", text("exemptions"), Exemption)
