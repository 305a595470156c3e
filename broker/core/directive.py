"""What people have said about the use of what is held about them, and what shields them whoever asks.

Owns which directives speak to a request, who may speak for whom, and when a consent stands. The weight of what
was said (required, respected, recorded) is the agreement's to give; shields are heeded whatever the weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime

from msgspec import Struct

# Each stands in the way of a use, and outweighs a consent.
AGAINST = frozenset({"refusal", "objection", "restriction"})
# The national data opt-out: only where an agreement says that it applies.
OPT_OUT = "opt-out"
# Former identities, a conflict of interest of somebody on the staff, a way to reach someone that others near
# them must not learn: no weight that an agreement gives can set these aside.
SHIELDS = frozenset({"protected-identity", "staff-conflict", "safe-contact"})
KINDS = frozenset({"consent", OPT_OUT}) | AGAINST | SHIELDS
# What a link from another identifier carries: everything but consent.
CARRIED = KINDS - {"consent"}
STANDINGS = frozenset({"self", "gillick-child", "parental-responsibility", "attorney", "deputy"})
# Those who speak for somebody else, and must say by what right.
FOR_ANOTHER = frozenset({"parental-responsibility", "attorney", "deputy"})
MANNERS = frozenset({"verbal", "written"})
CAPACITIES = frozenset({"presumed", "has", "lacks"})
COMPANY = frozenset({"alone", "accompanied"})
# What was agreed to: that something is shared, or only that somebody comes. The second is never the first.
MATTERS = frozenset({"sharing", "visit"})


class Directive(Struct, frozen=True):
    """One thing somebody said. Empty scopes mean all. Times are UTC; `valid_until` is exclusive.

    `speaker` tells apart those who may speak ("mother"); `authority` is by what right somebody speaks for
    another; `assessor`, `assessed_on` and `assessed` (the decision it was about) belong to a Gillick or
    capacity assessment; `actors` are ids of people on the staff who have a conflict. A consent is asked for
    again from `reconsider_at` on: at competence, at 16, at 18.
    """

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
    matter: str = "sharing"
    speaker: str = ""
    authority: str = ""
    capacity: str = "presumed"
    assessor: str = ""
    assessed_on: date | None = None
    assessed: str = ""
    taken_by: str = ""
    explained: str = ""
    company: str = ""
    reconsider_at: datetime | None = None
    actors: frozenset[str] = frozenset()

    def speaks_to(self, *, purpose: str, record_type: str, requester: str, provider: str) -> bool:
        """Whether the scope covers this use, whatever the time."""
        return self.speaks_to_any(purpose, record_type, frozenset({requester}), frozenset({provider}))

    def speaks_to_any(
        self, purpose: str, record_type: str, requesters: frozenset[str], providers: frozenset[str]
    ) -> bool:
        """As `speaks_to`, for any of these requesters and any of these providers."""
        return (
            (not self.purposes or purpose in self.purposes)
            and (not self.record_types or record_type in self.record_types)
            and (not self.requesters or not self.requesters.isdisjoint(requesters))
            and (not self.providers or not self.providers.isdisjoint(providers))
        )

    def in_force(self, now: datetime) -> bool:
        """Whether it has been said and has not run out at `now`."""
        return self.said_at <= now and (self.valid_until is None or now < self.valid_until)


def why_not(directive: Directive, now: datetime) -> str | None:
    """What a consent lacks to stand at `now`, in words for its owner; None where it stands.

    Capacity is presumed (Mental Capacity Act 2005 s.1(2)); a child consents where somebody has assessed that
    it understands this decision; whoever speaks for another says by what right.
    """
    if directive.matter != "sharing":
        return "was given for a visit, which is not consent to share"
    if directive.standing == "self" and directive.capacity == "lacks":
        return "the person was assessed to lack capacity for this decision"
    if directive.standing == "gillick-child" and not (directive.assessor and directive.assessed_on):
        return "nobody is recorded as having assessed the child's competence"
    if directive.standing in FOR_ANOTHER and not directive.authority:
        return "says nothing of the right by which somebody spoke for another"
    if directive.reconsider_at is not None and directive.reconsider_at <= now:
        return "was to be asked for again by now"
    return None


def next_change(directives: Iterable[Directive], now: datetime) -> datetime | None:
    """The first moment after `now` at which one of these begins, ends or lapses by itself."""
    moments = [
        t for d in directives for t in (d.said_at, d.valid_until, d.reconsider_at) if t is not None and t > now
    ]
    return min(moments, default=None)
