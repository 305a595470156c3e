"""What a span may say, who decides that there is one, and that one which is not there costs next to nothing."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from broker import otlp
from broker.client.tracing import of_process
from broker.core.model import Refused
from broker.errors import (
    Ambiguous,
    AuditUnavailable,
    Denied,
    ProviderTimeout,
    ProviderUnavailable,
    Referred,
    SetupError,
    SubjectNotFound,
)
from broker.tracing import ALLOWED, OFF, OTHER, OUTCOMES, PREFIX, Tracing, from_environment
from tests.support.values import replace
from tests.support.world import World, ask

TRACE, PARENT = "a" * 32, "b" * 16
SAMPLED = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"
WORDS = "Zebedee Quartermain 9434765919"


class Kept:
    """Tracing whose spans stay here."""

    def __init__(self, **how: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracing = Tracing(SimpleSpanProcessor(self.exporter), **how)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def said(self, index: int = -1) -> dict[str, Any]:
        """The attributes of one span, without their prefix."""
        return {k.removeprefix(PREFIX): v for k, v in (self.spans[index].attributes or {}).items()}


@pytest.mark.parametrize("traceparent", ["", UNSAMPLED, f"00-{TRACE}-{PARENT}-02", "nonsense"])
def test_what_is_not_sampled_makes_no_span_and_is_passed_on_as_it_came(traceparent: str) -> None:
    """Without the sampled flag nothing is exported, in the span or below it; nobody's trace is changed."""
    kept = Kept()
    with kept.tracing.span("broker.exchange", traceparent) as span:
        with span.child("broker.ask") as child:
            assert child.traceparent == traceparent
        span.set(outcome="permit")
    assert kept.spans == ()


