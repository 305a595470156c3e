"""What is taken from a system through one worker is taken at every worker, on streams that are open too."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from broker.cli.up.cast import FIRE_ADAPTER, OPERATOR
from broker.errors import ProviderUnavailable
from broker.pki.files import read_certificates
from broker.pki.folder import CertificateFolder
from broker.pki.identity import key_digest
from broker.v1 import directory_pb2, directory_pb2_grpc, exchange_pb2, exchange_pb2_grpc
from tests.support.fleet import Fleet, Risks, ask, asked, attached, becomes, fleet
from tests.support.postgres import Server
from tests.support.running import command
from tests.support.values import AT_THE_DESK

# "Within one batch" where anything is asked; else the look for changes that each worker takes every second.
SILENT = 2.5
SEVERAL = 40  # which are refused: each must hear why, whatever it is writing
Call = grpc.aio.StreamStreamCall[exchange_pb2.ExchangeRequest, exchange_pb2.ExchangeReply]


async def test_a_silent_stream_of_a_suspended_system_ends_at_the_other_worker(pair: Fleet) -> None:
    """Suspended through one worker; a stream open at the other, on which nobody speaks, ends by itself."""
    async with pair.channel("wf-mash", pair.direct(1)) as channel:
        call = await _stream(channel)
        async with _suspended(pair, 0, "wf", "mash"):
            assert await _ended(call, SILENT) == grpc.StatusCode.UNAUTHENTICATED


async def test_the_next_request_of_a_suspended_system_is_its_last(pair: Fleet, risks: Risks) -> None:
    """Asked at the other worker once the suspension is committed: no record, and the stream ends at once."""
    async with pair.channel("nwas-cad", pair.direct(1)) as channel:
        call = await _stream(channel)
        await call.write(exchange_pb2.ExchangeRequest(requests=[asked()]))
        reply = await asyncio.wait_for(call.read(), 5)
        assert reply.outcomes[0].WhichOneof("result") == "disclosure"
        async with _suspended(pair, 0, "nwas", "cad"):
            await call.write(exchange_pb2.ExchangeRequest(requests=[asked()]))
            assert await _ended(call, 0.5) == grpc.StatusCode.UNAUTHENTICATED


async def test_work_that_waits_is_not_released_after_a_suspension(pair: Fleet) -> None:
    """A request whose provider is still thinking when its requester is suspended elsewhere gets no record."""
    risks = Risks(takes=lambda _: 1.0)
    async with attached(pair, risks), pair.channel("nwas-cad", pair.direct(1)) as channel:
        call = await _stream(channel)
        await call.write(exchange_pb2.ExchangeRequest(requests=[asked()]))
        await becomes(lambda: risks.asked == 1, 20)
        async with _suspended(pair, 0, "nwas", "cad"):
            assert await _ended(call, SILENT) == grpc.StatusCode.UNAUTHENTICATED
            await becomes(lambda: risks.abandoned == 1, 20)


async def test_calls_that_wait_are_given_up_at_a_suspension(pair: Fleet) -> None:
    """One is with its provider, one waits for a place there: neither is answered, the second is never asked."""
    risks = Risks(takes=lambda _: 5.0)
    async with attached(pair, risks, at_once=2), pair.channel("nwas-cad", pair.direct(1)) as channel:
        stub = exchange_pb2_grpc.ExchangeServiceStub(channel)
        calls = [stub.Request(asked(), timeout=10)]
        await becomes(lambda: risks.asked == 1, 20)
        calls.append(stub.Request(asked(), timeout=10))
        await asyncio.sleep(0.2)
        async with _suspended(pair, 0, "nwas", "cad"):
            async with asyncio.timeout(SILENT):
                codes = [await call.code() for call in calls]
            assert codes == [grpc.StatusCode.UNAUTHENTICATED] * 2
            await becomes(lambda: risks.abandoned == 1, 20)
            assert risks.asked == 1


async def test_a_suspended_adapter_is_asked_no_more_by_any_worker(pair: Fleet) -> None:
    """Its links end at every worker although it says nothing but heartbeats, and it cannot attach again."""
    async with attached(pair, Risks(), backoff_cap=0.3) as attach:
        assert len(attach.links()) == 2
        async with _suspended(pair, 0, FIRE_ADAPTER.agency, FIRE_ADAPTER.system):
            await becomes(lambda: not attach.links(), SILENT)
            for number in range(2):
                async with pair.client(target=pair.direct(number)) as client:
                    with pytest.raises(ProviderUnavailable):
                        await ask(client)
        await becomes(lambda: len(attach.links()) == 2, 20)


async def test_a_revoked_key_ends_its_streams_and_no_other_keys(pair: Fleet) -> None:
    """One of two keys is revoked by command: its stream ends at the other worker, the other key's goes on."""
    old = read_certificates(pair.state.certs / "cumberland-mash" / "cert.pem")[0]
    fresh = _second_key(pair, "cumberland", "mash")
    async with (
        pair.channel("cumberland-mash", pair.direct(1)) as one,
        pair.channel(fresh, pair.direct(1)) as two,
    ):
        with_old, with_new = await _stream(one), await _stream(two)
        done = await asyncio.to_thread(
            command,
            *("certs", "revoke", "cumberland", "mash", "--reason", "tablet lost"),
            *("--key-digest", key_digest(old), "--state", pair.state.folder, "--target", pair.direct(0)),
            "--json",
        )
        assert done.returncode == 0, done.stderr
        assert await _ended(with_old, SILENT) == grpc.StatusCode.UNAUTHENTICATED
        assert not with_new.done()
        for again in await asyncio.gather(*(_stream(one) for _ in range(SEVERAL))):
            assert await _ended(again, 2) == grpc.StatusCode.UNAUTHENTICATED
    entry = json.loads(done.stdout)["entry"]
    shown = await asyncio.to_thread(
        command,
        *("audit", "show", entry, "--reason", "test", "--actor-id", "a1", "--role", "auditor"),
        *("--state", pair.state.folder),
    )
    assert "key-revoked" in shown.stdout, shown.stderr
    # Whoever found the lost tablet's certificate useful and asks for it back is told that it stays out.
    back = await asyncio.to_thread(
        command,
        *("system", "enrol", "cumberland", "mash", "--function", "partner"),
        *("--certificate", pair.state.certs / "cumberland-mash" / "cert.pem"),
        *("--state", pair.state.folder, "--target", pair.direct(0)),
    )
    assert back.returncode == 1
    assert "was revoked and never comes back; make a new one" in back.stderr


