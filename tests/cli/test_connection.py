"""What a command says when it cannot reach a broker, or not as whom it was told to be."""

from __future__ import annotations

import json
import shutil
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.pki.folder import CertificateFolder
from tests.cli.conftest import run
from tests.support.running import RunningBroker

LIST = ("agency", "list")


def says(code: int, words: str, *arguments: object) -> None:
    """Assert that `broker agency list` with these arguments fails so."""
    result = run(*LIST, *arguments)
    assert (result.code, result.out) == (code, "")
    assert words in result.err


def test_without_a_state_folder(tmp_path: Path) -> None:
    """It says that there is no broker, and the three ways to name one; identities likewise."""
    says(1, "Start one with `broker up`", "--state", tmp_path)
    says(1, "holds no identities", "--state", tmp_path, "--target", "localhost:7443")


@pytest.mark.parametrize(
    "ports", ["{}", "[]", "nonsense", '{"grpc": "7443"}', '{"grpc": 70000}', '{"grpc": true}']
)
def test_a_broken_ports_file(tmp_path: Path, ports: str) -> None:
    """A ports.json that names no port is said to be one."""
    (tmp_path / "ports.json").write_text(ports)
    says(1, "names no gRPC port: give --target", "--state", tmp_path)


def test_folders_that_were_moved_aside_are_not_offered(running_broker: RunningBroker, tmp_path: Path) -> None:
    """What is offered is a folder with its own system's certificate, under a name that --as takes."""
    certs = running_broker.state / "certs"
    shutil.copytree(certs / "operator-cli", tmp_path / "certs" / "operator-cli")
    for aside in ("operator-cli.old", "operator-cli-2025", "Operator"):
        shutil.copytree(certs / "operator-cli", tmp_path / "certs" / aside)
    (tmp_path / "ports.json").write_text('{"grpc": 7443}')
    says(1, "(--as): there are operator-cli\n", "--state", tmp_path, "--as", "cfrs-none")


def test_an_identity_that_is_not_there(running_broker: RunningBroker) -> None:
    """The identities that there are get named; a name can reach nothing outside the folder."""
    state = ("--state", running_broker.state)
    says(1, "holds no identity of that name (--as): there are", *state, "--as", "cfrs-none")
    says(1, "operator-cli", *state, "--as", "cfrs-none")
    says(1, "holds no identity of that name", *state, "--as", "../certs/operator-cli")
    result = run(
        "directive",
        "list",
        "--reason",
        "to-check",
        "--subject",
        "uprn:1",
        "--actor-id",
        "a",
        "--role",
        "b",
        *state,
    )
    assert result.code == 2
    assert "say which system speaks: --as NAME" in result.err


def test_files_go_together(running_broker: RunningBroker) -> None:
    """One or two of --ca, --cert and --key are a wrong use, and so is a target that is no address."""
    says(2, "give all three", "--state", running_broker.state, "--cert", running_broker.cert)
    says(2, "--target is HOST:PORT", "--state", running_broker.state, "--target", "localhost")


def test_nobody_listens(running_broker: RunningBroker, tmp_path: Path) -> None:
    """A closed port is explained, and whatever was slow is bounded by --timeout."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        state = ("--state", running_broker.state)
        says(1, "nothing listens at 127.0.0.1", *state, "--target", f"127.0.0.1:{port}")
        closed.listen()  # and never answers
        began = time.monotonic()
        says(1, "no answer within 0.5 s", *state, "--target", f"127.0.0.1:{port}", "--timeout", "0.5")
        assert time.monotonic() - began < 5


def test_a_certificate_of_another_authority(running_broker: RunningBroker, tmp_path: Path) -> None:
    """A broker that trusts another authority, or shows another's certificate, is told apart in a sentence."""
    other = CertificateFolder(tmp_path / "certs")
    other.init("blue-light.test", datetime.now(UTC))
    other.issue_client("operator", "cli", datetime.now(UTC))
    port = running_broker.target.rpartition(":")[2]
    (tmp_path / "ports.json").write_text(json.dumps({"grpc": int(port)}))
    says(1, "does not come from the authority in", "--state", tmp_path)
    mixed = ("--ca", running_broker.ca, "--cert", tmp_path / "certs/operator-cli/cert.pem")
    key = ("--key", tmp_path / "certs/operator-cli/key.pem")
    says(1, "turned our certificate away", "--state", tmp_path, *mixed, *key)
    says(1, "is not the key of", "--state", tmp_path, *mixed, "--key", running_broker.key)
