"""Two workers behind one port: each is reached, each says of itself whether it is ready."""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import ssl
from collections import Counter
from datetime import UTC, datetime

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from broker.cli.up.cast import NHS_ADAPTER
from broker.cli.workers.ports import reserved
from broker.errors import SetupError
from broker.pki.folder import CertificateFolder
from broker.pki.selfcheck import refuse_tls12
from broker.v1 import adapter_pb2, adapter_pb2_grpc, directory_pb2, directory_pb2_grpc, exchange_pb2_grpc
from tests.faults.flood import request
from tests.support.fleet import Fleet, Risks, ask, attached, becomes

ASKS = "nwas-cad"
PATIENT = "records.nhs.v1.PatientSummary"


async def test_the_ready_file_names_each_worker(pair: Fleet) -> None:
    """Once all are ready: shared ports, key, log, and an id and an address of its own for each worker."""
    told = pair.told
    assert set(told) == {"grpc", "http", "vkey", "vkeys", "log", "workers"}
    assert told["vkey"].startswith(told["log"])
    addresses = {worker["address"] for worker in told["workers"]}
    assert len(addresses) == len(set(pair.ids)) == 2
    assert f"127.0.0.1:{told['grpc']}" not in addresses


async def test_a_workers_own_port_refuses_tls_1_2(pair: Fleet) -> None:
    """The port at which one worker alone is dialled takes TLS 1.3 only, as the shared one does."""
    for target in (pair.target, pair.direct(0), pair.direct(1)):
        host, port = target.split(":")
        await asyncio.to_thread(refuse_tls12, host, int(port))


async def test_a_client_makes_32_calls_at_a_time_on_one_connection(pair: Fleet) -> None:
    """None is refused for those that have ended and are not yet put away."""
    ends: Counter[str] = Counter()
    takes = itertools.cycle(n / 1000 for n in (1, 20, 3, 9, 0, 14, 6))

    async def calls(stub: exchange_pb2_grpc.ExchangeServiceStub) -> None:
        for _ in range(25):
            try:
                await stub.Request(request(), timeout=20)
                ends["answered"] += 1
            except grpc.aio.AioRpcError as e:
                ends[f"{e.code().name} {e.details()}"] += 1

    async with (
        attached(pair, Risks(takes=lambda _: next(takes))),
        pair.channel(ASKS, pair.direct(0)) as channel,
    ):
        stub = exchange_pb2_grpc.ExchangeServiceStub(channel)
        await asyncio.gather(*(calls(stub) for _ in range(32)))
    assert ends == {"answered": 32 * 25}


async def test_an_adapter_has_a_link_to_each_worker(pair: Fleet) -> None:
    """The SDK dials the shared address once and attaches to every worker; each can answer for the provider."""
    async with attached(pair, Risks()) as attach:
        assert sorted(attach.links()) == sorted(pair.ids)
        for number in range(2):
            async with pair.client(target=pair.direct(number)) as client:
                assert (await ask(client)).record is not None


async def test_connections_to_the_shared_port_reach_both(pair: Fleet, risks: Risks) -> None:
    """The kernel deals out connections: of sixteen clients some are answered by each worker."""
    before = [await _answered(pair, number) for number in range(2)]
    for _ in range(16):
        async with pair.client() as client:
            await ask(client)
    after = [await _answered(pair, number) for number in range(2)]
    grown = [a - b for a, b in zip(after, before, strict=True)]
    assert sum(grown) == 16
    assert min(grown) > 0


async def test_a_worker_without_a_known_providers_adapter_is_not_ready(pair: Fleet, risks: Risks) -> None:
    """It says so on its own ports, names nobody to strangers, still serves, and is ready again afterwards."""
    async with pair.channel(NHS_ADAPTER.folder, pair.direct(0)) as channel:
        call = await _attach(channel)
        await becomes(lambda: _is_ready(pair, 1, False), 30)
        async with pair.https(1) as https:
            text = (await https.get("/readyz")).text
        assert "adapters of 1 provider(s)" in text
        assert "ncic" not in text
        assert await _is_ready(pair, 0, True)
        assert await _health(pair, 1) == health_pb2.HealthCheckResponse.NOT_SERVING
        async with pair.client(target=pair.direct(1)) as client:
            assert (await ask(client)).record is not None
        call.cancel()
    await becomes(lambda: _is_ready(pair, 1, True), 30)
    assert await _health(pair, 1) == health_pb2.HealthCheckResponse.SERVING


async def test_a_renewed_server_certificate_is_served_without_a_restart(pair: Fleet) -> None:
    """New connections to every port, shared and direct, gRPC and HTTPS, see it; open streams go on."""
    ports = [pair.told["grpc"], pair.told["http"]]
    for worker in pair.told["workers"]:
        ports += [int(worker["address"].split(":")[1]), worker["http"]]
    before = {await asyncio.to_thread(_serial, pair, port) for port in ports}
    async with pair.client() as client, attached(pair, Risks()):
        await ask(client)
        CertificateFolder(pair.state.certs).renew("broker", datetime.now(UTC))
        after = {await asyncio.to_thread(_serial, pair, port) for port in ports}
        await ask(client)
    assert len(before) == len(after) == 1
    assert before != after


async def test_a_port_on_which_somebody_listens_is_refused(pair: Fleet) -> None:
    """Although ports may be shared, a second deployment does not slip in beside the first."""
    with (
        pytest.raises(SetupError, match="BROKER_GRPC_PORT"),
        reserved("127.0.0.1", pair.told["grpc"], "BROKER_GRPC_PORT"),
    ):
        pass


async def _answered(pair: Fleet, number: int) -> int:
    async with pair.https(number) as https:
        text = (await https.get("/metrics")).text
    found = re.findall(r'^broker_requests_total\{[^}]*outcome="permit"[^}]*\} (\S+)$', text, re.MULTILINE)
    return int(sum(float(count) for count in found))


async def _is_ready(pair: Fleet, number: int, wanted: bool) -> bool:
    async with pair.https(number) as https:
        return ((await https.get("/readyz")).status_code == 200) is wanted


async def _health(pair: Fleet, number: int) -> health_pb2.HealthCheckResponse.ServingStatus.ValueType:
    async with pair.channel("nwas-cad", pair.direct(number)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        return (await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)).status


async def _attach(channel: grpc.aio.Channel) -> grpc.aio.StreamStreamCall:
    """An adapter that never heard of attaching to more than one worker."""
    directory = directory_pb2_grpc.DirectoryServiceStub(channel)
    listed = await directory.ListRecordTypes(directory_pb2.ListRecordTypesRequest(), timeout=5)
    digest = next(t.digest for t in listed.record_types if t.full_name == PATIENT)
    call = adapter_pb2_grpc.AdapterServiceStub(channel).Attach()
    provided = adapter_pb2.Provided(record_type=PATIENT, digest=digest, subject_schemes=["nhs-number"])
    await call.write(adapter_pb2.AttachRequest(hello=adapter_pb2.Hello(provides=[provided], at_once=4)))
    assert (await call.read()).HasField("welcome")
    return call


def _serial(pair: Fleet, port: int) -> int:
    files = pair.files("nwas-cad")
    context = ssl.create_default_context(cafile=str(files.ca))
    context.load_cert_chain(files.cert, files.key)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        der = secure.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number
