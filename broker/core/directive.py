"""What people have said about the use of what is held about them.

Owns which directives speak to a request. Weight (required, respected, recorded) is the agreement's to give;
see `decision.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

KINDS = frozenset({"consent", "refusal", "objection", "restriction"})
# A consent allows; each of the others stands in the way.
AGAINST = KINDS - {"consent"}
STANDINGS = frozenset({"self", "gillick-child", "parental-responsibility", "attorney", "deputy"})
MANNERS = frozenset({"verbal", "written"})


@dataclass(frozen=True, slots=True)
class Directive:
    """One thing somebody said. Empty scopes mean all. Times are UTC; `valid_until` is exclusive."""

    id: str
    kind: str
    recorder: str
    said_at: datetime
    standing: str = "self"
    manner: str = "verbal"
    purposes: frozenset[str] = frozenset()
    record_types: frozenset[str] = frozenset()
    requesters: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    valid_until: datetime | None = None

    def speaks_to(self, *, purpose: str, record_type: str, requester: str, provider: str) -> bool:
        """Whether the scope covers this use, whatever the time."""
        return (
            _covers(self.purposes, purpose)
            and _covers(self.record_types, record_type)
            and _covers(self.requesters, requester)
            and _covers(self.providers, provider)
        )

    def in_force(self, now: datetime) -> bool:
        """Whether it has been said and has not run out at `now`."""
        return self.said_at <= now and (self.valid_until is None or now < self.valid_until)


def _covers(scope: frozenset[str], value: str) -> bool:
    return not scope or value in scope


def next_change(directives: Iterable[Directive], now: datetime) -> datetime | None:
    """The first moment after `now` at which one of these begins or ends by itself."""
    moments = [t for d in directives for t in (d.said_at, d.valid_until) if t is not None and t > now]
    return min(moments, default=None)
