"""The HTTPS server itself: versions, bounds, starting and stopping."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import NoReturn

import pytest
from starlette.types import Receive, Scope, Send

from broker.console.connection import MAX_OF_ONE, BoundedProtocol
from broker.console.gate import OF_ONE_SYSTEM, Gate
from broker.console.server import MAX_HEAD_BYTES, HttpsServer
from broker.core.tiles import Tile
from broker.errors import AuditUnavailable, IntegrityError, QuotaExceeded, Saturated, SetupError
from broker.pki.folder import CertificateFolder
from broker.pki.tls import TlsFiles
from tests.console.conftest import ORIGIN, Site, serving


class Failing:
    """A log whose every page fails with `error`, once it may."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.may_fail = asyncio.Event()
        self.may_fail.set()
        self.asked = 0

    async def size(self) -> int:
        return await self._fail()

    async def head(self) -> tuple[int, bytes]:
        return await self._fail()

    async def tile(self, tile: Tile) -> bytes:
        return await self._fail()

    async def bundle(self, index: int, width: int) -> list[bytes]:
        return await self._fail()

    async def _fail(self) -> NoReturn:
        self.asked += 1
        await self.may_fail.wait()
        raise self.error


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that says no more than that it is there."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


def files(certs: CertificateFolder) -> TlsFiles:
    """The broker's own."""
    return TlsFiles.within(certs.path, "broker")


