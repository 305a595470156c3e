"""What the broker counts, for Prometheus: who asked for how much, how it ended, how long it took.

Owns one registry, and with `scraped` every metric's name. Labels are agencies, record types, outcomes and names
of our own; refuses anything about a person, a request or an actor, and refuses to grow: a record type counts
under its name only once it is approved, and past a bound every new label value is `other`.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from broker.refused import Refused, RefusedCalls
from broker.scraped import OTHER, AnchorCounts, Bounded, LogCounts, Watched, WitnessCounts

OUTCOMES = frozenset({"permit", "refuse", "refer", "not-found", "ambiguous", "failed", "replayed", "error"})
MAX_AGENCIES = 256
MAX_RECORD_TYPES = 128
# Of agency, record type and outcome, whose times are told apart: each is some twenty lines at every scrape.
MAX_TIMED = 512

# Seconds. Fine below the 5 ms that an answer usually takes, up to the 30 s that a request may ask for.
_BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SHARES = (("half", 0.5), ("95 %", 0.95), ("99 %", 0.99))
_FEWEST = 10


class Edge(StrEnum):
    """Where a call came in."""

    GRPC = "grpc"
    HTTPS = "https"


class Telemetry:
    """The metrics of one process, in one registry.

    `approved` says whether a record type may be named in a label. What other parts count by themselves is
    read when scraped: see the `watch_` methods, which take functions that neither wait nor fail.
    """

    def __init__(self, version: str, approved: Callable[[str], bool]) -> None:
        self.registry = CollectorRegistry()
        # The same refusals by system and method: what the log is told of them.
        self.refused = RefusedCalls()
        self._approved = approved
        self._agencies = Bounded(MAX_AGENCIES)
        self._record_types = Bounded(MAX_RECORD_TYPES)
        self._timed = Bounded(MAX_TIMED)
        self._watched = Watched(self._agencies)
        self.registry.register(self._watched)
        ProcessCollector(registry=self.registry)
        build = Gauge("broker_build_info", "Version that runs.", ["version"], registry=self.registry)
        build.labels(version).set(1)
        self._requests = self._counter(
            "requests", "Requests answered, by requester.", ["agency", "record_type", "outcome"]
        )
        self._seconds = Histogram(
            "broker_request_seconds",
            "From a request's arrival to its answer.",
            ["agency", "record_type", "outcome"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        # Finding a series takes longer than counting in it.
        self._series = lru_cache(maxsize=4096)(self._find)
        self._overridden = self._counter(
            "overrides", "Records released past a refusal by an override.", ["agency", "provider"]
        )
        self._notices = self._counter(
            "override_notices", "Tries to tell an owner's software of an override.", ["outcome"]
        )
        self._stamps = self._counter("timestamps", "Time stamps asked for.", ["outcome"])
        self._malformed = self._counter("malformed", "Calls refused for their form.", ["edge"])
        self._unauthenticated = self._counter(
            "unauthenticated", "Calls without a certificate that is enrolled now.", ["edge"]
        )
        self._over_quota = self._counter(
            "over_quota", "Calls refused for their number.", ["edge", "agency", "limit"]
        )
        self._not_allowed = self._counter(
            "not_allowed", "Calls refused for who made them, with no entry of their own.", ["edge"]
        )
        # A series that is there from the start shows its first increase; one that appears later hides it.
        for edge in Edge:
            self._malformed.labels(edge)
            self._unauthenticated.labels(edge)
            self._not_allowed.labels(edge)

    def answered(self, agency: str, record_type: str, outcome: str, seconds: float) -> None:
        """Count one request of a requester (agency id, from its certificate) that took so many seconds.

        `outcome` is one of `OUTCOMES`.
        """
        named = self._record_types(record_type) if self._approved(record_type) else OTHER
        ended = outcome if outcome in OUTCOMES else OTHER
        requests, took = self._series(self._agencies(agency), named, ended)
        requests.inc()
        took.observe(seconds)

    def took(self) -> tuple[tuple[str, str], ...]:
        """How long answers of this process took, as (share of them, time within which it was): nothing about
        fewer than ten."""
        counts: Counts[float] = Counts()
        for family in self._seconds.collect():
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    counts[float(sample.labels["le"])] += int(sample.value)
        total = counts[float("inf")]
        if total < _FEWEST:
            return (("all", f"withheld: fewer than {_FEWEST} answers"),)
        return tuple((name, _within(counts, share * total)) for name, share in _SHARES)

    def _find(self, agency: str, record_type: str, outcome: str) -> tuple[Counter, Histogram]:
        requests = self._requests.labels(agency, record_type, outcome)
        if self._timed(f"{agency} {record_type} {outcome}") == OTHER:
            agency = record_type = OTHER
        return requests, self._seconds.labels(agency, record_type, outcome)

    def overridden(self, agency: str, provider: str) -> None:
        """Count a record that was released to `agency` past a refusal."""
        self._overridden.labels(self._agencies(agency), self._agencies(provider)).inc()

    def noticed(self, *, told: bool) -> None:
        """Count a try to tell an owner's software of an override."""
        self._notices.labels("told" if told else "failed").inc()

    def stamped(self, *, stamped: bool) -> None:
        """Count a time stamp that was asked for."""
        self._stamps.labels("stamped" if stamped else "failed").inc()

    def malformed(self, edge: Edge, method: str = "", error: str = "", system: str = "") -> None:
        """Count a call that was refused for its form.

        Here and below: `method` is a name of ours, `system` the caller's where it is known.
        """
        self._malformed.labels(edge).inc()
        self.refused.add(Refused(method or edge, "INVALID_ARGUMENT", error, system))

    def unauthenticated(self, edge: Edge, method: str = "", error: str = "", system: str = "") -> None:
        """Count a call whose certificate was missing, unknown, suspended or revoked."""
        self._unauthenticated.labels(edge).inc()
        self.refused.add(Refused(method or edge, "UNAUTHENTICATED", error, system))

    def not_allowed(self, edge: Edge, method: str = "", error: str = "", system: str = "") -> None:
        """Count a call of a system that may not make it."""
        self._not_allowed.labels(edge).inc()
        self.refused.add(Refused(method or edge, "PERMISSION_DENIED", error, system))

    def over_quota(
        self, edge: Edge, agency: str, limit: str = "room", method: str = "", error: str = "", system: str = ""
    ) -> None:
        """Count a call of an agency that had asked for more than it may.

        `limit` is which bound: its own quota (`agency`), an `agreement`'s, or how much may be under way at
        once (`room`).
        """
        self._over_quota.labels(edge, self._agencies(agency), limit).inc()
        self.refused.add(Refused(method or edge, "RESOURCE_EXHAUSTED", error or limit, system))

    def watch_log(self, read: Callable[[], LogCounts]) -> None:
        """Show these counts of the log at every scrape."""
        self._watched.log = read

    def watch_witnesses(self, read: Callable[[], WitnessCounts]) -> None:
        """Show how far the witnesses are."""
        self._watched.witnesses = read

    def watch_second_stage(self, read: Callable[[], Collection[str]]) -> None:
        """Count what fails of the second stage of evidence."""
        self._watched.second_stage = read

    def watch_anchors(self, read: Callable[[], AnchorCounts]) -> None:
        """Show how far the log is time-stamped."""
        self._watched.anchors = read

    def watch_links(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Show how many adapters of each agency (id) are attached."""
        self._watched.links = read

    def watch_queue(self, queue: str, read: Callable[[], int]) -> None:
        """Show how many items wait in a queue; `queue` is a name of ours, `append` for example."""
        self._watched.queues[queue] = read

    def _counter(self, name: str, what: str, labels: list[str]) -> Counter:
        return Counter(f"broker_{name}", what, labels, registry=self.registry)


def _within(counts: Mapping[float, int], so_many: float) -> str:
    """The first bound below which there are so many."""
    bound = min(le for le, count in counts.items() if count >= so_many)
    return f"more than {_BUCKETS[-1]} s" if bound == float("inf") else f"{bound * 1000:g} ms"