@pytest.mark.parametrize(
    "traceparent", [f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-x1", "1"]
)
def test_a_sampled_flag_on_what_does_not_parse_makes_no_span(traceparent: str) -> None:
    """Trace Context section 4.3: what does not parse is no trace."""
    kept = Kept()
    with kept.tracing.span("adapter.answer", traceparent) as span:
        assert span.traceparent == traceparent
    assert kept.spans == ()


def test_a_span_lies_below_the_callers_and_its_children_below_it() -> None:
    """Ids of trace and parents are those that `traceparent` hands on."""
    kept = Kept()
    with (
        kept.tracing.span("broker.exchange", SAMPLED) as span,
        span.child("broker.ask") as child,
        kept.tracing.span("adapter.answer", child.traceparent),
    ):
        pass
    adapter, asked, exchange = kept.spans
    for above, below in ((exchange, asked), (asked, adapter)):
        assert below.parent is not None
        assert above.context is not None
        assert below.parent.span_id == above.context.span_id
    assert exchange.parent is not None
    assert f"{exchange.parent.span_id:016x}" == PARENT
    assert {f"{s.context.trace_id:032x}" for s in kept.spans if s.context} == {TRACE}
    assert child.traceparent[:36] == f"00-{TRACE}-"
    assert child.traceparent.endswith("-01")


async def test_tasks_that_run_at_once_do_not_take_each_others_parents() -> None:
    """Twenty records in one task's children, entered in turns: each keeps its own trace."""
    kept = Kept()

    async def one(number: int) -> None:
        with kept.tracing.span("broker.exchange", f"00-{number:032x}-{number:016x}-01") as span:
            await asyncio.sleep(0)
            with span.child("broker.append"):
                await asyncio.sleep(0)

    await asyncio.gather(*(one(number) for number in range(1, 21)))
    by_trace: dict[int, list[str]] = {}
    for span in kept.spans:
        assert span.context is not None
        by_trace.setdefault(span.context.trace_id, []).append(span.name)
    assert by_trace == {number: ["broker.append", "broker.exchange"] for number in range(1, 21)}


def test_a_client_that_traces_begins_a_trace_and_one_that_does_not_begins_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a traceparent the first span makes one; where OTEL_TRACES_SAMPLER says no, unsampled."""
    with Kept().tracing.root("client.request", "") as span:
        assert span.traceparent.endswith("-01")
    with OFF.root("client.request", "") as span:
        assert span.traceparent == ""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    kept = Kept()
    with kept.tracing.root("client.request", "") as span:
        assert span.traceparent.endswith("-00")
    with kept.tracing.root("client.request", SAMPLED):
        pass
    assert len(kept.spans) == 1  # the caller's flag decides where there is a caller


@pytest.mark.parametrize("traceparent", [SAMPLED, UNSAMPLED])
@pytest.mark.parametrize("tracing", [OFF, Kept().tracing], ids=["off", "on"])
def test_an_attribute_that_is_not_on_the_list_cannot_be_given(tracing: Tracing, traceparent: str) -> None:
    """It raises wherever it is tried, so that any test that runs the line finds it, traced or not."""
    for name in ("subject", "actor", "incident", "reason", "request_id"):
        with pytest.raises(TypeError, match=name):
            tracing.span("broker.exchange", traceparent, **{name: "x"})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=name):
            tracing.root("client.request", traceparent, **{name: "x"})  # type: ignore[arg-type]
        with tracing.span("broker.exchange", traceparent) as span:
            with pytest.raises(TypeError, match=name):
                span.set(**{name: "x"})  # type: ignore[arg-type]
            with pytest.raises(TypeError, match=name):
                span.child("broker.ask", **{name: "x"})  # type: ignore[arg-type]


GOOD = {
    "agency": "nwas", "system": "cad", "record_type": "records.fire.v1.PremisesRisk", "purpose": "direct-care",
    "outcome": "not-found", "code": "no-answer", "agreement": "nwas-cfrs-2026/3", "worker": "0-deadbeef",
    "batch": 20,
}  # fmt: skip
BAD = [
    WORDS,
    "9434765919",
    "a9434765919",
    "quartermain-9434765919",
    "nwas\n",
    "x" * 300,
    "",
    "a@b.uk",
    None,
    7.5,
]


def test_values_of_the_known_form_are_exported_and_others_are_other() -> None:
    """Each attribute on the list takes its form; numbers of people, words and long texts become `other`."""
    assert GOOD.keys() == ALLOWED
    kept = Kept()
    with kept.tracing.span("broker.exchange", SAMPLED, **GOOD):  # type: ignore[arg-type]
        pass
    assert kept.said() == GOOD
    for name in ALLOWED:
        for value in BAD:
            with kept.tracing.span("broker.exchange", SAMPLED, **{name: value}) as span:  # type: ignore[arg-type]
                span.set(**{name: value})  # type: ignore[arg-type]
            assert set(kept.said().values()) <= {OTHER}, (name, value)


ENDS: list[tuple[BaseException, str, str]] = [
    (Denied(Refused("role", WORDS, "")), "refuse", "role"),
    (Referred(Refused("judgement", WORDS, "")), "refer", "judgement"),
    (Ambiguous(Refused("ambiguous", WORDS, "")), "ambiguous", "ambiguous"),
    (SubjectNotFound(WORDS), "not-found", ""),
    (ProviderUnavailable(WORDS), "failed", ""),
    (ProviderTimeout(WORDS), "failed", ""),
    (AuditUnavailable(WORDS), "error", ""),
    (ValueError(WORDS), "error", ""),
    (asyncio.CancelledError(WORDS), "cancelled", ""),
]


@pytest.mark.parametrize(("error", "outcome", "code"), ENDS, ids=lambda each: type(each).__name__)
def test_an_error_is_an_outcome_and_never_its_text(error: BaseException, outcome: str, code: str) -> None:
    """The class of a failure and a refusal's code are said; its words, its traceback and its events are not."""
    kept = Kept()
    with pytest.raises(type(error)), kept.tracing.span("broker.exchange", SAMPLED):
        raise error
    assert kept.said() == {"outcome": outcome} | ({"code": code} if code else {})
    assert outcome in OUTCOMES
    assert WORDS not in kept.spans[0].to_json()
    assert kept.spans[0].events == ()
    failed = outcome in ("failed", "error")
    assert kept.spans[0].status.status_code is (StatusCode.ERROR if failed else StatusCode.UNSET)
    assert kept.spans[0].status.description is None


async def _world(kept: Kept) -> World:
    world = World(tracing=kept.tracing)
    world.agree()
    await world.ready()
    world.providers.answers(world.found())
    return world


async def test_the_exchange_tells_decide_ask_and_append_and_hands_its_span_to_the_provider() -> None:
    """The provider's question carries the span it is asked in; the log keeps the caller's trace id."""
    kept = Kept(worker="deadbeef")
    world = await _world(kept)
    disclosed = await world.exchange.answer(ask(traceparent=SAMPLED))
    assert [s.name for s in kept.spans] == ["broker.decide", "broker.ask", "broker.append", "broker.exchange"]
    asked = kept.spans[1].context
    assert asked is not None
    question, _ = world.providers.asked[0]
    assert question.request.traceparent == f"00-{TRACE}-{asked.span_id:016x}-01"
    assert world.store.entries[-1].draft.requester.trace == TRACE
    assert disclosed.request.traceparent == SAMPLED
    assert {each.attributes["broker.worker"] for each in kept.spans if each.attributes} == {"deadbeef"}


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"purpose": "zebedee-quartermain"}, "error"),
        ({"record_type": "records.zebedee.v1.Quartermain"}, "error"),
    ],
)
async def test_codes_that_nobody_has_given_a_meaning_do_not_stand_in_a_span(
    changes: dict[str, str], outcome: str
) -> None:
    """A caller's own words in a code's place are of its form, and are kept out all the same."""
    kept = Kept()
    world = await _world(kept)
    with pytest.raises(Exception, match=r"purpose|record_type"):
        await world.exchange.answer(replace(ask(traceparent=SAMPLED), **changes))  # type: ignore[arg-type]
    assert kept.said() == {"agency": "nwas", "system": "cad", "outcome": outcome}


