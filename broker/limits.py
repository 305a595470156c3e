"""How much each agency and each agreement may ask for, and which requests take the emergency lane.

Owns the counts and nothing else: time is an argument, and what was agreed comes with the snapshot it is given.
Refuses with `QuotaExceeded`, which says which quota and for how long. Each worker grants its share of what the
deployment grants: the rate divided by the workers that live.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from msgspec.structs import replace

from broker.config import AGENCY_PER_SECOND
from broker.core.model import Request, SubjectRef
from broker.core.reference import FlowKey, Reference
from broker.errors import QuotaExceeded, Saturated

MINUTE = 60.0
# Refusals a second that one agency is given by one worker before its streams are read more slowly.
REFUSALS = 2000
LONGEST = 10.0  # seconds that a stream is left unread for that
# Changes a second, and at once, that one agency may make of what was said about one person or premises.
CHANGES, CHANGES_AT_ONCE = 1.0, 20.0
_MAX_KEYS = 65_536


class Buckets:
    """Token buckets by key, in one number each: the moment at which the bucket will be full again.

    That is the generic cell rate algorithm (ITU-T I.371). A bucket that is full is as good as none and is
    dropped; a new key beyond `most` that are not full waits until one is.
    """

    def __init__(self, most: int = _MAX_KEYS) -> None:
        self._full_at: dict[str, float] = {}
        self._most = most
        self._sweep_at = min(most, 64)

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str, rate: float, burst: float, now: float) -> float:
        """Take a token of `rate` a second and `burst` at most; 0.0, or the seconds until there will be one.

        `now` never goes back. No window of t seconds gives more than `rate` * t + `burst`.
        """
        full_at = max(self._full_at.get(key, now), now) + 1.0 / rate
        wait = full_at - now - max(burst, 1.0) / rate
        if wait > 1e-9 or (wait := self._no_room(key, now)):
            return wait
        self._full_at[key] = full_at
        return 0.0

    def owe(self, key: str, rate: float, burst: float, now: float, count: int, longest: float) -> float:
        """Take `count` tokens, there or not; the seconds until that debt is paid, at most `longest`."""
        if self._no_room(key, now):
            return longest
        full_at = max(self._full_at.get(key, now), now) + count / rate
        self._full_at[key] = min(full_at, now + burst / rate + longest)
        return max(0.0, self._full_at[key] - now - burst / rate)

    def _no_room(self, key: str, now: float) -> float:
        """Seconds until this key may have a bucket; 0.0 where it may now."""
        if key in self._full_at or len(self._full_at) < self._sweep_at:
            return 0.0
        self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
        if len(self._full_at) < self._most:
            self._sweep_at = min(self._most, max(64, 2 * len(self._full_at)))
            return 0.0
        return max(min(self._full_at.values()) - now, 1e-3)


class Seats:
    """So many at once of each key, and of none for longer than it is held."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._held: Counter[str] = Counter()

    @contextmanager
    def one(self, key: str) -> Iterator[None]:
        """One seat for as long as the block lasts. Raises Saturated."""
        if self._held[key] >= self._most:
            raise Saturated(f"{key} has as many {self._what} open here as it may: {self._most}", 5.0)
        self._held[key] += 1
        try:
            yield
        finally:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]


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
        key = FlowKey(request.requester, request.provider, request.record_type, request.purpose)
        flow = reference.in_force(key, at)
        if flow is None or (limits := flow.agreement.limits) is None:
            return request
        whose = f"{flow.agreement.id} {request.requester}"
        if limits.per_minute is not None:
            share = limits.per_minute / self._workers
            if wait := self._agreements.take(whose, share / MINUTE, share, now):
                text = (
                    f"the quota of {request.requester} under {flow.agreement.id} is used up: "
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

    def patience(self, agency: str, refused: int, now: float) -> float:
        """Seconds to leave an agency unread that was just refused so much at the door."""
        return self._refusals.owe(agency, REFUSALS, REFUSALS / 4, now, refused, LONGEST)
