"""Which agency's human and system an entry is of.

Of nearly every entry whoever asked. A named human's decision on a request has the two agencies of the request
as its parties, and is the provider's: its system and its actor are theirs. What was shared while the broker was
down is of whichever of the two wrote it down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DECIDED = frozenset({"override-reviewed", "referral-decided"})
_LATE = "recorded-late"


def acted_for(view: Mapping[str, Any]) -> str:
    """The agency of the system and the actor of an entry, as a view of it says; empty where it does not."""
    event, told = view.get("event"), view.get("told")
    if event == _LATE and isinstance(told, Mapping):
        return str(told.get("recorded_by") or "")
    return str(view.get("provider" if event in DECIDED else "requester") or "")
