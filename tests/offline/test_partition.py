"""A log exported into a folder: whole, checked on the way, and good whatever was cut off."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli.audit import app
from broker.core.checkpoint import open_checkpoint
from broker.errors import IntegrityError, SetupError
from broker.offline.fsck import fsck
from broker.offline.partition import Exported, export
from broker.offline.source import Folder
from tests.support.static_log import ENTRIES, ORIGIN, SIGNER, StaticLog, entry

KEYS = (SIGNER.verifier,)


@pytest.fixture
def log(tmp_path: Path) -> StaticLog:
    """A published log of 700 entries."""
    return StaticLog(tmp_path / "log").write(ENTRIES[:700])


def exported(log: StaticLog, into: Path) -> Exported:
    """One export."""
    return export(Folder(log.root), KEYS, into)


def good(folder: Path) -> int:
    """The entries of a folder in which everything is as it was signed."""
    report = fsck(Folder(folder), KEYS)
    assert report.good, report.problems
    return report.entries


def test_an_export_is_a_log_that_anybody_can_check(log: StaticLog, tmp_path: Path) -> None:
    """`fsck` of the folder derives the same root, and nothing lies there that a log has not."""
    done = exported(log, tmp_path / "out")
    assert (done.origin, done.size, done.partitions) == (ORIGIN, 700, 0)
    assert good(tmp_path / "out") == 700
    files = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert files == {str(p.relative_to(log.root)) for p in log.root.rglob("*") if p.is_file()}
    assert done.written == len(files)


def test_an_export_goes_on_as_the_log_grows(log: StaticLog, tmp_path: Path) -> None:
    """What stands is not written again."""
    first = exported(log, tmp_path / "out")
    assert exported(log, tmp_path / "out").written == 0
    log.write(ENTRIES[:1100])
    second = exported(log, tmp_path / "out")
    assert 0 < second.written < first.written + 6
    assert good(tmp_path / "out") == 1100


def test_what_was_spoilt_in_the_folder_is_written_anew(log: StaticLog, tmp_path: Path) -> None:
    """An export that is run again mends what a disk has changed."""
    exported(log, tmp_path / "out")
    for path in ("tile/entries/001", "tile/0/000"):
        StaticLog(tmp_path / "out").spoil(path)
    assert not fsck(Folder(tmp_path / "out"), KEYS).good
    assert exported(log, tmp_path / "out").written == 2
    assert good(tmp_path / "out") == 700


@pytest.mark.parametrize("size", [700, 701, 1100])
def test_another_history_is_not_written_over_the_one_that_stands(
    log: StaticLog, tmp_path: Path, size: int
) -> None:
    """A fork of the same key: the checkpoint in the folder may be the only proof of it, and stays."""
    exported(log, tmp_path / "out")
    before = {each: each.read_bytes() for each in (tmp_path / "out").rglob("*") if each.is_file()}
    log.anew([*ENTRIES[:300], entry(9000), *ENTRIES[301:size]])
    with pytest.raises(IntegrityError, match="two histories were signed"):
        exported(log, tmp_path / "out")
    assert {each: each.read_bytes() for each in (tmp_path / "out").rglob("*") if each.is_file()} == before


@pytest.mark.parametrize("path", ["tile/entries/001", "tile/entries/002.p/188", "tile/0/001", "tile/1/000.p/2"])
def test_nothing_is_exported_that_was_not_signed(log: StaticLog, tmp_path: Path, path: str) -> None:
    """A changed entry or tile stops it, and the folder has no checkpoint that would vouch for it."""
    log.spoil(path, at=40)
    with pytest.raises(IntegrityError):
        exported(log, tmp_path / "out")
    assert not (tmp_path / "out" / "checkpoint").exists()


def test_a_folder_of_another_log_is_left_alone(log: StaticLog, tmp_path: Path) -> None:
    """A log that is shorter than what was exported, or another log, is no continuation."""
    exported(log, tmp_path / "out")
    log.write(ENTRIES[:600])
    with pytest.raises(IntegrityError, match="holds 700 entries"):
        exported(log, tmp_path / "out")
    other = StaticLog(tmp_path / "other", type(SIGNER).from_seed("blue-light.test/log/2027h1", bytes(32)))
    other.write(ENTRIES[:800])
    with pytest.raises(SetupError, match="another folder"):
        export(Folder(other.root), (*KEYS, other.signer.verifier), tmp_path / "out")
    assert good(tmp_path / "out") == 700


def test_entries_that_are_not_served_any_more_are_named(log: StaticLog, tmp_path: Path) -> None:
    """Into a new folder it cannot be exported; in the one that holds them it goes on."""
    exported(log, tmp_path / "out")
    log.write([*ENTRIES[:1000]])
    for number in ("000", "001"):
        (log.root / "tile/entries" / number).unlink()
    with pytest.raises(IntegrityError, match="entries 0 to 255 are not served any more"):
        exported(log, tmp_path / "fresh")
    exported(log, tmp_path / "out")
    assert good(tmp_path / "out") == 1000


KILLED = """
import os, signal, sys
from pathlib import Path
from broker.offline.partition import export
from broker.offline.source import Folder
from tests.support.static_log import SIGNER

left = int(sys.argv[3])

def step(path):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

export(Folder(Path(sys.argv[1])), (SIGNER.verifier,), Path(sys.argv[2]), step=step)
"""


def test_kill_9_at_any_step_leaves_what_is_good(log: StaticLog, tmp_path: Path) -> None:
    """Killed before and after each file, over a growing log: what has a checkpoint is whole, and it goes on."""
    out, size = tmp_path / "out", 700
    for steps in (1, 2, 3, 7, 8, 11, 12, 13, 14, 15, 16):
        line = (sys.executable, "-c", KILLED, log.root, out, str(steps))
        done = subprocess.run(line, check=False, timeout=60)
        if done.returncode == 0:
            assert good(out) == size
            size += 67
            log.write(ENTRIES[:size])
            continue
        assert done.returncode == -signal.SIGKILL
        if (out / "checkpoint").exists():
            held = open_checkpoint((out / "checkpoint").read_bytes(), KEYS).size
            assert good(out) == held
    exported(log, out)
    assert good(out) == size > 700


def test_a_proof_from_the_folder_alone(log: StaticLog, tmp_path: Path) -> None:
    """By index or by id, with the files that `verify` takes; no broker is asked."""
    key = tmp_path / "log.vkey"
    key.write_text(SIGNER.vkey + "\n")
    run = CliRunner().invoke
    out = tmp_path / "out"
    done = run(app, ["partition", "export", str(out), "--log", str(log.root), "--vkey", str(key), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["entries"] == 700
    identifier = json.loads(entry(431))["id"]
    for n, which in enumerate(("431", identifier)):
        x = tmp_path / f"x{n}"
        done = run(app, ["partition", "prove", str(out), which, "-o", str(x), "--vkey", str(key)])
        assert done.exit_code == 0, done.output
        line = ["verify", f"{x}.tlog-proof", "--entry", f"{x}.entry", "--vkey", str(key)]
        assert run(app, line).output.startswith("GOOD")
        assert Path(f"{x}.entry").read_bytes() == entry(431)
    for which, code in (("700", 1), ("0d6c1b52-1c5e-4b8a-9a51-7f3b0c2d4e6f", 1), ("x", 2)):
        line = ["partition", "prove", str(out), which, "-o", str(tmp_path / "none"), "--vkey", str(key)]
        assert run(app, line).exit_code == code