async def connect(site: Site, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TLS connection on which nothing has been said."""
    return await asyncio.open_connection("localhost", site.port, ssl=context, server_hostname="localhost")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls11_is_refused_and_12_and_13_are_not(site: Site) -> None:
    """The floor is TLS 1.2, whatever else the client would accept."""
    for version, name in [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]:
        context = site.context("cfrs-mdt")
        context.minimum_version = context.maximum_version = version
        _, writer = await connect(site, context)
        assert writer.get_extra_info("ssl_object").version() == name
        writer.transport.abort()
    old = site.context("cfrs-mdt")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect(site, old)


async def test_a_busy_port_is_one_sentence(https_certs: CertificateFolder) -> None:
    """Whoever starts it is told which port, and where to choose another; nothing is left running."""
    before = asyncio.all_tasks()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=rf"cannot listen on 127\.0\.0\.1 port {port}: .*--http-port"):
            await HttpsServer.start(nothing, files(https_certs), "127.0.0.1", port)
    assert asyncio.all_tasks() == before


async def test_a_host_or_a_port_that_cannot_be_is_a_sentence(https_certs: CertificateFolder) -> None:
    """An address of another machine, a name that is none, a number past the last port."""
    for host, port in [("192.0.2.1", 0), ("no-such-host.invalid", 0), ("127.0.0.1", 65_536)]:
        with pytest.raises(SetupError):
            await HttpsServer.start(nothing, files(https_certs), host, port)


async def test_missing_files_are_a_sentence(tmp_path: Path) -> None:
    """A server without its certificate does not begin to listen."""
    with pytest.raises(SetupError):
        await HttpsServer.start(nothing, TlsFiles.within(tmp_path, "broker"), "127.0.0.1", 0)


async def test_signals_stay_with_their_owner(https_certs: CertificateFolder) -> None:
    """Starting and stopping a server leaves the process's handlers as they were, also in between."""

    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    before = handlers()
    server = await HttpsServer.start(nothing, files(https_certs), "127.0.0.1", 0)
    during = handlers()
    await server.stop()
    assert before == during == handlers()


async def test_stopping_lets_an_answer_finish_and_takes_no_more(https_certs: CertificateFolder) -> None:
    """An answer in progress arrives whole; the port is free afterwards; stopping twice is the same as once."""
    begun = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.sleep(0.5)
        await nothing(scope, receive, send)

    server = await HttpsServer.start(slow, files(https_certs), "127.0.0.1", 0)
    context = ssl.create_default_context(cafile=str(https_certs.ca))
    reader, writer = await asyncio.open_connection("localhost", server.port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await begun.wait()
    stopping = asyncio.create_task(server.stop())
    assert (await reader.read()).startswith(b"HTTP/1.1 204")
    await stopping
    await server.stop()
    await server.ended()
    with socket.create_server(("127.0.0.1", server.port)):
        pass


async def test_stopping_has_a_bound(https_certs: CertificateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that never comes is given up when its time is over."""
    monkeypatch.setattr("broker.console.server.STOP_SECONDS", 1)
    begun = asyncio.Event()

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.Event().wait()

    server = await HttpsServer.start(never, files(https_certs), "127.0.0.1", 0)
    context = ssl.create_default_context(cafile=str(https_certs.ca))
    _, writer = await asyncio.open_connection("localhost", server.port, ssl=context)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await begun.wait()
    async with asyncio.timeout(4):
        await server.stop()
    writer.transport.abort()


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nG"])
async def test_a_client_that_does_not_finish_asking_is_cut_off(
    site: Site, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence, half a request and half of a second one end the connection, though bytes go on coming."""
    monkeypatch.setattr(BoundedProtocol, "head_seconds", 0.6)
    reader, writer = await connect(site, site.context("cfrs-mdt"))
    writer.write(said)

    async def drip() -> None:
        while said:
            await asyncio.sleep(0.1)
            writer.write(b"x")

    dripping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(3):
            with suppress(ConnectionError, ssl.SSLError):  # or a plain end
                while await reader.read(4096):
                    pass
    finally:
        dripping.cancel()
        writer.transport.abort()


async def test_there_is_a_last_connection(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound a connection ends unread, and the ones before it go on."""
    monkeypatch.setattr(BoundedProtocol, "max_connections", 2)
    monkeypatch.setattr(BoundedProtocol, "turned_seconds", 0.3)
    context = site.context("cfrs-mdt")
    ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    lines = []
    opened = [await connect(site, context) for _ in range(3)]
    for reader, writer in opened:
        try:
            writer.write(ask)
            lines.append(await asyncio.wait_for(reader.readline(), 5))
        except (ConnectionError, ssl.SSLError):
            lines.append(b"")
    for _, writer in opened:
        writer.transport.abort()
    assert lines == [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n", b""]


async def test_strangers_keep_out_neither_probes_nor_partners(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many connections are held half-asked without a certificate, the next probe is answered, and so is
    whoever was here with a certificate before them."""
    monkeypatch.setattr(BoundedProtocol, "max_strangers", 4)
    partner = await connect(site, site.context("cfrs-mdt"))
    held = []
    for _ in range(12):
        one = await connect(site, site.context(None))
        one[1].write(b"GET / HT")
        held.append(one)
    probe = await connect(site, site.context(None))
    for reader, writer in (probe, partner):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await asyncio.wait_for(reader.readline(), 5) == b"HTTP/1.1 200 OK\r\n"
    for _, writer in (partner, probe, *held):
        writer.transport.abort()


async def answered(site: Site, context: ssl.SSLContext, path: str = "/healthz") -> bytes:
    """The first line of the answer on a connection of its own; empty where there is none."""
    reader, writer = await connect(site, context)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return await asyncio.wait_for(reader.readline(), 5)
    except (ConnectionError, ssl.SSLError):
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("holder", ["cfrs-mdt", "nwas-cad"])  # the second one is suspended
async def test_one_key_has_so_many_connections_and_others_have_room(
    site: Site, monkeypatch: pytest.MonkeyPatch, holder: str
) -> None:
    """Three hundred that one key holds half-asked, whether or not it may speak: probes, and who reads metrics,
    are answered as always, and it has as many as one may and no more. The rest end unread."""
    monkeypatch.setattr(BoundedProtocol, "head_seconds", 90)
    monkeypatch.setattr(BoundedProtocol, "turned_seconds", 0.3)
    held, context, lines = [], site.context(holder), list[bytes]()
    for _ in range(300):
        with suppress(ConnectionError, ssl.SSLError):
            held.append(await connect(site, context))
            held[-1][1].write(b"GET /healthz HTTP/1.1\r\nHost: loc")
    for _ in range(3):
        assert await answered(site, site.context(None)) == b"HTTP/1.1 200 OK\r\n"
        assert await answered(site, site.context("operator-cli"), "/metrics") == b"HTTP/1.1 200 OK\r\n"
    for reader, writer in held:
        with suppress(ConnectionError, ssl.SSLError):
            writer.write(b"alhost\r\n\r\n")
            lines.append(await asyncio.wait_for(reader.readline(), 5))
        writer.transport.abort()
    assert [line for line in lines if line] == [b"HTTP/1.1 200 OK\r\n"] * MAX_OF_ONE


async def test_many_keys_leave_room_for_one_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all places with a certificate are taken, whoever has most of them gives one up, its oldest."""
    monkeypatch.setattr(BoundedProtocol, "max_connections", 4)
    held = [
        await connect(site, site.context(name)) for name in ("cfrs-mdt", "cfrs-mdt", "cfrs-mdt", "nwas-cad")
    ]
    for _ in range(2):
        assert await answered(site, site.context("operator-cli"), "/metrics") == b"HTTP/1.1 200 OK\r\n"
    answers = []
    for reader, writer in held:
        try:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answers.append(bool(await asyncio.wait_for(reader.readline(), 5)))
        except (ConnectionError, ssl.SSLError):
            answers.append(False)
        writer.transport.abort()
    assert answers == [False, True, True, True]


async def test_an_answer_does_not_wait_for_an_acknowledgement(site: Site) -> None:
    """On an open connection answers come at once: with Nagle's algorithm each takes 40 ms."""
    async with site.client("cfrs-mdt") as client:
        times = [(await client.get("/healthz")).elapsed.total_seconds() for _ in range(12)]
    assert sorted(times)[5] < 0.03


async def test_a_head_has_a_size(site: Site) -> None:
    """A request line or header without end is refused when it passes the bound."""
    reader, writer = await connect(site, site.context("cfrs-mdt"))
    writer.write(b"GET / HTTP/1.1\r\nX: " + b"x" * (MAX_HEAD_BYTES + 4096))
    assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 400")
    writer.transport.abort()


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (AuditUnavailable("the evidence store cannot be reached"), 503, "The log cannot be read just now"),
        (IntegrityError("two roots for size 7"), 500, "The log does not hold together here"),
        (RuntimeError("secret"), 500, "Something failed here"),
    ],
)
async def test_a_log_that_fails_is_a_sentence(
    https_certs: CertificateFolder, error: Exception, status: int, words: str
) -> None:
    """The reader learns whether to try again, not what broke; browsers are told the same as always."""
    async with serving(https_certs, {ORIGIN: Failing(error)}, ()) as site, site.client("cfrs-mdt") as client:
        for path in ("/log/checkpoint", "/log/tile/0/000"):
            answer = await client.get(path)
            assert answer.status_code == status
            assert answer.text.startswith(words)
            assert str(error) not in answer.text
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert ("retry-after" in answer.headers) == (status == 503)


async def test_the_page_is_there_while_the_log_cannot_be_read(https_certs: CertificateFolder) -> None:
    """A person who looks in while the database is away is told so on the page."""
    away = Failing(AuditUnavailable("away"))
    async with serving(https_certs, {ORIGIN: away}, ()) as site, site.client("cfrs-mdt") as client:
        answer = await client.get("/")
    assert (answer.status_code, away.asked) == (200, 1)
    assert "cannot be read just now" in answer.text


async def test_an_answer_has_a_time(https_certs: CertificateFolder) -> None:
    """A log that hangs costs its reader the bound, and then a 503."""
    hung = Failing(AuditUnavailable("late"))
    hung.may_fail.clear()
    async with (
        serving(https_certs, {ORIGIN: hung}, (), answer_seconds=0.3) as site,
        site.client("cfrs-mdt") as client,
    ):
        started = datetime.now(UTC)
        answer = await client.get("/log/checkpoint")
        assert (datetime.now(UTC) - started).total_seconds() < 3
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_one_system_cannot_take_every_place(https_certs: CertificateFolder) -> None:
    """Past its share a system gets 429 at once, and it is counted; another system still gets in line."""
    slow = Failing(AuditUnavailable("late"))
    slow.may_fail.clear()
    async with (
        serving(https_certs, {ORIGIN: slow}, ()) as site,
        site.client("cfrs-mdt") as greedy,
        site.client("operator-cli") as other,
    ):
        many = [asyncio.create_task(greedy.get("/log/tile/0/000")) for _ in range(OF_ONE_SYSTEM + 6)]
        refused = [await each for each in islice(asyncio.as_completed(many), 6)]
        patient = asyncio.create_task(other.get("/log/tile/0/000"))
        slow.may_fail.set()
        assert (await patient).status_code == 503
        statuses = [answer.status_code for answer in await asyncio.gather(*many)]
        counted = site.telemetry.registry.get_sample_value(
            "broker_over_quota_total", {"edge": "https", "agency": "cfrs", "limit": "room"}
        )
    assert [answer.status_code for answer in refused] == [429] * 6
    assert (statuses.count(429), statuses.count(503), counted) == (6, OF_ONE_SYSTEM, 6)


async def test_the_gate_bounds_those_inside_and_those_who_wait() -> None:
    """No more than so many are inside; who comes on top, or waits too long, is told so; places come back."""
    gate = Gate(at_once=2, waiting=2, of_one=3, wait_seconds=0.2)
    inside, most, leave = 0, 0, asyncio.Event()

    async def visit(system: str) -> str:
        nonlocal inside, most
        try:
            async with gate.admit(system):
                inside += 1
                most = max(most, inside)
                await leave.wait()
                inside -= 1
        except QuotaExceeded:
            return "quota"
        except Saturated:
            return "saturated"
        return "in"

    visits = [asyncio.create_task(visit(system)) for system in ("a", "a", "a", "a", "b", "c")]
    await asyncio.sleep(0.4)
    leave.set()
    assert await asyncio.gather(*visits) == ["in", "in", "saturated", "quota", "saturated", "saturated"]
    assert (most, inside) == (2, 0)
    assert [await visit(system) for system in ("a", "b")] == ["in", "in"]
