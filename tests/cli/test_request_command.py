"""`broker request` as it is typed, in a process of its own, on a real broker."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import __version__
from broker.cli.audit_verify import verify_files
from broker.v1 import adapter_pb2 as pb
from broker.v1 import exchange_pb2
from broker.v1.adapter_pb2_grpc import AdapterServiceStub
from records.nhs.v1.patient_summary_pb2 import PatientSummary
from records.shared.v1 import fact_pb2
from tests.cli.conftest import ACTOR, SUBJECT, Parties, Run
from tests.support.running import RunningBroker, command

TYPE = "records.nhs.v1.PatientSummary"
NUMBER = SUBJECT.partition(":")[2]
UNASKED = "4f9f7a0e-54a4-4f0a-8b5e-1f6f0c1c9d11"
ASK = ("--provider", "clinhs", "--record-type", TYPE, "--purpose", "emergency-response", *ACTOR)


@pytest.fixture
def ask(running_broker: RunningBroker, parties: Parties):
    """Type `broker request` as the fire service; options given later win."""

    def typed(*more: object, stdin: str = SUBJECT) -> subprocess.CompletedProcess[str]:
        line = ("--state", running_broker.state, "--as", parties.requester, "--subject", "-", *ASK, *more)
        return command("request", *line, stdin=stdin)

    return typed


@contextlib.contextmanager
def attached(running: RunningBroker, name: str, digest: str, record: PatientSummary) -> Iterator[list[pb.Ask]]:
    """An adapter of the provider that answers every ask with `record`; gives the asks it got."""
    outgoing: queue.Queue[pb.AttachRequest | None] = queue.Queue()
    provided = pb.Provided(record_type=TYPE, digest=digest, subject_schemes=["nhs-number"])
    outgoing.put(pb.AttachRequest(hello=pb.Hello(software="test", provides=[provided], at_once=4)))
    welcomed, asks = threading.Event(), []

    def answer(ask: pb.Ask) -> pb.Answer:
        found = pb.Found(
            digest=digest, identifiers=[exchange_pb2.SubjectRef(scheme="nhs-number", value=NUMBER)]
        )
        found.record.Pack(record)
        return pb.Answer(ask_id=ask.ask_id, found=found)

    def serve() -> None:
        for reply in stream:
            if reply.HasField("welcome"):
                welcomed.set()
            if reply.HasField("heartbeat"):
                outgoing.put(pb.AttachRequest(heartbeat=pb.Heartbeat()))
            asks.extend(reply.asks)
            if reply.asks:
                outgoing.put(pb.AttachRequest(answers=[answer(each) for each in reply.asks]))

    with running.channel(name) as channel:
        stream = AdapterServiceStub(channel).Attach(iter(outgoing.get, None), timeout=60)
        server = threading.Thread(target=serve)
        server.start()
        try:
            assert welcomed.wait(10)
            yield asks
        finally:
            outgoing.put(None)
            server.join(10)
            assert not server.is_alive()


@pytest.fixture
def summary() -> PatientSummary:
    """A patient with an allergy, and with words that would steer a terminal."""
    record = PatientSummary(nhs_number=NUMBER, birth_date="1961-02-03")
    record.allergies.state = fact_pb2.FACT_STATE_VALUE
    item = record.allergies.items.add()
    item.substance.display = "Penicillin \x1b[31m"
    item.substance.code = "91936005"
    return record


def test_a_released_record_is_shown_saved_and_verifies(
    ask, running_broker: RunningBroker, parties: Parties, broker: Run, summary: PatientSummary, tmp_path: Path
) -> None:
    """Permitted fields with their values, the others withheld, and four files that verify offline; exit 0."""
    digest = broker("records", "show", TYPE, "--json").json["digest"]
    with attached(running_broker, parties.provider, digest, summary) as asks:
        told = ask("--save", tmp_path / "kept", "--words", "fire in the flat", "--reason", "attending")
        machine = ask("--json")
    assert told.returncode == 0, told.stderr
    rows = {row[0]: row[1] for line in told.stdout.splitlines() if len(row := line.split("│")) == 2}
    shown = {path.strip(): value.strip() for path, value in rows.items()}
    assert shown["allergies.items[0].substance.display"] == "Penicillin \N{REPLACEMENT CHARACTER}[31m"
    assert shown["allergies.items[0].substance.code"] == "withheld"
    assert shown["birth_date"] == "withheld"
    assert "summaries-for-crews version 1" in told.stdout
    assert "verified, and it commits to this record" in told.stdout
    assert [each.reason_code for each in asks] == ["attending", ""]

    parts = {path.suffix: path for path in (tmp_path / "kept").iterdir()}
    assert {path.stat().st_mode & 0o777 for path in parts.values()} == {0o600}
    vkey = running_broker.state / "log.vkey"
    files = (parts[".tlog-proof"], parts[".entry"], vkey, parts[".opening"], parts[".record"])
    code, verdict = verify_files(*files)
    assert (code, verdict.endswith("the record is the one released")) == (0, True)

    released = json.loads(machine.stdout)
    assert released["outcome"] == "released"
    assert released["record"]["allergies"]["items"] == [{"substance": {"display": "Penicillin \x1b[31m"}}]
    assert "birth_date" in {each["path"] for each in released["withheld"]}
    assert (released["basis"], released["verified"], released["files"]) == ("art6-1-e", True, [])


@pytest.mark.long
def test_an_id_that_was_answered_before_is_asked_again_and_said_to(
    ask, running_broker: RunningBroker, parties: Parties, broker: Run, summary: PatientSummary
) -> None:
    """The second disclosure has an id of its own, and names the entry of the first."""
    digest = broker("records", "show", TYPE, "--json").json["digest"]
    mine = str(uuid.uuid4())
    with attached(running_broker, parties.provider, digest, summary):
        first = json.loads(ask("--json", "--request-id", mine).stdout)
        again = json.loads(ask("--json", "--request-id", mine).stdout)
        told = ask("--request-id", mine).stdout
    assert first["request_id"] == mine
    assert "answered_before_as" not in first
    assert again["request_id"] != mine
    before = f"entry {first['entry']}, index {first['index']}; asked again under a new id"
    assert again["answered_before_as"] == before
    assert again["entry"] != first["entry"]
    assert before in told
    assert f" {TYPE}" in f" {told}"
    assert "type.googleapis.com" not in told


def test_no_adapter_is_a_failure_with_a_receipt(ask, running_broker: RunningBroker, tmp_path: Path) -> None:
    """The provider cannot be asked: exit 1, and the entry that says so is saved and verifies."""
    result = ask("--json", "--save", tmp_path, "--request-id", UNASKED)
    assert result.returncode == 1
    told = json.loads(result.stdout)
    assert (told["outcome"], told["code"], told["verified"]) == ("failed", "ProviderUnavailable", True)
    assert result.stderr.startswith("error: ")
    proof, entry, opening = (tmp_path / f"{UNASKED}.{kind}" for kind in ("tlog-proof", "entry", "opening"))
    assert told["files"] == [str(proof), str(entry), str(opening)]
    code, verdict = verify_files(proof, entry, running_broker.state / "log.vkey", opening, None)
    assert code == 0
    assert "provider-failure" in verdict


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--purpose", "firearms-licensing"), "agreement"),
        (("--role", "finance"), "role"),
    ],
)
def test_a_refusal_says_what_to_do(ask, options: tuple[str, ...], code: str) -> None:
    """Exit 1 with the refusal, who can fix it, and the receipt's place; in JSON likewise."""
    result = ask(*options)
    assert result.returncode == 1
    error, remedy = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert remedy.startswith("what to do: ")
    lines = dict(line.split(None, 1) for line in result.stdout.splitlines())
    assert (lines["outcome"], lines["code"], lines["receipt"]) == ("refused", code, "verified")
    assert lines["index"].isdecimal()
    told = json.loads(ask(*options, "--json").stdout)
    assert (told["outcome"], told["code"], told["remedy"]) == (
        "refused",
        code,
        remedy.removeprefix("what to do: "),
    )


