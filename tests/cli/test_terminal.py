"""What a person meets at a terminal: help that fits it, names that are systems, nothing of gRPC's own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from broker.cli.commands import build
from tests.cli.conftest import Run, run
from tests.cli.test_words import commands
from tests.support.running import RunningBroker

NAMES = [name for name, _ in commands(typer.main.get_command(build()))]


@pytest.mark.parametrize("columns", ["80", "100", "120"])
def test_no_help_cuts_a_name(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """Every option of every command stands whole in its help, however narrow the terminal."""
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERMINAL_WIDTH", columns)
    looked = 0
    for name, command in commands(typer.main.get_command(build())):
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
            command(["--help"], prog_name=name)
        for option in command.params:
            for word in (*option.opts, *option.secondary_opts, option.envvar or ""):
                if word and (word.startswith("--") or word.isupper()):
                    assert word in shown.getvalue(), f"{name} at {columns}: {word}"
                    looked += 1
    assert looked > 500


def test_what_is_no_system_is_not_offered(running_broker: RunningBroker, broker: Run) -> None:
    """A server's certificate lies in the same folder, and nobody can speak as a server."""
    running_broker.join("clifire", "mdt", "fire")
    assert (running_broker.certs / "broker" / "cert.pem").exists()
    other = running_broker.certs / "some-server"
    other.mkdir(exist_ok=True)
    (other / "cert.pem").write_bytes((running_broker.certs / "broker" / "cert.pem").read_bytes())
    (running_broker.certs / "torn").mkdir(exist_ok=True)
    (running_broker.certs / "torn" / "cert.pem").write_text("nothing")
    result = broker("agency", "list", "--as", "nobody")
    assert result.code == 1
    offered = result.err.partition("there are ")[2]
    assert "clifire-mdt" in offered
    assert not {"broker", "some-server", "torn"} & set(offered.strip().split(", "))


def test_grpc_says_nothing_of_its_own(running_broker: RunningBroker, tmp_path: Path) -> None:
    """A connection that comes to nothing is told once, by us; whoever wants gRPC's own words gets them."""
    stranger = tmp_path / "state"
    run("certs", "init", "--dir", stranger / "certs")
    run("certs", "issue", "other", "cad", "--dir", stranger / "certs")
    words = ["agency", "list", "--target", running_broker.target, "--state", str(stranger), "--as", "other-cad"]
    env = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}

    def told(**more: str) -> list[str]:
        argv = [sys.executable, "-m", "broker", *words]
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=60, check=False, env={**env, **more}
        )
        assert done.returncode == 1
        return [line[:6] for line in done.stderr.splitlines()]

    assert told() == ["error:"]
    assert len(told(GRPC_VERBOSITY="INFO")) > 1
