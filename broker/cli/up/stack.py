"""The processes of a whole deployment: started in order, watched, stopped in the other order.

All of them end when we do, SIGKILL included (`broker.children`). Started from the main thread.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from adapters.nhs import demo_server
from broker.children import Child, spawn
from broker.cli import QUIET
from broker.cli.up import signing
from broker.cli.up.cast import FIRE_ADAPTER, MEMBERS, NHS_ADAPTER, OPERATOR, Member
from broker.cli.up.state import State, free_port
from broker.pki.folder import CertificateFolder
from broker.pki.identity import DEVELOPMENT_TRUST_DOMAIN, server_uri
from broker.store.embedded import EmbeddedPostgres

HOST = "127.0.0.1"
READY_WITHIN = 60.0  # seconds, of one process
DRAIN_SECONDS = 4  # of the broker; well within what `Child.stop` waits
# Settings of `broker serve` that are taken from our own environment; this sets or leaves the rest.
TAKEN = frozenset(
    {
        *("BROKER_RETENTION", "BROKER_WITNESS_POLICY", "BROKER_WITNESS_CA", "BROKER_OVERRIDE_WEBHOOK"),
        *("BROKER_TIMESTAMP_URL", "BROKER_TIMESTAMP_CERT", "BROKER_TIMESTAMP_SECONDS"),
    }
)
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs."""

    state: State
    children: tuple[Child, ...]
    servers: tuple[tuple[str, EmbeddedPostgres], ...]
    grpc_port: int
    http_port: int

    def problem(self) -> str | None:
        """What has ended although nobody stopped it, in a sentence."""
        for child in self.children:
            if not child.alive:
                return f"{child.name} ended by itself. The end of {child.log}:\n{child.last_lines()}"
        for name, server in self.servers:
            if not server.alive:
                return f"PostgreSQL ({name}) ended by itself; {server.log} may say why"
        return None


class Starter:
    """Starts one process after the other, telling what it does."""

    def __init__(self, state: State, say: Say, stack: ExitStack) -> None:
        self._state = state
        self._say = say
        self._stack = stack
        self.children: list[Child] = []
        self.servers: list[tuple[str, EmbeddedPostgres]] = []

    def certificates(self) -> None:
        """An authority, and a certificate for every system that has none."""
        now = datetime.now(UTC)
        folder = CertificateFolder(self._state.certs)
        if not folder.exists():
            folder.init(DEVELOPMENT_TRUST_DOMAIN, now)
        for member in (OPERATOR, *MEMBERS):
            if not (self._state.certs / member.folder).exists():
                folder.issue_client(member.agency, member.system, now)
        if not (self._state.certs / "fhir").exists():
            folder.issue_server("fhir", now)

    def fhir(self) -> tuple[Child, str]:
        """The trust's FHIR server, not ready yet, and its address."""
        certs = self._state.certs
        launch = demo_server.prepare(
            self._state.folder / "fhir",
            free_port(HOST),
            ca=certs / "ca.pem",
            cert=certs / "fhir" / "cert.pem",
            key=certs / "fhir" / "key.pem",
        )
        return self.start("fhir", launch.argv, launch.env), launch.base_url

    def postgres(self, name: str, database: str, role: str) -> str:
        """An embedded PostgreSQL server; its address."""
        server = EmbeddedPostgres.start(self._state.folder, name=name, database=database, role=role)
        self._stack.callback(server.stop)
        self.servers.append((name, server))
        return server.dsn

    def broker(self, database_url: str, grpc_port: int, http_port: int, workers: int) -> Path:
        """The broker; where it says that it is ready."""
        certs, ready = self._state.certs, self._state.folder / "ready.json"
        ready.unlink(missing_ok=True)
        env = environment(
            BROKER_DATABASE_URL=database_url,
            BROKER_TRUST_DOMAIN=DEVELOPMENT_TRUST_DOMAIN,
            BROKER_HOST=HOST,
            BROKER_GRPC_PORT=grpc_port,
            BROKER_HTTP_PORT=http_port,
            BROKER_CA=certs / "ca.pem",
            BROKER_CERT=certs / "broker" / "cert.pem",
            BROKER_KEY=certs / "broker" / "key.pem",
            BROKER_KEYS=self._state.keys,
            BROKER_GUARD=self._state.guard,
            BROKER_BOOTSTRAP_OPERATOR=certs / OPERATOR.folder / "cert.pem",
            BROKER_READY_FILE=ready,
            BROKER_WORKERS=workers,
            BROKER_DRAIN_SECONDS=DRAIN_SECONDS,
        )
        taken, left = passed_on(os.environ)
        if taken:
            self._say(f"Settings taken from the environment: {', '.join(taken)}")
        if left:
            self._say(f"Settings not taken, since `broker up` has its own: {', '.join(left)}")
        env |= taken
        child = self.start("broker", (sys.executable, "-m", "broker", "serve"), env)
        child.wait_ready(ready.exists, READY_WITHIN)
        return ready

    def load(self, module: str, env: dict[str, str]) -> None:
        """Put an adapter's synthetic records into its agency's system."""
        log = self._state.logs / f"{module}-load.log"
        argv = (sys.executable, "-m", module, "--load-demo")
        spawn(argv, name=f"{module} --load-demo", log=log, env=env).wait(READY_WITHIN)

    def adapter(self, module: str, member: Member, target: str, env: dict[str, str]) -> Callable[[], None]:
        """An adapter process; call what it gives to wait until it is attached."""
        certs = self._state.certs
        ready = self._state.folder / f"{member.folder}.attached"
        ready.unlink(missing_ok=True)
        env = env | texts(
            BROKER_ADAPTER_TARGET=target,
            BROKER_ADAPTER_CA=certs / "ca.pem",
            BROKER_ADAPTER_CERT=certs / member.folder / "cert.pem",
            BROKER_ADAPTER_KEY=certs / member.folder / "key.pem",
            BROKER_ADAPTER_READY_FILE=ready,
            BROKER_ADAPTER_EXPECTED_BROKER=server_uri(DEVELOPMENT_TRUST_DOMAIN, "broker"),
            BROKER_ADAPTER_AGREEMENTS=signing.copies(self._state, member.agency),
            BROKER_ADAPTER_AGREEMENT_KEYS=signing.public_file(self._state, member.agency),
        )
        child = self.start(module, (sys.executable, "-m", module), env)
        return lambda: child.wait_ready(ready.exists, READY_WITHIN)

    def start(self, name: str, argv: tuple[str, ...], env: dict[str, str]) -> Child:
        """One process, to be stopped with the others."""
        child = spawn(argv, name=name, log=self._state.logs / f"{name}.log", env=env)
        self._stack.callback(child.stop)
        self.children.append(child)
        return child


