"""A witness as a process over HTTPS: its answers, its bounds, its end, and kill -9 at every step."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli.commands import build
from broker.core.checkpoint import Checkpoint, open_checkpoint, open_with_cosignatures
from broker.core.keys import Cosigner
from broker.core.quorum import Witness
from broker.core.witness import MAX_SUBMISSION_BYTES
from broker.witnessed import own_line
from tests.support.certificates import Authority
from tests.support.processes import true_within
from tests.support.static_log import ENTRIES, ORIGIN, SIGNER, note
from tests.support.witnesses import WitnessProcess
from tests.witness.test_judge import FORKED, body

KILLED = Path(__file__).with_name("killed.py")


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessProcess]:
    """One that runs."""
    made = WitnessProcess(tmp_path / "w", "w", [SIGNER.vkey], Authority(tmp_path / "ca"))
    with made._left:
        yield made.start()


def cosigned(witness: WitnessProcess, submitted: bytes, lines: bytes) -> Checkpoint:
    """The checkpoint of a submission, once the answer's line has been found to hold."""
    signed = submitted.partition(b"\n\n")[2] + lines
    opened = open_with_cosignatures(signed, (SIGNER.verifier, witness.cosigner.verifier))
    assert [each.name for each in opened.cosignatures] == [witness.cosigner.name]
    return opened.checkpoint


def test_it_answers_as_the_specification_says(witness: WitnessProcess) -> None:
    """Signature lines with 200; the size with 409 and its own type; 404, 403, 422, 400 and 405."""
    data = body(0, 5)
    status, _, lines = witness.post(data)
    assert status == 200
    assert lines.startswith("— ".encode())
    assert cosigned(witness, data, lines).size == 5
    assert own_line(
        Witness("w", witness.cosigner.verifier), note(ENTRIES[:5]).decode().split("\n\n")[0] + "\n", lines
    )
    assert witness.post(body(0, 9)) == (409, "text/x.tlog.size", b"5\n")
    assert witness.post(body(5, 9, FORKED))[0] == 422
    assert witness.post(b"what")[0] == 400
    assert witness.post(body(5, 9))[0] == 200
    assert witness.post(b"", method="GET")[0] == 405
    assert witness.post(b"", path="/checkpoint")[0] == 404
    assert witness.post(b"", path="/healthz", method="GET")[::2] == (200, b"ok\n")


def test_a_fork_is_refused_and_both_notes_are_kept(witness: WitnessProcess) -> None:
    """They convict the log's key; only the first pair is kept."""
    witness.post(body(0, 5))
    for _ in range(2):
        assert witness.post(body(5, 5, FORKED)) == (409, "text/x.tlog.size", b"5\n")
    (kept,) = (witness.folder / "state").glob("*.fork")
    ours, theirs = (part + b"\n" for part in kept.read_bytes().rstrip(b"\n").split(b"\n\n" + ORIGIN.encode()))
    first = open_checkpoint(ours, (SIGNER.verifier,))
    second = open_checkpoint(ORIGIN.encode() + theirs, (SIGNER.verifier,))
    assert (first.size, second.size) == (5, 5)
    assert first.root != second.root


