"""Which agreement takes the place of which: one that names another in `supersedes` ends it on its first day.

Pure, and the same for a decision, an overlap and a list. A new version of an agreement is no such thing: it
takes the place of the one before by being applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from broker.core.agreement import Agreement


def successors(agreements: Iterable[Agreement]) -> dict[str, Agreement]:
    """By id, the agreement that takes its place; the one that begins first where several do."""
    found: dict[str, Agreement] = {}
    for each in sorted(agreements, key=lambda a: (a.begins, a.id)):
        if each.supersedes is not None:
            found.setdefault(each.supersedes, each)
    return found


def end(agreement: Agreement, by: Mapping[str, Agreement]) -> datetime:
    """The first moment no longer in force, a successor (`successors`) considered."""
    successor = by.get(agreement.id)
    return agreement.ends if successor is None else min(agreement.ends, successor.begins)


def circle(agreement: Agreement, others: Mapping[str, Agreement]) -> tuple[str, ...]:
    """The ids round which `supersedes` leads back to this agreement; empty where it does not."""
    trail, at = [agreement.id], agreement.supersedes
    while at is not None and at not in trail:
        trail.append(at)
        at = others[at].supersedes if at in others else None
    return (*trail, at) if at == agreement.id else ()
