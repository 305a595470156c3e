"""Which agency's human and system an entry is of.

Of nearly every entry whoever asked. A named human's decision on a request has the two agencies of the request
as its parties, and is the provider's: its system and its actor are theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DECIDED = frozenset({"override-reviewed", "referral-decided"})


def acted_for(view: Mapping[str, Any]) -> str:
    """The agency of the system and the actor of an entry, as a view of it says; empty where it does not."""
    key = "provider" if view.get("event") in DECIDED else "requester"
    return str(view.get(key) or "")