@pytest.mark.long
def test_a_wrong_request_is_not_sent(ask, running_broker: RunningBroker) -> None:
    """A field the broker would refuse is named; the subject's value stays out of the text."""
    for options, stdin, says in (
        ((), f"nhs-number:{NUMBER[:-1]}0", "subject.value: not a canonical nhs-number"),
        (("--timeout", "31"), SUBJECT, "timeout: must be above 0 and at most 30 seconds"),
        (("--request-id", "one"), SUBJECT, "request_id: must be a UUID"),
        (("--vkey", "/none"), SUBJECT, "/none does not exist: give the log's verifier keys"),
    ):
        result = ask(*options, stdin=stdin)
        assert (result.returncode, result.stdout) == (1, "")
        assert says in result.stderr
        assert NUMBER[:-1] not in result.stderr
    for option, where in (
        ("--record-type", "`broker records list`"),
        ("--provider", "`broker agency list`"),
        ("--role", "`broker agreement show ID`"),
        ("--purpose", "`broker agreement purposes`"),
    ):
        wrong = ask(option, "Not one")
        assert (wrong.returncode, where in wrong.stderr) == (1, True)
    assert "`broker agency list`" in ask("--provider", "nobody").stderr
    assert "`broker records list`" in ask("--record-type", "records.nhs.v1.Nothing").stderr
    nothing = command("request")
    assert nothing.returncode == 2
    for option in ("--record-type", "--subject", "--purpose", "--actor-id", "--role"):
        assert option in nothing.stderr
    nobody = command("request", "--state", running_broker.state, "--subject", SUBJECT, *ASK)
    assert nobody.returncode == 2
    assert "say which system speaks" in nobody.stderr


def test_a_stranger_is_told_who_can_help(ask, running_broker: RunningBroker) -> None:
    """A certificate that nobody enrolled gets no answer, and the command that would enrol it."""
    result = ask("--as", running_broker.issue("clistranger", "pc"))
    assert (result.returncode, result.stdout) == (1, "")
    assert "not enrolled; the operator does it with `broker system enrol`" in result.stderr


def test_the_version_is_printed() -> None:
    """Of this software."""
    assert command("--version").stdout == f"broker {__version__}\n"
