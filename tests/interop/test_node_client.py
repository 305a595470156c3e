"""A Node client made from the .proto files alone gets records whose receipts the core verifies."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import google.rpc
import pytest
from google.rpc import status_pb2

from broker.client.failures import read_status
from broker.client.settings import read_keys
from broker.core.checkpoint import Checkpoint, Signer, open_checkpoint
from broker.core.entry import Opening
from broker.core.receipt import Receipt, verify_against
from broker.core.record import Record
from broker.errors import Denied, IntegrityError
from broker.pki.folder import CertificateFolder
from broker.pki.tls import TlsFiles
from tests.client.conftest import FakeBroker, LogOfOne, serving
from tests.interop.conftest import HERE
from tests.support.stack import Deployment

PROTO_DIR = HERE.parents[1] / "proto"
ORIGIN = "blue-light.test/log/2026h2"
REQUEST = {
    "record_type": "records.fire.v1.PremisesRisk",
    "provider": "cfrs",
    "subject": {"scheme": "uprn", "value": "100110734613"},
    "purpose": "emergency-response",
    "actor": {"id": "r.bell", "role": "fire-crew", "assurance": "ASSURANCE_PERSONAL_LOGIN"},
}


@dataclass(frozen=True)
class Running:
    """Where a broker is, who asks it, and for what."""

    target: str
    ca: Path
    cert: Path
    key: Path
    proto_dir: Path
    log_vkey: str
    request: dict[str, Any] = field(default_factory=lambda: REQUEST)


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[tuple[FakeBroker, Running]]:
    """The client tests' own broker over mutual TLS."""
    now = datetime.now(UTC)
    folder = CertificateFolder(tmp_path / "certs")
    folder.init("blue-light.test", now)
    folder.issue_client("cfrs", "mdt", now)
    files = TlsFiles.within(folder.path, "cfrs-mdt")
    signer = Signer.from_seed(ORIGIN, bytes(range(32)))
    broker = FakeBroker(LogOfOne(signer))
    broker.log.grow(5)
    async with serving(broker, folder.path) as port:
        yield broker, Running(f"localhost:{port}", files.ca, files.cert, files.key, PROTO_DIR, signer.vkey)


async def test_node_gets_records_with_receipts_that_verify(
    node: Path, fake: tuple[FakeBroker, Running]
) -> None:
    """One unary call and two requests in one stream message each end in evidence that holds."""
    broker, running = fake
    _check(await _run(node, running), running)
    assert broker.calls == broker.streams == 1
    assert [len(message.requests) for message in broker.messages] == [2]


async def test_node_reads_refusals_and_their_receipts(node: Path, fake: tuple[FakeBroker, Running]) -> None:
    """A refusal is a message in the stream, and a status with the same message among its details in a call."""
    broker, running = fake
    broker.answer = broker.refuse
    lines = await _run(node, running)
    assert [line["way"] for line in lines] == ["unary", "stream", "stream"]
    assert lines[0]["error"]["code"] == 7  # PERMISSION_DENIED
    status = status_pb2.Status.FromString(base64.b64decode(lines[0]["error"]["details"]))
    failure = read_status(status)
    assert isinstance(failure.error, Denied)
    assert failure.refusal is not None
    assert failure.refusal.receipt.entry
    for line in lines[1:]:
        assert line["refusal"]["code"] == "purpose"
        _verify(line["refusal"]["receipt"], line["checkpoint"], running, None, line["request_id"])


async def test_a_changed_answer_to_node_does_not_verify(node: Path, fake: tuple[FakeBroker, Running]) -> None:
    """The checks made here can fail: a record changed on the way is seen."""
    broker, running = fake
    broker.bend = lambda outcome, note: outcome.disclosure.record.__setattr__("value", b"\x0a\x01x")
    with pytest.raises(IntegrityError, match="record: it is not the one"):
        _check(await _run(node, running), running)


async def test_node_against_the_product_itself(node: Path, stack: Deployment) -> None:
    """The same of a whole deployment: a crew's tablet in Node gets a house's risks, with evidence."""
    files = stack.member("nwas-cad")
    request = {
        **REQUEST,
        "subject": {"scheme": "uprn", "value": "100062990001"},
        "actor": {"id": "nwas-51180", "role": "ambulance-crew", "assurance": "ASSURANCE_ROSTER"},
    }
    vkey = stack.state.vkey.read_text()
    running = Running(stack.target, files.ca, files.cert, files.key, PROTO_DIR, vkey, request)
    _check(await _run(node, running), running)


async def _run(node: Path, running: Running) -> list[dict[str, Any]]:
    """The lines that the Node client prints, at most 30 s from now."""
    google_dir = Path(next(iter(google.rpc.__path__))).parents[1]
    files = (running.ca, running.cert, running.key, running.proto_dir, google_dir)
    process = await asyncio.create_subprocess_exec(
        node,
        HERE / "client.mjs",
        running.target,
        *map(str, files),
        json.dumps(running.request),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, err.decode()
    return [json.loads(line) for line in out.decode().splitlines()]


def _check(lines: list[dict[str, Any]], running: Running) -> None:
    """Three disclosures, each with a record and a receipt that hold together."""
    assert [line["way"] for line in lines] == ["unary", "stream", "stream"]
    assert len({line["request_id"] for line in lines}) == 3
    for line in lines:
        assert "disclosure" in line, line
        said = line["disclosure"]
        assert said["request_id"] == line["request_id"]
        record = Record(said["record"]["type_url"], base64.b64decode(said["record"]["value"]))
        note = said["receipt"].get("checkpoint") or line["checkpoint"]
        _verify(said["receipt"], note, running, record, line["request_id"])


def _verify(
    receipt: dict[str, Any], note: str, running: Running, record: Record | None, request_id: str
) -> None:
    wired = Receipt(
        base64.b64decode(receipt["entry"]),
        int(receipt["index"]),
        tuple(base64.b64decode(each) for each in receipt["proof"]),
        base64.b64decode(note),
        Opening.from_bytes(base64.b64decode(receipt["opening"])),
    )
    verified = verify_against(wired, _checkpoint(wired.checkpoint, running), record=record)
    assert verified.view is not None
    assert verified.view.request_id == request_id


def _checkpoint(note: bytes, running: Running) -> Checkpoint:
    return open_checkpoint(note, read_keys(running.log_vkey))
