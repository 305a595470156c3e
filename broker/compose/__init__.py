"""The only composition root: from settings to parts to servers, and back down in the other order."""

from broker.compose.root import Running, as_read, running

__all__ = ["Running", "as_read", "running"]
