"""What cannot be written to standard output is no success, and no defect."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker import cli
from broker.pki.folder import CertificateFolder

FULL = Path("/dev/full")
ROOT = Path(__file__).resolve().parents[2]


def _said(*arguments: object, stdout: int, unbuffered: bool) -> tuple[int, str]:
    """Exit code and standard error of a command whose standard output goes there."""
    env = {**os.environ, "PYTHONUNBUFFERED": "1" if unbuffered else "", "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "broker", *map(str, arguments)]
    done = subprocess.run(
        line, stdout=stdout, stderr=subprocess.PIPE, text=True, env=env, timeout=60, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="NOT TESTED: this machine has no /dev/full")
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("what", ["--version", "audit --help", "certs show {} --json", "certs show {}"])
def test_no_room_is_said_in_one_line(what: str, unbuffered: bool, tmp_path: Path) -> None:
    """An answer that was asked for and is nowhere must not look like one that was given."""
    CertificateFolder(tmp_path).init("blue-light.test", datetime.now(UTC))
    with FULL.open("wb") as full:
        code, said = _said(
            *what.format(tmp_path / "ca.pem").split(), stdout=full.fileno(), unbuffered=unbuffered
        )
    assert (code, said) == (1, "error: standard output cannot be written: No space left on device\n")


@pytest.mark.parametrize("unbuffered", [False, True])
def test_whoever_reads_no_more_is_told_nothing(unbuffered: bool) -> None:
    """As after `| head -1`: no traceback, and no success."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert _said("audit", "--help", stdout=writing, unbuffered=unbuffered) == (1, "")
    finally:
        os.close(writing)


def test_an_interrupt_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before the command has begun."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main(["audit", "search"])
    assert ended.value.code == cli.INTERRUPTED