async def test_an_operators_own_key_is_not_revoked_with_itself(pair: Fleet) -> None:
    """The call that would lock its caller out is refused, naming the field."""
    done = await asyncio.to_thread(
        command,
        *("certs", "revoke", OPERATOR.agency, OPERATOR.system, "--reason", "test", "--certificate"),
        *(pair.state.certs / OPERATOR.folder / "cert.pem", "--state", pair.state.folder),
    )
    assert done.returncode == 1
    assert "key_digest" in done.stderr


async def test_a_system_enrolled_through_one_worker_is_known_at_the_other(pair: Fleet) -> None:
    """The first call of a newcomer is not turned away because the worker it reaches has not looked yet."""
    for n in range(3):
        name = _second_key(pair, "cumbria-police", "control", f"later-{n}")
        async with pair.channel(name, pair.direct(1)) as channel:
            stub = directory_pb2_grpc.DirectoryServiceStub(channel)
            await stub.ListAgencies(directory_pb2.ListAgenciesRequest(), timeout=5)


@pytest.mark.long
async def test_time_alone_ends_a_silent_stream(postgres: Server, tmp_path: Path) -> None:
    """A system whose enrolment runs out while its stream is open and silent is cut off."""
    async with postgres.fresh() as dsn, fleet(dsn, tmp_path) as running:
        digest = key_digest(read_certificates(running.state.certs / "wf-mash" / "cert.pem")[0])
        async with running.channel(OPERATOR.folder) as channel:
            request = directory_pb2.EnrolSystemRequest(
                actor=AT_THE_DESK,
                agency="wf",
                system="mash",
                function=directory_pb2.SYSTEM_FUNCTION_PARTNER,
                key_digest=digest,
            )
            request.valid_from.FromDatetime(datetime(2024, 1, 1, tzinfo=UTC))
            request.valid_until.FromSeconds(int(datetime.now(UTC).timestamp()) + 3)
            await directory_pb2_grpc.DirectoryServiceStub(channel).EnrolSystem(request, timeout=5)
        async with running.channel("wf-mash", running.direct(1)) as channel:
            call = await _stream(channel)
            assert await _ended(call, 3 + SILENT) == grpc.StatusCode.UNAUTHENTICATED


class _suspended:  # noqa: N801 - reads as a block
    """Suspended through worker `number`, and taken back at the end of the block."""

    def __init__(self, pair: Fleet, number: int, agency: str, system: str) -> None:
        self._pair, self._number, self._who = pair, number, (agency, system)

    async def __aenter__(self) -> None:
        await self._say(lift=False)

    async def __aexit__(self, *_: object) -> None:
        await self._say(lift=True)

    async def _say(self, *, lift: bool) -> None:
        agency, system = self._who
        request = directory_pb2.SuspendSystemRequest(
            actor=AT_THE_DESK, agency=agency, system=system, reason="test", lift=lift
        )
        async with self._pair.channel(OPERATOR.folder, self._pair.direct(self._number)) as channel:
            await directory_pb2_grpc.DirectoryServiceStub(channel).SuspendSystem(request, timeout=5)


async def _stream(channel: grpc.aio.Channel) -> Call:
    """An exchange stream that the broker has taken up, or has ended: `_ended` says as what."""
    call: Call = exchange_pb2_grpc.ExchangeServiceStub(channel).Exchange()
    await call.write(exchange_pb2.ExchangeRequest())
    await asyncio.sleep(0.1)
    return call


async def _ended(call: Call, within: float) -> grpc.StatusCode:
    """The status with which the call ends in that time; fails if a record comes first."""

    try:
        async with asyncio.timeout(within):
            while isinstance(reply := await call.read(), exchange_pb2.ExchangeReply):
                assert [o for o in reply.outcomes if o.WhichOneof("result") == "disclosure"] == []
    except grpc.aio.AioRpcError:
        pass
    return await asyncio.wait_for(call.code(), 0.1)


def _second_key(pair: Fleet, agency: str, system: str, name: str = "") -> str:
    """Another certificate of a system with a key of its own, enrolled through worker 0; its folder's name."""
    certs = pair.state.certs
    first, kept = certs / f"{agency}-{system}", certs / f"kept-{uuid.uuid4().hex[:8]}"
    first.rename(kept)
    CertificateFolder(certs).issue_client(agency, system, datetime.now(UTC))
    name = name or f"{agency}-{system}-second"
    first.rename(certs / name)
    kept.rename(first)
    done = command(
        *("system", "enrol", agency, system, "--function", "partner", "--certificate"),
        *(certs / name / "cert.pem", "--state", pair.state.folder, "--target", pair.direct(0)),
    )
    assert done.returncode == 0, done.stderr
    return name
