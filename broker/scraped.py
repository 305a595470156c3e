"""What other parts count by themselves, read at each scrape: the log, links, queues, witnesses, time stamps.

Owns these metrics' names, and that labels do not grow: past a bound every new value is `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

OTHER = "other"


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


class Bounded:
    """The first so many values by their own name, every later one as `other`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        """The value as a label."""
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


class Watched(Collector):
    """Metrics that other parts hold and that are read when scraped."""

    def __init__(self, agencies: Bounded) -> None:
        self.log: Callable[[], LogCounts] | None = None
        self.links: Callable[[], Mapping[str, int]] | None = None
        self.witnesses: Callable[[], WitnessCounts] | None = None
        self.anchors: Callable[[], AnchorCounts] | None = None
        self.second_stage: Callable[[], Collection[str]] = tuple
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
        yield GaugeMetricFamily(
            "broker_second_stage_failing",
            "Reasons why evidence is not witnessed or time-stamped, as /readyz tells them.",
            len(self.second_stage()),
        )
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
