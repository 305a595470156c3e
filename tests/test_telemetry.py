"""What is counted, and that labels cannot grow without end or name what they must not."""

from __future__ import annotations

from prometheus_client import generate_latest

from broker.scraped import LogCounts
from broker.telemetry import MAX_AGENCIES, MAX_TIMED, Edge, Telemetry

APPROVED = "records.fire.v1.PremisesRisk"


def made() -> Telemetry:
    """Telemetry that knows one approved record type."""
    return Telemetry("0.1.0", {APPROVED}.__contains__)


def sample(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    """One sample's value."""
    return telemetry.registry.get_sample_value(name, labels)


def test_an_answer_and_its_time_count_by_agency_type_and_outcome() -> None:
    """Two permits of 2 and 4 ms are two requests, and lie in their buckets; another agency's are its own."""
    telemetry = made()
    for seconds in (0.002, 0.004):
        telemetry.answered("cfrs", APPROVED, "permit", seconds)
    of = {"agency": "cfrs", "record_type": APPROVED, "outcome": "permit"}
    assert sample(telemetry, "broker_requests_total", **of) == 2
    telemetry.answered("nwas", APPROVED, "permit", 0.002)
    assert sample(telemetry, "broker_request_seconds_bucket", le="0.003", **of) == 1
    assert sample(telemetry, "broker_request_seconds_bucket", le="0.005", **of) == 2
    assert sample(telemetry, "broker_request_seconds_count", **{**of, "agency": "nwas"}) == 1
    assert telemetry.took() == (("all", "withheld: fewer than 10 answers"),)


def test_times_that_are_told_apart_are_bounded() -> None:
    """Each is many lines of every scrape: past the bound they count together, and none is lost."""
    telemetry = Telemetry("0.1.0", lambda name: True)
    for n in range(MAX_TIMED + 50):
        telemetry.answered(f"agency-{n % 8}", f"records.fire.v1.T{n // 8}", "refuse", 0.1)
    first = {"agency": "agency-0", "record_type": "records.fire.v1.T0", "outcome": "refuse"}
    others = {"agency": "other", "record_type": "other", "outcome": "refuse"}
    assert sample(telemetry, "broker_request_seconds_count", **first) == 1
    assert sample(telemetry, "broker_request_seconds_count", **others) == 50
    assert telemetry.took()[0] == ("half", "100 ms")


def test_what_a_caller_invents_is_other() -> None:
    """A record type that is not approved and an outcome that is none make no series of their own."""
    telemetry = made()
    for n in range(100):
        telemetry.answered("cfrs", f"records.made.up.V{n}", f"outcome-{n}", 0.1)
    of = {"agency": "cfrs", "record_type": "other", "outcome": "other"}
    assert sample(telemetry, "broker_requests_total", **of) == 100
    assert b"made.up" not in generate_latest(telemetry.registry)


def test_agencies_are_bounded() -> None:
    """Past the bound agencies count together, those known before by their name, in every metric."""
    telemetry = made()
    for n in range(MAX_AGENCIES + 50):
        telemetry.answered(f"agency-{n}", APPROVED, "refuse", 0.1)
    telemetry.watch_links(lambda: {"agency-0": 2, "late": 1, "later": 3})
    telemetry.over_quota(Edge.GRPC, "late")
    of = {"record_type": APPROVED, "outcome": "refuse"}
    assert sample(telemetry, "broker_requests_total", agency="agency-0", **of) == 1
    assert sample(telemetry, "broker_requests_total", agency="other", **of) == 50
    assert sample(telemetry, "broker_links", agency="agency-0") == 2
    assert sample(telemetry, "broker_links", agency="other") == 4
    assert sample(telemetry, "broker_over_quota_total", edge="grpc", agency="other", limit="room") == 1


def test_what_others_count_is_read_at_the_scrape() -> None:
    """Counts of the log, adapters attached and queues show what they are when asked, and nothing before."""
    telemetry = made()
    assert sample(telemetry, "broker_log_appends_total") is None
    counts, links, waiting = LogCounts(5, 2, 3, 1), {"ncic": 1}, 7
    telemetry.watch_log(lambda: counts)
    telemetry.watch_links(lambda: links)
    telemetry.watch_queue("append", lambda: waiting)
    names = ("appends", "batches", "signatures")
    assert [sample(telemetry, f"broker_log_{name}_total") for name in names] == [5, 2, 3]
    assert sample(telemetry, "broker_queue_waiting", queue="append") == 7
    counts, links, waiting = LogCounts(6, 3, 4, 2), {}, 0
    assert [sample(telemetry, f"broker_log_{name}_total") for name in names] == [6, 3, 4]
    assert sample(telemetry, "broker_links", agency="ncic") is None
    assert sample(telemetry, "broker_queue_waiting", queue="append") == 0


def test_refused_calls_have_their_series_from_the_start() -> None:
    """Malformed and unauthenticated calls count from nought at each edge, so that the first one shows."""
    telemetry = made()
    for edge in Edge:
        assert sample(telemetry, "broker_malformed_total", edge=edge.value) == 0
        assert sample(telemetry, "broker_unauthenticated_total", edge=edge.value) == 0
    telemetry.malformed(Edge.GRPC)
    telemetry.unauthenticated(Edge.HTTPS)
    assert sample(telemetry, "broker_malformed_total", edge="grpc") == 1
    assert sample(telemetry, "broker_unauthenticated_total", edge="https") == 1


def test_how_long_answers_took_is_told_of_ten_at_least() -> None:
    """The bound below which half of them, and nearly all, lay, whatever they came to; of nine nothing."""
    telemetry = made()
    for n in range(9):
        telemetry.answered("cfrs", APPROVED, "permit" if n % 2 else "refuse", 0.004)
    assert telemetry.took() == (("all", "withheld: fewer than 10 answers"),)
    telemetry.answered("cfrs", APPROVED, "permit", 0.4)
    assert telemetry.took() == (("half", "5 ms"), ("95 %", "500 ms"), ("99 %", "500 ms"))
    for _ in range(1000):
        telemetry.answered("cfrs", APPROVED, "permit", 60)
    assert dict(telemetry.took())["half"] == "more than 30 s"
