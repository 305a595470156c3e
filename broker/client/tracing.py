"""Owns the tracing that all clients of one process share, as the environment says.

Never a reason to refuse: OTEL_* may be set for the program that we are only a part of.
"""

from __future__ import annotations

import atexit
import logging
from functools import cache

from broker.errors import SetupError
from broker.tracing import OFF, Tracing, from_environment

log = logging.getLogger("broker.client")


@cache
def of_process() -> Tracing:
    """Made once, off where it cannot be had; the last spans leave as the interpreter ends."""
    try:
        tracing = from_environment("broker-client")
    except SetupError as e:
        log.warning("requests are not traced: %s", e)
        return OFF
    atexit.register(tracing.close)
    return tracing
