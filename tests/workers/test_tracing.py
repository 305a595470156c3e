"""Traces as they leave: client, broker and adapter export by OTLP to one collector, over real sockets.

The broker is a process of its own; what is looked at are the bytes that the collector was sent.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry.proto.trace.v1 import trace_pb2

from adapters.sdk import Found, NotFound, Question
from broker.client import Actor, Assurance, Broker, Disclosure, Reason
from broker.core.model import Traits
from broker.errors import BrokerError, InvalidRequest, ProviderUnavailable, SubjectNotFound
from broker.tracing import ALLOWED, OUTCOMES, PREFIX, Tracing, from_environment
from records.fire.v1 import premises_risk_pb2
from records.shared.v1 import fact_pb2
from tests.support.collector import Collector, collecting
from tests.support.fleet import CREW, HOUSE, RISK, Fleet, Risks, ask, attached, becomes, fleet
from tests.support.postgres import Server
from tests.support.traces import traces

PARENT_OF = {
    "broker.exchange": "client.request",
    "broker.decide": "broker.exchange",
    "broker.ask": "broker.exchange",
    "broker.append": "broker.exchange",
    "adapter.answer": "broker.ask",
}
MISSING, BROKEN = ("uprn", "100062990404"), ("uprn", "100062990500")
CANARIES = ("Zebedee", "Quartermain", "9434765919", "07700900123", "1961-04-17", "CA11 7XX", "canary-words")
NUMBERS = (HOUSE[1], MISSING[1], BROKEN[1], CREW.id)


class SomeRisks(Risks):
    """Knows nothing of one house, and cannot look at another."""

    async def answer(self, question: Question) -> Found | NotFound:  # type: ignore[override]
        assert question.subject is not None
        if question.subject.value == MISSING[1]:
            return NotFound((question.subject,))
        if question.subject.value == BROKEN[1]:
            raise RuntimeError(f"no row for {question.subject.value}: Zebedee Quartermain")
        record = premises_risk_pb2.PremisesRisk(uprn=question.subject.value)
        for fact in (record.oxygen, record.access, record.hazards, record.evacuation):
            fact.state = fact_pb2.FACT_STATE_UNAVAILABLE
        record.hazards.state = fact_pb2.FACT_STATE_VALUE
        record.hazards.items.add(code="LPG", description="canary-words: Zebedee Quartermain")
        return Found(record, (question.subject,), datetime.now(UTC))


@dataclass
class Traced:
    """What runs, and what a client traces with."""

    running: Fleet
    collector: Collector
    tracing: Tracing

    def client(self, *, tracing: bool = True) -> Broker:
        """The ambulance service's client."""
        return self.running.client(tracing=self.tracing) if tracing else self.running.client()


@pytest.fixture(scope="module")
async def traced(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Traced]:
    """One broker process with its adapter, told by the standard variables where spans go."""
    async with collecting() as collector, postgres.fresh() as dsn:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.port}")
            patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
            client, adapter = from_environment("client"), from_environment("adapter")
            async with (
                fleet(dsn, tmp_path_factory.mktemp("traced"), workers=1) as running,
                attached(running, SomeRisks(), tracing=adapter),
            ):
                yield Traced(running, collector, client)
        for each in (client, adapter):
            await asyncio.to_thread(each.close)


def said(span: trace_pb2.Span) -> dict[str, Any]:
    """A span's attributes, without their prefix."""
    assert all(each.key.startswith(PREFIX) for each in span.attributes)
    return {
        each.key.removeprefix(PREFIX): each.value.string_value or each.value.int_value
        for each in span.attributes
    }


def trace_in_view(disclosed: Disclosure) -> Any:
    """The trace id in the requester's view, which the receipt opens."""
    assert disclosed.receipt.opening is not None
    return json.loads(disclosed.receipt.opening.view)["trace"]


async def test_each_record_is_one_trace_from_client_to_adapter_also_in_a_batch(traced: Traced) -> None:
    """Of 20 asked at once each has its own trace, whole, whose id is in its view, and they share statements."""
    async with traced.client() as client:
        asked = await asyncio.gather(*(ask(client) for _ in range(20)))
    ids = {trace_in_view(each) for each in asked}
    assert len(ids) == 20
    await traced.collector.has("client.request", 20)
    await traced.collector.has("broker.exchange", 20)
    await traced.collector.has("adapter.answer", 20)
    trees: dict[str, list[trace_pb2.Span]] = defaultdict(list)
    for span in traced.collector.spans:
        trees[span.trace_id.hex()].append(span)
    batches = []
    for trace_id in ids:
        spans = {span.span_id: span for span in trees[trace_id]}
        assert sorted(span.name for span in spans.values()) == sorted(["client.request", *PARENT_OF])
        for span in spans.values():
            parent = spans[span.parent_span_id].name if span.parent_span_id else None
            assert parent == PARENT_OF.get(span.name)
            if span.name == "broker.append":
                batches.append(said(span)["batch"])
    assert len(batches) == 20
    assert max(batches) > 1


