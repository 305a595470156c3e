"""What the process says for operators: one JSON object a line, on standard error.

Never personal data: callers pass names of their own, agencies and ids; exceptions are named, not quoted.
"""

from __future__ import annotations

import sys

import structlog


def configure(worker: int | None = None) -> None:
    """Set up once, at the start of a process; `worker` stands in every line where several share a stream."""
    structlog.contextvars.clear_contextvars()
    if worker is not None:
        structlog.contextvars.bind_contextvars(worker=worker)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
