"""What was committed stands when the broker ends and starts again, however it ended."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from broker.client.settings import from_state
from broker.core.checkpoint import open_checkpoint
from broker.core.merkle import verify_consistency
from broker.errors import Denied
from broker.v1 import audit_pb2, audit_pb2_grpc, exchange_pb2
from tests.e2e import words
from tests.support.stack import Deployment


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
async def test_a_repeat_after_a_restart_is_the_same_evidence(stack: Deployment, how: signal.Signals):
    """Same entry, index and opening, no record; the record comes again under a new id with `retry_of`."""
    asked, refused = words.a_request(), words.a_request(purpose="crime-prevention")
    async with stack.channel("nwas-cad") as channel:
        told = await words.ask(channel, asked)
        denied = words.detail(await words.failure(words.ask(channel, refused)), exchange_pb2.Refusal)
    stack.start_broker(stack.end_broker(how))
    async with stack.channel("nwas-cad") as channel:
        again = await words.ask(channel, asked)
        assert again.replayed
        assert not again.HasField("record")
        assert again.receipt.entry == told.receipt.entry
        assert again.receipt.index == told.receipt.index
        assert again.receipt.opening == told.receipt.opening

        repeated = words.detail(await words.failure(words.ask(channel, refused)), exchange_pb2.Refusal)
        assert repeated.replayed
        assert (repeated.code, repeated.message) == (denied.code, denied.message)
        assert repeated.receipt.entry == denied.receipt.entry
        assert repeated.receipt.index == denied.receipt.index

        retry = exchange_pb2.RecordRequest()
        retry.CopyFrom(asked)
        retry.request_id, retry.retry_of = words.a_request().request_id, asked.request_id
        fresh = await words.ask(channel, retry)
        assert fresh.record.type_url == told.record.type_url
        assert b"Rear lane only" in fresh.record.value
        assert fresh.receipt.index > told.receipt.index

        retry.request_id = words.a_request().request_id
        retry.subject.value = "100062990002"
        assert words.wrong_field(await words.failure(words.ask(channel, retry))) == "retry_of"


async def test_our_client_gets_the_record_of_an_id_that_was_answered(stack: Deployment):
    """A partner that crashed before it wrote the record down asks the same again, and has it."""
    request_id = words.a_request().request_id
    async with stack.client("nwas-cad") as broker:
        first = await words.premises(broker, request_id=request_id)
    async with stack.client("nwas-cad", unary=True) as broker:
        again = await words.premises(broker, request_id=request_id)
    assert again.record.access.directions == first.record.access.directions != ""
    assert again.request_id != request_id
    assert again.receipt.index > first.receipt.index


async def test_a_client_that_is_asking_sees_the_restart_through(stack: Deployment):
    """Asked while no broker is there, our client waits inside its time, and believes the new one's log."""
    async with stack.client("nwas-cad") as broker:
        before = await words.premises(broker)
        env = stack.end_broker(signal.SIGKILL)
        # A refusal: the adapters need not be back yet.
        asking = asyncio.create_task(words.premises(broker, purpose="crime-prevention"))
        await asyncio.sleep(0.3)
        stack.start_broker(env)
        with pytest.raises(Denied) as refused:
            await asking
    assert refused.value.receipt.index > before.receipt.index


async def test_a_receipt_is_consistent_with_every_later_checkpoint(stack: Deployment):
    """From each receipt's checkpoint to every newer one there is a proof that the log only grew."""
    keys = from_state(stack.state.folder, "nwas-cad").verifiers
    checkpoints = []
    async with stack.channel("nwas-cad") as channel:
        audit = audit_pb2_grpc.AuditServiceStub(channel)
        for _ in range(6):
            told = await words.ask(channel, words.a_request())
            checkpoints.append(open_checkpoint(told.receipt.checkpoint, keys))
        for n, old in enumerate(checkpoints):
            for new in checkpoints[n + 1 :]:
                asked = audit_pb2.ConsistencyRequest(**{"from": old.size, "to": new.size})
                shown = await audit.Consistency(asked, timeout=words.TIMEOUT)
                verify_consistency(old.size, old.root, new.size, new.root, shown.proof)
                assert open_checkpoint(shown.checkpoint, keys).size >= new.size
        backwards = audit_pb2.ConsistencyRequest(**{"from": new.size, "to": old.size - 1})
        status = await words.failure(audit.Consistency(backwards, timeout=words.TIMEOUT))
        assert words.code(status) == "INVALID_ARGUMENT"
    assert [c.size for c in checkpoints] == sorted({c.size for c in checkpoints})


async def test_what_the_broker_says_when_ready_is_where_it_listens(stack: Deployment):
    """The ready file names the ports that answer and the key that signs."""
    said = json.loads((stack.state.folder / "ready.json").read_text())
    assert (said["grpc"], said["http"]) == (stack.stack.grpc_port, stack.stack.http_port)
    assert stack.state.vkey.read_text().strip() == said["vkey"]
