"""What every call with one question does: unreadable bytes, answers in pages, clients that do not read."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker.core.model import Caller, Function
from broker.errors import Saturated, TookTooLong
from broker.pki.files import read_certificates
from broker.pki.folder import CertificateFolder
from broker.pki.identity import key_digest
from broker.pki.tls import TlsFiles, channel_credentials
from broker.rpc import identity as known
from broker.rpc import override, search
from broker.rpc import unary as module
from broker.rpc.identity import HEAVY, PAGED, READS_AT_ONCE
from broker.rpc.server import MAX_MESSAGE, SERVICES
from broker.rpc.unary import streamed
from broker.v1 import (
    adapter_pb2_grpc,
    agreement_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    directive_pb2_grpc,
    directory_pb2,
    directory_pb2_grpc,
    exchange_pb2,
    exchange_pb2_grpc,
    keeping_pb2_grpc,
    override_pb2,
    override_pb2_grpc,
    referral_pb2_grpc,
    report_pb2_grpc,
    rotation_pb2_grpc,
    routing_pb2_grpc,
    standing_pb2_grpc,
)
from tests.rpc.conftest import SOON, Edge, eventually
from tests.support.refused import retry_delay
from tests.support.world import caller

GARBAGE = b"\x0a\x05secret\xff\xff"
_STUBS = (
    *(adapter_pb2_grpc, agreement_pb2_grpc, audit_pb2_grpc, directive_pb2_grpc, directory_pb2_grpc),
    *(exchange_pb2_grpc, keeping_pb2_grpc, override_pb2_grpc, referral_pb2_grpc, report_pb2_grpc),
    *(rotation_pb2_grpc, routing_pb2_grpc, standing_pb2_grpc),
)


def test_every_service_is_told_of_in_health_and_reflection() -> None:
    """Each service that there is a stub for; one that is left out could not be found by grpcurl."""
    there = {name for file in _STUBS for name in vars(file) if name.endswith("Service")}
    assert {name.rpartition(".")[2] for name in SERVICES} == there


@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("ExchangeService/Request", "unary_unary"),
        ("ExchangeService/Explain", "unary_unary"),
        ("DirectiveService/AddDirective", "unary_unary"),
        ("AuditService/Search", "unary_stream"),
        ("ExchangeService/Exchange", "stream_stream"),
    ],
)
async def test_bytes_that_are_no_message_are_bad_input(edge: Edge, method: str, kind: str) -> None:
    """The status of bad input, on calls and on streams; nothing of the bytes is repeated; and it is counted."""
    before = edge.counted("malformed", edge="grpc")
    call: Any = getattr(edge.channel(), kind)(f"/broker.v1.{method}")
    sent = iter([GARBAGE]) if kind.startswith("stream") else GARBAGE
    made = call(sent, timeout=SOON)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (made.read() if kind.endswith("stream") else made)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "secret" not in str(caught.value.details())
    assert edge.counted("malformed", edge="grpc") == before + 1


async def test_strangers_hear_first_that_they_are_strangers(edge: Edge) -> None:
    """Who is not enrolled learns nothing of what it sent."""
    call = edge.channel("nwas-new").unary_unary("/broker.v1.ExchangeService/Request")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(GARBAGE, timeout=SOON)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def following() -> audit_pb2.SearchRequest:
    """A search that stays."""
    return audit_pb2.SearchRequest(
        facts=[audit_pb2.SearchFact(kind="actor", value="nobody")],
        actor=exchange_pb2.Actor(id="ann", role="auditor"),
        reason=exchange_pb2.ReasonCode(code="complaint"),
        follow=True,
    )


@pytest.mark.parametrize("beyond", [1 << 53, (1 << 63) - 1, (1 << 64) - 1])
async def test_a_place_that_no_log_can_have_is_bad_input(edge: Edge, beyond: int) -> None:
    """It would stand in the entry of the look, which has no form for it: no evidence is damaged."""
    wanted = following()
    wanted.beyond = beyond
    stub = audit_pb2_grpc.AuditServiceStub(edge.channel())
    with pytest.raises(grpc.aio.AioRpcError, match="beyond: is no index of a log") as caught:
        await stub.Search(wanted, timeout=SOON).read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    wanted.beyond = (1 << 53) - 1
    call = stub.Search(wanted)
    assert (await call.read()).size > 0
    call.cancel()


def free(edge: Edge) -> bool:
    """Whether there is a seat."""
    try:
        with edge.servicer.identity.paged.one("nwas/cad"):
            return True
    except Saturated:
        return False


async def test_a_system_has_so_many_answers_in_pages_at_a_time(edge: Edge) -> None:
    """A search that stays costs the database a look a second: the next one more is told to come later."""
    stub = audit_pb2_grpc.AuditServiceStub(edge.channel())
    calls = [stub.Search(following()) for _ in range(PAGED)]
    for each in calls:
        await each.read()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Search(following()).read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    calls.pop().cancel()

    await eventually(lambda: free(edge))
    await stub.Search(following()).read()
    for each in calls:
        each.cancel()


async def test_a_silent_answer_ends_when_its_system_is_suspended(edge: Edge) -> None:
    """Nothing has to be found first."""
    call = audit_pb2_grpc.AuditServiceStub(edge.channel()).Search(following())
    await call.read()
    await edge.enrol("nwas-cad", Function.PARTNER, suspended=True)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(SOON):
            await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


class _Stalled:
    """A call whose client does not read; and what it was ended with."""

    def __init__(self) -> None:
        self.ended: list[Any] = []

    async def write(self, _: object) -> None:
        await asyncio.Event().wait()

    def set_code(self, code: Any) -> None:
        self.ended.append(code)

    def set_details(self, _: object) -> None:
        """Words."""

    def set_trailing_metadata(self, _: object) -> None:
        """Details."""


class _Pages:
    """A servicer of endless pages."""

    def __init__(self, edge: Edge) -> None:
        self.identity, self.telemetry = _Known(edge), edge.telemetry
        self.closed = False

    @streamed
    async def pages(self, request: object, caller: object) -> AsyncIterator[bytes]:
        """One after the other."""
        try:
            while True:
                yield b"page"
        finally:
            self.closed = True


class _Known:
    """Everybody may speak."""

    def __init__(self, edge: Edge) -> None:
        self.paged = edge.servicer.identity.paged

    async def fresh(self, _: object) -> Caller:
        return caller()

    def of(self, _: object) -> Caller:
        return caller()

    def named(self, _: object) -> str:
        return caller().name

    async def watch(self, _: object) -> None:
        await asyncio.Event().wait()


async def test_a_client_that_reads_nothing_is_ended(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within its time, and what gave the answers is closed with it."""
    monkeypatch.setattr(module, "STALLED", 0.05)
    servicer, call = _Pages(edge), _Stalled()
    await servicer.pages(following(), call)  # type: ignore[arg-type]
    assert call.ended == [grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert servicer.closed


def test_a_list_ends_before_its_message_is_too_large() -> None:
    """Those that are due first; long words must not keep the owner from all of it."""
    each = override_pb2.Override(id="1", words="x" * 1000)
    assert override._within([each] * 10, 5 * each.ByteSize()) == [each] * 5
    assert override._within([each], each.ByteSize() - 1) == []
    assert override.MAX_LIST < MAX_MESSAGE


async def test_staying_is_an_entry_again(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hour that a search stays names who still looks, and the first entry; unwritten, no more comes."""
    monkeypatch.setattr(search, "FOLLOW", 0.01)
    monkeypatch.setattr(search, "AGAIN", 0.05)
    entries = edge.world.store.entries
    call = audit_pb2_grpc.AuditServiceStub(edge.channel()).Search(following())
    await call.read()
    first = entries[-1].draft
    assert first.full["event"] == "log-searched"
    await eventually(lambda: len(entries) >= 4)
    for kept in entries[-2:]:
        full: Any = kept.draft.full
        assert (full["event"], full["actor"]["id"], full["detail"]["reason"]) == (
            "log-searched",
            "ann",
            "complaint",
        )
        assert (full["detail"]["goes_on"], full["detail"]["facts"]) == (first.id, ["actor nobody"])
    edge.world.store.log.fail = 1_000
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with asyncio.timeout(SOON):
            await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    edge.world.store.log.fail = 0


async def test_within_an_hour_it_is_one_entry(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking once a second does not make the log grow."""
    monkeypatch.setattr(search, "FOLLOW", 0.01)
    entries = edge.world.store.entries
    call = audit_pb2_grpc.AuditServiceStub(edge.channel()).Search(following())
    await call.read()
    before = len(entries)
    await asyncio.sleep(0.2)
    assert len(entries) == before
    call.cancel()


async def lists(stub: Any, count: int) -> list[BaseException | Any]:
    """So many calls that read much, all at once."""
    asked = directory_pb2.ListAgenciesRequest()
    return await asyncio.gather(*(stub.ListAgencies(asked) for _ in range(count)), return_exceptions=True)


async def test_an_agencys_slow_list_stops_its_own_and_nobody_elses(edge: Edge) -> None:
    """Those of its that wait have their turn after it; one more is refused, and told when to ask again; other
    agencies' lists are answered meanwhile, however often they ask."""
    stub = directory_pb2_grpc.DirectoryServiceStub(edge.channel())
    other = directory_pb2_grpc.DirectoryServiceStub(edge.channel("cfrs-cad"))
    identity = edge.servicer.identity
    async with identity.turn("nwas"):
        waiting = asyncio.create_task(lists(stub, HEAVY + 3))
        await eventually(lambda: identity.turns.waiting("nwas") == HEAVY)
        async with asyncio.timeout(SOON):
            theirs = [await lists(other, 1) for _ in range(3)]
        assert not waiting.done()
    ended = await waiting
    refused = [each for each in ended if isinstance(each, grpc.aio.AioRpcError)]
    assert len(refused) == 3
    assert {each.code() for each in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert all(retry_delay(each) > 0 for each in refused)
    assert not any(isinstance(each, BaseException) for list_ in theirs for each in list_)


async def test_what_works_for_too_long_is_ended_and_told(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, with what to do; the turn is free again, and what timed out inside is not taken for it."""
    monkeypatch.setattr(known, "HEAVY_SECONDS", 0.05)
    identity = edge.servicer.identity
    with pytest.raises(TookTooLong, match=r"more than 0\.05 s .* ask for less"):
        async with identity.turn("nwas"):
            await asyncio.Event().wait()
    with pytest.raises(TimeoutError):
        async with identity.turn("nwas"):
            raise TimeoutError
    assert not isinstance(
        (await lists(directory_pb2_grpc.DirectoryServiceStub(edge.channel()), 1))[0], Exception
    )


async def calls_until(edge: Edge, name: str, certs: CertificateFolder, stop: asyncio.Event) -> list[Any]:
    """What calls of each kind end with that a certificate makes without pause, until `stop`."""
    credentials = channel_credentials(TlsFiles.within(certs.path, name))
    channel = grpc.aio.secure_channel(f"localhost:{edge.port}", credentials)
    edge.channels.append(channel)
    stub, ended = directory_pb2_grpc.DirectoryServiceStub(channel), list[Any]()

    async def one() -> None:
        while not stop.is_set():
            ended.extend(await lists(stub, 1))
            with suppress(grpc.aio.AioRpcError):
                await audit_pb2_grpc.AuditServiceStub(channel).GetReceipt(audit_pb2.GetReceiptRequest())

    async with asyncio.TaskGroup() as group:
        for _ in range(30):
            group.create_task(one())
    return ended


@pytest.mark.parametrize("state", ["revoked", "never enrolled"])
async def test_a_key_that_may_not_speak_spends_nothing_of_the_system_it_names(
    edge: Edge, tmp_path: Path, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty calls of it at once, again and again: the system's own key has each of its lists, the directory is
    read for it a few times, and no quota of the agency's is charged."""
    monkeypatch.setattr(known, "_LONGEST", 0.2)
    shutil.copytree(edge.certs.path, tmp_path / "certs")
    shutil.rmtree(tmp_path / "certs" / "nwas-cad")
    stolen = CertificateFolder(tmp_path / "certs")
    leaf = read_certificates(stolen.issue_client("nwas", "cad", datetime.now(UTC)) / "cert.pem")[0]
    if state == "revoked":
        await edge.enrol("nwas-cad", Function.PARTNER, revoked=frozenset({key_digest(leaf)}))
    stop = asyncio.Event()
    flood = asyncio.create_task(calls_until(edge, "nwas-cad", stolen, stop))
    read = edge.world.store.reference.refreshed
    await eventually(lambda: edge.counted("unauthenticated", edge="grpc") > 60)
    read = edge.world.store.reference.refreshed - read
    stub = directory_pb2_grpc.DirectoryServiceStub(edge.channel())
    own = [each for _ in range(20) for each in await lists(stub, 2)]
    stop.set()
    told = await flood
    assert [each for each in own if isinstance(each, BaseException)] == []
    assert {each.code() for each in told} == {grpc.StatusCode.UNAUTHENTICATED}
    assert read < 40
    for limit in ("room", "reads", "calls"):
        assert edge.counted("over_quota", edge="grpc", agency="nwas", limit=limit) == 0


async def test_a_system_makes_so_many_lists_a_second(edge: Edge) -> None:
    """What is more than a person can look at is refused before anything is read for it."""
    stub = directory_pb2_grpc.DirectoryServiceStub(edge.channel())
    for _ in range(int(READS_AT_ONCE) // HEAVY):
        assert not any(isinstance(each, BaseException) for each in await lists(stub, HEAVY))
    refused = list[grpc.aio.AioRpcError]()
    for _ in range(10):  # a slow machine has a few more of them first: five each second
        refused += [each for each in await lists(stub, HEAVY) if isinstance(each, grpc.aio.AioRpcError)]
    first = refused[0]
    assert first.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert retry_delay(first) > 0


@pytest.mark.long
async def test_recording_late_has_turns_like_every_list(edge: Edge) -> None:
    """A hundred records of many fields cost as much as a list: no more of them a second than of those."""
    stub = audit_pb2_grpc.AuditServiceStub(edge.channel())
    nothing = audit_pb2.RecordLateRequest(check_only=True)
    codes = set[grpc.StatusCode]()
    for _ in range(2 * int(READS_AT_ONCE) // HEAVY):
        for ended in await asyncio.gather(
            *(stub.RecordLate(nothing) for _ in range(HEAVY)), return_exceptions=True
        ):
            assert isinstance(ended, grpc.aio.AioRpcError)
            codes.add(ended.code())
    assert codes == {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
