"""`broker audit export send`: log records on their way to a collector over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

from broker.cli import otlp_http
from broker.errors import SetupError
from tests.cli.conftest import run
from tests.support.exporting import given, world_of_kinds, written
from tests.support.world import World


@dataclass
class Siem:
    """An OTLP/HTTP receiver that keeps what it takes. `answers` are given first, (status, body) each."""

    url: str = ""
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    messages: list[logs_service_pb2.ExportLogsServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def take(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """What becomes of one request."""
        if self.answers:
            return self.answers.pop(0)
        value = json.loads(body)
        for logs in value["resourceLogs"]:
            logs["scopeLogs"][0]["logRecords"][0].pop("traceId", "")
        self.messages.append(json_format.ParseDict(value, logs_service_pb2.ExportLogsServiceRequest()))
        self.headers.append(headers)
        return 200, b"{}"

    @property
    def entries(self) -> list[str]:
        """The ids of the entries that were taken, in order."""
        return [
            attribute.value.string_value
            for message in self.messages
            for logs in message.resource_logs
            for attribute in logs.scope_logs[0].log_records[0].attributes
            if attribute.key == "bluelight.entry.id"
        ]


@contextmanager
def listening() -> Iterator[Siem]:
    """A receiver on a free port."""
    siem = Siem()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, answer = siem.take(body, {name.lower(): value for name, value in self.headers.items()})
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    siem.url = f"http://127.0.0.1:{server.server_port}/v1/logs"
    try:
        yield siem
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def siem(monkeypatch: pytest.MonkeyPatch) -> Iterator[Siem]:
    """A receiver; nobody waits between two tries, and three records make a batch."""
    monkeypatch.setattr(otlp_http, "_LONGEST", 0.0)
    monkeypatch.setattr(otlp_http, "BATCH", 3)
    with listening() as made:
        yield made


@pytest.fixture
async def world() -> World:
    """A log with entries of every kind."""
    return await world_of_kinds()


async def exported(world: World, folder: Path, form: str = "otlp") -> tuple[Path, Path]:
    """A file of the whole log, and the log's key."""
    vkey = folder / "log.vkey"
    vkey.write_text(world.store.signer.vkey + "\n")
    written(folder / "x", form, await given(world))
    return folder / "x", vkey


async def test_every_record_is_taken_in_batches(
    siem: Siem, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the log's order, as messages of OTLP, with the headers that the collector wants."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x,x-tenant=cumbria")
    file, vkey = await exported(world, tmp_path)
    sent = run("audit", "export", "send", file, "--vkey", vkey, "--endpoint", siem.url, "--json")
    assert sent.code == 0, sent.err
    assert siem.entries == [kept.draft.id for kept in world.store.entries[:-2]]
    assert sent.json["sent"] == len(siem.entries)
    assert [len(each.resource_logs) for each in siem.messages][:-1] == [3] * (len(siem.messages) - 1)
    assert siem.headers[0]["authorization"] == "Bearer x"
    assert (siem.headers[0]["x-tenant"], siem.headers[0]["content-type"]) == ("cumbria", "application/json")


async def test_what_may_be_tried_again_is(siem: Siem, world: World, tmp_path: Path) -> None:
    """A collector that is busy for a while gets every record once."""
    siem.answers = [(503, b""), (429, b"")]
    file, vkey = await exported(world, tmp_path)
    sent = run("audit", "export", "send", file, "--vkey", vkey, "--endpoint", siem.url)
    assert sent.code == 0, sent.err
    assert len(siem.entries) == len(set(siem.entries)) == len(world.store.entries) - 2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((401, b""), "answers 401"),
        ((200, b'{"partialSuccess":{"rejectedLogRecords":"2"}}'), "refused 2 records"),
        ((200, b"<html>"), "not one of OTLP"),
        ((302, b""), "answers 302"),
    ],
    ids=["not allowed", "some refused", "no collector", "elsewhere"],
)
async def test_what_was_not_taken_is_said_and_gone_on_with(
    siem: Siem, world: World, tmp_path: Path, answer: tuple[int, bytes], why: str
) -> None:
    """How many were, and how to go on: then each has come."""
    file, vkey = await exported(world, tmp_path)
    words = ("audit", "export", "send", file, "--vkey", vkey, "--endpoint", siem.url)
    first = run(*words)
    assert first.code == 0
    siem.messages.clear()

    def second(body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        return answer if len(siem.messages) == 1 else Siem.take(siem, body, headers)

    siem.take = second  # type: ignore[method-assign]
    failed = run(*words)
    assert (failed.code, why in failed.err, "go on with --skip 3" in failed.err) == (1, True, True), failed.err
    del siem.take  # type: ignore[method-assign]
    assert run(*words, "--skip", 3).code == 0
    assert siem.entries == [kept.draft.id for kept in world.store.entries[:-2]]


async def test_only_log_records_that_verify_leave(siem: Siem, world: World, tmp_path: Path) -> None:
    """Another form is refused, a changed file named; nothing was sent."""
    file, vkey = await exported(world, tmp_path, "fhir")
    words = ("audit", "export", "send", file, "--vkey", vkey, "--endpoint", siem.url)
    assert "only exports of --format otlp" in run(*words).err
    file.write_bytes(file.read_bytes().replace(b"refused", b"granted", 1))
    assert (run(*words).code, siem.messages) == (1, [])


@pytest.mark.parametrize("endpoint", ["http://siem.example/v1/logs", "ftp://x", "siem:4318", "https://"])
def test_an_address_that_others_can_listen_to_is_refused(endpoint: str) -> None:
    """Unless it is this machine's own."""
    with pytest.raises(SetupError):
        otlp_http.Collector(endpoint, None)


def test_headers_that_cannot_be_read_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable's name, and not what stands in it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "secret")
    with pytest.raises(SetupError, match="OTEL_EXPORTER_OTLP_HEADERS") as refused:
        otlp_http.Collector("https://localhost", None)
    assert "secret" not in str(refused.value)
