"""A real broker for tests: `broker serve` as a child process on the embedded PostgreSQL, one for a session.

`running_broker` gives the state folder as `broker up` leaves it (certs/, ports.json, log.vkey), so that a
command, a client or a foreign tool can be pointed at it. Only the first operator is enrolled to begin with;
`join` makes another system a member.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

import broker
from broker.children import spawn
from broker.pki.files import read_certificates
from broker.pki.folder import CertificateFolder
from broker.pki.identity import key_digest
from broker.pki.tls import TlsFiles, channel_credentials
from broker.v1 import directory_pb2 as directory
from broker.v1.directory_pb2_grpc import DirectoryServiceStub
from broker.v1.exchange_pb2 import Actor
from tests.support.postgres import Server
from tests.support.values import AT_THE_DESK

OPERATOR, SECOND = "operator-cli", "operator-second"
READY_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class RunningBroker:
    """A broker that serves. `cert` and `key` are the first operator's; `https` is the console's address."""

    state: Path
    target: str
    https: str
    vkey: str
    origin: str

    @property
    def certs(self) -> Path:
        """The certificates folder."""
        return self.state / "certs"

    @property
    def ca(self) -> Path:
        """The root certificate."""
        return self.certs / "ca.pem"

    @property
    def cert(self) -> Path:
        """The operator's certificate."""
        return self.certs / OPERATOR / "cert.pem"

    @property
    def key(self) -> Path:
        """The operator's key."""
        return self.certs / OPERATOR / "key.pem"

    @property
    def proto_dir(self) -> Path:
        """The .proto files, for tools that want them."""
        return Path(broker.__file__).parents[1] / "proto"

    @contextlib.contextmanager
    def channel(self, name: str = OPERATOR) -> Iterator[grpc.Channel]:
        """A channel as one of the systems in the certificates folder."""
        credentials = channel_credentials(TlsFiles.within(self.certs, name))
        with grpc.secure_channel(self.target, credentials) as channel:
            yield channel

    def issue(self, agency: str, system: str) -> str:
        """Make a certificate for a system, enrolled or not; returns its name, `<agency>-<system>`."""
        name = f"{agency}-{system}"
        if not (self.certs / name).exists():
            CertificateFolder(self.certs).issue_client(agency, system, datetime.now(UTC))
        return name

    def join(self, agency: str, system: str, kind: str, function: str = "partner") -> str:
        """Make a system and its agency members, as an operator does, or two where it takes both; returns its
        name. May be repeated."""
        name = self.issue(agency, system)
        digest = key_digest(read_certificates(self.certs / name / "cert.pem")[0])
        with self.channel() as channel:
            stub = DirectoryServiceStub(channel)
            known = {
                each.id for each in stub.ListAgencies(directory.ListAgenciesRequest(), timeout=10).agencies
            }
            if agency not in known:
                added = directory.Agency(id=agency, name=f"Agency {agency}", kind=kind)
                stub.AddAgency(directory.AddAgencyRequest(agency=added, actor=AT_THE_DESK), timeout=10)
            enrol = directory.EnrolSystemRequest(
                agency=agency,
                system=system,
                function=directory.SystemFunction.Value(f"SYSTEM_FUNCTION_{function.upper()}"),
                key_digest=digest,
                actor=AT_THE_DESK,
            )
            enrol.actor.CopyFrom(Actor(id="ann", role="operator"))
            waits = stub.EnrolSystem(enrol, timeout=10).proposed
        if waits:
            enrol.actor.id = "bob"
            with self.channel(SECOND) as channel:
                assert not DirectoryServiceStub(channel).EnrolSystem(enrol, timeout=10).proposed
        return name


@contextlib.contextmanager
def serving(dsn: str, state: Path, **more: object) -> Iterator[RunningBroker]:
    """A broker of its own on an empty database, its state under `state`; ends with the block.

    `more` are further settings, such as `WITNESS_POLICY`.
    """
    folder = CertificateFolder(state / "certs")
    now = datetime.now(UTC)
    if not folder.ca.exists():
        folder.init("blue-light.test", now)
        folder.issue_client("operator", "cli", now)
    ready = state / "ready.json"
    ready.unlink(missing_ok=True)
    settings = {
        "DATABASE_URL": dsn,
        "CA": folder.ca,
        "CERT": folder.path / "broker" / "cert.pem",
        "KEY": folder.path / "broker" / "key.pem",
        "KEYS": state / "keys",
        "GUARD": state / "guard",
        "GRPC_PORT": 0,
        "HTTP_PORT": 0,
        "POOL_SIZE": 4,
        "READY_FILE": ready,
        "BOOTSTRAP_OPERATOR": folder.path / OPERATOR / "cert.pem",
        **more,
    }
    env = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
    env |= {f"BROKER_{name}": str(value) for name, value in settings.items()}
    line = [sys.executable, "-m", "broker", "serve"]
    with spawn(line, name="broker", log=state / "broker.log", env=env) as child:
        child.wait_ready(ready.exists, READY_WITHIN)
        told = json.loads(ready.read_text())
        (state / "ports.json").write_text(json.dumps({"grpc": told["grpc"], "http": told["http"]}))
        (state / "log.vkey").write_text(told["vkey"] + "\n")
        yield RunningBroker(
            state,
            f"127.0.0.1:{told['grpc']}",
            f"https://127.0.0.1:{told['http']}",
            told["vkey"],
            told["log"],
        )


@contextlib.contextmanager
def two_founders(dsn: str, state: Path) -> Iterator[RunningBroker]:
    """As `serving`, with `SECOND` named at start beside the first."""
    folder, now = CertificateFolder(state / "certs"), datetime.now(UTC)
    folder.init("blue-light.test", now)
    for system in ("cli", "second"):
        folder.issue_client("operator", system, now)
    second = folder.path / SECOND / "cert.pem"
    with serving(dsn, state, SECOND_OPERATOR=second) as running:
        yield running


@pytest.fixture(scope="session")
async def running_broker(
    postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningBroker]:
    """A broker shared by the session: tests name agencies of their own, so that none sees another's."""
    async with postgres.fresh() as dsn:
        with serving(dsn, tmp_path_factory.mktemp("running")) as running:
            yield running


def command(*arguments: object, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run `broker ...` as it is typed, in a process of its own; `env` adds to an environment without ours."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
    return subprocess.run(
        [sys.executable, "-m", "broker", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        env=inherited | env,
        check=False,
    )
