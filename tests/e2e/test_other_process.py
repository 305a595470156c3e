"""What another process commits counts for the very next request, and for streams that are open."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from broker.errors import Denied
from broker.pki.identity import key_digest
from broker.pki.tls import TlsFiles
from broker.v1 import (
    adapter_pb2,
    adapter_pb2_grpc,
    directive_pb2,
    directive_pb2_grpc,
    directory_pb2,
    directory_pb2_grpc,
    exchange_pb2,
    exchange_pb2_grpc,
)
from tests.e2e import words
from tests.support.stack import Deployment
from tests.support.values import AT_THE_DESK

# A suspension through another process is looked for once a second, and a stream looks at itself as often.
SOON = 4.0


@pytest.fixture(scope="module")
def other(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A second broker process on the same database: its gRPC address."""
    ready = tmp_path_factory.mktemp("other") / "ready.json"
    with stack.another_broker(ready):
        yield f"localhost:{json.loads(ready.read_text())['grpc']}"


@pytest.fixture
async def tablet(stack: Deployment, tmp_path: Path) -> AsyncIterator[TlsFiles]:
    """A system of the ambulance service that may be suspended: `nwas/tablet`."""
    files = words.files_of(stack.issued(tmp_path).issue_client("nwas", "tablet", datetime.now(UTC)))
    digest = key_digest(x509.load_pem_x509_certificate(files.cert.read_bytes()))
    async with stack.operator() as channel:
        await directory_pb2_grpc.DirectoryServiceStub(channel).EnrolSystem(
            directory_pb2.EnrolSystemRequest(
                actor=AT_THE_DESK,
                agency="nwas",
                system="tablet",
                function=directory_pb2.SYSTEM_FUNCTION_PARTNER,
                key_digest=digest,
            ),
            timeout=words.TIMEOUT,
        )
    yield files
    await _suspend(stack, "nwas", "tablet", lift=True)


async def _suspend(
    stack: Deployment, agency: str, system: str, target: str = "", *, lift: bool = False
) -> None:
    async with stack.channel("operator-cli", target) as channel:
        await directory_pb2_grpc.DirectoryServiceStub(channel).SuspendSystem(
            directory_pb2.SuspendSystemRequest(
                actor=AT_THE_DESK, agency=agency, system=system, reason="a test", lift=lift
            ),
            timeout=words.TIMEOUT,
        )


async def test_a_withdrawal_by_another_process_refuses_the_very_next_request(stack: Deployment, person):
    """Once the other process has its answer, no request is permitted any more."""
    someone = await person()
    said = await words.add_directive(stack, "consent", someone.number, "home-fire-safety")
    files = stack.member("cumberland-mash")
    line = [stack.target, str(files.ca), str(files.cert), str(files.key), said]
    async with stack.client("cfrs-mdt") as broker:
        permitted = await words.before_visit(broker, someone)
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "tests.support.withdraw", *line],
            check=True,
            capture_output=True,
            timeout=30,
        )
        with pytest.raises(Denied) as refused:
            await words.before_visit(broker, someone)
    assert refused.value.refusal.code == "person"
    assert permitted.receipt.index < int(done.stdout) < refused.value.receipt.index


async def test_a_withdrawal_through_one_broker_refuses_the_next_request_through_another(
    stack: Deployment, other: str, person
):
    """Two brokers share nothing but the database, and that is enough, ten times out of ten."""
    async with stack.client("cfrs-mdt") as broker:
        for _ in range(10):
            someone = await person()
            said = await words.add_directive(stack, "consent", someone.number, "home-fire-safety")
            await words.before_visit(broker, someone)
            await words.withdraw(stack, said, target=other)
            with pytest.raises(Denied) as refused:
                await words.before_visit(broker, someone)
            assert refused.value.refusal.code == "person"


async def test_under_load_no_permit_stands_after_the_withdrawal_it_ignores(
    stack: Deployment, other: str, person
):
    """With requests in flight all the time, every permit stands before the withdrawal in the log."""
    someone = await person()
    said = await words.add_directive(stack, "consent", someone.number, "home-fire-safety")
    permits: list[int] = []
    refusals: list[int] = []
    enough = asyncio.Event()
    async with stack.client("cfrs-mdt") as broker:

        async def crew() -> None:
            after = 0
            while after < 3:
                try:
                    permits.append((await words.before_visit(broker, someone)).receipt.index)
                    if len(permits) >= 20:
                        enough.set()
                except Denied as e:
                    refusals.append(e.receipt.index)
                    after += 1

        crews = [asyncio.create_task(crew()) for _ in range(8)]
        await asyncio.wait_for(enough.wait(), 20)
        async with stack.channel("cumberland-mash", other) as channel:
            made = await directive_pb2_grpc.DirectiveServiceStub(channel).WithdrawDirective(
                directive_pb2.WithdrawDirectiveRequest(directive_id=said, actor=words.SOCIAL_WORKER),
                timeout=words.TIMEOUT,
            )
        await asyncio.gather(*crews)
    assert max(permits) < made.receipt.index < min(refusals)


