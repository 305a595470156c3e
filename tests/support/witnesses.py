"""Witnesses as partner agencies run them: processes behind HTTPS, each with a key and a folder of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import ssl
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from broker.children import Child, spawn
from broker.core.checkpoint import Cosigner
from broker.core.quorum import WitnessPolicy, parse_policy
from broker.core.witness import Submission
from tests.support.certificates import Authority

READY_WITHIN = 30.0


@dataclass
class WitnessProcess:
    """One witness; `start`, `stop`, `kill`, and again, on the same port."""

    folder: Path
    name: str
    logs: Sequence[str]
    authority: Authority
    port: int = 0
    program: Sequence[object] = ("-m", "broker", "audit", "witness")
    child: Child | None = None
    _left: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cosigner = Cosigner.from_seed(f"{self.name}.example/w", self.name.encode().ljust(32, b"."))
        self.key = self.folder / "witness.key"
        self.key.write_text(self.cosigner.skey + "\n")
        self.key.chmod(0o600)
        self.files = self.authority.server(f"witness-{self.name}")
        self.files.key.chmod(0o600)

    @property
    def address(self) -> str:
        """Its submission prefix."""
        return f"https://localhost:{self.port}"

    def arguments(self) -> list[str]:
        """What stands behind `broker audit witness`."""
        ready = self.folder / "ready.json"
        options = {
            "--state": self.folder / "state",
            "--key": self.key,
            "--tls-cert": self.files.cert,
            "--tls-key": self.files.key,
            "--listen": f"127.0.0.1:{self.port}",
            "--ready-file": ready,
        }
        line = [str(part) for pair in options.items() for part in pair]
        return line + [part for vkey in self.logs for part in ("--log", vkey)]

    def start(self) -> WitnessProcess:
        """Until it serves."""
        self.begin()
        return self.ready()

    def begin(self) -> None:
        """Start it, and wait for nothing."""
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        line = [sys.executable, *map(str, self.program), *self.arguments()]
        self.child = self._left.enter_context(spawn(line, name=self.name, log=self.folder / "log"))

    def ready(self) -> WitnessProcess:
        """Wait until it serves."""
        assert self.child is not None
        ready = self.folder / "ready.json"
        self.child.wait_ready(ready.exists, READY_WITHIN)
        self.port = json.loads(ready.read_text())["port"]
        return self

    def stop(self) -> int:
        """As an operator does."""
        assert self.child is not None
        return self.child.stop()

    def kill(self) -> None:
        """As a power cut does."""
        assert self.child is not None
        self.child.send(signal.SIGKILL)
        self.child.stop()

    def post(self, body: bytes, path: str = "/add-checkpoint", method: str = "POST") -> tuple[int, str, bytes]:
        """Status, content type and body of one answer."""
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        connection = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=20)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.headers["Content-Type"], answer.read()
        finally:
            connection.close()

    def submit(self, old: int, proof: Sequence[bytes], note: bytes) -> tuple[int, str, bytes]:
        """The same of a submission."""
        return self.post(Submission(old, tuple(proof), note).to_bytes())


@dataclass
class Quorum:
    """Some witnesses, and the policy file that names them."""

    witnesses: list[WitnessProcess]
    file: Path
    authority: Authority

    @property
    def policy(self) -> WitnessPolicy:
        """As a broker reads it."""
        return parse_policy(self.file.read_bytes())


def write_policy(file: Path, quorum: int, witnesses: Sequence[WitnessProcess]) -> Path:
    """The TOML of a policy."""
    lines = [f"quorum = {quorum}"]
    for each in witnesses:
        lines += ["[[witness]]", f'name = "{each.name}"', f'vkey = "{each.cosigner.vkey}"']
        lines += [f'address = "{each.address}"'] if each.port else []
    file.write_text("\n".join(lines) + "\n")
    return file


@contextlib.contextmanager
def quorum(folder: Path, *vkeys: str, count: int = 3, needed: int = 2) -> Iterator[Quorum]:
    """So many witnesses of these logs, all running."""
    authority = Authority(folder / "ca")
    with contextlib.ExitStack() as stack:
        made = []
        for n in range(count):
            each = WitnessProcess(folder / f"w{n}", f"w{n}", vkeys, authority)
            stack.callback(each._left.close)
            each.begin()
            made.append(each)
        for each in made:
            each.ready()
        stack.callback(_stop, made)
        yield Quorum(made, write_policy(folder / "witnesses.toml", needed, made), authority)


def _stop(witnesses: Sequence[WitnessProcess]) -> None:
    """All at once: each takes a while."""
    for each in witnesses:
        if each.child is not None and each.child.alive:
            each.child.send(signal.SIGTERM)
