"""Several workers for tests: `broker serve --workers N` on the embedded PostgreSQL, and an adapter on the SDK.

The adapter answers in this process, so that a test says what it finds and how long that takes; everything
between it and the client is real: processes, mutual TLS, the database, the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import httpx

from adapters.sdk import AdapterSettings, Found, Provides, Question
from adapters.sdk.attach import Attach
from broker.children import Child, spawn
from broker.cli.up.cast import FIRE_ADAPTER, OPERATOR
from broker.cli.up.provision import provision
from broker.cli.up.stack import Starter
from broker.cli.up.stack import environment as started
from broker.cli.up.state import State
from broker.client import Actor, Assurance, Broker, Disclosure, Reason
from broker.pki.tls import TlsFiles, channel_credentials
from broker.tracing import OFF, Tracing
from broker.v1 import exchange_pb2
from records.fire.v1 import premises_risk_pb2
from records.shared.v1 import fact_pb2
from tests.support.processes import children_of

RISK = "records.fire.v1.PremisesRisk"
CREW = Actor(id="nwas-51180", role="ambulance-crew", callsign="AC412", assurance=Assurance.ROSTER)
HOUSE = ("uprn", "100062990001")


@dataclass
class Fleet:
    """What runs. Addresses are host:port; `told` is the ready file as it is now."""

    state: State
    child: Child

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.state.folder / "ready.json").read_text())
        return told

    @property
    def target(self) -> str:
        return f"localhost:{self.told['grpc']}"

    def direct(self, number: int) -> str:
        """Where one worker alone is dialled."""
        port: str = self.told["workers"][number]["address"].split(":")[1]
        return f"localhost:{port}"

    @property
    def ids(self) -> list[str]:
        """The workers' ids, in order of their numbers."""
        return [worker["id"] for worker in self.told["workers"]]

    def files(self, name: str) -> TlsFiles:
        """The files of a development identity."""
        return TlsFiles.within(self.state.certs, name)

    def client(
        self, name: str = "nwas-cad", target: str = "", unary: bool = False, tracing: Tracing = OFF
    ) -> Broker:
        """The shipped client, at the shared port unless another is named."""
        files = self.files(name)
        return Broker(
            target or self.target,
            ca=files.ca,
            cert=files.cert,
            key=files.key,
            log_vkey=self.state.vkey,
            unary=unary,
            tracing=tracing,
        )

    def channel(self, name: str, target: str = "") -> grpc.aio.Channel:
        """A bare channel."""
        return grpc.aio.secure_channel(
            target or self.target,
            channel_credentials(self.files(name)),
            [("grpc.use_local_subchannel_pool", 1)],
        )

    def operator(self) -> grpc.aio.Channel:
        """A bare channel of the operator's."""
        return self.channel(OPERATOR.folder)

    def https(self, number: int | None = None, name: str = OPERATOR.folder) -> httpx.AsyncClient:
        """An HTTP client of the shared HTTPS port, or of one worker's own."""
        files = self.files(name)
        context = ssl.create_default_context(cafile=str(files.ca))
        context.load_cert_chain(files.cert, files.key)
        port = self.told["http"] if number is None else self.told["workers"][number]["http"]
        return httpx.AsyncClient(
            base_url=f"https://localhost:{port}", verify=context, trust_env=False, timeout=10
        )

    def pids(self) -> list[int]:
        """Processes of the workers, whatever their number."""
        return children_of(self.child.pid)


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


