"""Two workers, and the trust's adapter as a process that links numbers: what withdrawals are tried on.

`honest` is `broker serve --workers 2`; `naive` is two workers with a cache before what people have said.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from broker.children import Child, spawn
from broker.cli.up import signing
from broker.cli.up.cast import NHS_ADAPTER
from broker.cli.up.provision import provision
from broker.core import agreement as agreements
from broker.pki.identity import server_uri
from tests.e2e import words
from tests.support.fleet import Fleet, certificates, fleet, settings
from tests.support.judge import Terms

READY = 60.0
BROKER = server_uri("blue-light.test", "broker")


class Deploy(Protocol):
    """Gives two workers on a database, with state in a folder."""

    def __call__(self, dsn: str, folder: Path) -> AbstractAsyncContextManager[Fleet]: ...


class _Pair(Fleet):
    """Two processes without a supervisor, each with a ready file of its own."""

    @property
    def told(self) -> dict[str, Any]:
        told = [json.loads(file.read_text()) for file in sorted(self.state.folder.glob("ready.*.json"))]
        return {**told[0], "workers": [each["workers"][0] for each in told]}


def honest(dsn: str, folder: Path) -> AbstractAsyncContextManager[Fleet]:
    """The product."""
    return fleet(dsn, folder, workers=2)


@asynccontextmanager
async def naive(dsn: str, folder: Path) -> AsyncIterator[Fleet]:
    """The product but for a cache of 100 ms."""
    with certificates(folder) as state, ExitStack() as stack:

        def start(number: int) -> Child:
            ready = folder / f"ready.{number}.json"
            env = settings(state, dsn, READY_FILE=ready)
            line = (sys.executable, "-m", "tests.support.naive")
            log = state.logs / f"naive.{number}.log"
            child = stack.enter_context(spawn(line, name=f"naive {number}", log=log, env=env))
            child.wait_ready(ready.exists, READY)
            return child

        children = [start(number) for number in range(2)]
        said = state.write_ports(folder / "ready.0.json")
        await asyncio.to_thread(provision, state, f"localhost:{said['grpc']}")
        yield _Pair(state, children[0])


@asynccontextmanager
async def trust(deploy: Deploy, dsn: str, folder: Path, links: Mapping[str, list[str]]) -> AsyncIterator[Fleet]:
    """Workers with the register attached to both, and an agreement of direct care in force."""
    async with deploy(dsn, folder) as running:
        await words.apply(running, words.DIRECT_CARE)  # type: ignore[arg-type]
        with _register(running, links):
            yield running


@contextmanager
def _register(running: Fleet, links: Mapping[str, list[str]]) -> Iterator[None]:
    state, file = running.state, running.state.folder / "links.json"
    file.write_text(json.dumps(links))
    files, ready = running.files(NHS_ADAPTER.folder), state.folder / "register.ready"
    told = {
        "TARGET": running.target,
        "CA": files.ca,
        "CERT": files.cert,
        "KEY": files.key,
        "AT_ONCE": 2048,
        "EXPECTED_BROKER": BROKER,
        "AGREEMENTS": signing.copies(state, "ncic"),
        "AGREEMENT_KEYS": signing.public_file(state, "ncic"),
        "READY_FILE": ready,
    }
    env = dict(os.environ) | {f"BROKER_ADAPTER_{name}": str(value) for name, value in told.items()}
    line = (sys.executable, "-m", "tests.support.register", str(file))
    with spawn(line, name="register", log=state.logs / "register.log", env=env) as child:
        child.wait_ready(ready.exists, READY)
        yield


def terms() -> dict[str, Terms]:
    """What each agreement in force makes of what people say, from the files that were signed."""
    files = [file for _, file in signing.files()] + [words.DIRECT_CARE]
    known = map(agreements.read, files)
    return {a.id: Terms(a.directives.weight, frozenset(a.directives.recorders)) for a in known}
