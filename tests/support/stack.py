"""The whole deployment for tests, as `broker up` starts it: two PostgreSQL servers, FHIR, broker, adapters.

Every part is a process of its own, on a free port, and ends with this one. `stack` is the session's; a test
that must see a deployment end takes its own with `deployed`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import pytest

from broker.children import Child, spawn
from broker.cli.up.cast import NHS_ADAPTER, OPERATOR
from broker.cli.up.provision import provision
from broker.cli.up.stack import Stack, running
from broker.cli.up.state import State
from broker.client import Broker
from broker.pki.folder import CertificateFolder
from broker.pki.tls import TlsFiles, channel_credentials
from tests.support.certificates import Files
from tests.support.fhir import FhirApi
from tests.support.postgres import open_folder
from tests.support.values import replace

WITHIN = 30.0  # seconds that a process has to start


@dataclass
class Deployment:
    """What runs. `target` is host:port of gRPC, `http` the base URL of the HTTPS port."""

    state: State
    stack: Stack
    parts: ExitStack = field(repr=False)

    @property
    def target(self) -> str:
        return f"localhost:{self.stack.grpc_port}"

    @property
    def http(self) -> str:
        return f"https://localhost:{self.stack.http_port}"

    def member(self, name: str) -> TlsFiles:
        """The files of a development identity, such as `cfrs-mdt`."""
        return TlsFiles.within(self.state.certs, name)

    @property
    def ca(self) -> Path:
        """The root certificate."""
        return self.state.certs / "ca.pem"

    def channel(self, files: TlsFiles | str, target: str = "") -> grpc.aio.Channel:
        """A channel with these files, or a member's; close it, or use it with `async with`."""
        known = self.member(files) if isinstance(files, str) else files
        return grpc.aio.secure_channel(
            target or self.target, channel_credentials(known), [("grpc.use_local_subchannel_pool", 1)]
        )

    def operator(self) -> grpc.aio.Channel:
        """A channel of the operator's."""
        return self.channel(OPERATOR.folder)

    def client(self, name: str, *, unary: bool = False) -> Broker:
        """Our client with a member's identity."""
        return Broker.from_state(self.state.folder, name, unary=unary)

    def https(self, name: str | None) -> httpx.AsyncClient:
        """An HTTP client of the HTTPS port, with a member's certificate or none."""
        return httpx.AsyncClient(base_url=self.http, verify=self._context(name), trust_env=False, timeout=10)

    def _context(self, name: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca))
        if name is not None:
            context.load_cert_chain(self.member(name).cert, self.member(name).key)
        return context

    @property
    def fhir(self) -> FhirApi:
        """The trust's FHIR server, through its own REST API."""
        words = command_line(self.child("fhir").pid)
        port = words[words.index("--port") + 1]
        files = self.member(NHS_ADAPTER.folder)
        return FhirApi(f"https://127.0.0.1:{port}/fhir", Files(files.ca, files.cert, files.key))

    def child(self, name: str) -> Child:
        """One of the processes: `fhir`, `broker`, `adapters.fire`, `adapters.nhs`."""
        return next(child for child in self.stack.children if child.name == name)

    @property
    def database_url(self) -> str:
        """The broker's own database, as its own process was told it."""
        return environment(self.child("broker").pid)["BROKER_DATABASE_URL"]

    def another_broker(self, ready: Path) -> Child:
        """A second broker process on the same database and keys, with ports of its own; told in `ready`."""
        env = environment(self.child("broker").pid)
        env |= {"BROKER_GRPC_PORT": "0", "BROKER_HTTP_PORT": "0", "BROKER_READY_FILE": str(ready)}
        log = self.state.logs / "broker-b.log"
        child = spawn(command_line(self.child("broker").pid), name="broker B", log=log, env=env)
        child.wait_ready(ready.exists, WITHIN)
        return child

    def end_broker(self, how: signal.Signals = signal.SIGTERM) -> dict[str, str]:
        """End the broker process; what `start_broker` needs to start it again where it was."""
        child = self.child("broker")
        env = environment(child.pid)
        env |= {
            "BROKER_GRPC_PORT": str(self.stack.grpc_port),
            "BROKER_HTTP_PORT": str(self.stack.http_port),
        }
        self._end(child, how)
        return env

    def start_broker(self, env: dict[str, str]) -> None:
        """Start the broker again on the same state and ports; ready, and its adapters attached, on return."""
        ready = Path(env["BROKER_READY_FILE"])
        ready.unlink(missing_ok=True)
        self._start("broker", [sys.executable, "-m", "broker", "serve"], env).wait_ready(ready.exists, WITHIN)
        self.child("broker").wait_ready(lambda: self.attached() >= {"cfrs", "ncic"}, WITHIN)

    def attached(self) -> set[str]:
        """The agencies that have an adapter attached now, as the broker's own metrics say."""
        with httpx.Client(verify=self._context(OPERATOR.folder), trust_env=False, timeout=10) as http:
            text = http.get(f"{self.http}/metrics").raise_for_status().text
        return set(re.findall(r'^broker_links\{agency="([^"]+)"\} [1-9]', text, re.MULTILINE))

    def end_fhir(self, how: signal.Signals = signal.SIGKILL) -> tuple[list[str], dict[str, str]]:
        """End the FHIR server; what `start_fhir` needs to start it again where it was."""
        child = self.child("fhir")
        again = command_line(child.pid), environment(child.pid)
        self._end(child, how)
        return again

    def start_fhir(self, again: tuple[list[str], dict[str, str]]) -> None:
        """Start the FHIR server again; it takes some seconds to answer, which are not waited for."""
        self._start("fhir", *again)

    def _end(self, child: Child, how: signal.Signals) -> None:
        os.kill(child.pid, how)
        deadline = time.monotonic() + WITHIN
        while child.alive:
            assert time.monotonic() < deadline, f"{child.name} ignores {how.name}"
            time.sleep(0.01)

    def _start(self, name: str, argv: list[str], env: dict[str, str]) -> Child:
        child = spawn(argv, name=name, log=self.state.logs / f"{name}.log", env=env)
        self.parts.callback(child.stop)
        others = tuple(other for other in self.stack.children if other.name != name)
        self.stack = replace(self.stack, children=(*others, child))
        return child

    def issued(self, folder: Path) -> CertificateFolder:
        """A copy of the certificate authority in `folder`, to issue there what the state must not hold."""
        shutil.copytree(self.state.certs / "authority", folder / "authority")
        shutil.copy(self.state.certs / "ca.pem", folder / "ca.pem")
        return CertificateFolder(folder)


def environment(pid: int) -> dict[str, str]:
    """The environment that a process was started with."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


def command_line(pid: int) -> list[str]:
    """The words that a process was started with."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().removesuffix("\0").split("\0")


@contextmanager
def deployed(folder: Path) -> Iterator[Deployment]:
    """A whole deployment with its state below `folder`, as long as the block lasts."""
    state = State(folder / "state")
    with ExitStack() as parts:
        stack = parts.enter_context(running(state, 0, 0, provision, lambda _: None))
        yield Deployment(state, stack, parts)


@pytest.fixture(scope="session")
def stack() -> Iterator[Deployment]:
    """The session's deployment. Tests leave it as they found it, and ask about people of their own."""
    with open_folder() as folder, deployed(folder) as deployment:
        yield deployment
