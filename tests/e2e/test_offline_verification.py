"""A receipt is verified without broker, database or network; nothing in it may change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.cli.audit_verify import verify_bytes
from broker.client.disclosure import Saved
from tests.e2e import words
from tests.support.stack import Deployment

KINDS = ("proof", "entry", "opening", "record")


@pytest.fixture(scope="module")
async def saved(stack: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """The four files of one disclosure that the real deployment made."""
    async with stack.client("nwas-cad") as broker:
        told = await words.premises(broker)
    return told.save(tmp_path_factory.mktemp("saved"))


@pytest.fixture(scope="module")
def alone() -> tuple[str, ...]:
    """What executes a command where there is no network at all; skips where the kernel does not allow it."""
    unshare = shutil.which("unshare")
    for how in (("--net",), ("--user", "--map-root-user", "--net")):
        if (
            unshare
            and subprocess.run([unshare, *how, "true"], capture_output=True, check=False).returncode == 0
        ):
            return (unshare, *how)
    pytest.skip("NOT SHOWN HERE: this machine does not let us make a process without network")


def _verify(alone: tuple[str, ...], saved: Saved, vkey: Path, **changed: Path) -> tuple[int, str]:
    """Exit code and verdict of a process without network, environment or working folder of ours."""
    files = {kind: changed.get(kind, getattr(saved, kind)) for kind in KINDS}
    line = [files["proof"], files["entry"], vkey, files["opening"], files["record"]]
    done = subprocess.run(
        [*alone, sys.executable, "-m", "tests.support.verify", *map(str, line)],
        env={"PATH": os.defpath, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout.strip() or done.stderr.strip()


def test_the_process_that_verifies_reaches_nothing(alone: tuple[str, ...], stack: Deployment):
    """Where verification runs, not even this machine's own broker can be dialled."""
    port = stack.stack.grpc_port
    dial = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
    assert subprocess.run([sys.executable, "-c", dial], capture_output=True, check=False).returncode == 0
    done = subprocess.run(
        [*alone, sys.executable, "-c", dial], capture_output=True, text=True, check=False, timeout=10
    )
    assert done.returncode == 1
    assert "OSError" in done.stderr or "Error" in done.stderr.splitlines()[-1]


def test_a_receipt_verifies_without_broker_database_or_network(
    alone: tuple[str, ...], stack: Deployment, saved: Saved
):
    """The four files and the log's key are all it takes: exit 0, one line."""
    code, verdict = _verify(alone, saved, stack.state.vkey)
    assert code == 0, verdict
    assert verdict.startswith("GOOD entry ")
    assert "the record is the one released" in verdict
    assert "\n" not in verdict


def _damaged(data: bytes) -> Iterator[tuple[int, bytes]]:
    for at in range(len(data)):
        for mask in (0x01, 0x20, 0x80):
            yield at, data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


@pytest.mark.parametrize("kind", KINDS)
def test_no_byte_of_a_receipt_may_change(stack: Deployment, saved: Saved, kind: str):
    """Each byte of each file, changed in three ways; one byte less and one more: all are bad."""
    whole = {each: getattr(saved, each).read_bytes() for each in KINDS}
    vkey = stack.state.vkey.read_bytes()

    def verdict(data: bytes) -> int:
        files = {**whole, kind: data}
        return verify_bytes(files["proof"], files["entry"], vkey, files["opening"], files["record"])[0]

    data = whole[kind]
    assert verdict(data) == 0
    survived = [at for at, damaged in _damaged(data) if verdict(damaged) != 1]
    assert survived == []
    for other in (data[:-1], data + b"\0", data + b"\n", b""):
        assert verdict(other) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_byte_is_exit_code_1(
    alone: tuple[str, ...], stack: Deployment, saved: Saved, kind: str, tmp_path: Path
):
    """Seen from a shell: first, last and middle byte changed, each time exit 1 and one line that says BAD."""
    data = getattr(saved, kind).read_bytes()
    for at in (0, len(data) // 2, len(data) - 1):
        changed = tmp_path / f"{kind}-{at}"
        changed.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        code, verdict = _verify(alone, saved, stack.state.vkey, **{kind: changed})
        assert (code, verdict[:4]) == (1, "BAD ")
        assert "\n" not in verdict


async def test_another_disclosures_record_does_not_pass(stack: Deployment, saved: Saved, tmp_path: Path):
    """The files of two good disclosures do not mix, though each alone is good."""
    async with stack.client("nwas-cad") as broker:
        other = (await words.premises(broker, "100062990002")).save(tmp_path)
    vkey = stack.state.vkey.read_bytes()
    for kind in KINDS:
        files = {each: getattr(saved, each).read_bytes() for each in KINDS}
        files[kind] = getattr(other, kind).read_bytes()
        code, _ = verify_bytes(files["proof"], files["entry"], vkey, files["opening"], files["record"])
        assert code == 1, kind
