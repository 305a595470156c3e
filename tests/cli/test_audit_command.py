"""`broker audit` against a real broker; `verify` as it is typed, offline."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from broker.core.keys import Signer
from tests.cli.conftest import ACTOR, SUBJECT, Parties, Run
from tests.support.running import RunningBroker, command

WHO = ("--actor-id", "a.auditor", "--role", "auditor")


@pytest.fixture
def event(broker: Run, parties: Parties, auditor: str) -> str:
    """The entry of a directive that the fire service recorded."""
    us = ("--as", parties.requester, *ACTOR)
    added = broker("directive", "add", "refusal", "--subject", "-", *us, "--json", stdin=SUBJECT)
    assert broker("directive", "withdraw", added.json["directive"], *us).code == 0
    return str(added.json["entry"])


def test_a_proof_needs_no_reason_and_opens_nothing(
    broker: Run, event: str, running_broker: RunningBroker, tmp_path: Path
) -> None:
    """Any enrolled system gets the proof and the entry's bytes, which verify; existing files stay."""
    out = tmp_path / "x.tlog-proof"
    told = broker("audit", "prove", event, "-o", out, "--json").json
    assert told["files"] == [str(out), str(tmp_path / "x.entry")]
    assert told["opened"] is None
    vkey = running_broker.state / "log.vkey"
    verified = broker_verify(out, "--entry", tmp_path / "x.entry", "--vkey", vkey)
    assert verified.returncode == 0
    assert verified.stdout.startswith(f"GOOD entry {event} of ")
    assert verified.stdout.count("\n") == 1
    again = broker("audit", "prove", event, "-o", out)
    assert again.code == 1
    assert "never overwritten" in again.err
    assert broker("audit", "prove", event, "-o", tmp_path / "y", "--as", "operator-cli").code == 0


def test_an_entry_is_found_by_its_index(broker: Run, event: str, tmp_path: Path) -> None:
    """What a receipt says of its place is enough to prove and to open it; `x` is short for `x.tlog-proof`."""
    by_id = broker("audit", "prove", event, "-o", tmp_path / "a", "--json").json
    by_index = broker("audit", "prove", by_id["index"], "-o", tmp_path / "b")
    assert by_index.code == 0, by_index.err
    assert event in by_index.out
    written = [line.split() for line in by_index.out.splitlines() if line.startswith("written")]
    assert [Path(path).name for _, path in written] == ["b.tlog-proof", "b.entry"]
    # One column for all: the values line up.
    assert len({line.index(line.split()[1]) for line in by_index.out.splitlines()}) == 1
    assert (tmp_path / "a.entry").read_bytes() == (tmp_path / "b.entry").read_bytes()
    shown = broker("audit", "show", by_id["index"], "--reason", "complaint", *WHO, "--json").json
    assert (shown["entry"], shown["index"]) == (event, by_id["index"])


def test_each_may_open_what_is_theirs(
    broker: Run, event: str, parties: Parties, running_broker: RunningBroker, tmp_path: Path
) -> None:
    """The requester gets the requester's view, the auditor the full one, anybody else nothing."""
    vkey = running_broker.state / "log.vkey"
    reason = ("--open", "--reason", "complaint", *WHO)
    for name, whose in ((parties.requester, "its requester's"), ("auditor-console", "the full")):
        out = tmp_path / f"{name}.tlog-proof"
        assert broker("audit", "prove", event, "-o", out, *reason, "--as", name).code == 0
        entry, opening = out.with_suffix(".entry"), out.with_suffix(".opening")
        verified = broker_verify(out, "--entry", entry, "--vkey", vkey, "--opening", opening)
        assert verified.returncode == 0
        assert f"the opening is {whose} view (directive-recorded)" in verified.stdout
    for name in (parties.provider, "operator-cli"):
        result = broker("audit", "prove", event, "-o", tmp_path / "no.tlog-proof", *reason, "--as", name)
        assert result.code == 1
        assert "there is no such entry that you may see" in result.err
    assert not list(tmp_path.glob("no.*"))


def proven_size(broker: Run, event: str, out: Path) -> int:
    """How many entries the log has, as a proof of one of them says."""
    return int(broker("audit", "prove", event, "-o", out, "--json").json["size"])


def test_show_opens_the_view_and_leaves_a_trace(
    broker: Run, event: str, parties: Parties, tmp_path: Path
) -> None:
    """An auditor reads who did what; a requester's view holds no identifier; both looks say why."""
    why = ("--reason", "complaint", "--words", "letter of 3 May", *WHO)
    full = broker("audit", "show", event, *why, "--json").json
    assert full["audience"] == "full"
    assert full["view"]["actor"] == {"id": "j.wilson", "role": "fire-crew"}
    assert full["view"]["detail"]["subject"]["value"] == SUBJECT.partition(":")[2]
    shown = broker("audit", "show", event, *why).out
    assert "detail.subject.scheme" in shown
    own = broker("audit", "show", event, *why, "--as", parties.requester)
    assert "directive-recorded" in own.out
    assert SUBJECT.partition(":")[2] not in own.out
    size = proven_size(broker, event, tmp_path / "before")
    assert broker("audit", "show", event, *why).code == 0
    assert proven_size(broker, event, tmp_path / "after") == size + 1