def environment(pid: int) -> dict[str, str]:
    """A process's environment."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


@contextmanager
def certificates(folder: Path) -> Iterator[State]:
    """A state folder with an authority and a certificate for every member."""
    state = State(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state.logs.mkdir(exist_ok=True)
    Starter(state, lambda _: None, ExitStack()).certificates()
    yield state


def settings(state: State, dsn: str, **more: object) -> dict[str, str]:
    """The environment of a broker on `dsn`; `more` are settings without their prefix."""
    certs = state.certs
    values: dict[str, object] = {
        "DATABASE_URL": dsn,
        "CA": certs / "ca.pem",
        "CERT": certs / "broker" / "cert.pem",
        "KEY": certs / "broker" / "key.pem",
        "KEYS": state.keys,
        "GUARD": state.guard,
        "GRPC_PORT": 0,
        "HTTP_PORT": 0,
        "POOL_SIZE": 4,
        # A worker that goes waits for so long: a test should not wait for what is shipped.
        "CONNECTION_SECONDS": 2,
        "READY_FILE": state.folder / "ready.json",
        "BOOTSTRAP_OPERATOR": certs / OPERATOR.folder / "cert.pem",
        **more,
    }
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("BROKER_")}
    return inherited | {f"BROKER_{name}": str(value) for name, value in values.items()}


def serve(state: State, dsn: str, workers: int, **more: object) -> Child:
    """Start `broker serve --workers`; not ready yet."""
    line = (sys.executable, "-m", "broker", "serve", "--workers", str(workers))
    return spawn(line, name="broker", log=state.logs / "broker.log", env=settings(state, dsn, **more))


@asynccontextmanager
async def fleet(dsn: str, folder: Path, workers: int = 2, **more: object) -> AsyncIterator[Fleet]:
    """Workers that serve, with the demonstration's members and agreements; they end with the block."""
    with certificates(folder) as state, serve(state, dsn, workers, **more) as child:
        ready = folder / "ready.json"
        await asyncio.to_thread(child.wait_ready, ready.exists, 60)
        said = state.write_ports(ready)
        await asyncio.to_thread(provision, state, f"localhost:{said['grpc']}")
        yield Fleet(state, child)
        await asyncio.to_thread(child.stop, 45)


@dataclass
class Risks:
    """The fire service's records: whatever is asked for is found, after `takes(question)` seconds."""

    takes: Callable[[Question], float] = lambda _: 0.0
    asked: int = 0
    abandoned: int = 0

    async def answer(self, question: Question) -> Found:
        self.asked += 1
        try:
            await asyncio.sleep(self.takes(question))
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        assert question.subject is not None
        record = premises_risk_pb2.PremisesRisk(uprn=question.subject.value)
        for part in (record.oxygen, record.access, record.hazards, record.evacuation):
            part.state = fact_pb2.FACT_STATE_NONE_RECORDED
        return Found(record, (question.subject,), datetime.now(UTC))


@asynccontextmanager
async def attached(
    running: Fleet, risks: Risks, at_once: int = 512, tracing: Tracing = OFF, **more: Any
) -> AsyncIterator[Attach]:
    """The fire service's adapter, linked to every worker."""
    files = running.files(FIRE_ADAPTER.folder)
    how = AdapterSettings(
        target=running.target, ca=files.ca, cert=files.cert, key=files.key, at_once=at_once, **more
    )
    attach = Attach(how, [Provides(RISK, ("uprn",))], risks.answer, software="test", tracing=tracing)
    stop = asyncio.Event()
    task = asyncio.create_task(attach.run(stop))
    try:
        async with asyncio.timeout(15):
            await attach.covered()
        yield attach
    finally:
        stop.set()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextmanager
def fire_adapter(running: Fleet, premises: str) -> Iterator[Child]:
    """The fire service's own adapter, a process of its own, on its risk system in the database `premises`."""
    with ExitStack() as stack:
        starter = Starter(running.state, lambda _: None, stack)
        env = started(BROKER_FIRE_DATABASE_URL=premises, BROKER_ADAPTER_AT_ONCE=1024)
        starter.load("adapters.fire", env)
        starter.adapter("adapters.fire", FIRE_ADAPTER, running.target, env)()
        yield starter.children[-1]


async def ask(
    client: Broker, timeout: float = 5.0, subject: tuple[str, str] = HOUSE, request_id: str = ""
) -> Disclosure:
    """An ambulance crew asks the fire service about a house."""
    return await client.request(
        record_type=RISK,
        provider="cfrs",
        subject=subject,
        purpose="emergency-response",
        actor=CREW,
        reason=Reason("call"),
        timeout=timeout,
        request_id=request_id,
    )


def asked() -> exchange_pb2.RecordRequest:
    """The same question as it goes over the wire, under an id of its own."""
    return exchange_pb2.RecordRequest(
        request_id=str(uuid.uuid4()),
        record_type=RISK,
        provider="cfrs",
        subject=exchange_pb2.SubjectRef(scheme=HOUSE[0], value=HOUSE[1]),
        purpose="emergency-response",
        actor=exchange_pb2.Actor(id=CREW.id, role=CREW.role, assurance=exchange_pb2.ASSURANCE_ROSTER),
    )


async def becomes(condition: Callable[[], Awaitable[bool] | bool], within: float) -> float:
    """Seconds until the condition is true; fails when it is not in that time."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return loop.time() - started
        assert loop.time() - started < within, f"not within {within} s"
        await asyncio.sleep(0.02)
