"""A suspension of an agreement: any party stops it, and only who did, or an operator, lets it go on."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


class Suspension(Struct, frozen=True):
    """One agency's stop. `operator` says that an operator of the broker made it, for all parties."""

    agreement: str
    agency: str
    system: str
    reason: str
    at: datetime
    operator: bool = False