async def test_a_suspension_through_one_broker_ends_an_idle_stream_at_another(
    stack: Deployment, other: str, tablet: TlsFiles
):
    """An open stream of a system that is suspended elsewhere ends by itself within seconds."""
    async with stack.channel(tablet) as channel:
        stream = exchange_pb2_grpc.ExchangeServiceStub(channel).Exchange()
        asked = words.a_request()
        await stream.write(exchange_pb2.ExchangeRequest(requests=[asked]))
        reply = await stream.read()
        assert reply.outcomes[0].request_id == asked.request_id
        assert reply.outcomes[0].HasField("disclosure")
        await _suspend(stack, "nwas", "tablet", other)
        started = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await asyncio.wait_for(stream.read(), SOON)
    assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert time.monotonic() - started < SOON


async def test_a_suspension_through_one_broker_refuses_the_next_request_at_another(
    stack: Deployment, other: str, tablet: TlsFiles
):
    """The next request on a stream that was open is refused, by the stream's end or by a decision."""
    async with stack.channel(tablet) as channel:
        stream = exchange_pb2_grpc.ExchangeServiceStub(channel).Exchange()
        await stream.write(exchange_pb2.ExchangeRequest(requests=[words.a_request()]))
        assert (await stream.read()).outcomes[0].HasField("disclosure")
        await _suspend(stack, "nwas", "tablet", other)
        assert await _next_end(stream) in ("UNAUTHENTICATED", "party")


async def _next_end(stream: grpc.aio.StreamStreamCall) -> str:
    """The code of the next request's refusal or error, or of the stream's where that ends first."""
    try:
        await stream.write(exchange_pb2.ExchangeRequest(requests=[words.a_request()]))
        outcome = (await asyncio.wait_for(stream.read(), SOON)).outcomes[0]
    except grpc.aio.AioRpcError as e:
        return e.code().name
    return outcome.refusal.code if outcome.HasField("refusal") else words.code(outcome.error)


@pytest.mark.long
async def test_a_suspended_adapter_is_asked_nothing_more(stack: Deployment, other: str, tmp_path: Path):
    """The link of an adapter that is suspended elsewhere ends by itself within seconds."""
    files = words.files_of(stack.issued(tmp_path).issue_client("cfrs", "spare", datetime.now(UTC)))
    digest = key_digest(x509.load_pem_x509_certificate(files.cert.read_bytes()))
    async with stack.operator() as channel:
        directory = directory_pb2_grpc.DirectoryServiceStub(channel)
        await directory.EnrolSystem(
            directory_pb2.EnrolSystemRequest(
                actor=AT_THE_DESK,
                agency="cfrs",
                system="spare",
                function=directory_pb2.SYSTEM_FUNCTION_PARTNER,
                key_digest=digest,
            ),
            timeout=words.TIMEOUT,
        )
        listed = await directory.ListRecordTypes(
            directory_pb2.ListRecordTypesRequest(full_name="records.fire.v1.PremisesRisk")
        )
    provided = adapter_pb2.Provided(
        record_type="records.fire.v1.PremisesRisk", digest=listed.record_types[-1].digest
    )
    # No places: it is attached, but never asked in the other adapter's stead.
    hello = adapter_pb2.Hello(software="test/1", provides=[provided], at_once=1)
    async with stack.channel(files) as channel:
        link = adapter_pb2_grpc.AdapterServiceStub(channel).Attach()
        await link.write(adapter_pb2.AttachRequest(hello=hello, credit=0))
        assert (await link.read()).HasField("welcome")
        await link.write(adapter_pb2.AttachRequest(credit=0))
        await _suspend(stack, "cfrs", "spare", other)

        async def until_ended() -> None:
            while await link.read() is not grpc.aio.EOF:
                pass

        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await asyncio.wait_for(until_ended(), SOON)
    assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
