"""The processes that are measured: ours as shipped, and the yardstick beside it, on one machine.

Ours: embedded PostgreSQL on a real file system, `broker serve`, an adapter on the real SDK, the shipped
client. Directives of 100,000 people and 1,000 agreements are in the database.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from bench.load import FIRST_UPRN, PEOPLE
from broker.cli.up.cast import FIRE_ADAPTER
from broker.cli.up.provision import provision
from broker.cli.up.stack import HOST, Starter, environment, texts
from broker.cli.up.state import State
from broker.core.directive import Directive
from broker.core.forms import directive_detail
from broker.core.model import SubjectRef
from broker.keys import FolderKeys
from broker.store.blind import Blind

AGREEMENTS = 1_000
READY_WITHIN = 60.0
RUN_WITHIN = 300.0


class Rig:
    """What runs, and how to put load on it."""

    def __init__(self, state: State, starter: Starter, dsn: str) -> None:
        self.state = state
        self.dsn = dsn
        self._starter = starter
        self._certs = state.certs

    def start(self) -> None:
        """Broker, adapter, and the yardstick's two."""
        ready = self._starter.broker(self.dsn, 0, 0, 1)
        self.broker = self._starter.children[-1]
        said = self.state.write_ports(ready)
        self.http_port = int(said["http"])
        target = f"localhost:{said['grpc']}"
        provision(self.state, target)
        asyncio.run(_fill(self.dsn, self.state))
        env = environment(PYTHONPATH=Path.cwd()) | texts(BROKER_ADAPTER_AT_ONCE=1024)
        self._starter.adapter("bench.adapter", FIRE_ADAPTER, target, env)()
        self.adapter = self._starter.children[-1]
        _, back = self._bare("back")
        self.front, self._front_port = self._bare("front", f"localhost:{back}")

    def bare(self, in_flight: int, total: int) -> dict[str, float]:
        """One run of the yardstick."""
        arguments = ("bench.bare", "load", "--certs", self._certs, "--target", f"localhost:{self._front_port}")
        return self._measured(self.front.pid, (*arguments, *_amount(in_flight, total)), total)

    def ours(self, in_flight: int, total: int, *, unary: bool = False) -> dict[str, float]:
        """One run of ours."""
        arguments = ("bench.load", "--state", self.state.folder, *_amount(in_flight, total))
        return self._measured(self.broker.pid, (*arguments, *(("--unary",) if unary else ())), total)

    def _measured(self, pid: int, arguments: tuple[object, ...], total: int) -> dict[str, float]:
        before = _cpu(pid)
        argv = [sys.executable, "-m", *map(str, arguments)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=RUN_WITHIN, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        result: dict[str, float] = json.loads(done.stdout)
        return result | {"broker_cpu_us": (_cpu(pid) - before) / total * 1e6}

    def _bare(self, role: str, target: str = "") -> tuple[object, int]:
        ready = self.state.folder / f"bare-{role}.json"
        ready.unlink(missing_ok=True)
        argv = (sys.executable, "-m", "bench.bare", role, "--certs", str(self._certs), "--ready", str(ready))
        child = self._starter.start(f"bare-{role}", (*argv, "--target", target), environment())
        child.wait_ready(ready.exists, READY_WITHIN)
        time.sleep(0.1)
        port: int = json.loads(ready.read_text())["grpc"]
        return child, port


@contextmanager
def running(folder: Path) -> Iterator[Rig]:
    """A rig, from entry to exit; everything ends with it."""
    state = State(folder)
    with ExitStack() as stack:
        stack.callback(os.close, state.open())
        starter = Starter(state, lambda text: None, stack)
        starter.certificates()
        rig = Rig(state, starter, starter.postgres("postgres", "broker", "broker"))
        rig.start()
        yield rig


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _amount(in_flight: int, total: int) -> tuple[object, ...]:
    return ("--in-flight", in_flight, "--total", total)


def _cpu(pid: int) -> float:
    """Seconds of processor time of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _fill(dsn: str, state: State) -> None:
    """What a county has by then: directives of many people, and agreements of others. Put in beside the log,
    since a hundred thousand recorded ones would be another benchmark."""
    blind = Blind(FolderKeys(state.keys).index_key())
    said = Directive(
        id="",
        kind="objection",
        recorder="cumberland",
        said_at=datetime(2026, 1, 1, tzinfo=UTC),
        standing="self",
        manner="verbal",
        purposes=frozenset({"crime-prevention"}),
    )
    connection = await asyncpg.connect(dsn)
    try:
        if await connection.fetchval("select count(*) from directive") >= PEOPLE:
            return
        keys = [blind.subject(SubjectRef("uprn", str(FIRST_UPRN + n))) for n in range(PEOPLE)]
        await connection.execute(
            "insert into directive (id, subject, recorder, detail, recorded_at, policy_from)"
            " select gen_random_uuid(), key, 'cumberland', $2::jsonb, now(), 1 from unnest($1::bytea[]) key",
            keys,
            json.dumps(directive_detail(said)),
        )
        file = (Path(__file__).parent.parent / "broker/cli/up/agreements/ambulance-premises.toml").read_bytes()
        pins = await connection.fetchval(
            "select pins::text from agreement where id = 'cfrs-nwas-premises-risk'"
        )
        policy = await connection.fetchval("select policy from head")
        for n in range(AGREEMENTS):
            other = file.replace(b"cfrs-nwas-premises-risk", b"bench-%04d" % n)
            other = other.replace(b'purpose = "emergency-response"', b'purpose = "direct-care"', 1)
            await connection.execute(
                "insert into agreement (id, version, file, digest, pins, policy_from)"
                " values ($1, 1, $2, '', $3::jsonb, $4)",
                f"bench-{n:04d}",
                other,
                pins,
                policy + 1,
            )
        await connection.execute("update head set policy = policy + 1, reference_policy = policy + 1")
        await connection.execute("analyze")
    finally:
        await connection.close()


__all__ = ["HOST", "Rig", "resident_mb", "running"]
