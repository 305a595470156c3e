"""Agencies that act for others: a processor for a controller, a crew attached to a neighbour for hours.

Owns when such a relation covers a use. It is never followed further: whoever acts for one that acts for a
third does not act for the third. What it lets a processor have or give is the controller's to have or give.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct


class Acting(Struct, frozen=True):
    """`processor` acts for `controller` under a contract. Empty scopes mean all; `valid_until` is exclusive.

    With `crews` (call signs) it is mutual aid: these crews ask as the controller's, and no adapter answers.
    """

    id: str
    processor: str
    controller: str
    contract: str
    valid_from: datetime
    valid_until: datetime | None = None
    record_types: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()
    crews: frozenset[str] = frozenset()

    def covers(self, record_type: str, purpose: str) -> bool:
        """Whether it is for this use, whatever the time."""
        return (not self.record_types or record_type in self.record_types) and (
            not self.purposes or purpose in self.purposes
        )

    def in_force(self, at: datetime) -> bool:
        """Whether this moment lies inside its dates."""
        return self.valid_from <= at and (self.valid_until is None or at < self.valid_until)


def acting_key(controller: str) -> str:
    """Key of who acts for an agency."""
    return f"acts:{controller}"


def asks_for(
    relations: Iterable[Acting], processor: str, callsign: str, record_type: str, purpose: str
) -> tuple[Acting, ...]:
    """Those, in force or not, under which a processor may ask for a controller; `relations` are the
    controller's."""
    return tuple(
        each
        for each in relations
        if each.processor == processor
        and each.covers(record_type, purpose)
        and (not each.crews or callsign in each.crews)
    )


def answers_for(relations: Iterable[Acting], record_type: str, purpose: str) -> tuple[Acting, ...]:
    """Those, in force or not, whose processor's adapter may answer for the controller they belong to."""
    return tuple(each for each in relations if not each.crews and each.covers(record_type, purpose))
