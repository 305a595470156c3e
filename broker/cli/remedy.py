"""What can be done about a named failure, where something can."""

from __future__ import annotations

import math

from broker.errors import BrokerError, Denied, ProviderTimeout, ProviderUnavailable, Saturated


def remedy(error: BrokerError) -> str | None:
    """A sentence; None where there is nothing to say."""
    if isinstance(error, Denied):
        return error.refusal.remedy or None
    if isinstance(error, Saturated):
        return f"Ask again in {max(1, math.ceil(error.retry_after))} s."
    if isinstance(error, ProviderUnavailable | ProviderTimeout):
        return "Ask again; in an emergency, telephone whoever holds the record."
    return None