def test_a_look_needs_a_person_and_a_reason(broker: Run, event: str, tmp_path: Path) -> None:
    """Without them nothing is asked; an unknown entry is exit 1."""
    out = ("-o", tmp_path / "x.tlog-proof")
    assert broker("audit", "show", event, *WHO).code == 2
    assert broker("audit", "show", event, "--reason", "complaint").code == 2
    opened = broker("audit", "prove", event, *out, "--open", "--reason", "complaint")
    assert opened.code == 2
    assert "the look is itself an entry" in opened.err
    unknown = broker("audit", "prove", str(uuid.uuid4()), *out)
    assert unknown.code == 1
    assert "there is no such entry" in unknown.err
    assert "event_id: not a UUID" in broker("audit", "prove", "x7", *out).err
    for index in ("9" * 10, "9" * 18):
        assert "index: the log has no such entry yet" in broker("audit", "prove", index, *out).err
    missing = broker("audit", "prove", event, *out, "--vkey", tmp_path / "none.vkey")
    assert missing.code == 1
    assert "give the log's verifier keys with --vkey FILE" in missing.err
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_that_another_key_signed(
    broker: Run, event: str, running_broker: RunningBroker, tmp_path: Path
) -> None:
    """A proof that does not verify against the given keys is refused, and leaves no files."""
    other = tmp_path / "other.vkey"
    other.write_text(Signer.from_seed(running_broker.origin, bytes(32)).vkey + "\n")
    result = broker("audit", "prove", event, "-o", tmp_path / "x.tlog-proof", "--vkey", other)
    assert result.code == 1
    assert result.err.startswith("error: checkpoint: ")
    assert not list(tmp_path.glob("x.*"))


def broker_verify(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`broker audit verify`, with no state folder anywhere near."""
    return command("audit", "verify", *arguments)


def test_exit_codes_of_verify(broker: Run, event: str, running_broker: RunningBroker, tmp_path: Path) -> None:
    """0 good, 1 bad and unparsable, 2 a missing file or a wrong option; always one line of verdict."""
    proof, entry, vkey = tmp_path / "x.tlog-proof", tmp_path / "x.entry", running_broker.state / "log.vkey"
    assert broker("audit", "prove", event, "-o", proof).code == 0
    good = ("--entry", entry, "--vkey", vkey)
    noise = tmp_path / "noise"
    noise.write_bytes(b"\0noise")
    changed = tmp_path / "changed"
    changed.write_bytes(entry.read_bytes().replace(b'"at":"2', b'"at":"3'))
    cases = [
        ((proof, *good), 0),
        ((proof, "--entry", changed, "--vkey", vkey), 1),
        ((proof, "--entry", noise, "--vkey", vkey), 1),
        ((noise, *good), 1),
        ((proof, "--entry", entry, "--vkey", noise), 1),
        ((proof, *good, "--opening", noise), 1),
        ((tmp_path / "none", *good), 2),
        ((proof, *good, "--record", noise), 2),
        ((proof, *good, "--opening", tmp_path / "none"), 2),
        ((proof, "--entry", entry), 2),
        ((proof, *good, "--nonsense"), 2),
    ]
    for arguments, code in cases:
        result = broker_verify(*arguments)
        assert result.returncode == code, (arguments, result)
        if code < 2:
            assert result.stdout.startswith("GOOD" if code == 0 else "BAD")
            assert (result.stdout.count("\n"), result.stderr) == (1, "")
        else:
            assert result.stdout == ""


def test_verify_tells_scripts_as_well(
    broker: Run, event: str, running_broker: RunningBroker, tmp_path: Path
) -> None:
    """With --json a verdict in a word and its line, under the same exits."""
    proof, entry, vkey = tmp_path / "x.tlog-proof", tmp_path / "x.entry", running_broker.state / "log.vkey"
    assert broker("audit", "prove", event, "-o", proof).code == 0
    for given, code, verdict, begins in (
        (entry, 0, "good", "GOOD entry "),
        (proof, 1, "bad", "BAD "),
        (tmp_path / "none", 2, "unusable", "cannot verify: "),
    ):
        result = broker_verify(proof, "--entry", given, "--vkey", vkey, "--json")
        told = json.loads(result.stdout)
        assert (result.returncode, told["verdict"]) == (code, verdict)
        assert told["text"].startswith(begins)


def test_verify_and_help_load_no_grpc(tmp_path: Path) -> None:
    """An auditor's machine needs neither a broker nor its libraries; `--help` is quick for the same reason."""
    code = (
        "import sys, json\n"
        "from broker.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: print(json.dumps([m for m in ('grpc', 'google', 'asyncpg') if m in sys.modules]))"
    )
    files = [str(tmp_path / name) for name in ("p", "e", "v")]
    for name in files:
        Path(name).write_bytes(b"x")
    for line in (["audit", "verify", files[0], "--entry", files[1], "--vkey", files[2]], ["request", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout.splitlines()[-1]) == []
