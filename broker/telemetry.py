"""What the broker counts, for Prometheus: who asked for how much, how it ended, how long it took.

Owns one registry and every metric's name. Labels are agencies, record types, outcomes and names of our own;
refuses anything about a person, a request or an actor, and refuses to grow: a record type counts under its
name only once it is approved, and past a bound every new label value is `other`.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from broker.refused import Refused, RefusedCalls

OTHER = "other"
OUTCOMES = frozenset({"permit", "refuse", "refer", "not-found", "ambiguous", "failed", "replayed", "error"})
MAX_AGENCIES = 256
MAX_RECORD_TYPES = 128

# Seconds. Fine below the 5 ms that an answer usually takes, up to the 30 s that a request may ask for.
_BUCKETS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


_SHARES = (("half", 0.5), ("95 %", 0.95), ("99 %", 0.99))
_FEWEST = 10


class Edge(StrEnum):
    """Where a call came in."""

    GRPC = "grpc"
    HTTPS = "https"


@dataclass(frozen=True, slots=True)
class LogCounts:
    """What one process has done to the log since it started."""

    appends: int
    batches: int
    signatures: int
    fact_reads: int
    # Whether the log's half-year is over.
    rotation_due: bool = False


@dataclass(frozen=True, slots=True)
class WitnessCounts:
    """Sizes of the newest witnessed and of the published checkpoint, and of each witness's by name with whether
    it cosigned when it was asked last."""

    witnessed: int
    published: int
    witnesses: Mapping[str, tuple[int, bool]]


@dataclass(frozen=True, slots=True)
class AnchorCounts:
    """Entries of the newest time-stamped checkpoint, when it was stamped (POSIX seconds, 0: never), and whether
    the last try succeeded."""

    size: int
    stamped_at: float
    up: bool


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
        self._agencies = _Bounded(MAX_AGENCIES)
        self._record_types = _Bounded(MAX_RECORD_TYPES)
        self._watched = _Watched(self._agencies)
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
            ["outcome"],
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
        return self._requests.labels(agency, record_type, outcome), self._seconds.labels(outcome)

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


class _Bounded:
    """The first so many values by their own name, every later one as `other`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


class _Watched(Collector):
    """Metrics that other parts hold and that are read when scraped."""

    def __init__(self, agencies: _Bounded) -> None:
        self.log: Callable[[], LogCounts] | None = None
        self.links: Callable[[], Mapping[str, int]] | None = None
        self.witnesses: Callable[[], WitnessCounts] | None = None
        self.anchors: Callable[[], AnchorCounts] | None = None
        self.queues: dict[str, Callable[[], int]] = {}
        self._agencies = agencies

    def collect(self) -> Iterator[Metric]:
        """The families, as they are now."""
        if self.log is not None:
            counts = self.log()
            yield CounterMetricFamily("broker_log_appends", "Entries given to the log.", counts.appends)
            yield CounterMetricFamily("broker_log_batches", "Statements that appended them.", counts.batches)
            yield CounterMetricFamily("broker_log_signatures", "Checkpoints signed.", counts.signatures)
            yield CounterMetricFamily("broker_fact_reads", "Queries of facts.", counts.fact_reads)
            due = float(counts.rotation_due)
            yield GaugeMetricFamily("broker_log_rotation_due", "Whether the log's half-year is over.", due)
        if self.links is not None:
            attached: dict[str, int] = {}
            for agency, count in self.links().items():
                name = self._agencies(agency)
                attached[name] = attached.get(name, 0) + count
            links = GaugeMetricFamily("broker_links", "Adapters attached.", labels=["agency"])
            for name, count in attached.items():
                links.add_metric([name], count)
            yield links
        if self.witnesses is not None:
            yield from _witness_families(self.witnesses())
        if self.anchors is not None:
            yield from _anchor_families(self.anchors())
        waiting = GaugeMetricFamily("broker_queue_waiting", "Items that wait.", labels=["queue"])
        for queue, read in self.queues.items():
            waiting.add_metric([queue], read())
        yield waiting


def _anchor_families(counts: AnchorCounts) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "broker_timestamp_size", "Entries of the newest time-stamped checkpoint.", counts.size
    )
    yield GaugeMetricFamily(
        "broker_timestamp_at", "When it was time-stamped, POSIX seconds.", counts.stamped_at
    )
    yield GaugeMetricFamily("broker_timestamp_up", "1 if the last time stamp asked for came.", int(counts.up))


def _witness_families(counts: WitnessCounts) -> Iterator[Metric]:
    yield GaugeMetricFamily("broker_log_witnessed", "Entries that the quorum has cosigned.", counts.witnessed)
    yield GaugeMetricFamily("broker_log_published", "Entries of the published checkpoint.", counts.published)
    sizes = GaugeMetricFamily(
        "broker_witness_size", "Entries that a witness cosigned last.", labels=["witness"]
    )
    up = GaugeMetricFamily("broker_witness_up", "1 if it cosigned when asked last.", labels=["witness"])
    for name, (size, cosigned) in counts.witnesses.items():
        sizes.add_metric([name], size)
        up.add_metric([name], int(cosigned))
    yield sizes
    yield up