async def test_a_span_says_who_what_and_how_it_ended(traced: Traced) -> None:
    """A permit and a record that is not there read so in every part, with the agreement and the worker."""
    for subject, outcome in ((HOUSE, "permit"), (MISSING, "not-found")):
        trace_id, parent = uuid.uuid4().hex, "b" * 16
        async with traced.client() as client:
            with suppress(SubjectNotFound):
                await _ask(client, subject=subject, traceparent=f"00-{trace_id}-{parent}-01")
        await becomes(lambda: len(_of(traced, trace_id)) == 6, 20)  # noqa: B023 - over before the next
        spans = _of(traced, trace_id)
        assert spans["client.request"].parent_span_id.hex() == parent
        assert {said(spans[name])["outcome"] for name in ("client.request", "broker.exchange")} == {outcome}
        assert said(spans["adapter.answer"])["outcome"] == outcome
        exchange = said(spans["broker.exchange"])
        assert exchange.pop("agreement").count("/") == 1
        assert exchange == {
            "agency": "nwas",
            "system": "cad",
            "record_type": RISK,
            "purpose": "emergency-response",
            "outcome": outcome,
            "worker": traced.running.ids[0],
        }


async def test_no_personal_data_and_no_attribute_off_the_list_is_exported(traced: Traced) -> None:
    """Names, numbers and words in every field, well-formed and not, permitted and refused, are in no byte."""
    before = len(traced.collector.named("client.request"))
    who = Actor(
        "Zebedee.Quartermain", CREW.role, name="Zebedee Quartermain", callsign="canary-words",
        assurance=Assurance.ROSTER,
    )  # fmt: skip
    traits = Traits(
        family_name="Quartermain", given_name="Zebedee", birth_date="1961-04-17", postcode="CA11 7XX",
        phone="07700900123",
    )  # fmt: skip
    words = {"actor": who, "reason": Reason("imminent-danger", "canary-words: Zebedee Quartermain 07700900123")}
    asked: list[dict[str, Any]] = [
        {},
        {"subject": MISSING},
        {"subject": BROKEN},
        {"subject": ("nhs-number", "9434765919")},
        {"subject": None, "query": traits},
        {"purpose": "zebedee-quartermain"},
        {"purpose": "9434765919"},
        {"record_type": "records.zebedee.v1.Quartermain"},
        {"provider": "quartermain-9434765919"},
        {"incident": "nwas/1961-04-17/9434765919"},
        {"actor": Actor("9434765919", "zebedee-quartermain")},
    ]
    ended = []
    async with traced.client() as client:
        for changes in asked:
            try:
                await _ask(client, **{**words, **changes})
            except BrokerError as e:
                ended.append(type(e))
    assert {InvalidRequest, SubjectNotFound, ProviderUnavailable} <= set(ended)
    await traced.collector.has("client.request", before + len(asked))
    await traced.collector.has("broker.exchange", 8)
    await asyncio.sleep(0.5)  # the other processes' last exports
    sent = b"".join(each.SerializeToString() for each in traced.collector.exports)
    assert b"broker.exchange" in sent
    assert traces((*CANARIES, *NUMBERS), sent) == []
    for span in traced.collector.spans:
        attributes = said(span)
        assert attributes.keys() <= ALLOWED
        assert attributes.get("outcome", "permit") in OUTCOMES
        assert not span.events
        assert not span.status.message
    resources = {
        each.key for export in traced.collector.exports for of in export.resource_spans
        for each in of.resource.attributes
    }  # fmt: skip
    assert {key for key in resources if not key.startswith("telemetry.sdk.")} <= {
        "service.name",
        "service.instance.id",
    }


async def test_a_request_that_is_not_sampled_makes_no_span_anywhere(traced: Traced) -> None:
    """Without the flag, or without a trace, client, broker and adapter are silent; the id is still logged."""
    unsampled = uuid.uuid4().hex
    async with traced.client() as client, traced.client(tracing=False) as silent:
        disclosed = await _ask(client, traceparent=f"00-{unsampled}-{'c' * 16}-00")
        assert trace_in_view(disclosed) == unsampled
        assert trace_in_view(await _ask(silent)) is None
        settled = len(traced.collector.named("adapter.answer"))
        last = await _ask(client)
    await traced.collector.has("adapter.answer", settled + 1)
    await asyncio.sleep(0.5)
    assert unsampled not in {span.trace_id.hex() for span in traced.collector.spans}
    roots = {span.trace_id for span in traced.collector.named("client.request")}
    assert {span.trace_id for span in traced.collector.named("broker.exchange")} <= roots
    assert bytes.fromhex(trace_in_view(last)) in roots


def _of(traced: Traced, trace_id: str) -> dict[str, trace_pb2.Span]:
    """The spans of one trace, by name."""
    return {span.name: span for span in traced.collector.spans if span.trace_id.hex() == trace_id}


async def _ask(client: Broker, **changes: Any) -> Disclosure:
    """As `ask` of the fleet, with changes."""
    return await client.request(
        **{
            "record_type": RISK,
            "provider": "cfrs",
            "subject": HOUSE,
            "purpose": "emergency-response",
            "actor": CREW,
            "timeout": 10.0,
            **changes,
        }
    )
