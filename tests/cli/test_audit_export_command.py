"""`broker audit export` against a running broker on PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker.cli import audit_export_receive
from broker.v1 import audit_pb2, exchange_pb2
from broker.v1.audit_pb2_grpc import AuditServiceStub
from tests.cli.conftest import ACTOR, FORMS, SUBJECT, Parties, Run
from tests.support.running import RunningBroker

WHO = ("--reason", "complaint", "--actor-id", "ann", "--role", "auditor")


def lines(path: Path) -> list[dict[str, Any]]:
    """JSON lines."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("name", FORMS)
def test_each_format_is_written_and_verified(
    broker: Run, parties: Parties, running_broker: RunningBroker, auditor: str, tmp_path: Path, name: str
) -> None:
    """All entries so far, to one checkpoint; verified with the key alone, and bad once a byte is changed."""
    out = tmp_path / "x"
    made = broker("audit", "export", "-o", out, *WHO, *FORMS[name], "--as", auditor, "--json")
    assert made.code == 0, made.err
    told = made.json
    assert (told["rows"], told["whole"], told["first"]) == (told["before"], True, 0)
    assert told["rows"] > 10
    key = ("--vkey", running_broker.state / "log.vkey")
    good = broker_offline("audit", "export", "verify", out, *key, "--json")
    assert (good.returncode, json.loads(good.stdout)["complete"]) == (0, True), good.stderr
    assert json.loads(good.stdout)["verdict"] == "good"
    data = bytearray(out.read_bytes())
    data[len(data) // 2] ^= 1
    out.write_bytes(data)
    bad = broker_offline("audit", "export", "verify", out, *key)
    assert (bad.returncode, bad.stdout.startswith(f"BAD {out}")) == (1, True), bad.stdout
    sent = broker_offline("audit", "export", "send", out, *key, "--endpoint", "https://127.0.0.1:1/", "--json")
    assert (sent.returncode, json.loads(sent.stdout)["verdict"]) == (1, "bad"), "what is bad is sent nowhere"


def broker_offline(*words: object) -> subprocess.CompletedProcess[str]:
    """A command without any broker, in a process of its own."""
    argv = [sys.executable, "-m", "broker", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def test_the_export_is_an_entry_and_an_agency_gets_its_own(
    broker: Run, parties: Parties, running_broker: RunningBroker, auditor: str, tmp_path: Path
) -> None:
    """In its own view, by what was asked for; who took it and why is in the log, and not whom it is about."""
    about = ("--provider", "clinhs", "--subject", SUBJECT, "--purpose", "emergency-response")
    asked = ("--record-type", "records.nhs.v1.PatientSummary", *about, *ACTOR)
    assert broker("request", *asked, "--as", parties.requester).code == 1  # nobody's adapter is attached
    out = tmp_path / "mine.jsonl"
    filters = ("--person", "-", "--where", "agency=clinhs", "--from", "2026-01-01")
    made = broker(
        "audit", "export", "-o", out, *WHO, *filters, "--as", parties.requester, "--json", stdin=SUBJECT
    )
    assert made.code == 0, made.err
    assert (made.json["about_somebody"], made.json["facts"]) == (True, ["agency=clinhs"])
    assert SUBJECT.partition(":")[2] not in made.out
    found = lines(out)
    assert found
    assert {row["audience"] for row in found} == {"requester"}
    assert {row["view"]["provider"] for row in found} == {"clinhs"}
    shown = broker("audit", "show", made.json["entries"][0], *WHO, "--as", auditor, "--json")
    view = shown.json["view"]
    assert (view["event"], view["requester"], view["actor"]["id"]) == ("log-exported", "clifire", "ann")
    assert view["detail"]["format"] == "jsonl"
    assert view["detail"]["facts"] == ["agency clinhs"]
    refused = broker("audit", "export", "-o", tmp_path / "o", *WHO, "--as", "operator-cli")
    assert (refused.code, "operators run the broker" in refused.err) == (1, True)
    assert not list(tmp_path.glob("o*"))


def test_what_cannot_be_asked_is_said(broker: Run, parties: Parties, auditor: str, tmp_path: Path) -> None:
    """Before anything is written; a file that stands is never overwritten."""
    out = tmp_path / "x"
    words = ("audit", "export", "-o", out, *WHO, "--as", auditor)
    for options, code in (
        (("--format", "xml"), 2),
        (("--where", "colour=blue"), 2),
        (("--from", "yesterday"), 2),
        (("--to", "0"), 2),
        (("--with-details",), 2),
        (("--from", "999999999"), 1),
        (("--at", "999999999"), 1),
        (("--resume",), 1),
    ):
        refused = broker(*words, *options)
        assert (refused.code, refused.err != "") == (code, True), options
        assert list(tmp_path.iterdir()) == []
    out.write_text("mine")
    refused = broker(*words)
    assert (refused.code, "never overwritten" in refused.err, out.read_text()) == (1, True, "mine")


def test_pyarrow_that_is_missing_is_said_before_anything_is_asked(
    broker: Run, parties: Parties, auditor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sentence with what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused = broker("audit", "export", "-o", tmp_path / "x", *WHO, "--format", "parquet", "--as", auditor)
    assert (refused.code, "install bluelight-broker[parquet]" in refused.err) == (1, True)


def test_a_range_and_a_size_give_the_same_bytes_again(
    broker: Run, parties: Parties, auditor: str, tmp_path: Path
) -> None:
    """Whatever has come since."""
    words = ("audit", "export", *WHO, "--as", auditor, "--from", 2, "--to", 9, "--at", 10)
    for name in ("a", "b"):
        made = broker(*words, "-o", tmp_path / name, "--json")
        assert (made.code, made.json["rows"]) == (0, 7), made.err
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert [row["index"] for row in lines(tmp_path / "a")] == list(range(2, 9))


def test_a_row_that_does_not_verify_is_not_written(
    broker: Run, parties: Parties, auditor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that gives other bytes than the log's is caught at the row, and there is no file."""
    take = audit_export_receive._take

    def lied_to(row: Any, *rest: Any) -> None:
        if row.index == 3:
            row.entry = row.entry.replace(b'"v":1', b'"v":2')
        take(row, *rest)

    monkeypatch.setattr(audit_export_receive, "_take", lied_to)
    failed = broker("audit", "export", "-o", tmp_path / "x", *WHO, "--as", auditor)
    assert (failed.code, "entry 3 does not verify" in failed.err) == (1, True), failed.err
    assert not (tmp_path / "x").exists()


SLOW = """
import sys, time
from broker.offline.export import file
file.BLOCK = 1
looked = file.Partial.looked
def slowly(self, up_to, closed):
    looked(self, up_to, closed)
    print(self.manifest.rows, flush=True)
    time.sleep(60)
file.Partial.looked = slowly
from broker.__main__ import main
sys.argv = ["broker", *sys.argv[1:]]
main()
"""


@pytest.mark.long
@pytest.mark.parametrize("name", FORMS)
def test_killed_and_gone_on_with_it_is_the_same_to_the_byte(
    running_broker: RunningBroker, broker: Run, parties: Parties, auditor: str, tmp_path: Path, name: str
) -> None:
    """kill -9 in the middle: no file; with --resume the very file of an export that nobody disturbed."""
    grow(running_broker, parties, 150)
    out = tmp_path / "x"
    words = ["audit", "export", "-o", str(out), *WHO, *FORMS[name], "--as", auditor]
    words += ["--state", str(running_broker.state)]
    argv = [sys.executable, "-c", SLOW, *words]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as exporting:
        assert exporting.stdout is not None
        rows = int(exporting.stdout.readline())
        os.kill(exporting.pid, signal.SIGKILL)
    assert rows > 0
    assert not out.exists()
    with (tmp_path / "x.partial").open("ab") as file:
        file.write(b"half a row")
    grow(running_broker, parties, 3)
    stopped = broker(*words[:-2])
    assert (stopped.code, "--resume" in stopped.err) == (1, True)
    other = broker(*words[:-2], "--resume", "--where", "event=received")
    assert (other.code, "other options" in other.err) == (1, True)
    deadline = time.monotonic() + 20
    while True:  # until the broker has noticed that the other is gone
        made = broker(*words[:-2], "--resume", "--json")
        if made.code == 0 or time.monotonic() > deadline:
            break
        time.sleep(0.3)
    assert made.code == 0, made.err
    told = made.json
    assert (len(told["entries"]), told["rows"]) == (2, told["before"])
    assert rows < told["rows"]
    size = int(told["checkpoint"].split("\n")[1])
    again = broker(*words[:3], tmp_path / "y", *words[4:-2], "--at", size, "--to", told["before"], "--json")
    assert again.code == 0, again.err
    assert out.read_bytes() == (tmp_path / "y").read_bytes()
    assert again.json["sha256"] == told["sha256"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x", "x.manifest.json", "y", "y.manifest.json"]
    key = ("--vkey", running_broker.state / "log.vkey")
    assert broker_offline("audit", "export", "verify", out, *key).returncode == 0
    done = broker(*words[:-2], "--resume", "--json")
    assert (done.code, done.json["sha256"]) == (0, told["sha256"])
    first = broker("audit", "show", told["entries"][1], *WHO, "--as", auditor, "--json")
    assert first.json["view"]["detail"]["resumes"] == told["entries"][0]


def grow(running: RunningBroker, parties: Parties, entries: int) -> None:
    """So many entries more: each small export is one."""
    request = audit_pb2.ExportRequest(
        actor=exchange_pb2.Actor(id="ann", role="auditor"),
        reason=exchange_pb2.ReasonCode(code="complaint"),
        before=1,
    )
    with running.channel(parties.requester) as channel:
        stub = AuditServiceStub(channel)
        for _ in range(entries):
            while True:
                try:
                    list(stub.Export(request, timeout=10))
                    break
                except grpc.RpcError as e:  # looks are counted: ten a second
                    if e.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                        raise
                    time.sleep(0.2)
