"""Owns how long to wait before trying again: doubling to a cap, each time a random part of it."""

from __future__ import annotations

import random

FIRST = 0.05
CAP = 2.0


def backoff(attempt: int) -> float:
    """Seconds before try number `attempt` (from 0): random, so clients cut off together return apart."""
    ceiling = min(CAP, FIRST * (1 << min(attempt, 10)))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - spreads load, guards nothing
