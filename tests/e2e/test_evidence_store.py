"""Without the evidence store nothing is released: with the database stopped in its tracks, and afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from google.rpc import error_details_pb2

from broker.errors import AuditUnavailable, ProviderTimeout
from broker.v1 import exchange_pb2, exchange_pb2_grpc
from tests.e2e import words
from tests.support.processes import using
from tests.support.stack import Deployment


@contextmanager
def stopped(stack: Deployment) -> Iterator[None]:
    """The broker's PostgreSQL takes what it is sent and does nothing, as on a disk that hangs."""
    pids = using(stack.state.folder / "postgres")
    assert len(pids) > 3
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def _becomes(stack: Deployment, status: int) -> float:
    """Seconds until /readyz answers with that status."""
    began = time.monotonic()
    async with stack.https(None) as http:
        while (answer := await http.get("/readyz")).status_code != status:
            assert time.monotonic() - began < 30, answer.text
            await asyncio.sleep(0.1)
    return time.monotonic() - began


async def _as_before(stack: Deployment) -> None:
    await _becomes(stack, 200)
    async with stack.client("nwas-cad") as broker:
        assert (await words.premises(broker)).record.access.directions


@pytest.mark.parametrize("unary", [True, False], ids=["unary", "stream"])
async def test_no_evidence_no_release(stack: Deployment, unary: bool):
    """No answer, no record, and no waiting past the caller's own time."""
    async with stack.client("nwas-cad", unary=unary) as broker:
        await words.premises(broker)
        with stopped(stack):
            began = time.monotonic()
            with pytest.raises((AuditUnavailable, ProviderTimeout)):
                await broker.request(
                    record_type=words.PREMISES,
                    provider="cfrs",
                    subject=("uprn", words.HOME),
                    purpose="emergency-response",
                    actor=words.PARAMEDIC,
                    timeout=1.5,
                )
            took = time.monotonic() - began
    assert took < 1.5 + 0.5
    await _as_before(stack)


async def test_a_stream_answers_each_request_in_its_own_time(stack: Deployment):
    """The broker itself, not only our client, keeps to the time that a request of a stream gives."""
    asked = words.a_request(timeout={"seconds": 1})
    async with stack.channel("nwas-cad") as channel:
        stream = exchange_pb2_grpc.ExchangeServiceStub(channel).Exchange()
        await stream.write(exchange_pb2.ExchangeRequest(requests=[words.a_request()]))
        assert (await stream.read()).outcomes[0].HasField("disclosure")
        with stopped(stack):
            began = time.monotonic()
            await stream.write(exchange_pb2.ExchangeRequest(requests=[asked]))
            outcome = (await asyncio.wait_for(stream.read(), 10)).outcomes[0]
            took = time.monotonic() - began
    assert outcome.request_id == asked.request_id
    assert words.code(outcome.error) in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert took < 1.5
    await _as_before(stack)


async def test_a_call_without_a_deadline_of_its_own_is_answered_in_the_requests_time(stack: Deployment):
    """A unary call that would wait for ever ends when the request's timeout says so, and says what to do."""
    async with stack.channel("nwas-cad") as channel:
        stub = exchange_pb2_grpc.ExchangeServiceStub(channel)
        with stopped(stack):
            began = time.monotonic()
            status = await words.failure(stub.Request(words.a_request(timeout={"seconds": 1})))
            took = time.monotonic() - began
    assert words.code(status) == "UNAVAILABLE"
    assert words.detail(status, error_details_pb2.ErrorInfo).reason == "AuditUnavailable"
    assert "ask again under the same request id" in status.message
    assert took < 1.5
    await _as_before(stack)


async def test_what_was_asked_in_vain_is_answered_under_the_same_id(stack: Deployment):
    """The same request, asked again once the database is back, is one entry whatever became of the first."""
    asked = words.a_request(timeout={"seconds": 1})
    async with stack.channel("nwas-cad") as channel:
        with stopped(stack):
            await words.failure(words.ask(channel, asked))
        await _as_before(stack)
        told = await words.ask(channel, asked)
        again = await words.ask(channel, asked)
    assert again.replayed
    assert again.receipt.entry == told.receipt.entry


@pytest.mark.long
async def test_readiness_says_that_the_database_is_away(stack: Deployment):
    """/readyz turns to 503 while it is, /healthz does not, and both are well again afterwards."""
    with stopped(stack):
        await _becomes(stack, 503)
        async with stack.https(None) as http:
            assert (await http.get("/healthz")).status_code == 200
            assert "evidence" in (await http.get("/readyz")).text
    await _as_before(stack)
