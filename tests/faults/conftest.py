"""Workers that faults are done to.

`pair`: two, shared by the tests that stop one for a while, and leave both serving. `worker`: one with two
requesters, an ambulance service with the emergency lane, and a council that has none.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.cli.up.cast import OPERATOR
from broker.cli.up.provision import enrol_signing_keys
from broker.cli.up.signing import signed
from broker.rpc.signed import signature_message
from broker.v1 import agreement_pb2, agreement_pb2_grpc, directory_pb2_grpc
from tests.support.fleet import RISK, Fleet, Risks, attached, fleet
from tests.support.postgres import Server
from tests.support.values import AT_THE_DESK
from tests.support.world import flow, terms, toml

# What one agency may ask for in a second. The council's flood gets so much, and is refused the rest.
PER_SECOND = 100
PACE = 1.5 / PER_SECOND  # seconds between an answer and the next question, so that none meets the quota
FLOODS = "wf-mash"


def prefer(pid: int, nice: int) -> None:
    """Give a process, and what shares its session where the kernel goes by that, this niceness if we may."""
    for thread in Path(f"/proc/{pid}/task").iterdir():  # what gRPC does in threads of its own, too
        with suppress(PermissionError, ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


@pytest.fixture(scope="session")
def undisturbed() -> Iterator[None]:
    """Go before what else this machine does, where we may: it would be measured too."""
    prefer(os.getpid(), -10)
    yield
    prefer(os.getpid(), 0)


@pytest.fixture(scope="session")
async def worker(
    undisturbed: None, postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Fleet]:
    """A worker that grants each agency `PER_SECOND`."""
    folder = tmp_path_factory.mktemp("faults")
    async with (
        postgres.fresh() as dsn,
        fleet(dsn, folder, 1, AGENCY_PER_SECOND=PER_SECOND, CONNECTION_SECONDS=15) as running,
    ):
        await agree(running, "nwas", 2, {"emergency_per_minute": 1_000_000})
        await agree(running, "wf", 1, None)
        prefer(running.child.pid, -10)
        yield running


@pytest.fixture
async def risks(worker: Fleet) -> AsyncIterator[Risks]:
    """The fire service's adapter."""
    risks = Risks()
    async with attached(worker, risks):
        yield risks


async def agree(running: Fleet, requester: str, version: int, limits: dict[str, int] | None) -> None:
    """An agreement of the fire service with this requester, signed by both."""
    today = datetime.now(UTC).date()
    file = toml(
        terms(
            id=f"cfrs-{requester}-premises-risk",
            version=version,
            valid_from=today - timedelta(1),
            valid_until=today + timedelta(1),
            review_on=today,
            directives={"weight": "recorded"},
            parties=[{"agency": each, "regime": "uk-gdpr"} for each in ("cfrs", requester)],
            flows=[flow(requester=requester, record_type=RISK, roles=["ambulance-crew", "dispatcher"])],
            limits=limits,
        )
    )
    signatures = signed(running.state, f"{requester}.toml", file)
    async with running.channel(OPERATOR.folder) as channel:
        directory = directory_pb2_grpc.DirectoryServiceStub(channel)
        await enrol_signing_keys(directory, running.state, ["cfrs", requester])  # type: ignore[arg-type]
        await agreement_pb2_grpc.AgreementServiceStub(channel).ApplyAgreement(
            agreement_pb2.ApplyAgreementRequest(
                actor=AT_THE_DESK, file=file, signatures=map(signature_message, signatures)
            ),
            timeout=10,
        )


@dataclass
class Flooding:
    """A flood in a process of its own."""

    process: asyncio.subprocess.Process

    async def say(self, word: str) -> dict[str, int]:
        """`start`, `stop` or `look`; what it has been told since its start."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n".encode())
        async with asyncio.timeout(60):
            told: dict[str, int] = json.loads(await self.process.stdout.readline())
        return told


@asynccontextmanager
async def flooding(running: Fleet, what: str) -> AsyncIterator[Flooding]:
    """A process that will flood as the council, once it is told to."""
    line: list[Any] = [sys.executable, "-m", "tests.faults.flood", running.state.folder, running.target]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *map(str, line), FLOODS, what, stdin=pipe, stdout=pipe, start_new_session=True
    )
    try:
        yield Flooding(process)
    finally:
        process.kill()
        await process.wait()


@pytest.fixture(scope="module")
async def pair(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """Two workers with the fire service's adapter, linked to both."""
    async with (
        postgres.fresh() as dsn,
        fleet(dsn, tmp_path_factory.mktemp("pair")) as running,
        attached(running, Risks()),
    ):
        yield running