def test_it_is_bounded(witness: WitnessProcess) -> None:
    """A body too long is refused, one that breaks off harms nobody, and nothing is said without TLS."""
    assert witness.post(b"x" * (MAX_SUBMISSION_BYTES + 1))[0] == 413
    context = ssl.create_default_context(cafile=str(witness.authority.ca))
    with (
        socket.create_connection(("localhost", witness.port)) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        tls.sendall(b"POST /add-checkpoint HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\nold")
    assert witness.post(body(0, 5))[0] == 200
    connection = http.client.HTTPConnection("localhost", witness.port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", "/healthz")
        with pytest.raises((http.client.HTTPException, OSError)):
            connection.getresponse()


def test_it_stops_when_told_and_goes_on_where_it_was(witness: WitnessProcess) -> None:
    """Exit 0 on SIGTERM; after that it still knows what it cosigned, and no second one may share its folder."""
    witness.post(body(0, 5))
    second = WitnessProcess(witness.folder, "w", witness.logs, witness.authority)
    with second._left, pytest.raises(Exception, match="in use by another witness"):
        second.start()
    assert witness.stop() == 0
    witness.start()
    assert witness.post(body(0, 9))[::2] == (409, b"5\n")


def test_simultaneous_submissions_end_in_one_history(witness: WitnessProcess) -> None:
    """Of two histories sent at once from nothing, one is cosigned and the other refused."""
    answers: dict[int, list[tuple[int, str, bytes]]] = {0: [], 1: []}

    def send(which: int) -> None:
        for size in range(4, 30):
            answers[which].append(witness.post(body(0, size, (ENTRIES, FORKED)[which])))

    threads = [threading.Thread(target=send, args=(n,)) for n in (0, 1)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sum(status == 200 for some in answers.values() for status, _, _ in some) == 1


@pytest.mark.parametrize("step", ["before", "staged", "kept", "signed"])
def test_killed_at_any_step_it_never_signs_two_roots(tmp_path: Path, step: str) -> None:
    """After each power cut the other history is tried first: it is cosigned only if the first one never was."""
    armed = tmp_path / "armed"
    made = WitnessProcess(
        tmp_path / "w", "w", [SIGNER.vkey], Authority(tmp_path / "ca"), program=(KILLED, step, armed)
    )
    with made._left:
        made.start()
        assert made.post(body(0, 3))[0] == 200  # common to both histories
        armed.touch()
        with pytest.raises((http.client.HTTPException, OSError)):
            made.post(body(3, 9))
        assert made.child is not None
        assert true_within(10, lambda: not made.child.alive)
        made.start()
        forked, honest = made.post(body(3, 9, FORKED)), made.post(body(9, 9))
        if step in ("kept", "signed"):  # on the disk, so it binds, answered or not
            assert (forked[::2], honest[0]) == ((409, b"9\n"), 200)
        else:
            assert (forked[0], honest[::2]) == (200, (409, b"9\n"))


@pytest.mark.long
def test_killed_again_and_again_it_never_signs_two_roots(tmp_path: Path) -> None:
    """kill -9 at moments of chance while two histories press: all that it cosigned is one history."""
    made = WitnessProcess(tmp_path / "w", "w", [SIGNER.vkey], Authority(tmp_path / "ca"))
    chance, roots, stop = random.Random(7), {}, threading.Event()
    with made._left:
        made.start()

        def press(entries: list[bytes]) -> None:
            size = 4
            while not stop.is_set():
                with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                    status, _, text = made.post(body(0, size, entries))
                    old = int(text) if status == 409 else 0
                    data = body(min(old, 39), min(old + 1, 39), entries)
                    status, _, lines = made.post(data)
                    if status == 200:
                        seen = cosigned(made, data, lines)
                        roots.setdefault(seen.size, set()).add(seen.root)

        threads = [threading.Thread(target=press, args=(each,)) for each in (ENTRIES, FORKED)]
        for each in threads:
            each.start()
        for _ in range(4):
            stop.wait(chance.uniform(0.05, 0.4))
            made.kill()
            made.start()
        stop.wait(0.5)
        stop.set()
        for each in threads:
            each.join()
        assert made.stop() == 0
    assert len(roots) > 2
    assert all(len(each) == 1 for each in roots.values())


def test_the_key_command_makes_a_key_that_the_witness_takes(tmp_path: Path) -> None:
    """Mode 0600, never over another; what it prints is the verifier key of what it wrote."""
    file = tmp_path / "w.key"
    made = CliRunner().invoke(build(), ["audit", "witness-key", "new", "w.example/1", str(file), "--json"])
    assert made.exit_code == 0, made.output
    assert Cosigner.from_skey(file.read_text().strip()).vkey == json.loads(made.output)["vkey"]
    assert file.stat().st_mode & 0o777 == 0o600
    again = CliRunner().invoke(build(), ["audit", "witness-key", "new", "w.example/1", str(file)])
    assert again.exit_code == 1
    assert (
        CliRunner().invoke(build(), ["audit", "witness-key", "new", "a b", str(tmp_path / "x")]).exit_code == 2
    )


def test_a_witness_refuses_a_key_or_log_that_is_none(tmp_path: Path) -> None:
    """A log's key to sign with, a witness's as a log, a key that others can read: each says what to do."""
    files = Authority(tmp_path / "ca").server("s")
    key = tmp_path / "k"
    cosigner = Cosigner.from_seed("w.example/1", bytes(32))
    line = [
        "audit",
        "witness",
        "--state",
        str(tmp_path / "s"),
        "--key",
        str(key),
        "--tls-cert",
        str(files.cert),
    ]
    line += ["--tls-key", str(files.key), "--log"]
    for text, mode, log, said in (
        (SIGNER.skey, 0o600, SIGNER.vkey, "witness-key new"),
        (cosigner.skey, 0o644, SIGNER.vkey, "chmod 600"),
        (cosigner.skey, 0o600, cosigner.vkey, "not a log's"),
        (cosigner.skey, 0o600, SIGNER.vkey[:-4], "--log"),
    ):
        key.write_text(text + "\n")
        key.chmod(mode)
        result = CliRunner().invoke(build(), [*line, log])
        assert result.exit_code == 1
        assert said in str(result.exception or result.output)