def test_a_span_that_is_not_recorded_costs_a_small_part_of_one_that_is() -> None:
    """Off, absent or unsampled, each with an attribute: less than a fifth of a span that goes nowhere."""
    on = Kept().tracing
    kept = Kept()
    kept.exporter.shutdown()  # keeps nothing: only making the span is measured

    def once(tracing: Tracing, traceparent: str) -> Callable[[], None]:
        def call() -> None:
            with tracing.span("broker.exchange", traceparent, agency="nwas") as span:
                span.set(outcome="permit")

        return call

    recorded = _seconds(once(kept.tracing, SAMPLED))
    for call in (once(OFF, SAMPLED), once(on, ""), once(on, UNSAMPLED)):
        assert _seconds(call) < recorded / 5


def _seconds(call: Callable[[], None], rounds: int = 7, calls: int = 500) -> float:
    """The best of some rounds."""
    best = sys.float_info.max
    for _ in range(rounds):
        started = time.thread_time()
        for _ in range(calls):
            call()
        best = min(best, time.thread_time() - started)
    return best


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_or_where_disabled_tracing_is_off(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard variables turn it on, and off again."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert from_environment("broker") is OFF


def test_variables_that_cannot_be_used_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another protocol than gRPC, and an exporter that is not installed, are the operator's to mend."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    with pytest.raises(SetupError, match="OTEL_EXPORTER_OTLP_PROTOCOL"):
        from_environment("broker")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_PROTOCOL")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(SetupError, match=r"bluelight-broker\[otlp\]"):
        from_environment("broker")


def test_a_client_never_fails_for_the_programs_own_variables(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """OTEL_* may be meant for the program around it: what we cannot use is a warning, and no tracing."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    assert of_process.__wrapped__() is OFF
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" in caplog.text


def test_a_collector_that_is_not_there_keeps_nobody_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing gives the last spans some seconds, and then goes."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setattr(otlp, "FLUSH", 0.5)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "40")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    tracing = from_environment("broker")
    for _ in range(100):  # more than the queue takes: none of these waits
        with tracing.span("broker.exchange", SAMPLED):
            pass
    started = time.monotonic()
    tracing.close()
    assert time.monotonic() - started < 8  # ten batches, each of which would take its second