@contextmanager
def running(
    state: State,
    grpc_port: int,
    http_port: int,
    provision: Callable[[State, str], None],
    say: Say,
    workers: int = 1,
) -> Iterator[Stack]:
    """Everything up, from entry to exit. `provision` fills the broker before the adapters attach.

    Raises SetupError with the end of the log of what did not start.
    """
    began = time.monotonic()

    def told(text: str) -> None:
        say(f"[{time.monotonic() - began:5.1f} s] {text}")

    with ExitStack() as stack:
        lock = state.open()
        stack.callback(os.close, lock)
        starter = Starter(state, told, stack)
        told("certificates: an authority, one for each system")
        starter.certificates()
        fhir, fhir_url = starter.fhir()  # the slowest to start
        told("PostgreSQL for the broker, and one for the fire service")
        broker_dsn = starter.postgres("postgres", "broker", "broker")
        fire_dsn = starter.postgres("fire-risk", "premises", "fire_service")
        told("the broker" if workers == 1 else f"the broker, {workers} workers")
        ready = starter.broker(broker_dsn, grpc_port, http_port, workers)
        said = state.write_ports(ready)
        target = f"localhost:{said['grpc']}"
        told("agencies, systems, record types, agreements signed by each party")
        provision(state, target)
        told("the trust's FHIR server, with synthetic patients")
        fire_env = environment(BROKER_FIRE_DATABASE_URL=fire_dsn)
        starter.load("adapters.fire", fire_env)
        _await_port(fhir, fhir_url)
        certs = state.certs
        nhs_env = environment(
            BROKER_NHS_FHIR_URL=fhir_url,
            BROKER_NHS_CA=certs / "ca.pem",
            BROKER_NHS_CERT=certs / NHS_ADAPTER.folder / "cert.pem",
            BROKER_NHS_KEY=certs / NHS_ADAPTER.folder / "key.pem",
        )
        starter.load("adapters.nhs", nhs_env)
        told("the adapters, which dial the broker")
        attached = [
            starter.adapter("adapters.fire", FIRE_ADAPTER, target, fire_env),
            starter.adapter("adapters.nhs", NHS_ADAPTER, target, nhs_env),
        ]
        for wait in attached:
            wait()
        told("ready")
        yield Stack(
            state, tuple(starter.children), tuple(starter.servers), int(said["grpc"]), int(said["http"])
        )


def _await_port(child: Child, url: str) -> None:
    import socket

    port = int(url.split(":")[2].split("/")[0])

    def listening() -> bool:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            return False
        return True

    child.wait_ready(listening, READY_WITHIN)


def environment(**settings: object) -> dict[str, str]:
    """Ours without the broker's own settings, which are for the child alone, and these."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("BROKER_") and (k, v) != QUIET}
    return inherited | texts(**settings)


def passed_on(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Settings of `broker serve` that are taken, and the names of those that are not."""
    from broker.config import Settings

    known = {f"BROKER_{name.upper()}" for name in Settings.model_fields} & environ.keys()
    return {name: environ[name] for name in sorted(known & TAKEN)}, sorted(known - TAKEN)


def texts(**settings: object) -> dict[str, str]:
    """Settings as an environment has them."""
    return {name: str(value) for name, value in settings.items()}
