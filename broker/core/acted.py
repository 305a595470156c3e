"""Which agency's human and system an entry is of.

Of nearly every entry whoever asked. A named human's decision on a request has the two agencies of the request
as its parties, and is the provider's: its system, its actor and its words are theirs. What was shared while the
broker was down is of whichever of the two wrote it down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DECIDED = frozenset({"override-reviewed", "referral-decided"})
LATE = "recorded-late"


def acted_for(view: Mapping[str, Any]) -> str:
    """The agency of the system, the actor and the words of an entry, as a view of it says; empty where it does
    not."""
    if view.get("event") == LATE:
        told = view.get("told")
        return str(told.get("recorded_by") or "") if isinstance(told, Mapping) else ""
    key = "provider" if view.get("event") in DECIDED else "requester"
    return str(view.get(key) or "")
