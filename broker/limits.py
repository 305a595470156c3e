"""How much each agency and each agreement may ask for, and which requests take the emergency lane.

Owns the counts and nothing else: time is an argument, and what was agreed comes with the snapshot it is given.
Refuses with `QuotaExceeded`, which says which quota and for how long. Each worker grants its share of what the
deployment grants: the rate divided by the workers that live.
"""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from broker.buckets import Buckets
from broker.config import AGENCY_PER_SECOND
from broker.core.flow import FlowKey
from broker.core.model import Request, SubjectRef
from broker.core.reference import Reference
from broker.core.steps.sides import resolved
from broker.errors import QuotaExceeded

MINUTE = 60.0
# Refusals a second that one agency is given by one worker before its streams are read more slowly.
REFUSALS = 2000
LONGEST = 10.0  # seconds that a stream is left unread for that
# Changes a second, and at once, that one agency may make of what was said about one person or premises.
CHANGES, CHANGES_AT_ONCE = 1.0, 20.0
# Requests a second, and at once, that one agency may put before other agencies' humans.
REFERRALS, REFERRALS_AT_ONCE = 1.0, 60.0

# Looks a second, and at once, that one agency may take at what is recorded, in this deployment, with what it
# writes down at will: requests for access, complaints, other numbers of its incidents.
LOOKS, LOOKS_AT_ONCE = 10.0, 300.0


class Limits:
    """The quotas of one worker."""

    def __init__(self, per_second: float = AGENCY_PER_SECOND) -> None:
        self._per_second = per_second
        self._workers = 1
        self._agencies = Buckets()
        self._agreements = Buckets()
        self._emergencies = Buckets()
        self._refusals = Buckets()
        self._changes = Buckets()
        self._referrals = Buckets()
        self._looks = Buckets()

    def shared_by(self, workers: int) -> None:
        """From now on so many workers serve, this one among them."""
        self._workers = max(1, workers)

    def spend(self, agency: str, now: float) -> None:
        """Count one request of an agency, whatever it says. Raises QuotaExceeded."""
        rate = self._per_second / self._workers
        if wait := self._agencies.take(agency, rate, rate, now):
            text = (
                f"the quota of {agency} is used up: {self._per_second:g} requests a second of this deployment"
            )
            raise QuotaExceeded(text, wait, quota="agency")

    def admit(self, request: Request, reference: Reference, at: datetime, now: float) -> Request:
        """The request, urgent where its agreement grants the emergency lane and the lane has room for it.

        `at` is the day (UTC), `now` what the buckets go by. Raises QuotaExceeded where its agreement's quota is
        used up. Where no agreement is in force nothing is counted: the decision refuses it.
        """
        asked = resolved(request, reference, at)
        key = FlowKey(asked.requester, asked.provider, asked.record_type, asked.purpose)
        flow = reference.in_force(key, at)
        if flow is None or (limits := flow.agreement.limits) is None:
            return request
        whose = f"{flow.agreement.id} {asked.requester}"
        if limits.per_minute is not None:
            share = limits.per_minute / self._workers
            if wait := self._agreements.take(whose, share / MINUTE, share, now):
                text = (
                    f"the quota of {asked.requester} under {flow.agreement.id} is used up: "
                    f"{limits.per_minute} requests a minute"
                )
                raise QuotaExceeded(text, wait, quota="agreement")
        if limits.emergency_per_minute is not None:
            share = limits.emergency_per_minute / self._workers
            if not self._emergencies.take(whose, share / MINUTE, share, now):
                return replace(request, urgent=True)
        return request

    def change(self, agency: str, about: SubjectRef, now: float) -> None:
        """Count one change by an agency of what was said about somebody. Raises QuotaExceeded.

        Each one makes every decision about them that is under way be made again.
        """
        who = f"{agency} {hash(about)}"  # whom it is about is nobody's to keep
        if wait := self._changes.take(who, CHANGES, CHANGES_AT_ONCE, now):
            text = f"{agency} changes what was said about one subject too often"
            raise QuotaExceeded(text, wait, quota="subject")

    def referral(self, agency: str, now: float) -> None:
        """Count one request that an agency puts before a human: a row in their queue. Raises QuotaExceeded."""
        if wait := self._referrals.take(agency, REFERRALS, REFERRALS_AT_ONCE, now):
            raise QuotaExceeded(
                f"{agency} puts more before humans than they can decide", wait, quota="referrals"
            )

    def look(self, agency: str, now: float) -> None:
        """Count one look by an agency at what is recorded, or one entry that it makes at will. Raises
        QuotaExceeded.

        It is a request like others, and an entry of everybody's log, which nobody is to fill.
        """
        self.spend(agency, now)
        rate, burst = LOOKS / self._workers, LOOKS_AT_ONCE / self._workers
        if wait := self._looks.take(agency, rate, burst, now):
            text = f"{agency} looks or records too often: each is an entry, and it has {LOOKS:g} a second"
            raise QuotaExceeded(text, wait, quota="looks")

    def patience(self, agency: str, refused: int, now: float) -> float:
        """Seconds to leave an agency unread that was just refused so much at the door."""
        return self._refusals.owe(agency, REFUSALS, REFUSALS / 4, now, refused, LONGEST)
